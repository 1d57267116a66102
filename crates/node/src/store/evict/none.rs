//! No eviction.

use super::{Conditions, Policy, Scope, lru::Lru};
use crate::store::entry::Entry;
use crate::store::slot::SlotTable;

/// Evicts nothing.
#[derive(Debug)]
pub(super) struct NoEviction;

impl Policy for NoEviction {
    fn name(&self) -> &'static str {
        "noeviction"
    }

    fn evicts(&self) -> bool {
        false
    }

    fn scope(&self) -> Scope {
        Scope::All
    }

    // The time of the last use is kept all the same, so that a change of policy finds it.
    fn on_insert(&self, now: &Conditions) -> u32 {
        Lru(Scope::All).on_insert(now)
    }

    fn on_access(&self, access: u32, now: &Conditions) -> u32 {
        Lru(Scope::All).on_access(access, now)
    }

    fn rank(&self, _entry: &Entry, _access: u32, _now: &Conditions) -> u64 {
        0
    }

    fn candidates(
        &self,
        _: &SlotTable,
        random: u64,
        _: usize,
        _: &mut dyn FnMut(&Entry, u32),
    ) -> u64 {
        random
    }
}
