//! A hash table that never stops the world: an extendible directory of small tables.
//!
//! The top bits of a key's hash name its segment. A full segment is split in two by the next bit,
//! which moves some hundred entries and touches no other segment; two small neighbours are put
//! together again. So the order by hash stays the same whatever comes and goes, and a walk in that
//! order meets every entry that is there all the while.
//!
//! Each segment remembers a moment before which none of its entries is due. That is the whole
//! index for active expiry: eight bytes a segment.

mod access;
mod segment;

use std::ops::ControlFlow;

use super::entry::Entry;
use super::size_class::rounded;
pub(super) use segment::position_of;
use segment::{Segment, spread};

/// A full segment: what a table of 256 buckets holds.
const SEGMENT_ENTRIES_MAX: usize = 224;
const SEGMENT_BUCKETS: usize = 256;
/// What the table of a full segment takes.
const SEGMENT_BYTES_MAX: usize = SEGMENT_BUCKETS * (size_of::<Entry>() + 1) + 64;
/// How many buckets are tried for a random entry, before any will do.
const DRAWS_MAX: usize = 256;
/// Two neighbours that have fewer together are merged.
const MERGE_ENTRIES_MAX: usize = SEGMENT_ENTRIES_MAX / 4;
/// With this many top bits used up a segment grows instead; no table gets there (2^24 segments).
const DEPTH_MAX: u8 = 24;
/// Segments that one step of a walk passes at most, so that it ends where most are empty.
const WALK_SEGMENTS_MAX: usize = 64;

/// Positions are the top 39 bits of a hash, so that a slot and a position fit into a cursor that
/// every client parses (53 bits).
pub const POSITION_BITS: u32 = 39;
const POSITION_SHIFT: u32 = u64::BITS - POSITION_BITS;

/// What a table holds: the entries of a slot, the fields of a hash.
pub(super) trait Item: std::fmt::Debug {
    /// By what it is found; it never changes.
    fn key(&self) -> &[u8];

    /// From when on it may go by itself.
    fn due_at(&self) -> Option<u64>;

    /// What the allocator sets aside for it, its place in the table not counted.
    fn allocated(&self) -> usize;
}

/// Where an entry lies, until the table changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    segment: u32,
    bucket: u32,
}

#[derive(Debug)]
pub(super) struct Segments<T> {
    form: Form<T>,
    /// What the segments' own tables take.
    tables_bytes: usize,
}

#[derive(Debug)]
enum Form<T> {
    One(Segment<T>),
    Many(Box<Directory<T>>),
}

#[derive(Debug)]
struct Directory<T> {
    /// By how many top bits the index is addressed; at least 1.
    depth: u8,
    /// How many segments use all of them.
    deepest: usize,
    index: Vec<u32>,
    segments: Vec<Segment<T>>,
}

impl<T: Item> Segments<T> {
    pub(super) const fn new() -> Segments<T> {
        Segments {
            form: Form::One(Segment::new()),
            tables_bytes: 0,
        }
    }

    /// What the tables and the directory take, entries not counted.
    pub(super) fn bytes(&self) -> usize {
        let directory = match &self.form {
            Form::One(_) => 0,
            Form::Many(directory) => directory.bytes(),
        };
        self.tables_bytes + directory
    }

    /// What the tables take more, at most, while one entry is added: a segment is split, and what
    /// the directory is made of is copied as it doubles.
    pub(super) fn growth_bytes_max(&self) -> usize {
        let directory = match &self.form {
            Form::One(_) => 0,
            Form::Many(directory) => 2 * directory.bytes(),
        };
        directory + 2 * SEGMENT_BYTES_MAX
    }

    #[inline]
    pub(super) fn locate(&self, hash: u64, key: &[u8]) -> Option<Place> {
        let segment = self.index_of(hash);
        let table = &self.segment(segment).table;
        let bucket = table.find_bucket_index(spread(hash), |entry| entry.key() == key)?;
        Some(Place {
            segment: segment as u32,
            bucket: bucket as u32,
        })
    }

    /// The entry at a place that [`Segments::locate`] gave, the table unchanged since.
    #[inline]
    pub(super) fn at(&self, place: Place) -> &T {
        let table = &self.segment(place.segment as usize).table;
        table
            .get_bucket(place.bucket as usize)
            .expect("a place is of an entry")
    }

    /// As [`Segments::at`]; only the entry's key must stay as it is.
    #[inline]
    pub(super) fn at_mut(&mut self, place: Place) -> &mut T {
        let table = &mut self.segment_mut(place.segment as usize).table;
        table
            .get_bucket_mut(place.bucket as usize)
            .expect("a place is of an entry")
    }

    /// Says that the entry at a place is due at `at`.
    pub(super) fn note_due(&mut self, place: Place, at: u64) {
        let segment = self.segment_mut(place.segment as usize);
        segment.soonest = segment.soonest.min(at);
    }

    /// Adds an entry whose key is not there.
    pub(super) fn insert(&mut self, hash: u64, entry: T, hash_of: &impl Fn(&[u8]) -> u64) {
        let mut index = self.index_of(hash);
        while self.segment(index).is_full() {
            self.split(index, hash_of);
            index = self.index_of(hash);
        }
        let due = entry.due_at();
        let segment = self.segment_mut(index);
        let before = segment.bytes();
        segment
            .table
            .insert_unique(spread(hash), entry, |entry| spread(hash_of(entry.key())));
        segment.soonest = segment.soonest.min(due.unwrap_or(u64::MAX));
        let after = segment.bytes();
        self.tables_bytes = self.tables_bytes + after - before;
    }

    /// Takes out the entry at a place; its table shrinks when it has become much too large.
    pub(super) fn remove(&mut self, place: Place, hash_of: &impl Fn(&[u8]) -> u64) -> T {
        let index = place.segment as usize;
        let segment = self.segment_mut(index);
        let before = segment.bytes();
        let occupied = segment.table.get_bucket_entry(place.bucket as usize);
        let (entry, _) = occupied.expect("a place is of an entry").remove();
        if segment.table.len() * 8 < segment.table.num_buckets() {
            let kept = segment.table.len() * 2;
            segment
                .table
                .shrink_to(kept, |entry| spread(hash_of(entry.key())));
        }
        if segment.table.is_empty() {
            segment.soonest = u64::MAX;
        }
        let (after, few) = (segment.bytes(), segment.table.len() < MERGE_ENTRIES_MAX);
        self.tables_bytes = self.tables_bytes + after - before;
        if few {
            self.merge(index, hash_of);
        }
        entry
    }

    /// Shows entries in the order of their hashes from `position` on until the visitor breaks off.
    /// Returns where to go on, or `None` at the end. Entries of one position are shown together.
    pub(super) fn walk(
        &self,
        mut position: u64,
        hash_of: &impl Fn(&[u8]) -> u64,
        mut visit: impl FnMut(&T) -> ControlFlow<()>,
    ) -> Option<u64> {
        let mut found: Vec<(u64, usize)> = Vec::new();
        for _ in 0..WALK_SEGMENTS_MAX {
            if position >= 1 << POSITION_BITS {
                return None;
            }
            let segment = self.segment(self.index_of(position << POSITION_SHIFT));
            let at = |bucket| {
                segment
                    .table
                    .get_bucket(bucket)
                    .expect("an occupied bucket")
            };
            found.clear();
            let buckets = segment.table.iter_buckets();
            found.extend(buckets.map(|bucket| (position_of(hash_of(at(bucket).key())), bucket)));
            found.retain(|&(entry_position, _)| entry_position >= position);
            found.sort_unstable();
            let mut last = None;
            for &(entry_position, bucket) in &found {
                if last.is_some_and(|last| last < entry_position) {
                    return Some(entry_position);
                }
                if visit(at(bucket)).is_break() {
                    last = Some(entry_position);
                }
            }
            position = segment.end_position();
            if last.is_some() {
                break;
            }
        }
        (position < 1 << POSITION_BITS).then_some(position)
    }

    /// Shows the entries that are due before `now`, of the segments from `position` on, until
    /// about `budget` entries were looked at. Returns where to go on, or `None` at the end. Those
    /// that were shown must be removed, or must be due no more: they are not shown again.
    pub(super) fn take_due(
        &mut self,
        mut position: u64,
        now: u64,
        budget: &mut usize,
        mut show: impl FnMut(&T),
    ) -> Option<u64> {
        while position < 1 << POSITION_BITS {
            if *budget == 0 {
                return Some(position);
            }
            let index = self.index_of(position << POSITION_SHIFT);
            let segment = self.segment_mut(index);
            *budget = budget.saturating_sub(1);
            if segment.soonest < now {
                *budget = budget.saturating_sub(segment.table.len());
                segment.soonest = segment.show_due(now, &mut show);
            }
            position = segment.end_position();
        }
        None
    }

    /// Whether any entry may be due one day. Of several segments it does not look at each.
    pub(super) fn may_expire(&self) -> bool {
        !matches!(
            &self.form,
            Form::One(Segment {
                soonest: u64::MAX,
                ..
            })
        )
    }

    /// Shows up to `count` entries from a random place on, all of one segment.
    pub(super) fn sample(&self, random: u64, count: usize, mut visit: impl FnMut(&T)) {
        let mut start = random;
        for _ in 0..WALK_SEGMENTS_MAX {
            let segment = self.segment(self.index_of(start));
            let buckets = segment.table.num_buckets();
            if !segment.table.is_empty() {
                let first = random as usize % buckets;
                let occupied = (first..buckets).chain(0..first);
                let entries = occupied.filter_map(|bucket| segment.table.get_bucket(bucket));
                entries.take(count).for_each(&mut visit);
                return;
            }
            // An end of 2^64 wraps to the first segment.
            start = segment.end_position() << POSITION_SHIFT;
        }
    }

    /// All entries, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        let segments = match &self.form {
            Form::One(segment) => std::slice::from_ref(segment),
            Form::Many(directory) => &directory.segments[..],
        };
        segments.iter().flat_map(|segment| segment.table.iter())
    }

    /// Takes segments out until about `entries` entries are gone, each handed to `take`; of use to
    /// nobody afterwards. Returns what the segments' own tables took, and whether all is gone.
    pub(super) fn shed(&mut self, entries: usize, mut take: impl FnMut(T)) -> (usize, bool) {
        let (mut freed, mut gone) = (0, 0);
        while gone < entries {
            let segment = match &mut self.form {
                Form::One(segment) => std::mem::replace(segment, Segment::new()),
                Form::Many(directory) => directory.segments.pop().unwrap_or(Segment::new()),
            };
            if segment.bytes() == 0
                && !matches!(&self.form, Form::Many(rest) if !rest.segments.is_empty())
            {
                return (freed, true);
            }
            gone += segment.table.len().max(1);
            freed += segment.bytes();
            segment.table.into_iter().for_each(&mut take);
        }
        (freed, false)
    }

    /// One entry, each as likely as any other unless the table is all but empty; `random` gives
    /// numbers.
    pub(super) fn draw(&self, mut random: impl FnMut() -> u64) -> Option<&T> {
        let segments = match &self.form {
            Form::One(segment) => std::slice::from_ref(segment),
            Form::Many(directory) => &directory.segments[..],
        };
        // What is drawn is a bucket of all that there could be, until one is drawn that is taken.
        for _ in 0..DRAWS_MAX {
            let drawn = random();
            let segment = &segments[(drawn >> 32) as usize % segments.len()];
            let mut buckets = segment.table.num_buckets().max(1);
            if segments.len() > 1 {
                buckets = buckets.max(SEGMENT_BUCKETS);
            }
            let found = segment.table.get_bucket(drawn as u32 as usize % buckets);
            if found.is_some() {
                return found;
            }
        }
        segments
            .iter()
            .cycle()
            .skip(random() as usize % segments.len())
            .take(segments.len())
            .find_map(|segment| segment.table.iter().next())
    }

    #[inline]
    fn index_of(&self, hash: u64) -> usize {
        match &self.form {
            Form::One(_) => 0,
            Form::Many(directory) => directory.index_of(hash),
        }
    }

    #[inline]
    fn segment(&self, index: usize) -> &Segment<T> {
        match &self.form {
            Form::One(segment) => segment,
            Form::Many(directory) => &directory.segments[index],
        }
    }

    #[inline]
    fn segment_mut(&mut self, index: usize) -> &mut Segment<T> {
        match &mut self.form {
            Form::One(segment) => segment,
            Form::Many(directory) => &mut directory.segments[index],
        }
    }

    fn split(&mut self, index: usize, hash_of: &impl Fn(&[u8]) -> u64) {
        if let Form::One(segment) = &mut self.form {
            let segment = std::mem::replace(segment, Segment::new());
            self.form = Form::Many(Box::new(Directory {
                depth: 1,
                deepest: 0,
                index: vec![0; 2],
                segments: vec![segment],
            }));
        }
        let Form::Many(directory) = &mut self.form else {
            return;
        };
        let before = directory.segments[index].bytes();
        let after = directory.split(index, hash_of);
        self.tables_bytes = self.tables_bytes + after - before;
    }

    fn merge(&mut self, index: usize, hash_of: &impl Fn(&[u8]) -> u64) {
        let Form::Many(directory) = &mut self.form else {
            return;
        };
        if let Some((before, after)) = directory.merge(index, hash_of) {
            self.tables_bytes = self.tables_bytes + after - before;
        }
        if directory.segments.len() == 1 {
            let last = directory.segments.pop().expect("there is one segment");
            self.form = Form::One(last);
        }
    }
}

impl<T: Item> Directory<T> {
    fn bytes(&self) -> usize {
        rounded(size_of::<Directory<T>>())
            + rounded(self.index.capacity() * size_of::<u32>())
            + rounded(self.segments.capacity() * size_of::<Segment<T>>())
    }

    #[inline]
    fn index_of(&self, hash: u64) -> usize {
        self.index[(hash >> (u64::BITS - u32::from(self.depth))) as usize] as usize
    }

    /// Splits a segment by its next bit; returns what the tables of both halves take.
    fn split(&mut self, index: usize, hash_of: &impl Fn(&[u8]) -> u64) -> usize {
        if self.segments[index].depth == self.depth {
            self.index = self
                .index
                .iter()
                .flat_map(|&segment| [segment; 2])
                .collect();
            self.depth += 1;
            self.deepest = 0;
        }
        let upper = self.segments[index].split(hash_of);
        if upper.depth == self.depth {
            self.deepest += 2;
        }
        let bytes = upper.bytes() + self.segments[index].bytes();
        self.segments.push(upper);
        self.point_to(self.segments.len() - 1);
        bytes
    }

    /// Puts a segment and its neighbour together if both are small; returns what their tables
    /// took and take.
    fn merge(&mut self, index: usize, hash_of: &impl Fn(&[u8]) -> u64) -> Option<(usize, usize)> {
        let depth = self.segments[index].depth;
        let bit = 1_u64 << (u64::BITS - u32::from(depth));
        let other = self.index_of(self.segments[index].start ^ bit);
        let entries = self.segments[index].table.len() + self.segments[other].table.len();
        let alike = self.segments[other].depth == depth
            && self.segments[other].trace == self.segments[index].trace;
        if !alike || entries > MERGE_ENTRIES_MAX {
            return None;
        }
        let upper_is_other = self.segments[index].start & bit == 0;
        let (lower, upper) = if upper_is_other {
            (index, other)
        } else {
            (other, index)
        };
        let before = self.segments[lower].bytes() + self.segments[upper].bytes();
        let taken = self.segments.swap_remove(upper);
        let moved_from = self.segments.len();
        let lower = if lower == moved_from { upper } else { lower };
        if upper < moved_from {
            self.point_to(upper);
        }
        self.segments[lower].absorb(taken, hash_of);
        self.point_to(lower);
        let after = self.segments[lower].bytes();
        if depth == self.depth {
            self.deepest -= 2;
            self.halve();
        }
        if self.segments.capacity() > 4 * self.segments.len() {
            self.segments.shrink_to(2 * self.segments.len());
        }
        Some((before, after))
    }

    /// Halves the index as long as no segment needs its last bit.
    fn halve(&mut self) {
        while self.deepest == 0 && self.depth > 1 {
            self.index = self.index.iter().step_by(2).copied().collect();
            self.depth -= 1;
            let depth = self.depth;
            self.deepest = self
                .segments
                .iter()
                .filter(|segment| segment.depth == depth)
                .count();
        }
    }

    /// Lets the index point to a segment wherever that is responsible.
    fn point_to(&mut self, segment: usize) {
        let Segment { start, depth, .. } = self.segments[segment];
        let first = (start >> (u64::BITS - u32::from(self.depth))) as usize;
        let count = 1_usize << (self.depth - depth);
        self.index[first..first + count].fill(segment as u32);
    }
}

#[cfg(test)]
mod tests;
