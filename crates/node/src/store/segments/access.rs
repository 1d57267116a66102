//! What the eviction policies do with the entries of a slot: their bits, and samples.

use super::segment::Segment;
use super::{POSITION_SHIFT, Place, Segments, WALK_SEGMENTS_MAX};
use crate::store::entry::Entry;
use crate::store::evict::{Conditions, Scope, Trace};

/// Segments that a sample looks through for entries of its scope, if their notes say that there may
/// be some.
const SAMPLE_SEGMENTS_MAX: usize = 8;
/// Bits of a random number that name a bucket.
const BUCKET_MASK: u64 = (1 << POSITION_SHIFT) - 1;

impl Segments<Entry> {
    /// Has the bits of all entries that lie with this hash say what is wanted.
    #[inline]
    pub(in crate::store) fn unify(&mut self, hash: u64, wanted: Trace, now: &Conditions) {
        let index = self.index_of(hash);
        self.segment_mut(index).unify(wanted, now);
    }

    /// The same of those beside the entry at a place.
    #[inline]
    pub(in crate::store) fn unify_at(&mut self, place: Place, wanted: Trace, now: &Conditions) {
        self.segment_mut(place.segment as usize).unify(wanted, now);
    }

    /// What the bits of the entry at a place say.
    pub(in crate::store) fn trace(&self, place: Place) -> Trace {
        self.segment(place.segment as usize).trace
    }

    /// Shows up to `count` entries of a scope, all of one segment, from a random place on, with
    /// what their bits say. Returns where another sample may go on: this one ends where it has
    /// passed many segments in vain.
    pub(in crate::store) fn sample_for(
        &self,
        scope: Scope,
        random: u64,
        count: usize,
        mut visit: impl FnMut(&Entry, Trace),
    ) -> u64 {
        let (mut start, mut looked_through) = (random, 0);
        // The lowest bits, which name no segment, choose the bucket.
        let bucket = random & BUCKET_MASK;
        let next_bucket = random.wrapping_add(count as u64) & BUCKET_MASK;
        for _ in 0..WALK_SEGMENTS_MAX {
            let segment = self.segment(self.index_of(start));
            let may_have_some = scope == Scope::All || segment.soonest != u64::MAX;
            // An end of 2^64 wraps to the first segment.
            start = segment.end_position() << POSITION_SHIFT | next_bucket;
            if segment.table.is_empty() || !may_have_some {
                continue;
            }
            let visit = |entry: &Entry| visit(entry, segment.trace);
            if segment.sample_for(scope, bucket as usize, count, visit) > 0 {
                break;
            }
            looked_through += 1;
            if looked_through == SAMPLE_SEGMENTS_MAX {
                break;
            }
        }
        start
    }
}

impl Segment<Entry> {
    /// Has the bits of all entries say what is wanted.
    #[inline]
    pub(super) fn unify(&mut self, wanted: Trace, now: &Conditions) {
        if self.trace != wanted {
            for entry in &mut self.table {
                entry.set_access(self.trace.convert(entry.access(), wanted, now));
            }
            self.trace = wanted;
        }
    }

    /// Shows up to `count` entries of a scope from a random bucket on, each with its bits as they
    /// are; returns how many.
    pub(super) fn sample_for(
        &self,
        scope: Scope,
        random: usize,
        count: usize,
        mut visit: impl FnMut(&Entry),
    ) -> usize {
        let buckets = self.table.num_buckets();
        let first = random % buckets.max(1);
        let order = (first..buckets).chain(0..first);
        let entries = order.filter_map(|bucket| self.table.get_bucket(bucket));
        let meant = entries.filter(|entry| scope.includes(entry)).take(count);
        meant.map(&mut visit).count()
    }
}
