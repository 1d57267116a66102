//! What is still to move until every node has its share: the same reckoning as the coordinator's,
//! to its end, for those who want to know before or while it happens.

use crate::metadata::State;
use crate::ring::Balance;
use crate::{Member, NodeId, Placement, Slot};

/// One thing that moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// The slot.
    pub slot: Slot,
    /// The node that gives it away, if it is known.
    pub from: Option<NodeId>,
    /// The node that takes it.
    pub to: NodeId,
}

/// All that is still to move.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Movement {
    /// Copies that go to another node.
    pub copies: Vec<Move>,
    /// Primaries that go to another node, most of them one that holds a copy already.
    pub primaries: Vec<Move>,
    /// By slot, the nodes that hold it at the end, and who leads it.
    pub placed: Vec<(Vec<NodeId>, Option<NodeId>)>,
}

/// After so many rounds through all slots nothing more is looked for.
const ROUNDS_MAX: usize = 8;

/// What is still to move, where the shares are so uneven that anything moves at all, or something
/// is under way. `counts` says on which nodes is counted.
#[must_use]
pub fn movement(state: &State, counts: impl Fn(&NodeId) -> bool) -> Movement {
    let mut nodes = state.ring_nodes();
    nodes.retain(|node| counts(&node.id));
    let slots = u16::try_from(state.placements().len()).expect("at most 16384 slots");
    let copies = usize::from(state.replication_factor());
    let mut balance = Balance::new(&nodes, slots, copies);
    let mut found = Movement::default();
    for (slot, placement) in state.placements() {
        found.take_under_way(slot, placement, state.transfers().get(&slot));
        let (holders, primary) = found.placed.last().expect("taken just now");
        holders.iter().for_each(|node| balance.holds(*node));
        primary.iter().for_each(|node| balance.leads(*node));
    }
    let is_under_way = !found.copies.is_empty() || !found.primaries.is_empty();
    if is_under_way || balance.is_uneven() {
        found.even_copies(&mut balance);
        found.even_primaries(&mut balance);
    }
    found
}

impl Movement {
    /// What has been decided of a slot, and is not there yet.
    fn take_under_way(&mut self, slot: Slot, placement: &Placement, wished: Option<&NodeId>) {
        let node = |member: &Member| member.node;
        let mut holders: Vec<NodeId> = placement.staying().map(node).collect();
        let mut leaving = placement.leaving.iter().map(node);
        for learner in placement.learners.iter().map(node) {
            if !holders.contains(&learner) {
                holders.push(learner);
                let from = leaving.next();
                self.copies.push(Move {
                    slot,
                    from,
                    to: learner,
                });
            }
        }
        let mut primary = placement.primary.map(|member| member.node);
        if let Some(to) = wished {
            if !holders.contains(to) {
                holders.retain(|node| Some(*node) != primary);
                holders.push(*to);
                self.copies.push(Move {
                    slot,
                    from: primary,
                    to: *to,
                });
            }
            self.primaries.push(Move {
                slot,
                from: primary,
                to: *to,
            });
            primary = Some(*to);
        }
        self.placed.push((holders, primary));
    }

    fn even_copies(&mut self, balance: &mut Balance) {
        for _ in 0..ROUNDS_MAX {
            let before = self.copies.len();
            for (slot, (holders, _)) in Slot::all().zip(&mut self.placed) {
                let Some((from, to)) = balance.replacement(holders, |_| true) else {
                    continue;
                };
                balance.copy_moves(from, to);
                holders.retain(|node| *node != from);
                holders.push(to);
                let from = Some(from);
                self.copies.push(Move { slot, from, to });
            }
            if self.copies.len() == before {
                return;
            }
        }
    }

    fn even_primaries(&mut self, balance: &mut Balance) {
        // First those that cannot stay where they are: what they fill up others leave alone.
        for first in std::iter::once(true).chain([false; ROUNDS_MAX]) {
            let before = self.primaries.len();
            for (slot, (holders, primary)) in Slot::all().zip(&mut self.placed) {
                let Some(from) = *primary else { continue };
                let must_go = !holders.contains(&from);
                if first && !must_go {
                    continue;
                }
                let others = holders.iter().copied();
                let Some(to) = balance.successor(&from, must_go, others) else {
                    continue;
                };
                balance.primary_moves(from, to);
                *primary = Some(to);
                let from = Some(from);
                self.primaries.push(Move { slot, from, to });
            }
            if self.primaries.len() == before && !first {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::{Entry, Form, LearnersSlot, TransferSlot};
    use crate::{Incarnation, Lineage, NodeInfo, SLOTS};

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 20])
    }

    fn member(number: u8) -> Member {
        Member {
            node: node(number),
            incarnation: Incarnation(1),
        }
    }

    fn info() -> NodeInfo {
        NodeInfo {
            weight: 100,
            ..NodeInfo::default()
        }
    }

    struct Log(State);

    impl Log {
        fn of(nodes: u8) -> Log {
            let form = Form {
                lineage: Lineage(1),
                hash_seed: [0; 4],
                nodes: (1..=nodes).map(|number| (member(number), info())).collect(),
                replication_factor: Some(3),
                write_quorum: None,
                read_quorum: None,
                on_loss: None,
                documents: Vec::new(),
            };
            let mut log = Log(State::default());
            log.take(&Entry::Form(form));
            log
        }

        fn take(&mut self, entry: &Entry) {
            let applied = self.0.apply(self.0.applied() + 1, entry);
            assert_eq!(applied.refused, None);
        }

        fn joins(&mut self, number: u8) {
            let (member, info) = (member(number), info());
            self.take(&Entry::Register { member, info });
        }
    }

    /// How many copies and primaries each node has at the end.
    fn loads(movement: &Movement, nodes: u8) -> Vec<(usize, usize)> {
        let held = |number| {
            let id = node(number);
            let placed = movement.placed.iter();
            let copies = placed.clone().filter(|(holders, _)| holders.contains(&id));
            let primaries = placed.filter(|(_, primary)| *primary == Some(id));
            (copies.count(), primaries.count())
        };
        (1..=nodes).map(held).collect()
    }

    #[test]
    fn two_that_join_get_their_shares_and_no_more_moves_than_that_takes() {
        let mut log = Log::of(3);
        assert_eq!(movement(&log.0, |_| true).copies, []);
        log.joins(4);
        log.joins(5);
        let movement = movement(&log.0, |_| true);
        let share = usize::from(SLOTS) * 3 / 5;
        for (copies, primaries) in loads(&movement, 5) {
            assert!(copies.abs_diff(share) <= share / 50, "{copies} of {share}");
            let share = usize::from(SLOTS) / 5;
            assert!(
                primaries.abs_diff(share) <= share / 10,
                "{primaries} of {share}"
            );
        }
        assert!(
            movement.copies.len() <= 2 * share * 11 / 10,
            "{}",
            movement.copies.len()
        );
    }

    #[test]
    fn a_node_that_drains_is_empty_at_the_end_and_the_others_share_what_it_had() {
        let mut log = Log::of(5);
        let empty = true;
        log.take(&Entry::Drain {
            node: node(2),
            empty,
        });
        let movement = movement(&log.0, |_| true);
        let loads = loads(&movement, 5);
        assert_eq!(loads[1], (0, 0));
        let share = usize::from(SLOTS) * 3 / 4;
        assert!(
            loads
                .iter()
                .filter(|load| load.0 > 0)
                .all(|load| load.0.abs_diff(share) < 500)
        );
        let moved = movement
            .copies
            .iter()
            .filter(|one| one.from == Some(node(2)));
        assert!(
            movement.copies.len() - moved.count() < 1500,
            "others hardly move"
        );
    }

    #[test]
    fn a_node_without_which_there_are_too_few_keeps_what_it_has() {
        let mut log = Log::of(3);
        let empty = true;
        log.take(&Entry::Drain {
            node: node(2),
            empty,
        });
        let movement = movement(&log.0, |_| true);
        assert_eq!(movement.copies, []);
        assert_eq!(loads(&movement, 3)[1].0, usize::from(SLOTS));
    }

    #[test]
    fn what_is_under_way_and_what_is_wished_are_still_to_move() {
        let mut log = Log::of(4);
        let slot = Slot::all().next().unwrap();
        let placement = log.0.placement(slot).clone();
        let to = (1..=4)
            .map(member)
            .find(|one| !placement.holds(one))
            .unwrap();
        log.take(&Entry::Learners(vec![LearnersSlot {
            slot,
            rev: placement.rev,
            learners: vec![to],
            leaving: placement.primary.into_iter().collect(),
        }]));
        let to = to.node;
        log.take(&Entry::Transfer(vec![TransferSlot { slot, to: Some(to) }]));
        let movement = movement(&log.0, |_| true);
        let from = placement.primary.map(|member| member.node);
        assert_eq!(movement.copies[0], Move { slot, from, to });
        assert_eq!(movement.primaries[0], Move { slot, from, to });
    }
}
