//! What a key takes, and its end for the sake of memory.

use super::Tx;
use crate::store::effect::Effect;
use crate::store::entry::Entry;
use crate::store::evict::{Policy, Reason};

/// An entry's place in its table, with the byte by which it is found.
const PLACE_BYTES: usize = size_of::<Entry>() + 1;

impl Tx<'_> {
    /// Removes an entry for the sake of memory, unless the database lacks it or may not agree with
    /// it, or `still` says no of it and its bits of the eviction policy. Returns what it took.
    pub fn evict(
        &mut self,
        key: &[u8],
        reason: Reason,
        still: impl FnOnce(&Entry, u32) -> bool,
    ) -> Option<usize> {
        let policy = self.table.shared.policy();
        let place = self.table.locate(key)?;
        let (entry, access) = (
            self.table.at(place),
            self.table.access(place, policy.trace()),
        );
        if entry.mark().is_held() || !still(entry, access) {
            return None;
        }
        let bytes = entry.allocated();
        self.table.shared.count_evicted(reason);
        self.perform(&Effect::Remove { key });
        Some(bytes)
    }

    /// For how many seconds a key was not used, as far as the eviction policy knows. Does not count
    /// as a use.
    pub fn idle_seconds(&mut self, key: &[u8]) -> Option<u64> {
        self.live(key)?;
        Some(self.table.idle_seconds(key).unwrap_or(0))
    }

    /// What a key's counter of uses stands at, as far as the eviction policy knows. Does not count
    /// as a use.
    pub fn frequency(&mut self, key: &[u8]) -> Option<u8> {
        self.live(key)?;
        Some(self.table.frequency(key).unwrap_or(0))
    }

    /// The eviction policy in force.
    #[must_use]
    pub fn policy(&self) -> &'static dyn Policy {
        self.table.shared.policy()
    }

    /// What a key takes: its entry, and its place in the table. Does not count as a use.
    pub fn bytes(&mut self, key: &[u8]) -> Option<usize> {
        let found = self.live(key)?;
        Some(self.at(found, key).allocated() + PLACE_BYTES)
    }
}
