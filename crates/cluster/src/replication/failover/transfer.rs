//! Planned changes of primary: the one who leads takes no more writes, says so when nobody waits
//! for it any more, and is fenced only then. Clients notice no more than a moment's wait.
//!
//! All of it may be lost at any time: the primary goes on by itself where it is not fenced soon.

use super::work::Work;
use super::{Coordinator, Look, Orders};
use crate::metadata::entry::FenceSlot;
use crate::replication::message::Forward;
use crate::{Epoch, Member, Placement, Slot, Time};

/// One slot on its way from its primary to another.
#[derive(Debug)]
pub(super) struct Transfer {
    to: Member,
    /// The placement that was judged; it ends with the primary's epoch.
    judged: (Member, Epoch),
    since: Time,
    asked_at: Option<Time>,
    has_yielded: bool,
}

impl Transfer {
    pub(super) fn to(&self) -> Member {
        self.to
    }

    /// The primary has said that it has finished.
    pub(super) fn yielded(&mut self, by: &Member, epoch: Epoch) {
        self.has_yielded |= (*by, epoch) == self.judged;
    }

    fn is_of(&self, placement: &Placement) -> bool {
        placement.primary == Some(self.judged.0) && placement.epoch == self.judged.1
    }
}

impl Coordinator {
    /// Begins a planned change, if the slot is in no other.
    pub(super) fn begin_transfer(
        &mut self,
        slot: Slot,
        placement: &Placement,
        to: Member,
        look: &Look<'_>,
    ) {
        let Some(primary) = placement.primary.filter(|primary| *primary != to) else {
            return;
        };
        let transfer = Transfer {
            to,
            judged: (primary, placement.epoch),
            since: look.now,
            asked_at: None,
            has_yielded: false,
        };
        self.transfers.entry(slot).or_insert(transfer);
    }

    /// The next step of a slot's planned change. The fence, when it is time.
    pub(super) fn transfer(
        &mut self,
        slot: Slot,
        placement: &Placement,
        look: &Look<'_>,
        orders: &mut Orders,
    ) -> Option<FenceSlot> {
        let transfer = self.transfers.get_mut(&slot)?;
        let is_possible = transfer.is_of(placement)
            && placement.in_sync.contains(&transfer.to)
            && look.is_up(&transfer.to)
            && look.now.since(transfer.since) < self.settings.yield_timeout;
        if !is_possible {
            self.transfers.remove(&slot);
            return None;
        }
        if transfer.has_yielded {
            let to = transfer.to;
            self.transfers.remove(&slot);
            let work = Work::new(placement, look.now).in_favour_of(to);
            self.work.insert(slot, work);
            let rev = placement.rev;
            return Some(FenceSlot { slot, rev });
        }
        let is_due = |at: Time| look.now.since(at) >= self.settings.retry;
        if transfer.asked_at.is_none_or(is_due) {
            transfer.asked_at = Some(look.now);
            let (primary, epoch) = transfer.judged;
            orders.sends.push((primary, Forward::Yield { slot, epoch }));
        }
        None
    }
}
