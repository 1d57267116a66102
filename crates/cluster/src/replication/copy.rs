//! Copies of a slot: sent in chunks that hold the lock only briefly, in one order with the records;
//! received beside the slot's data, which they replace as one step.

use super::context::Context;
use super::member::{Incoming, Sender};
use super::message::Forward;
use super::peer::InFlight;
use super::primary::{Attachment, Phase};
use super::replica::{Replica, Role};
use super::table::Table;
use crate::Version;

impl<T: Table, K> Replica<T, K> {
    /// Sends the next chunk to each member that gets a copy and has room for it. Returns whether
    /// there is more to send.
    pub(crate) fn send_copies(&mut self, context: &Context) -> bool {
        let (slot, last, committed) = (self.slot, self.last, self.committed);
        let Role::Primary(primary) = &mut self.role else {
            return false;
        };
        debug_assert!(primary.phase == Phase::Active || primary.uncommitted.is_empty());
        let term = primary.term;
        let mut more = false;
        for follower in &mut primary.followers {
            let Attachment::Copying {
                stream,
                cursor,
                copy,
            } = follower.state
            else {
                continue;
            };
            if follower.peer.queued_bytes() > context.settings.copy_window_bytes {
                more = true;
                continue;
            }
            let mut chunk = Vec::new();
            let next = self
                .table
                .copy_out(cursor, context.settings.copy_chunk_bytes, &mut chunk);
            let chunk = Forward::CopyChunk {
                slot,
                term,
                copy,
                chunk: chunk.into(),
            };
            let mut sent = follower.peer.send(stream, chunk, None, usize::MAX);
            follower.state = match next {
                Some(cursor) => {
                    more = true;
                    Attachment::Copying {
                        stream,
                        cursor,
                        copy,
                    }
                }
                None => {
                    let attachment = follower.attachment;
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
                    sent &= follower.peer.send(stream, end, Some(counted), usize::MAX);
                    Attachment::Attached { stream }
                }
            };
            if !sent {
                follower.state = Attachment::Detached { asked: None };
                context.attend(slot);
            }
        }
        more
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
        from: &Sender<'_>,
        copy: u32,
        last: Version,
        committed: Version,
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
                self.history.reset(last);
                self.commit_up_to(committed);
            }
            _ => self.detach(from),
        }
    }
}
