//! The slot map: what a node knows at this moment about who owns what, for its readers.
//!
//! Data threads read it for each request, so it is a snapshot behind one atomic pointer: no lock,
//! and no reader sees half of a change.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use crate::metadata::{NodeRecord, State};
use crate::{Member, NodeId, NodeInfo, Placement, Slot};

/// A snapshot of the slot map.
#[derive(Clone, Debug, Default)]
pub struct SlotMap {
    state: Arc<State>,
}

impl SlotMap {
    /// The index of the last metadata entry that the snapshot knows. A later snapshot has a greater
    /// one, and none of its placements has a smaller `rev`.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.state.applied()
    }

    /// Whether the cluster has been made: before that no slot has a member.
    #[must_use]
    pub fn is_formed(&self) -> bool {
        self.state.lineage().is_some()
    }

    /// The slot's placement.
    #[must_use]
    pub fn placement(&self, slot: Slot) -> &Arc<Placement> {
        self.state.placement(slot)
    }

    /// Every slot with its placement, in order.
    pub fn placements(&self) -> impl ExactSizeIterator<Item = (Slot, &Arc<Placement>)> {
        self.state.placements()
    }

    /// The member that leads the slot, if there is one now.
    #[must_use]
    pub fn primary(&self, slot: Slot) -> Option<Member> {
        self.placement(slot).primary
    }

    /// What is known of the node.
    #[must_use]
    pub fn node(&self, node: &NodeId) -> Option<&NodeRecord> {
        self.state.nodes().get(node)
    }

    /// Where the member is reached. `None` once a newer incarnation of its node has registered: a
    /// message for the old one would reach somebody else.
    #[must_use]
    pub fn info(&self, member: &Member) -> Option<&NodeInfo> {
        self.node(&member.node)
            .filter(|known| known.incarnation == member.incarnation)
            .map(|known| &known.info)
    }

    /// All nodes, in the order of their ids.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = (&NodeId, &NodeRecord)> {
        self.state.nodes().iter()
    }

    /// The state that this is a view of.
    #[must_use]
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }
}

impl From<Arc<State>> for SlotMap {
    fn from(state: Arc<State>) -> SlotMap {
        SlotMap { state }
    }
}

/// Where a node keeps its slot map: one writer, any number of readers.
#[derive(Debug, Default)]
pub struct SharedSlotMap {
    current: ArcSwap<SlotMap>,
}

impl SharedSlotMap {
    /// The present snapshot, for a short look.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<SlotMap>> {
        self.current.load()
    }

    /// The present snapshot, to keep.
    #[must_use]
    pub fn snapshot(&self) -> Arc<SlotMap> {
        self.current.load_full()
    }

    /// Takes a snapshot, unless the present one is as new: the map never goes back. Says whether it
    /// was taken.
    pub fn offer(&self, state: Arc<State>) -> bool {
        let next = Arc::new(SlotMap::from(state));
        let newer = |current: &Arc<SlotMap>| next.version() > current.version();
        let before = self.current.rcu(|current| {
            if newer(current) {
                Arc::clone(&next)
            } else {
                Arc::clone(current)
            }
        });
        newer(&before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::{Entry, Form};
    use crate::{Incarnation, Lineage};

    fn formed() -> State {
        let member = Member {
            node: NodeId::from_bytes([1; 20]),
            incarnation: Incarnation(4),
        };
        let info = NodeInfo {
            weight: 100,
            ..NodeInfo::default()
        };
        let mut state = State::new(16);
        let form = Form {
            lineage: Lineage(1),
            hash_seed: [0; 4],
            nodes: vec![(member, info)],
            replication_factor: None,
            write_quorum: None,
            read_quorum: None,
            on_loss: None,
            documents: Vec::new(),
        };
        state.apply(1, &Entry::Form(form));
        state
    }

    #[test]
    fn the_map_never_goes_back() {
        let shared = SharedSlotMap::default();
        assert!(!shared.load().is_formed());
        let old = formed();
        let mut new = old.clone();
        new.apply(2, &Entry::Fence(Vec::new()));
        assert!(shared.offer(Arc::new(new)));
        assert!(!shared.offer(Arc::new(old)));
        assert_eq!(shared.load().version(), 2);
    }

    #[test]
    fn only_the_latest_start_of_a_node_has_an_address() {
        let map = SlotMap::from(Arc::new(formed()));
        let slot = Slot::new(3).unwrap();
        let primary = map.primary(slot).unwrap();
        assert!(map.info(&primary).is_some());
        let before = Member {
            incarnation: Incarnation(3),
            ..primary
        };
        assert!(map.info(&before).is_none());
    }
}
