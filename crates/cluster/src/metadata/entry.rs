//! The entries of the metadata log: everything that a cluster can decide.
//!
//! Fences, activations and changes are lists of slots, so that the death of a node with thousands
//! of slots costs a few entries. Each slot of a list is judged on its own.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::OnLoss;
use crate::{Epoch, Lineage, Member, NodeId, NodeInfo, Slot};

/// How many slots an entry names at most. What concerns more of them takes several entries, so that
/// none keeps the group from hearing its leader's heartbeats.
pub const SLOTS_MAX: usize = 1024;

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// Makes the cluster. Always the first entry; refused later.
    Form(Form),
    /// A node has started, or its addresses have changed.
    ///
    /// Refused unless the incarnation is greater than the one known, or the same, and the facts are
    /// within their bounds.
    Register {
        /// The node, with the incarnation of this start.
        member: Member,
        /// Where it is reached.
        info: NodeInfo,
    },
    /// An operator's word that this process does not run any more and never will.
    Stopped {
        /// The member that is gone. A newer incarnation of its node is not meant.
        member: Member,
    },
    /// Takes the primary from slots.
    Fence(Vec<FenceSlot>),
    /// Gives slots a primary and a new in-sync set, after a fence.
    Activate(Vec<ActivateSlot>),
    /// Changes the in-sync set of slots under their active primary.
    Change(Vec<ChangeSlot>),
    /// Says which members are to be brought up to date, and which are to go then.
    Learners(Vec<LearnersSlot>),
    /// An operator's word on whether a node is to give away all that it holds. Refused of a node
    /// that is not known.
    Drain {
        /// The node.
        node: NodeId,
        /// Whether it is to be empty; otherwise it takes its share again.
        empty: bool,
    },
    /// A node is not of the cluster any more. Refused while it is not known to have stopped, or a
    /// slot still counts on it.
    Forget {
        /// The node.
        node: NodeId,
    },
    /// An operator's word on who is to lead slots. It stands until that has come about.
    Transfer(Vec<TransferSlot>),
    /// An operator's word on whether slots move so that every node has its share. Where they do
    /// not, those on their way stay where they were.
    Balance(bool),
    /// Sets a document.
    Document(Document),
    /// Says what becomes of slots of which something may be missing, from here on.
    OnLoss(OnLoss),
}

impl Entry {
    /// Entries that name these slots, each of them [`SLOTS_MAX`] at most.
    pub(crate) fn of_slots<T>(make: fn(Vec<T>) -> Entry, mut slots: Vec<T>) -> Vec<Entry> {
        let mut entries = Vec::new();
        while !slots.is_empty() {
            let rest = slots.split_off(slots.len().min(SLOTS_MAX));
            entries.push(make(std::mem::replace(&mut slots, rest)));
        }
        entries
    }

    /// Entries that say who is to lead these slots.
    #[must_use]
    pub fn transfers(slots: Vec<TransferSlot>) -> Vec<Entry> {
        Entry::of_slots(Entry::Transfer, slots)
    }

    /// How many slots it names.
    #[must_use]
    pub fn slots(&self) -> usize {
        match self {
            Entry::Fence(slots) => slots.len(),
            Entry::Activate(slots) => slots.len(),
            Entry::Change(slots) => slots.len(),
            Entry::Learners(slots) => slots.len(),
            Entry::Transfer(slots) => slots.len(),
            Entry::Form(_)
            | Entry::Register { .. }
            | Entry::Stopped { .. }
            | Entry::Document(_)
            | Entry::Drain { .. }
            | Entry::Forget { .. }
            | Entry::Balance(_)
            | Entry::OnLoss(_) => 0,
        }
    }
}

/// How a cluster begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Form {
    /// Drawn at random. Epochs and versions mean something within one lineage alone.
    pub lineage: Lineage,
    /// Keys the hash by which all members order the entries of a slot.
    pub hash_seed: [u64; 4],
    /// The nodes that found the cluster.
    pub nodes: Vec<(Member, NodeInfo)>,
    /// `N`, copies of each slot; 3, or the number of nodes if that is less, where it is not set.
    pub replication_factor: Option<u8>,
    /// `W`, copies that hold a write before it is acknowledged; 2, or `N` if that is less, where it
    /// is not set.
    pub write_quorum: Option<u8>,
    /// `R`, copies that a read consults; 1 where it is not set.
    pub read_quorum: Option<u8>,
    /// What becomes of slots of which something may be missing; [`OnLoss::Accept`] where it is not
    /// set.
    pub on_loss: Option<OnLoss>,
    /// The documents to begin with, by name.
    pub documents: Vec<(String, Bytes)>,
}

/// `epoch += 1`, no primary. Set, `W` and `last_primary` stay.
///
/// Refused unless `rev` is the placement's: it is the one that was judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceSlot {
    /// The slot.
    pub slot: Slot,
    /// The placement that was judged.
    pub rev: u64,
}

/// The end of a change of primary.
///
/// Refused unless `epoch` is the slot's and it has no primary, and where something may be missing
/// that the cluster waits for its operator with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivateSlot {
    /// The slot.
    pub slot: Slot,
    /// The epoch of the fence that this ends.
    pub epoch: Epoch,
    /// One of `in_sync`.
    pub primary: Member,
    /// The members that match.
    pub in_sync: Vec<Member>,
    /// Those who need a copy.
    pub learners: Vec<Member>,
    /// Whether something that was committed may be missing from now on.
    pub may_lose: bool,
}

/// A primary's change of its in-sync set.
///
/// Refused unless `epoch` and `rev` are the slot's, it has a primary, and that one is in `in_sync`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeSlot {
    /// The slot.
    pub slot: Slot,
    /// The primary's epoch.
    pub epoch: Epoch,
    /// The placement that the primary has read.
    pub rev: u64,
    /// The new set. Who joins it is a learner no longer.
    pub in_sync: Vec<Member>,
    /// The new `W`.
    pub write_quorum: u8,
}

/// A new list of learners.
///
/// Refused unless `rev` is the placement's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearnersSlot {
    /// The slot.
    pub slot: Slot,
    /// The placement that was judged.
    pub rev: u64,
    /// The learners from now on; one that is in sync already is left out.
    pub learners: Vec<Member>,
    /// The members that go when there are enough others; one that is not in sync is left out.
    pub leaving: Vec<Member>,
}

/// Who is to lead a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferSlot {
    /// The slot.
    pub slot: Slot,
    /// The node; `None` takes back what was said before.
    pub to: Option<NodeId>,
}

/// Something that all nodes must know in one order with the placements, such as the keyspaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Its name.
    pub name: String,
    /// Its new content.
    pub value: Bytes,
    /// Refused unless this is the document's present revision: 0 if there is none yet, and one more
    /// with each time that it is set. `None` sets it in any case.
    pub expect: Option<u64>,
}
