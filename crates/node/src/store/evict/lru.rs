//! Approximated LRU: the entry that was not used for longest, of those that were sampled.

use super::{Conditions, Policy, Scope};
use crate::store::entry::Entry;

/// The bits of an entry are the moment of its last use.
#[derive(Debug)]
pub(super) struct Lru(pub(super) Scope);

impl Policy for Lru {
    fn name(&self) -> &'static str {
        self.0.pick("allkeys-lru", "volatile-lru")
    }

    fn scope(&self) -> Scope {
        self.0
    }

    fn on_insert(&self, now: &Conditions) -> u32 {
        now.clock()
    }

    fn on_access(&self, _access: u32, now: &Conditions) -> u32 {
        now.clock()
    }

    fn rank(&self, _entry: &Entry, access: u32, now: &Conditions) -> u64 {
        u64::from(now.clock().wrapping_sub(access) & Conditions::CLOCK_MASK)
    }
}
