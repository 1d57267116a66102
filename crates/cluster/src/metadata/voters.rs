//! Who should be a voter of the metadata group, and the next step towards that.

use std::collections::{BTreeMap, BTreeSet};

use crate::NodeId;

/// One change of the group. Each is made when the one before it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Brings a node's log up to date, so that it can become a voter.
    Learn(NodeId),
    /// These are the voters now.
    Vote(BTreeSet<NodeId>),
    /// The node is neither voter nor about to be one.
    Leave(NodeId),
}

/// What the leader knows of the group.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub(super) voters: BTreeSet<NodeId>,
    /// Nodes that learn the log; `true` for those that are up to date.
    pub(super) learners: BTreeMap<NodeId, bool>,
    /// Nodes that could vote, with their zones: registered, not stopped, not to be emptied, and
    /// heard of lately.
    pub(super) able: BTreeMap<NodeId, String>,
    /// Voters that have been silent for long, are stopped or forgotten, or were emptied.
    pub(super) gone: BTreeSet<NodeId>,
    /// Those of them that are gone by an operator's word, not by their silence.
    pub(super) dismissed: BTreeSet<NodeId>,
    /// Who leads the group: it stays, where it may.
    pub(super) leader: Option<NodeId>,
    /// The voters of a change that an earlier leader has begun and not finished.
    pub(super) unfinished: Option<BTreeSet<NodeId>>,
}

/// How many voters there should be among so many nodes: three, five from five nodes on.
pub(super) fn wanted(nodes: usize) -> usize {
    if nodes >= 5 { 5 } else { nodes.min(3) }
}

/// The voters to begin with: as many as there should be, of as many zones as possible.
pub(super) fn first(nodes: &BTreeMap<NodeId, String>) -> BTreeSet<NodeId> {
    let mut chosen = BTreeSet::new();
    while chosen.len() < wanted(nodes.len()) {
        let Some(next) = best(nodes, &chosen) else {
            break;
        };
        chosen.insert(next);
    }
    chosen
}

/// The next step, if one is due. Voters that are here stay; one that is gone makes place when
/// another node has its log, or where there are enough without it: a group of three or more that
/// counts on those who are gone bears less than one without them, and so does any group that counts
/// on those who will never be back.
pub(super) fn next_step(group: &Group) -> Option<Step> {
    // Until it is done the group needs majorities of the old voters and of the new ones.
    if let Some(voters) = &group.unfinished {
        return Some(Step::Vote(voters.clone()));
    }
    let staying: BTreeSet<NodeId> = group.voters.difference(&group.gone).copied().collect();
    let nodes = group
        .able
        .keys()
        .chain(&staying)
        .collect::<BTreeSet<_>>()
        .len();
    let lacking = wanted(nodes).saturating_sub(staying.len());
    if lacking > 0 {
        let ready = |node: &&NodeId| group.learners.get(node).copied().unwrap_or(false);
        let candidates: BTreeMap<NodeId, String> = group
            .able
            .clone()
            .into_iter()
            .filter(|(node, _)| !staying.contains(node))
            .collect();
        if let Some(next) = candidates.keys().find(ready) {
            // One for one: the rest of those gone keep their place until theirs has come.
            let leaving = group.gone.iter().find(|node| group.voters.contains(node));
            let mut voters = group.voters.clone();
            leaving.into_iter().for_each(|node| {
                voters.remove(node);
            });
            voters.insert(*next);
            return Some(Step::Vote(voters));
        }
        let learning = candidates
            .keys()
            .any(|node| group.learners.contains_key(node));
        if !learning {
            return best(&candidates, &staying).map(Step::Learn);
        }
    }
    let enough = lacking == 0 && !staying.is_empty();
    let of = |some: &BTreeSet<NodeId>| group.voters.iter().any(|node| some.contains(node));
    if enough && (of(&group.dismissed) || (staying.len() >= 3 && of(&group.gone))) {
        let zone = |node: &NodeId| group.able.get(node).cloned().unwrap_or_default();
        let zones = staying.iter().map(|node| (*node, zone(node))).collect();
        let mut voters = first(&zones);
        if let Some(leader) = group.leader.filter(|leader| staying.contains(leader))
            && voters.insert(leader)
        {
            let other = voters.iter().find(|node| **node != leader).copied();
            other.map(|node| voters.remove(&node));
        }
        return Some(Step::Vote(voters));
    }
    let useless = |node: &&NodeId| lacking == 0 || !group.able.contains_key(node);
    group
        .learners
        .keys()
        .find(useless)
        .map(|node| Step::Leave(*node))
}

/// Of the nodes that are not chosen, one whose zone has the fewest of those chosen.
fn best(nodes: &BTreeMap<NodeId, String>, chosen: &BTreeSet<NodeId>) -> Option<NodeId> {
    let in_zone = |zone: &String| {
        chosen
            .iter()
            .filter(|id| nodes.get(id) == Some(zone))
            .count()
    };
    let free = nodes.iter().filter(|(node, _)| !chosen.contains(node));
    free.min_by_key(|(node, zone)| (in_zone(zone), **node))
        .map(|(node, _)| *node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; 20])
    }

    fn ids(bytes: &[u8]) -> BTreeSet<NodeId> {
        bytes.iter().map(|&byte| id(byte)).collect()
    }

    fn in_one_zone(bytes: &[u8]) -> BTreeMap<NodeId, String> {
        bytes
            .iter()
            .map(|&byte| (id(byte), String::new()))
            .collect()
    }

    #[test]
    fn the_first_voters_are_spread_over_zones() {
        let zones = [(1, "a"), (2, "a"), (3, "a"), (4, "b")];
        let nodes = zones.map(|(byte, zone)| (id(byte), zone.to_owned())).into();
        assert_eq!(first(&nodes), ids(&[1, 2, 4]));
        assert_eq!(first(&in_one_zone(&[1, 2])), ids(&[1, 2]));
        assert_eq!(first(&in_one_zone(&[1, 2, 3, 4, 5, 6])).len(), 5);
    }

    #[test]
    fn a_group_grows_to_three_and_from_five_nodes_on_to_five() {
        let mut group = Group {
            voters: ids(&[1]),
            able: in_one_zone(&[1, 2]),
            ..Group::default()
        };
        assert_eq!(next_step(&group), Some(Step::Learn(id(2))));
        group.learners.insert(id(2), false);
        assert_eq!(next_step(&group), None, "it is not up to date");
        group.learners.insert(id(2), true);
        assert_eq!(next_step(&group), Some(Step::Vote(ids(&[1, 2]))));
        group = Group {
            voters: ids(&[1, 2, 3]),
            able: in_one_zone(&[1, 2, 3, 4]),
            ..Group::default()
        };
        assert_eq!(next_step(&group), None);
        group.able = in_one_zone(&[1, 2, 3, 4, 5]);
        assert_eq!(next_step(&group), Some(Step::Learn(id(4))));
    }

    #[test]
    fn one_that_is_gone_leaves_when_another_has_its_log() {
        let mut group = Group {
            voters: ids(&[1, 2, 3]),
            able: in_one_zone(&[1, 2]),
            gone: ids(&[3]),
            ..Group::default()
        };
        assert_eq!(next_step(&group), None, "there is nobody else");
        group.able = in_one_zone(&[1, 2, 4]);
        assert_eq!(next_step(&group), Some(Step::Learn(id(4))));
        group.learners.insert(id(4), true);
        assert_eq!(next_step(&group), Some(Step::Vote(ids(&[1, 2, 4]))));
    }

    #[test]
    fn those_who_are_gone_are_not_counted_on_where_enough_are_left() {
        let mut group = Group {
            voters: ids(&[1, 2, 3, 4, 5]),
            able: in_one_zone(&[1, 2, 3, 4]),
            gone: ids(&[5]),
            leader: Some(id(4)),
            ..Group::default()
        };
        // Four bear no more than three do.
        let Some(Step::Vote(voters)) = next_step(&group) else {
            panic!("one is gone")
        };
        assert_eq!((voters.len(), voters.contains(&id(5))), (3, false));
        assert!(voters.contains(&id(4)), "the leader stays");
        group.able = in_one_zone(&[1, 2, 3]);
        group.gone = ids(&[4, 5]);
        assert_eq!(next_step(&group), Some(Step::Vote(ids(&[1, 2, 3]))));
    }

    #[test]
    fn those_who_were_dismissed_leave_a_small_group_too() {
        let mut group = Group {
            voters: ids(&[1, 2]),
            able: in_one_zone(&[1]),
            gone: ids(&[2]),
            ..Group::default()
        };
        assert_eq!(next_step(&group), None, "it may come back");
        group.dismissed = ids(&[2]);
        assert_eq!(next_step(&group), Some(Step::Vote(ids(&[1]))));
    }

    #[test]
    fn a_change_that_was_begun_is_finished_before_any_other() {
        let group = Group {
            voters: ids(&[1, 2, 3, 4]),
            able: in_one_zone(&[1, 2, 4, 5]),
            gone: ids(&[3]),
            unfinished: Some(ids(&[1, 2, 4])),
            ..Group::default()
        };
        assert_eq!(next_step(&group), Some(Step::Vote(ids(&[1, 2, 4]))));
    }

    #[test]
    fn who_is_not_needed_does_not_go_on_learning() {
        let mut group = Group {
            voters: ids(&[1, 2, 3]),
            able: in_one_zone(&[1, 2, 3, 4]),
            ..Group::default()
        };
        group.learners.insert(id(4), true);
        assert_eq!(next_step(&group), Some(Step::Leave(id(4))));
    }
}
