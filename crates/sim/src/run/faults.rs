//! What goes wrong, by chance, and how it is put right in the end.

use std::sync::Arc;
use std::time::Duration;

use cluster::Slot;
use cluster::metadata::Entry;
use cluster::replication::Liveness;

use super::{Event, Scheduler, needs_process};
use crate::fault::Fault;

impl Scheduler {
    pub(super) fn fault(&mut self, index: usize) {
        if self.faults_over {
            return;
        }
        let (fault, mean) = self.plan.faults[index];
        let again = self.chance.around(mean);
        self.after(again, Event::Fault(index));
        let number = self.chance.index(self.world.nodes.len());
        if needs_process(fault) && self.world.nodes[number].awake().is_none() {
            return;
        }
        match fault {
            Fault::Kill => self.kill(number),
            Fault::Stop => self.stop(number),
            Fault::Pause => self.pause(number),
            Fault::Partition => self.partition(),
            Fault::OneWay => {
                let to = self.chance.index(self.world.nodes.len());
                let lasts = self.chance.millis(50, 4000);
                self.block(number, to, lasts);
            }
            Fault::Break => {
                let other = self.chance.index(self.world.nodes.len());
                let streams = self.world.network.between(number, other);
                if !streams.is_empty() && number != other {
                    let stream = *self.chance.pick(&streams);
                    self.break_stream(stream, 800);
                }
            }
            Fault::Leader => self.change_leader(),
            Fault::Deaf => {
                self.deaf.insert(number);
                self.world
                    .say(|| format!("n{number} hears nothing of the log"));
                let lasts = self.chance.millis(50, 4000);
                self.after(lasts, Event::EndDeaf(number));
            }
            Fault::Slow => self.slow(number),
            Fault::Rumour => self.rumour(number),
        }
    }

    /// A process is asked to stop: all hear of it, and it goes a little later.
    pub(super) fn stop(&mut self, number: usize) {
        let Some(member) = self.world.nodes[number].member() else {
            return;
        };
        self.world.departing.insert(member);
        self.world.say(|| format!("{member:?} is asked to stop"));
        let after = self.chance.millis(10, 1500);
        self.after(after, Event::Kill(number));
    }

    /// Kills a process, if the slots have promised to bear that or the plan does not care.
    pub(super) fn kill(&mut self, number: usize) {
        if self.faults_over || self.world.nodes[number].awake().is_none() {
            return;
        }
        if !self.plan.is_wild && !self.can_be_borne(number) {
            let stays = self.world.nodes[number].member();
            stays.map(|member| self.world.departing.remove(&member));
            return;
        }
        let others = 0..self.world.nodes.len();
        let streams: Vec<u64> = others
            .filter(|other| *other != number)
            .flat_map(|other| self.world.network.between(number, other))
            .collect();
        self.world.kill(number);
        for stream in streams {
            // A reset is seen at once; a machine that is gone only by its silence.
            let within = *self.chance.pick(&[5, 50, 1500]);
            self.break_stream(stream, within);
        }
        if self.leader == Some(number) {
            self.change_leader();
        }
        let after = if self.chance.permille(400) {
            self.chance.millis(1, 50)
        } else {
            self.chance.millis(300, 6000)
        };
        self.after(after, Event::Start(number));
    }

    /// A member of a slot is killed soon after its placement has changed, most often the primary.
    pub(super) fn kill_at_change(&mut self, slot: Slot) {
        let placement = Arc::clone(self.world.log.state().placement(slot));
        let mut members = placement.in_sync.clone();
        members.extend(placement.primary.iter().cycle().take(3));
        if members.is_empty() {
            return;
        }
        let member = *self.chance.pick(&members);
        if let Some(number) = self.world.number_of(&member) {
            let after = self.chance.millis(0, 600);
            self.after(after, Event::Kill(number));
        }
    }

    pub(super) fn end_deaf(&mut self, number: usize) {
        if self.deaf.remove(&number) {
            let upto = self.world.log.last();
            self.after(Duration::from_millis(1), Event::Apply(number, upto));
        }
    }

    /// From one node to another, or to all, everything takes longer.
    fn slow(&mut self, from: usize) {
        let to = self.chance.index(self.world.nodes.len());
        let by = self.chance.millis(20, 1000);
        let lasts = self.chance.millis(200, 4000);
        self.slow.insert((from, to), by);
        self.world
            .say(|| format!("what n{from} sends to n{to} takes {by:?} longer"));
        self.after(lasts, Event::EndSlow(from, to));
    }

    /// Whether each slot would still have fewer dead in-sync members than commit a write.
    fn can_be_borne(&self, number: usize) -> bool {
        let Some(member) = self.world.nodes[number].member() else {
            return true;
        };
        let mut placements = self.world.log.state().placements();
        placements.all(|(_, placement)| {
            let commit = placement
                .in_sync
                .len()
                .min(usize::from(placement.write_quorum));
            let lost = |m: &&cluster::Member| **m == member || self.world.is_dead(m);
            placement.in_sync.iter().filter(lost).count() < commit
                || !placement.in_sync.contains(&member)
        })
    }

    pub(super) fn start(&mut self, number: usize) {
        if self.world.nodes[number].process.is_some() {
            return;
        }
        self.world.start(number);
        self.schedule_node(number);
        let upto = self.world.log.last();
        let after = self.chance.millis(0, 30);
        self.after(after, Event::Apply(number, upto));
    }

    fn pause(&mut self, number: usize) {
        self.world.nodes[number].is_paused = true;
        self.world.say(|| format!("n{number} stands still"));
        let lasts = self.chance.millis(20, 5000);
        self.after(lasts, Event::Resume(number));
        if self.chance.permille(300) {
            for other in 0..self.world.nodes.len() {
                if other != number {
                    self.break_between(number, other, 2000);
                }
            }
        }
        if self.leader == Some(number) && lasts > Duration::from_millis(600) {
            self.change_leader();
        }
    }

    pub(super) fn resume(&mut self, number: usize) {
        if !self.world.nodes[number].is_paused {
            return;
        }
        self.world.nodes[number].is_paused = false;
        self.world.say(|| format!("n{number} goes on"));
        let after = self.chance.around(self.plan.apply);
        let upto = self.world.log.last();
        self.after(after, Event::Apply(number, upto));
    }

    fn partition(&mut self) {
        let nodes = self.world.nodes.len();
        let side: Vec<bool> = (0..nodes).map(|_| self.chance.permille(500)).collect();
        let lasts = self.chance.millis(100, 5000);
        for from in 0..nodes {
            for to in 0..nodes {
                if side[from] != side[to] {
                    self.block(from, to, lasts);
                }
            }
        }
    }

    /// Nothing passes for a while: what is on its way arrives afterwards, or the streams break.
    fn block(&mut self, from: usize, to: usize, lasts: Duration) {
        if from == to {
            return;
        }
        self.world.network.set_blocked(from, to, true);
        self.world
            .say(|| format!("nothing passes from n{from} to n{to} for {lasts:?}"));
        self.after(lasts, Event::Unblock(from, to));
        if lasts > Duration::from_millis(2500) || self.chance.permille(400) {
            self.break_between(from, to, 2000);
        }
    }

    fn rumour(&mut self, about: usize) {
        let from = self.chance.index(self.world.nodes.len());
        let all = [Liveness::Down, Liveness::Unknown, Liveness::Up];
        let rumour = *self.chance.pick(&all);
        self.world.rumours.insert((from, about), rumour);
        self.world
            .say(|| format!("n{from} takes n{about} to be {rumour:?}"));
        let lasts = self.chance.millis(50, 2500);
        self.after(lasts, Event::EndRumour(from, about));
    }

    /// From here on nothing goes wrong any more.
    pub(super) fn end_of_faults(&mut self) {
        self.faults_over = true;
        self.world.say(|| "the faults are over".to_owned());
        self.world.network.heal();
        self.world.rumours.clear();
        self.world.departing.clear();
        self.world.propose(0, Entry::Balance(true), false);
        self.slow.clear();
        for number in 0..self.world.nodes.len() {
            self.end_deaf(number);
        }
        self.plan.apply = Duration::from_millis(5);
        for number in 0..self.world.nodes.len() {
            self.resume(number);
            self.start(number);
        }
        self.after(Duration::from_millis(500), Event::Probe);
    }
}
