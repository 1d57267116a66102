//! The entry that would expire first, of those that were sampled.

use super::{Conditions, Policy, Scope};
use crate::store::entry::Entry;

/// The time of the last use is kept, so that a change of policy finds it.
#[derive(Debug)]
pub(super) struct SoonestExpiry;

impl Policy for SoonestExpiry {
    fn name(&self) -> &'static str {
        "volatile-ttl"
    }

    fn scope(&self) -> Scope {
        Scope::Expiring
    }

    fn on_insert(&self, now: &Conditions) -> u32 {
        now.clock()
    }

    fn on_access(&self, _access: u32, now: &Conditions) -> u32 {
        now.clock()
    }

    fn rank(&self, entry: &Entry, _access: u32, _now: &Conditions) -> u64 {
        u64::MAX - entry.expires_at().unwrap_or(u64::MAX)
    }
}
