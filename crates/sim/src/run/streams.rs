//! Streams by chance: when they open, how long messages take, how they end.

use std::time::Duration;

use cluster::replication::Direction;

use super::{Event, Scheduler};

impl Scheduler {
    /// How long the next message takes.
    pub(super) fn delay(&mut self) -> Duration {
        let (mean, slow) = self.plan.delay;
        if !self.faults_over && self.chance.permille(slow) {
            return self.chance.millis(20, 700);
        }
        let most = if self.faults_over {
            Duration::from_millis(2)
        } else {
            mean * 2
        };
        self.chance.between(Duration::from_micros(50), most)
    }

    pub(super) fn schedule_sent(&mut self) {
        for (stream, direction) in std::mem::take(&mut self.world.sent) {
            let ends = self.world.network.stream(stream).map(|s| s.ends(direction));
            let slow = ends.and_then(|((from, _), (to, _))| self.slow.get(&(from, to)));
            let slow = slow.copied().unwrap_or_default();
            let after = self.delay() + slow;
            self.after(after, Event::Deliver(stream, direction));
        }
    }

    /// Each delivery takes the oldest batch on its way, so that a stream keeps its order.
    pub(super) fn deliver(&mut self, stream: u64, direction: Direction) {
        if !self.world.deliver(stream, direction) {
            let again = self.chance.millis(5, 60);
            self.after(again, Event::Deliver(stream, direction));
        }
    }

    pub(super) fn dial(&mut self, from: usize, to: usize) {
        let network = &self.world.network;
        let blocked = network.is_blocked(from, to) || network.is_blocked(to, from);
        let accepted = if blocked {
            None
        } else {
            self.world.accept(from, to)
        };
        match accepted {
            Some(stream) => {
                let after = self.delay();
                self.after(after, Event::Establish(stream, (from, to)));
            }
            None => {
                self.dialling.remove(&(from, to));
            }
        }
    }

    /// Breaks all streams between two nodes; both sides find out after a while.
    pub(super) fn break_between(&mut self, a: usize, b: usize, within_ms: u64) {
        for stream in self.world.network.between(a, b) {
            self.break_stream(stream, within_ms);
        }
    }

    pub(super) fn break_stream(&mut self, stream: u64, within_ms: u64) {
        let kept = self.chance.index(6);
        self.world.network.break_stream(stream, kept);
        for initiator in [true, false] {
            let after = self.chance.millis(0, within_ms);
            self.after(after, Event::Close(stream, initiator));
        }
    }
}
