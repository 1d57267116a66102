//! What an entry of the log did, and why it did not.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{NodeId, Slot};

/// What an entry did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The entry's place in the log.
    pub index: u64,
    /// The slots whose placement changed: those of the entry that were accepted.
    pub slots: Vec<Slot>,
    /// The slots of the entry that were refused. Their placement is as it was.
    pub refused_slots: Vec<(Slot, Refusal)>,
    /// The nodes of which something changed.
    pub nodes: Vec<NodeId>,
    /// The documents that changed.
    pub documents: Vec<String>,
    /// Why the entry as a whole was refused, if it was.
    pub refused: Option<Refusal>,
}

/// Why an entry, or one slot of it, changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum Refusal {
    /// The placement has changed since it was judged.
    #[error("the placement has another rev")]
    OtherRev,
    /// The slot has been fenced since.
    #[error("the slot has another epoch")]
    OtherEpoch,
    /// Something may be missing of the slot, and the cluster waits for its operator then.
    #[error("data may be lost, which an operator must accept")]
    Waits,
    /// Only a slot without a primary is activated.
    #[error("the slot has a primary")]
    HasPrimary,
    /// Only an active primary changes its in-sync set.
    #[error("the slot has no primary")]
    NoPrimary,
    /// An in-sync set without its primary, with a member twice, empty or too large; or a write
    /// quorum of none.
    #[error("the in-sync set is not a possible one")]
    BadSet,
    /// The slot has used up its epochs.
    #[error("the slot has no epoch left")]
    NoEpochLeft,
    /// The cluster has fewer slots.
    #[error("there is no such slot")]
    NoSuchSlot,
    /// A newer start of the node is known.
    #[error("a newer incarnation is registered")]
    OldIncarnation,
    /// The node never registered.
    #[error("the node is not known")]
    UnknownNode,
    /// Only a node that is known to have stopped is forgotten.
    #[error("the node is not known to have stopped")]
    NotStopped,
    /// A slot counts on the node.
    #[error("the node still holds slots")]
    HoldsSlots,
    /// The document has been set since, or is not there.
    #[error("the document has another revision")]
    OtherRevision,
    /// A limit is reached: of nodes, of documents, of the size of one, of incarnations.
    #[error("a limit is reached")]
    Limit,
    /// The first entry makes the cluster, and no other.
    #[error("the cluster is made by the first entry, and once")]
    NotInOrder,
}
