//! The metadata group by chance: proposals that are lost, late or doubled, leaders that change,
//! nodes that hear of entries when they do.

use std::time::Duration;

use cluster::Time;
use cluster::metadata::{Entry, OnLoss};
use cluster::replication::waits_for_operator;

use super::{Event, Scheduler};
use crate::world::Proposal;

impl Scheduler {
    pub(super) fn schedule_proposed(&mut self) {
        while let Some(proposal) = self.world.proposed.pop_front() {
            let (lost, _, late) = self.plan.proposals;
            let is_register = matches!(proposal.entry, Entry::Register { .. });
            if !self.faults_over && self.chance.permille(lost) && !is_register {
                let after = self.chance.millis(100, 2000);
                self.after(after, Event::Tell(proposal, None));
                continue;
            }
            if !self.faults_over && self.chance.permille(late) {
                let after = self.chance.millis(100, 5000);
                let mut again = proposal.clone();
                again.tell = false;
                self.after(after, Event::Commit(again, true));
            }
            let after = self.delay() + self.chance.around(Duration::from_millis(5));
            self.after(after, Event::Commit(proposal, false));
        }
    }

    pub(super) fn commit(&mut self, proposal: &Proposal, again: bool) {
        let leads = self
            .leader
            .is_some_and(|leader| !self.world.nodes[leader].is_paused);
        if !leads {
            let later = self.chance.millis(20, 200);
            self.after(later, Event::Commit(proposal.clone(), again));
            return;
        }
        let applied = self.world.commit(proposal);
        let applied_slots = applied.slots.clone();
        if proposal.tell {
            let lost = self.chance.permille(self.plan.proposals.1) && !self.faults_over;
            let after = self.delay();
            let told = (!lost).then_some(applied);
            self.after(after, Event::Tell(proposal.clone(), told));
        }
        if !applied_slots.is_empty() && !self.faults_over {
            let kills = self.plan.kills_at_changes;
            if self.chance.permille(kills) {
                self.kill_at_change(applied_slots[0]);
            }
        }
        let index = self.world.log.last();
        for number in 0..self.world.nodes.len() {
            let after = self.chance.around(self.plan.apply);
            self.after(after, Event::Apply(number, index));
        }
    }

    pub(super) fn apply(&mut self, number: usize, upto: u64) {
        if self.deaf.contains(&number) {
            return;
        }
        if self.plan.coalesces {
            self.world.apply(number, upto);
            return;
        }
        loop {
            let Some(process) = self.world.nodes[number].awake() else {
                return;
            };
            let applied = process.state.applied();
            if applied >= upto {
                return;
            }
            self.world.apply(number, applied + 1);
        }
    }

    /// A node believes, or ceases to believe, that it leads. The one that began last leads in
    /// truth.
    pub(super) fn lead(&mut self, number: usize, leads: bool) {
        if leads {
            if self.world.nodes[number].process.is_none() {
                self.change_leader();
                return;
            }
            self.leader = Some(number);
            self.world.lead(number, true);
            self.depose_others(number);
        } else if self.leader != Some(number) {
            self.world.lead(number, false);
        }
    }

    /// Those who led before find out, sooner or later.
    fn depose_others(&mut self, leader: usize) {
        for number in 0..self.world.nodes.len() {
            let process = self.world.nodes[number].process.as_ref();
            let believes = process.is_some_and(|process| process.coordinator.is_some());
            if believes && number != leader {
                let after = self.chance.millis(0, 2500);
                self.after(after, Event::Lead(number, false));
            }
        }
    }

    /// Another node begins to lead after a while; the old one may find out later.
    pub(super) fn change_leader(&mut self) {
        let old = self.leader.take();
        let running: Vec<usize> = (0..self.world.nodes.len())
            .filter(|number| {
                let node = &self.world.nodes[*number];
                node.process.is_some() && !node.is_paused && Some(*number) != old
            })
            .collect();
        let after = self.chance.millis(50, 1200);
        let next = if running.is_empty() {
            self.chance.index(self.world.nodes.len())
        } else {
            *self.chance.pick(&running)
        };
        self.after(after, Event::Lead(next, true));
    }

    /// An operator comes by: slots that wait may go on, and those that lose something later are to
    /// wait again.
    pub(super) fn operator(&mut self) {
        let again = self.chance.millis(500, 4000);
        self.after(again, Event::Operator);
        let state = self.world.log.state();
        let mut waiting = state
            .placements()
            .filter(|(_, placement)| waits_for_operator(state, placement, |_| true));
        let waits = waiting.next().is_some();
        drop(waiting);
        let next = match state.on_loss() {
            OnLoss::Wait if waits && (self.faults_over || self.chance.permille(300)) => {
                self.accepted += 1;
                OnLoss::Accept
            }
            OnLoss::Accept if !self.faults_over => OnLoss::Wait,
            _ => return,
        };
        let number = self.chance.index(self.world.nodes.len());
        self.world.propose(number, Entry::OnLoss(next), false);
    }

    pub(super) fn ask_group(&mut self, number: usize, start: u64) {
        if !self.is_running(number, start) {
            return;
        }
        let again = self.world.config.group_lease / 4;
        self.after(again, Event::AskGroup(number, start));
        if self.world.nodes[number].is_paused {
            return;
        }
        let asked = self.world.time_at(number);
        let after = self.delay();
        self.after(after, Event::GroupAnswers(number, asked));
    }

    /// The group answers by whoever leads it in truth at this moment.
    pub(super) fn group_answers(&mut self, number: usize, asked: Time) {
        let Some(leader) = self.leader else { return };
        let network = &self.world.network;
        let cut = network.is_blocked(number, leader) || network.is_blocked(leader, number);
        if cut || self.world.nodes[leader].awake().is_none() {
            return;
        }
        let index = self.world.log.last();
        let after = self.delay();
        self.after(after, Event::GroupLease(number, asked, index));
    }

    pub(super) fn group_lease(&mut self, number: usize, asked: Time, index: u64) {
        let over = self.world.time_at(number).since(asked) > self.world.config.group_lease;
        if !over && !self.world.extend_group_lease(number, asked, index) {
            let again = Duration::from_millis(20);
            self.after(again, Event::GroupLease(number, asked, index));
        }
    }
}
