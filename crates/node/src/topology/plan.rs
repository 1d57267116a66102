//! What is still to move until every node has its share, in one document, for who wants to see it
//! before it happens or while it does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cluster::metadata::State;
use cluster::movement::{Movement, movement};
use cluster::{NodeId, Slot};
use serde::{Deserialize, Serialize};

use crate::config::Balance;

/// What one step of a move takes about, beside what is copied: several decisions of the metadata
/// group and the ways between the nodes.
const STEP: Duration = Duration::from_millis(150);

/// What is still to move.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Whether slots move at all: `CLUSTER BALANCE OFF` has them stay where they are.
    pub balances: bool,
    /// Slots of which a copy goes to another node.
    pub copies: u64,
    /// Slots that another node will lead.
    pub primaries: u64,
    /// Nodes that drain and still have a vote in the metadata group.
    #[serde(default)]
    pub votes: u64,
    /// The bytes of those copies.
    pub bytes: u64,
    /// About how long it takes.
    pub seconds: u64,
    /// Every node, in the order of the ids.
    pub nodes: Vec<PlannedNode>,
    /// What keeps some of it from coming about.
    pub problems: Vec<String>,
}

/// What one node holds, and what it will.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedNode {
    /// Its id.
    pub id: NodeId,
    /// Whether it is to give away all that it holds.
    pub drains: bool,
    /// Slots that it holds: now, and at the end.
    pub copies: (u64, u64),
    /// Slots that it leads: now, and at the end.
    pub primaries: (u64, u64),
}

/// A plan, and the slots whose bytes it lacks.
pub struct Draft {
    plan: Plan,
    copied: BTreeSet<Slot>,
    copies_of: u64,
}

impl Plan {
    /// How much is left, each thing that moves counted as one.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.copies + self.primaries + self.votes
    }
}

impl Draft {
    /// What is to move in this state of the cluster, where these nodes vote in the metadata group.
    #[must_use]
    pub fn of(state: &State, voters: &BTreeSet<NodeId>, is_up: impl Fn(&NodeId) -> bool) -> Draft {
        // One that is away keeps its place for a while, and is counted on as long as it has one.
        let placements = state.placements();
        let named: BTreeSet<NodeId> = placements
            .flat_map(|(_, of)| of.in_sync.iter().chain(&of.learners))
            .map(|member| member.node)
            .collect();
        let found = movement(state, |node| is_up(node) || named.contains(node));
        let copied: BTreeSet<Slot> = found.copies.iter().map(|one| one.slot).collect();
        let mut nodes = planned_nodes(state);
        for (holders, primary) in &found.placed {
            for node in holders {
                if let Some(planned) = nodes.get_mut(node) {
                    planned.copies.1 += 1;
                }
            }
            if let Some(planned) = primary.and_then(|node| nodes.get_mut(&node)) {
                planned.primaries.1 += 1;
            }
        }
        let plan = Plan {
            balances: state.balances(),
            copies: found.copies.len() as u64,
            primaries: found.primaries.len() as u64,
            votes: nodes
                .values()
                .filter(|node| node.drains && voters.contains(&node.id))
                .count() as u64,
            problems: problems(state, &found, &nodes, is_up),
            nodes: nodes.into_values().collect(),
            ..Plan::default()
        };
        Draft {
            copies_of: plan.copies,
            copied,
            plan,
        }
    }

    /// The slots whose bytes are copied.
    #[must_use]
    pub fn copied(&self) -> &BTreeSet<Slot> {
        &self.copied
    }

    /// The whole plan, where those slots take so many bytes together.
    #[must_use]
    pub fn with(self, bytes: u64, settings: &Balance) -> Plan {
        let mut plan = self.plan;
        // A slot may go to two nodes.
        let slots = self.copied.len().max(1) as u64;
        plan.bytes = bytes / slots * self.copies_of + bytes % slots;
        let rate = settings.copy_bytes_per_second.as_usize() as u64;
        let sources = plan.nodes.iter().filter(|node| node.primaries.0 > 0);
        let rate = rate.saturating_mul(sources.count().max(1) as u64);
        let copying = plan.bytes.checked_div(rate).unwrap_or(0);
        let rounds = plan.copies.div_ceil(settings.moves_max as u64) * 2
            + plan.primaries.div_ceil(settings.transfers_max as u64);
        let steps = STEP.saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX));
        plan.seconds = copying + steps.as_secs() + 1;
        if plan.left() == 0 {
            plan.seconds = 0;
        }
        plan
    }
}

fn planned_nodes(state: &State) -> BTreeMap<NodeId, PlannedNode> {
    let planned = |(id, known): (&NodeId, &cluster::metadata::NodeRecord)| {
        let node = PlannedNode {
            id: *id,
            drains: known.drains,
            copies: (0, 0),
            primaries: (0, 0),
        };
        (*id, node)
    };
    let mut nodes: BTreeMap<_, _> = state.nodes().iter().map(planned).collect();
    for (_, placement) in state.placements() {
        for member in &placement.in_sync {
            if let Some(node) = nodes.get_mut(&member.node) {
                node.copies.0 += 1;
            }
        }
        let primary = placement.primary.map(|member| member.node);
        if let Some(node) = primary.and_then(|node| nodes.get_mut(&node)) {
            node.primaries.0 += 1;
        }
    }
    nodes
}

fn problems(
    state: &State,
    found: &Movement,
    nodes: &BTreeMap<NodeId, PlannedNode>,
    is_up: impl Fn(&NodeId) -> bool,
) -> Vec<String> {
    let mut problems = Vec::new();
    let copies = usize::from(state.replication_factor());
    let staying = nodes.values().filter(|node| !node.drains).count();
    let draining = nodes.len() - staying;
    if draining > 0 && staying < copies {
        problems.push(format!(
            "{copies} copies of each slot need {copies} nodes, and {staying} stay"
        ));
    }
    let moves = !found.copies.is_empty() || !found.primaries.is_empty();
    if moves && !state.balances() {
        problems.push("slots stay where they are: balancing is off".to_owned());
    }
    for (id, record) in state.nodes() {
        if moves && !record.stopped && !is_up(id) {
            problems.push(format!("node {} cannot be reached", id.short()));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::tests::formed;

    #[test]
    fn a_cluster_at_rest_has_nothing_to_move() {
        let state = formed(3);
        let draft = Draft::of(&state, &BTreeSet::new(), |_| true);
        assert!(draft.copied().is_empty());
        let plan = draft.with(0, &Balance::default());
        assert_eq!((plan.copies, plan.primaries, plan.seconds), (0, 0, 0));
        assert!(plan.balances && plan.problems.is_empty());
        assert!(plan.nodes.iter().all(|node| node.copies.0 == node.copies.1));
    }

    #[test]
    fn a_drain_that_leaves_too_few_nodes_is_said_to_be_none() {
        let mut state = formed(3);
        let node = *state.nodes().keys().next().unwrap();
        let drain = cluster::metadata::Entry::Drain { node, empty: true };
        state.apply(state.applied() + 1, &drain);
        let voters = BTreeSet::from([node]);
        let plan = Draft::of(&state, &voters, |_| true).with(0, &Balance::default());
        assert_eq!(plan.votes, 1);
        let why = "3 copies of each slot need 3 nodes, and 2 stay";
        assert_eq!(plan.problems, [why]);
    }
}
