//! Copies of a slot: sent in chunks that hold the lock only briefly, in one order with the records;
//! received beside the slot's data, which they replace as one step.

use super::context::Context;
use super::member::{Incoming, Sender};
use super::message::Forward;
use super::peer::InFlight;
use super::primary::Phase;
use super::progress::{Attachment, Progress};
use super::replica::{Replica, Role};
use super::table::Table;
use crate::{Epoch, Slot, Version};

/// What of a slot's copies could be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Everything, or there was nothing to send.
    All,
    /// A part; more is to be sent.
    Some,
    /// Nothing: no member has room.
    Nothing,
}

impl Progress {
    /// Sends the next entries of the copy, and its end after the last of them.
    fn send_chunk(
        &mut self,
        context: &Context,
        table: &impl Table,
        (slot, term): (Slot, Epoch),
        (last, committed): (Version, Version),
    ) {
        let Attachment::Copying {
            stream,
            cursor,
            copy,
        } = self.state
        else {
            return;
        };
        let mut chunk = Vec::new();
        let next = table.copy_out(cursor, context.settings.copy_chunk_bytes, &mut chunk);
        context.has_copied(chunk.len());
        let chunk = chunk.into();
        let chunk = Forward::CopyChunk {
            slot,
            term,
            copy,
            chunk,
        };
        let mut sent = self.peer.send(stream, chunk, None, usize::MAX);
        self.state = match next {
            Some(cursor) => Attachment::Copying {
                stream,
                cursor,
                copy,
            },
            None => {
                let attachment = self.attachment;
                let counted = InFlight {
                    slot,
                    term,
                    attachment,
                    version: last,
                };
                let end = Forward::CopyEnd {
                    slot,
                    term,
                    copy,
                    last,
                    committed,
                };
                sent &= self.peer.send(stream, end, Some(counted), usize::MAX);
                Attachment::Attached { stream }
            }
        };
        if !sent {
            self.state = Attachment::Detached { asked: None };
        }
    }
}

impl<T: Table, K> Replica<T, K> {
    /// Sends the next chunk to each member that gets a copy and has room for it.
    pub(crate) fn send_copies(&mut self, context: &Context) -> Sent {
        let (slot, last, committed) = (self.slot, self.last, self.committed);
        let Role::Primary(primary) = &mut self.role else {
            return Sent::All;
        };
        debug_assert!(primary.phase == Phase::Active || primary.uncommitted.is_empty());
        let term = primary.term;
        // A slot that serves nobody until its copies are there waits for nothing else.
        let urgent = primary.phase != Phase::Active;
        let (mut any, mut more) = (false, false);
        for follower in &mut primary.followers {
            let Attachment::Copying { .. } = follower.state else {
                continue;
            };
            let queued = follower.peer.queued_bytes();
            let is_full = queued > context.settings.copy_window_bytes;
            let waits = !(urgent || context.may_copy());
            if is_full || waits || follower.peer.shortage().full {
                more = true;
                continue;
            }
            any = true;
            follower.send_chunk(context, &self.table, (slot, term), (last, committed));
            match follower.state {
                Attachment::Copying { .. } => more = true,
                Attachment::Detached { .. } => context.attend(slot),
                Attachment::Attached { .. } => {}
            }
        }
        match (more, any) {
            (false, _) => Sent::All,
            (true, true) => Sent::Some,
            (true, false) => Sent::Nothing,
        }
    }

    pub(crate) fn begin_copy(&mut self, copy: u32) {
        let (asked_last, table) = (self.last, self.table.empty());
        if let Role::Follower(follower) = &mut self.role {
            follower.incoming = Some(Incoming {
                copy,
                asked_last,
                table,
            });
        }
    }

    pub(crate) fn take_chunk(&mut self, from: &Sender<'_>, copy: u32, chunk: &[u8]) {
        let Role::Follower(follower) = &mut self.role else {
            return;
        };
        let taken = match &mut follower.incoming {
            Some(incoming) if incoming.copy == copy => incoming.table.copy_in(chunk),
            _ => return self.detach(from),
        };
        if let Err(error) = taken {
            tracing::error!(slot = self.slot.number(), %error, "a copy cannot be read");
            self.detach(from);
        }
    }

    /// The copy is complete: it takes the place of the slot's data as one step.
    pub(crate) fn end_copy(
        &mut self,
        context: &Context,
        from: &Sender<'_>,
        copy: u32,
        (last, committed): (Version, Version),
    ) {
        let Role::Follower(follower) = &mut self.role else {
            return;
        };
        match follower.incoming.take() {
            Some(incoming) if incoming.copy == copy && incoming.asked_last == self.last => {
                self.table = incoming.table;
                self.last = last;
                // What was known to be committed beyond this was of a history that is gone.
                self.committed = self.committed.min(last);
                self.history.reset(last, &context.backlog);
                self.commit_up_to(committed);
            }
            _ => self.detach(from),
        }
    }
}
