//! What the eviction policies do with a slot, and know of its entries.

use super::SlotTable;
use crate::store::entry::Entry;
use crate::store::evict::{Scope, Trace};
use crate::store::segments::Place;

impl SlotTable {
    /// Shows up to `count` entries that may go by a scope, from a random place on, each with its
    /// bits of the eviction policy as `wanted` reads them. Returns where another sample may go on.
    pub fn sample_for(
        &self,
        scope: Scope,
        wanted: Trace,
        random: u64,
        count: usize,
        visit: &mut dyn FnMut(&Entry, u32),
    ) -> u64 {
        let now = &self.shared.conditions;
        self.segments
            .sample_for(scope, random, count, |entry, trace| {
                visit(entry, trace.convert(entry.access(), wanted, now));
            })
    }

    /// The bits of the eviction policy of the entry at a place, as `wanted` reads them.
    pub(in crate::store) fn access(&self, place: Place, wanted: Trace) -> u32 {
        let (entry, trace) = (self.segments.at(place), self.segments.trace(place));
        trace.convert(entry.access(), wanted, &self.shared.conditions)
    }

    /// For how many seconds the entry of a key was not used, as far as its policy knows.
    #[must_use]
    pub fn idle_seconds(&self, key: &[u8]) -> Option<u64> {
        let place = self.locate(key)?;
        let (entry, trace) = (self.segments.at(place), self.segments.trace(place));
        Some(trace.idle_seconds(entry.access(), &self.shared.conditions))
    }

    /// What the counter of uses of a key's entry stands at, as far as its policy knows.
    #[must_use]
    pub fn frequency(&self, key: &[u8]) -> Option<u8> {
        let place = self.locate(key)?;
        let (entry, trace) = (self.segments.at(place), self.segments.trace(place));
        Some(trace.frequency(entry.access(), &self.shared.conditions))
    }

    /// A client has used the entry.
    #[inline]
    pub(in crate::store) fn touch(&mut self, place: Place) {
        let policy = self.shared.policy();
        let now = &self.shared.conditions;
        self.segments.unify_at(place, policy.trace(), now);
        let entry = self.segments.at_mut(place);
        let before = entry.access();
        let after = policy.on_access(before, now);
        if after != before {
            entry.set_access(after);
        }
    }
}
