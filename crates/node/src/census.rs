//! What the slots of this node amount to, by its role in them.

use crate::slots::Slots;
use crate::store::Tally;

/// A walk over all slots: one lock after the other, so the sums are of no single moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// The entries of the slots that this node leads.
    pub led: Tally,
    /// The entries of the slots of which it holds copies.
    pub copies: Tally,
    /// Records in the slots that it leads that are not committed yet.
    pub uncommitted: u64,
    /// Replies that wait for copies.
    pub waiting: u64,
}

impl Census {
    /// Counts now.
    #[must_use]
    pub fn take(slots: &Slots) -> Census {
        let mut census = Census::default();
        for slot in slots.replicas().slots() {
            let replica = slots.lock(slot);
            let tally = replica.table.tally();
            if replica.active_epoch().is_some() {
                census.led += tally;
                census.uncommitted += replica.uncommitted() as u64;
                census.waiting += replica.waiting() as u64;
            } else {
                census.copies += tally;
            }
        }
        census
    }
}
