//! What nodes ask each other about the metadata, the Raft library's own calls aside.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Applied, Entry, State};
use crate::{Lineage, Member, NodeId};

/// A request for the leader.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum WriteRequest {
    /// To append an entry.
    Propose(Lineage, Entry),
    /// To promise a member that it is not passed over for the length of a lease.
    Lease(Lineage, Member),
}

/// The leader's answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum WriteAnswer {
    /// The entry is committed and applied.
    Applied(Applied),
    /// The lease is granted to who knows the log up to this index.
    Leased(u64),
    /// The lease is refused: the member is not what its node is now.
    Dead,
    /// Nothing was done: this node does not lead, but perhaps that one does.
    NotLeader(Option<NodeId>),
    /// The entry may be applied or not, now or later.
    Unknown,
}

/// What a node lacks.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PullRequest {
    /// The index of the last entry that it knows; 0 for none.
    pub(super) since: u64,
    /// How long it will wait for something new.
    pub(super) wait_ms: u32,
}

/// What another node can give.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum PullAnswer {
    /// The cluster has not been made, as far as that node knows.
    Unformed,
    /// It knows no more than the one that asks.
    Nothing(Lineage),
    /// The entries that follow.
    Entries(Lineage, Vec<(u64, Entry)>),
    /// The whole state, as the entries that follow are not kept any more.
    Whole(Lineage, Box<State>),
}

/// Encodes what goes to another node.
pub(super) fn encode<T: Serialize>(message: &T) -> Bytes {
    // Nothing that is sent here can fail to encode; what did would be refused as not readable.
    postcard::to_stdvec(message)
        .map(Bytes::from)
        .unwrap_or_default()
}
