//! What the metadata group must know of the other nodes before it has a word of its own.

use std::collections::BTreeMap;

use crate::{Member, NodeId, NodeInfo};

/// The other nodes, as seeds and gossip show them at this moment. Never decides who owns a slot:
/// it says who can be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Neighbours {
    /// The nodes that are alive, this one aside.
    pub alive: BTreeMap<NodeId, (Member, NodeInfo)>,
    /// For each address that this node's seeds name, the node that answered there; this node too,
    /// where a seed names it.
    pub seeds: Vec<Option<NodeId>>,
}
