//! Who takes the place of a node that is gone: for each slot all nodes, one after the other.

use super::{RingNode, place};
use crate::{NodeId, Slot};

/// So many nodes beyond `N` stand where the ring itself would have them. The nodes of many slots
/// are gone at once only rarely, and to place every slot on every node takes long.
const SPARE: usize = 3;

/// For each slot the nodes in the order in which they should hold it. At first as the ring says;
/// then the others, for a slot must find a node that lives however many ids of nodes that are gone
/// for good the ring still has.
#[derive(Clone, Debug, Default)]
pub struct Order {
    first: Vec<Vec<NodeId>>,
    all: Vec<NodeId>,
}

impl Order {
    /// The order of these nodes for the first `slots` slots, of which each should have `copies`.
    #[must_use]
    pub fn new(nodes: &[RingNode], slots: u16, copies: usize) -> Order {
        let weighty = nodes.iter().filter(|node| node.weight > 0);
        let mut all: Vec<NodeId> = weighty.map(|node| node.id).collect();
        all.sort_unstable();
        let count = (copies + SPARE).min(nodes.len());
        Order {
            first: place(nodes, slots, count),
            all,
        }
    }

    /// The slot's nodes, those that should hold it first.
    #[must_use]
    pub fn of(&self, slot: Slot) -> Vec<NodeId> {
        let mut nodes = self.first.get(slot.index()).cloned().unwrap_or_default();
        let from = slot.index() % self.all.len().max(1);
        for node in self.all[from..].iter().chain(&self.all[..from]) {
            if !nodes.contains(node) {
                nodes.push(*node);
            }
        }
        nodes
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_node_with_a_weight_has_its_place_after_those_that_the_ring_names() {
        let node = |number: u8, weight| RingNode {
            id: NodeId::from_bytes([number; 20]),
            weight,
            zone: String::new(),
        };
        let mut nodes: Vec<RingNode> = (0..20).map(|number| node(number, 100)).collect();
        nodes.push(node(20, 0));
        let placed = place(&nodes, 32, 3 + SPARE);
        let order = Order::new(&nodes, 32, 3);
        let mut seventh = BTreeSet::new();
        for slot in Slot::all().take(32) {
            let nodes = order.of(slot);
            assert_eq!(nodes[..6], placed[slot.index()]);
            assert_eq!(nodes.iter().collect::<BTreeSet<_>>().len(), 20);
            assert_eq!(nodes.len(), 20);
            seventh.insert(nodes[6]);
        }
        assert!(seventh.len() > 10, "not the same one for all slots");
    }
}
