//! How a primary hands its slot over: it begins nothing new, finishes what it has begun, and says
//! so. Where it is not fenced soon after that, it goes on.

use super::context::Context;
use super::member::Sender;
use super::message::Back;
use super::replica::Replica;
use super::table::Table;
use crate::{Epoch, Member, Time};

/// A primary that is about to hand its slot over.
#[derive(Debug)]
pub(crate) struct Yielding {
    coordinator: Member,
    stream: u64,
    /// When it goes on.
    until: Time,
    told: bool,
}

impl<T: Table, K> Replica<T, K> {
    /// Whether this member is about to hand the slot over: a write is to wait for whoever leads
    /// next.
    #[must_use]
    pub fn yields(&self, now: Time) -> bool {
        let yielding = self.active().and_then(|primary| primary.yielding.as_ref());
        yielding.is_some_and(|yielding| now < yielding.until)
    }

    /// A coordinator wants another member to lead.
    pub(crate) fn asked_to_yield(
        &mut self,
        context: &Context,
        now: Time,
        from: &Sender<'_>,
        epoch: Epoch,
    ) {
        let slot = self.slot;
        let until = now + context.settings.yield_for;
        let Some(primary) = self.active_mut().filter(|primary| primary.term == epoch) else {
            return;
        };
        primary.yielding = Some(Yielding {
            coordinator: *from.peer.member(),
            stream: from.stream,
            until,
            told: false,
        });
        self.tell_yielded(context, now);
        context.attend(slot);
    }

    /// Says that nothing is under way any more, once that is so. Returns whether it is to be looked
    /// at again.
    pub(crate) fn tell_yielded(&mut self, context: &Context, now: Time) -> bool {
        let slot = self.slot;
        let is_busy = context.is_busy(slot);
        let Some(primary) = self.active_mut() else {
            return false;
        };
        let is_quiet = primary.uncommitted.is_empty() && primary.waiters.is_empty() && !is_busy;
        let epoch = primary.term;
        let Some(yielding) = &mut primary.yielding else {
            return false;
        };
        if now >= yielding.until {
            primary.yielding = None;
            return false;
        }
        if is_quiet && !yielding.told {
            yielding.told = true;
            if let Some(peer) = context.known_peer(&yielding.coordinator) {
                peer.answer(yielding.stream, Back::Yielded { slot, epoch });
            }
        }
        true
    }
}
