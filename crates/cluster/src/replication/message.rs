//! What members say to each other.
//!
//! A stream belongs to an ordered pair of nodes. What its initiator says, as the primary of slots
//! or as the coordinator of a change, goes forward; what the other side answers goes back on the
//! same stream, so that both end together.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::record::Record;
use super::shortage::Shortage;
use crate::{Epoch, Member, Slot, Version};

/// From the initiator of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "the fields are the words of docs/replication.md"
)]
pub enum Forward {
    /// "I lead the slot in this term: attach." With the `rev` of the placement that says whom I
    /// lead: the member's own may be older. The answer repeats the number of the attachment.
    Lead {
        slot: Slot,
        term: Epoch,
        rev: u64,
        attachment: u32,
    },
    /// The next record of a slot. Counted: see [`Back::Processed`].
    Record {
        slot: Slot,
        term: Epoch,
        committed: Version,
        record: Record,
    },
    /// How far the slot's history is committed, where no record follows soon to say so.
    Committed {
        slot: Slot,
        term: Epoch,
        committed: Version,
    },
    /// A copy of the slot begins, beside the data that the member has.
    CopyStart { slot: Slot, term: Epoch, copy: u32 },
    /// Entries of the copy.
    CopyChunk {
        slot: Slot,
        term: Epoch,
        copy: u32,
        chunk: Bytes,
    },
    /// The copy is complete: it is the state at `last`. Counted.
    CopyEnd {
        slot: Slot,
        term: Epoch,
        copy: u32,
        last: Version,
        committed: Version,
    },
    /// Asks for a lease. `confirmed` is the greatest list of excluded slots that has been taken in.
    Heartbeat { number: u64, confirmed: u64 },
    /// A coordinator: promise this epoch, and say what you hold.
    Seal {
        slot: Slot,
        epoch: Epoch,
        last_primary: Option<Member>,
    },
    /// A coordinator: another member is to lead; take no more writes, and say when nobody waits for
    /// you any more.
    Yield { slot: Slot, epoch: Epoch },
    /// A coordinator: you are chosen; bring these members to your state.
    Choose {
        slot: Slot,
        epoch: Epoch,
        sealed: Vec<Member>,
    },
}

/// The answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "the fields are the words of docs/replication.md"
)]
pub enum Back {
    /// What I hold of the slot; an answer to [`Forward::Lead`].
    Attach {
        slot: Slot,
        term: Epoch,
        attachment: u32,
        last: Version,
    },
    /// The first `upto` counted messages of this stream are applied, but for those refused.
    Processed { upto: u64 },
    /// Something of this slot was not applied. Goes out before the [`Back::Processed`] that passes
    /// over it; from then on nothing of this stream counts in this slot until it is attached again.
    Refuse {
        slot: Slot,
        term: Epoch,
        reason: RefuseReason,
    },
    /// Grants a lease from the moment that heartbeat `number` was sent, but not for the slots of
    /// list `list`, where a newer epoch is promised.
    HeartbeatAck {
        number: u64,
        list: u64,
        excluded: Vec<(Slot, Epoch)>,
    },
    /// How short of memory I am since I said so last. Goes along with whatever is answered.
    Shortage(Shortage),
    /// The epoch is promised; this is what I hold.
    Sealed {
        slot: Slot,
        epoch: Epoch,
        report: Report,
    },
    /// A newer epoch is promised already.
    SealRefused { slot: Slot, promised: Epoch },
    /// What I granted the slot's last primary before my promise is over.
    LeasesOver { slot: Slot, epoch: Epoch },
    /// An answer to [`Forward::Yield`]: nothing is under way in the slot, and nothing begins.
    Yielded { slot: Slot, epoch: Epoch },
    /// The chosen member: these hold exactly what I hold.
    Matched {
        slot: Slot,
        epoch: Epoch,
        members: Vec<Member>,
    },
}

/// Why a member refuses a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefuseReason {
    /// It has promised this greater epoch.
    Stale(Epoch),
    /// It must be attached (again) first.
    Detached,
    /// It cannot take in what it was sent, and would not the next time: it needs a copy.
    Unusable,
}

/// What a sealed member holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The version of its newest record.
    pub last: Version,
    /// How far it knows its history to be committed.
    pub committed: Version,
}

/// A message could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message that cannot be read")]
pub struct BadMessage;

/// Appends a message to a batch.
pub fn encode<M: Serialize>(message: &M, batch: &mut Vec<u8>) {
    let taken = std::mem::take(batch);
    *batch = postcard::to_extend(message, taken).expect("a message of plain data can be written");
}

/// The messages of a batch, in order.
///
/// # Errors
/// Ends with [`BadMessage`] where the batch is not made of messages.
pub fn decode<M: DeserializeOwned>(
    mut batch: &[u8],
) -> impl Iterator<Item = Result<M, BadMessage>> + '_ {
    std::iter::from_fn(move || {
        if batch.is_empty() {
            return None;
        }
        match postcard::take_from_bytes(batch) {
            Ok((message, rest)) => {
                batch = rest;
                Some(Ok(message))
            }
            Err(_) => {
                batch = &[];
                Some(Err(BadMessage))
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_reads_back_and_garbage_is_an_error() {
        let slot = Slot::new(7).unwrap();
        let messages = [
            Back::Processed { upto: 300 },
            Back::Refuse {
                slot,
                term: Epoch(2),
                reason: RefuseReason::Stale(Epoch(3)),
            },
        ];
        let mut batch = Vec::new();
        messages
            .iter()
            .for_each(|message| encode(message, &mut batch));
        let read: Result<Vec<Back>, _> = decode(&batch).collect();
        assert_eq!(read.as_deref(), Ok(&messages[..]));
        batch.push(0xff);
        assert_eq!(decode::<Back>(&batch).last(), Some(Err(BadMessage)));
    }
}
