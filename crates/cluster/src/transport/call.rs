//! Calls: a question to one node and its answer.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

use crate::{Member, NodeId};

/// A future on the heap, as the traits here return it to stay usable behind `dyn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Asks other nodes. Held by the metadata group, the driver and whoever forwards commands; may be
/// used from every thread and every runtime.
pub trait Calls: Send + Sync + 'static {
    /// Sends the request and waits for the answer, for `timeout` at most. Dropping the future
    /// gives the call up; the other node may still carry it out.
    fn call(
        &self,
        to: NodeId,
        kind: CallKind,
        request: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>>;

    /// Who answers requests of this kind from now on, in place of whoever did before.
    fn serve(&self, kind: CallKind, handler: std::sync::Arc<dyn Handler>);
}

/// Answers the requests of other nodes.
pub trait Handler: Send + Sync + 'static {
    /// Carries out the request. The future runs on the transport's own thread: it may wait, it must
    /// not block. It is dropped when the stream that the request came on ends.
    fn handle(&self, from: Member, kind: CallKind, request: Bytes) -> BoxFuture<'static, Bytes>;
}

/// What a call asks for. The number is part of the protocol between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum CallKind {
    /// Entries of the metadata group's log, or its leader's heartbeat.
    RaftAppend = 0,
    /// A vote in the metadata group.
    RaftVote = 1,
    /// A snapshot of the metadata group's state.
    RaftSnapshot = 2,
    /// A proposal for the metadata group's leader.
    MetadataWrite = 3,
    /// What a node that is no voter has missed of the metadata.
    MetadataPull = 4,
    /// The agreement on the first set of voters.
    Pledge = 5,
    /// A client's command for the slot's primary.
    Command = 6,
    /// A question about the node itself: its keys, its state, its share of a command that means
    /// the whole cluster.
    Inquiry = 7,
    /// How far the asking node is with stopping, and the other one.
    Departure = 8,
}

impl CallKind {
    /// Every kind, each at the index that is its number.
    pub const ALL: [CallKind; 9] = [
        CallKind::RaftAppend,
        CallKind::RaftVote,
        CallKind::RaftSnapshot,
        CallKind::MetadataWrite,
        CallKind::MetadataPull,
        CallKind::Pledge,
        CallKind::Command,
        CallKind::Inquiry,
        CallKind::Departure,
    ];

    /// The kind with this number, if this version knows it.
    #[must_use]
    pub fn from_number(number: u8) -> Option<CallKind> {
        CallKind::ALL.get(usize::from(number)).copied()
    }

    /// The kind's label in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            CallKind::RaftAppend => "raft_append",
            CallKind::RaftVote => "raft_vote",
            CallKind::RaftSnapshot => "raft_snapshot",
            CallKind::MetadataWrite => "metadata_write",
            CallKind::MetadataPull => "metadata_pull",
            CallKind::Pledge => "pledge",
            CallKind::Command => "command",
            CallKind::Inquiry => "inquiry",
            CallKind::Departure => "departure",
        }
    }
}

/// Why a call has no answer; what matters first is whether the request may have been carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The request was certainly not carried out, now or later.
    #[error("not sent: {0}")]
    NotSent(NotSent),
    /// The request left this node and no answer came: it may have been carried out, or still be.
    #[error("outcome unknown: {0}")]
    Unknown(Lost),
}

impl CallError {
    /// Whether the other node may have carried the request out.
    #[must_use]
    pub fn may_have_run(self) -> bool {
        matches!(self, CallError::Unknown(_))
    }
}

/// Why a request was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// There is no open stream to the node.
    NoLink,
    /// Too many calls to the node are waiting, or too many bytes of them.
    Busy,
    /// The request is longer than a call may be.
    TooLarge,
    /// The time was over before the request was sent.
    TimedOut,
    /// The stream ended before the request was sent.
    LinkLost,
    /// The other node does not serve this kind of call (yet).
    NotServed,
}

impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotSent::NoLink => "no open stream to the node",
            NotSent::Busy => "too many calls to the node are waiting",
            NotSent::TooLarge => "the request is too large",
            NotSent::TimedOut => "no turn within the time",
            NotSent::LinkLost => "the stream ended first",
            NotSent::NotServed => "the node does not serve it",
        })
    }
}

/// Where the answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// No answer within the time.
    TimedOut,
    /// The stream ended.
    LinkLost,
    /// The answer is longer than one may be.
    AnswerTooLarge,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Lost::TimedOut => "no answer within the time",
            Lost::LinkLost => "the stream ended",
            Lost::AnswerTooLarge => "the answer is too large",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_found_by_its_number() {
        for kind in CallKind::ALL {
            assert_eq!(CallKind::from_number(kind as u8), Some(kind));
        }
        assert_eq!(CallKind::from_number(CallKind::ALL.len() as u8), None);
    }
}
