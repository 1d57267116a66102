//! One node: its clock, and the process that runs on it, if one does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cluster::metadata::State;
use cluster::replication::{Coordinator, Direction, Liveness, Out, Replicas};
use cluster::{Incarnation, Member, NodeId, Placement, Slot, Time};

use crate::KvTable;
use crate::workload::Reply;

/// A node of the world.
pub struct Node {
    /// Its identity, which survives restarts.
    pub id: NodeId,
    /// What its clock showed when the world began, and how many parts in a million it runs fast.
    pub clock: (Duration, i64),
    /// Neither ticks nor messages reach a paused process; its clock goes on.
    pub is_paused: bool,
    /// Its newest start.
    pub incarnation: u64,
    /// The process, unless it was killed.
    pub process: Option<Process>,
}

/// One start of a node.
pub struct Process {
    /// Who it is.
    pub member: Member,
    /// Its replicas.
    pub replicas: Replicas<KvTable, Reply>,
    /// The metadata as far as it has applied the log.
    pub state: State,
    /// Whether it has seen itself registered; before that it speaks to nobody.
    pub is_registered: bool,
    /// The coordinator, while it believes that it leads the metadata group.
    pub coordinator: Option<Coordinator>,
    /// When it heard of each member last.
    pub heard: BTreeMap<Member, Time>,
    /// Its ends of streams.
    pub links: BTreeMap<(usize, Direction), (u64, Member)>,
    /// When it began.
    pub began: Time,
}

impl Node {
    /// What the node's clock shows.
    #[must_use]
    pub fn time(&self, now: Time) -> Time {
        let (start, fast) = self.clock;
        let drift = i128::from(now.as_nanos()) * i128::from(fast) / 1_000_000;
        let drift = i64::try_from(drift).expect("worlds end before that");
        Time::from_nanos(now.as_nanos().saturating_add_signed(drift)) + start
    }

    /// The member that its process is, if it runs.
    #[must_use]
    pub fn member(&self) -> Option<Member> {
        self.process.as_ref().map(|process| process.member)
    }

    /// The process, if it runs and is not paused.
    pub fn awake(&mut self) -> Option<&mut Process> {
        if self.is_paused {
            return None;
        }
        self.process.as_mut()
    }
}

impl Process {
    /// What this process thinks of another member: by how long it has been silent.
    #[must_use]
    pub fn liveness(&self, member: &Member, now: Time) -> Liveness {
        if *member == self.member {
            return Liveness::Up;
        }
        let heard = self.heard.get(member).copied().unwrap_or(self.began);
        let silence = now.since(heard);
        if silence > Duration::from_millis(1000) {
            Liveness::Down
        } else if silence > Duration::from_millis(400) {
            Liveness::Unknown
        } else {
            Liveness::Up
        }
    }

    /// Takes in a newer state of the metadata: the nodes first, then the placements.
    pub fn take_in(&mut self, now: Time, state: State, out: &mut Out<Reply>) {
        let old = std::mem::replace(&mut self.state, state);
        for (node, known) in self.state.nodes() {
            let before = old.nodes().get(node).map(|before| before.incarnation);
            if before.is_some_and(|before| before >= known.incarnation) {
                continue;
            }
            self.replicas.gone(&Member {
                node: *node,
                incarnation: Incarnation(known.incarnation.0.saturating_sub(1)),
            });
        }
        self.replicas
            .set_copies_max(self.state.replication_factor());
        if self.state.member(&self.member.node) == Some(self.member) {
            self.is_registered = true;
        }
        let changed: Vec<(Slot, Arc<Placement>)> = self
            .state
            .placements()
            .filter(|(slot, placement)| old.placement(*slot).rev < placement.rev)
            .map(|(slot, placement)| (slot, Arc::clone(placement)))
            .collect();
        self.replicas.placed(now, changed, out);
    }
}
