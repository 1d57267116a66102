//! How far a follower is, as its primary sees it, and what is sent to it.

use std::sync::Arc;

use super::context::Context;
use super::message::Forward;
use super::peer::{InFlight, Peer};
use super::record::Record;
use crate::{Epoch, Slot, Version};

/// How far one follower is, in this term.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) peer: Arc<Peer>,
    pub(crate) state: Attachment,
    /// The number of its attachment: acknowledgements of an older one do not count.
    pub(crate) attachment: u32,
    /// What it holds, as far as it has said. Falls only where it is attached again and holds less,
    /// as after it was removed and is back.
    pub(crate) held: Version,
    /// It could not take a record in: the record would not be of use again.
    pub(crate) needs_copy: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attachment {
    /// Has yet to say what it holds; asked on this stream, if on any.
    Detached { asked: Option<u64> },
    /// Gets the records as they are made.
    Attached { stream: u64 },
    /// Gets a copy; entries from `cursor` on are still to be sent.
    Copying { stream: u64, cursor: u64, copy: u32 },
}

impl Progress {
    /// Sends a record to an attached member. One that cannot keep up is detached: it is attached
    /// again when there is room.
    pub(crate) fn send_record(
        &mut self,
        context: &Context,
        slot: Slot,
        term: Epoch,
        committed: Version,
        record: &Record,
    ) {
        let Attachment::Attached { stream } = self.state else {
            return;
        };
        let version = record.version;
        let counted = InFlight {
            slot,
            term,
            attachment: self.attachment,
            version,
        };
        let message = Forward::Record {
            slot,
            term,
            committed,
            record: record.clone(),
        };
        let bytes_max = context.settings.queue_bytes_max;
        if !self.peer.send(stream, message, Some(counted), bytes_max) {
            self.state = Attachment::Detached { asked: None };
        }
    }

    /// Tells an attached member how far the history is committed.
    pub(crate) fn send_committed(&self, slot: Slot, term: Epoch, committed: Version) {
        if let Attachment::Attached { stream } = self.state {
            let message = Forward::Committed {
                slot,
                term,
                committed,
            };
            self.peer.send(stream, message, None, usize::MAX);
        }
    }

    /// Whether it gets the records as they are made, on the stream that is open now.
    pub(crate) fn is_attached(&self) -> bool {
        let open = self.peer.open_stream();
        matches!(self.state, Attachment::Attached { stream } if open == Some(stream))
    }
}
