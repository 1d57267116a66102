//! A segment: the entries whose hashes have their top bits in common.

use hashbrown::HashTable;

use super::{DEPTH_MAX, Item, POSITION_BITS, POSITION_SHIFT, SEGMENT_ENTRIES_MAX};
use crate::store::evict::Trace;
use crate::store::size_class::rounded;

#[derive(Debug)]
pub(super) struct Segment<T> {
    pub(super) table: HashTable<T>,
    /// No entry is due before this.
    pub(super) soonest: u64,
    /// The least hash that belongs here.
    pub(super) start: u64,
    /// How many top bits the hashes here have in common.
    pub(super) depth: u8,
    /// What the bits of the eviction policy say in all of its entries.
    pub(super) trace: Trace,
}

impl<T: Item> Segment<T> {
    pub(super) const fn new() -> Segment<T> {
        Segment {
            table: HashTable::new(),
            soonest: u64::MAX,
            start: 0,
            depth: 0,
            trace: Trace::Moment,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        rounded(self.table.allocation_size())
    }

    pub(super) fn is_full(&self) -> bool {
        self.table.len() >= SEGMENT_ENTRIES_MAX && self.depth < DEPTH_MAX
    }

    /// The first position behind the segment.
    pub(super) fn end_position(&self) -> u64 {
        position_of(self.start) + (1_u64 << (POSITION_BITS - u32::from(self.depth)))
    }

    /// Moves the upper half of the hashes into a segment of their own.
    pub(super) fn split(&mut self, hash_of: &impl Fn(&[u8]) -> u64) -> Segment<T> {
        let bit = 1_u64 << (u64::BITS - 1 - u32::from(self.depth));
        self.depth += 1;
        let mut upper = HashTable::with_capacity(self.table.len() / 2);
        let hasher = |entry: &T| spread(hash_of(entry.key()));
        for entry in self
            .table
            .extract_if(|entry| hash_of(entry.key()) & bit != 0)
        {
            upper.insert_unique(hasher(&entry), entry, hasher);
        }
        self.table.shrink_to_fit(hasher);
        Segment {
            table: upper,
            soonest: self.soonest,
            start: self.start | bit,
            depth: self.depth,
            trace: self.trace,
        }
    }

    /// Takes the entries of the neighbour above.
    pub(super) fn absorb(&mut self, upper: Segment<T>, hash_of: &impl Fn(&[u8]) -> u64) {
        let hasher = |entry: &T| spread(hash_of(entry.key()));
        self.table.reserve(upper.table.len(), hasher);
        for entry in upper.table {
            self.table.insert_unique(hasher(&entry), entry, hasher);
        }
        self.depth -= 1;
        self.soonest = self.soonest.min(upper.soonest);
    }

    /// Shows what is due before `now`; returns when the first of the others is due.
    pub(super) fn show_due(&self, now: u64, show: &mut impl FnMut(&T)) -> u64 {
        let mut soonest = u64::MAX;
        for entry in &self.table {
            match entry.due_at() {
                Some(at) if at < now => show(entry),
                Some(at) => soonest = soonest.min(at),
                None => {}
            }
        }
        soonest
    }
}

/// The position of a hash in the order of all walks.
pub(in crate::store) fn position_of(hash: u64) -> u64 {
    hash >> POSITION_SHIFT
}

/// The hash that a segment's own table sees. It tells entries apart by the lowest and the seven
/// topmost bits; the topmost ones of the key's hash are the same in all of a segment.
#[inline]
pub(super) fn spread(hash: u64) -> u64 {
    hash.rotate_left(32)
}
