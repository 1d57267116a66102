//! What the group's leader does for the group itself: the first entry, and who votes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use openraft::error::{ClientWriteError, RaftError};
use openraft::{ChangeMembers, EmptyNode};
use tokio::time::timeout;

use super::group::Inner;
use super::raft::Voter;
use super::voters::{self, Step};
use super::{Entry, answer};
use crate::{NodeId, Placement, Time, clock};

/// How far behind a learner may be and still count as up to date.
const LAG_MAX: u64 = 64;

/// Looks after the group whenever this node leads it.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut leadership = inner.leadership.subscribe();
    let mut silent: BTreeMap<NodeId, Time> = BTreeMap::new();
    loop {
        // What makes a step due shows up in many places; none of it is urgent but the first entry.
        let pause = if inner.feed.state().lineage().is_some() {
            inner.settings.propose_timeout
        } else {
            inner.settings.heartbeat
        };
        let changed = timeout(pause, leadership.changed()).await;
        if matches!(changed, Ok(Err(_))) {
            return;
        }
        if !inner.is_leader() {
            silent.clear();
            continue;
        }
        if inner.feed.state().lineage().is_none() {
            form(&inner).await;
        } else if let Some(step) = voters::next_step(&look(&inner, &mut silent)) {
            tracing::info!(?step, "changing the metadata group");
            if let Err(error) = Box::pin(change(&inner, step)).await {
                tracing::warn!(%error, "the metadata group has not changed");
            }
        }
    }
}

/// Proposes the first entry. Every founder knows it, so the group is formed whoever leads it
/// first; a second one is refused.
async fn form(inner: &Inner) {
    let form = inner.form.borrow().clone();
    if let Some(form) = form.filter(|form| Some(form.lineage) == inner.lineage()) {
        answer::propose(inner, Entry::Form(form)).await;
    }
}

fn look(inner: &Inner, silent: &mut BTreeMap<NodeId, Time>) -> voters::Group {
    let metrics = inner.raft.metrics().borrow().clone();
    let membership = metrics.membership_config.membership();
    let voters: BTreeSet<NodeId> = membership.voter_ids().map(|voter| voter.0).collect();
    let replicated = |learner: &Voter| {
        let log = metrics.replication.as_ref()?.get(learner)?.as_ref()?;
        Some(log.index + LAG_MAX >= metrics.last_log_index.unwrap_or(0))
    };
    let learners = membership
        .learner_ids()
        .map(|learner| (learner.0, replicated(&learner).unwrap_or(false)))
        .collect();
    let state = inner.feed.state();
    let neighbours = inner.neighbours.borrow();
    let is_here = |node: &NodeId| *node == inner.me.node || neighbours.alive.contains_key(node);
    let able = state
        .nodes()
        .iter()
        .filter(|(node, known)| !known.stopped && !known.drains && is_here(node))
        .map(|(node, known)| (*node, known.info.zone.clone()))
        .collect();
    let now = clock::now();
    silent.retain(|node, _| !is_here(node));
    let dismissed = |node: &NodeId| {
        let known = state.nodes().get(node);
        // One that is to be emptied has its vote until it is: when the leader changes, no slot can
        // get another primary for a while.
        let is_empty = || {
            state
                .placements()
                .all(|(_, placement)| !names(placement, node))
        };
        known.is_none_or(|known| known.stopped || (known.drains && is_empty()))
    };
    let dismissed: BTreeSet<NodeId> = voters.iter().copied().filter(dismissed).collect();
    let gone = |node: &NodeId| {
        let since = (!is_here(node)).then(|| *silent.entry(*node).or_insert(now));
        dismissed.contains(node)
            || since.is_some_and(|since| now.since(since) >= inner.settings.voter_grace)
    };
    let gone = voters.iter().copied().filter(gone).collect();
    let configurations = membership.get_joint_config();
    let unfinished = configurations.last().filter(|_| configurations.len() > 1);
    let unfinished = unfinished.map(|last| last.iter().map(|voter| voter.0).collect());
    voters::Group {
        voters,
        learners,
        able,
        gone,
        dismissed,
        leader: Some(inner.me.node),
        unfinished,
    }
}

/// Whether the node holds the slot, or is about to.
fn names(placement: &Placement, node: &NodeId) -> bool {
    let mut members = placement.in_sync.iter().chain(&placement.learners);
    members.any(|member| member.node == *node)
}

async fn change(
    inner: &Inner,
    step: Step,
) -> Result<(), RaftError<Voter, ClientWriteError<Voter, EmptyNode>>> {
    match step {
        Step::Learn(node) => {
            inner
                .raft
                .add_learner(Voter(node), EmptyNode::default(), false)
                .await?;
        }
        Step::Vote(voters) => {
            let voters: BTreeSet<Voter> = voters.into_iter().map(Voter).collect();
            inner.raft.change_membership(voters, false).await?;
        }
        Step::Leave(node) => {
            let leaving = ChangeMembers::RemoveNodes(BTreeSet::from([Voter(node)]));
            inner.raft.change_membership(leaving, false).await?;
        }
    }
    Ok(())
}
