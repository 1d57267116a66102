//! What the Raft library is given of ours.

use std::fmt;
use std::io::Cursor;

use openraft::{EmptyNode, TokioRuntime};
use serde::{Deserialize, Serialize};

use super::{Applied, Entry};
use crate::NodeId;

/// A node's id as the Raft library takes it: its votes and log name the nodes themselves, so no
/// table between two kinds of ids can ever be wrong. A node that lost its disk has a new id, and
/// so it never votes twice in one term.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Voter(pub(super) NodeId);

impl Default for Voter {
    fn default() -> Voter {
        Voter(NodeId::from_bytes([0; 20]))
    }
}

#[cfg(test)]
impl From<u64> for Voter {
    fn from(number: u64) -> Voter {
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        Voter(NodeId::from_bytes(bytes))
    }
}

impl fmt::Display for Voter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.short())
    }
}

impl fmt::Debug for Voter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

openraft::declare_raft_types!(
    /// The library's parameters.
    pub(super) Types:
        D = Entry,
        R = Applied,
        NodeId = Voter,
        Node = EmptyNode,
        Entry = openraft::Entry<Types>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = TokioRuntime,
);

pub(super) type Raft = openraft::Raft<Types>;
pub(super) type LogId = openraft::LogId<Voter>;
pub(super) type Vote = openraft::Vote<Voter>;
pub(super) type StorageError = openraft::StorageError<Voter>;
pub(super) type Membership = openraft::StoredMembership<Voter, EmptyNode>;
pub(super) type SnapshotMeta = openraft::SnapshotMeta<Voter, EmptyNode>;
pub(super) type Snapshot = openraft::Snapshot<Types>;
