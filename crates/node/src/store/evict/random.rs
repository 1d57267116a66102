//! Random eviction: whatever is met.

use super::{Conditions, Policy, Scope, Trace};
use crate::store::entry::Entry;
use crate::store::slot::SlotTable;

/// The time of the last use is kept, so that a change of policy finds it.
#[derive(Debug)]
pub(super) struct Random(pub(super) Scope);

impl Policy for Random {
    fn name(&self) -> &'static str {
        self.0.pick("allkeys-random", "volatile-random")
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

    fn rank(&self, _entry: &Entry, _access: u32, _now: &Conditions) -> u64 {
        0
    }

    /// Nothing is compared, so one is enough.
    fn candidates(
        &self,
        table: &SlotTable,
        random: u64,
        count: usize,
        offer: &mut dyn FnMut(&Entry, u32),
    ) -> u64 {
        table.sample_for(self.0, Trace::Moment, random, count.min(1), offer)
    }
}
