//! Approximated FIFO: the entry that came first, of those that were sampled. A new value for a key
//! that is there does not make it any younger.

use super::{Conditions, Policy, Scope};
use crate::store::entry::Entry;

/// The bits of an entry are the moment at which it came.
#[derive(Debug)]
pub(super) struct Fifo(pub(super) Scope);

impl Policy for Fifo {
    fn name(&self) -> &'static str {
        self.0.pick("allkeys-fifo", "volatile-fifo")
    }

    fn scope(&self) -> Scope {
        self.0
    }

    fn on_insert(&self, now: &Conditions) -> u32 {
        now.clock()
    }

    fn on_access(&self, access: u32, _now: &Conditions) -> u32 {
        access
    }

    fn rank(&self, _entry: &Entry, access: u32, now: &Conditions) -> u64 {
        u64::from(now.clock().wrapping_sub(access) & Conditions::CLOCK_MASK)
    }
}
