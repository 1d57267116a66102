//! Streams as the processes at their ends see them: opened, filled, delivered, closed.

use cluster::replication::message::{self, Back, Forward};
use cluster::replication::{Direction, Out};

use super::World;

/// How much a batch holds at most, about.
const BATCH_BYTES: usize = 4096;

impl World {
    /// Whether two nodes can speak: both run and are registered.
    #[must_use]
    pub fn can_dial(&self, from: usize, to: usize) -> bool {
        let ready = |number: usize| {
            let process = self.nodes[number].process.as_ref();
            process.is_some_and(|process| process.is_registered)
        };
        ready(from) && ready(to) && !self.nodes[from].is_paused
    }

    /// The nodes that this one has no stream to.
    #[must_use]
    pub fn undialled(&self, from: usize) -> Vec<usize> {
        let Some(process) = self.nodes[from].process.as_ref() else {
            return Vec::new();
        };
        let unlinked = |to: &usize| !process.links.contains_key(&(*to, Direction::Forward));
        (0..self.nodes.len()).filter(unlinked).collect()
    }

    /// The first half of a new stream: the other side has accepted it.
    pub fn accept(&mut self, from: usize, to: usize) -> Option<u64> {
        if !self.can_dial(from, to) || self.nodes[to].is_paused {
            return None;
        }
        let (caller, callee) = (self.nodes[from].member()?, self.nodes[to].member()?);
        let number = self.network.dial((from, caller), (to, callee));
        let now = self.time_at(to);
        let process = self.nodes[to].process.as_mut()?;
        process
            .links
            .insert((from, Direction::Back), (number, caller));
        process.heard.insert(caller, now);
        process
            .replicas
            .opened(now, &caller, Direction::Back, number);
        self.say(|| format!("{callee:?} accepts stream {number} of {caller:?}"));
        self.flush(to);
        Some(number)
    }

    /// The second half: who opened it hears that it is open.
    pub fn establish(&mut self, number: u64) {
        let Some(stream) = self.network.stream(number) else {
            return;
        };
        let ((from, caller), (to, callee)) = (stream.from, stream.to);
        if stream.is_broken {
            return;
        }
        let now = self.time_at(from);
        if self.nodes[from].member() != Some(caller) {
            return;
        }
        let Some(process) = self.nodes[from].process.as_mut() else {
            return;
        };
        process
            .links
            .insert((to, Direction::Forward), (number, callee));
        process.heard.insert(callee, now);
        process
            .replicas
            .opened(now, &callee, Direction::Forward, number);
        self.flush(from);
    }

    /// Opens a stream, both halves at once.
    pub fn dial(&mut self, from: usize, to: usize) {
        if let Some(number) = self.accept(from, to) {
            self.establish(number);
        }
    }

    /// Moves what a node has to say into its streams.
    pub fn flush(&mut self, number: usize) {
        if self.nodes[number].is_paused {
            return;
        }
        let now = self.time_at(number);
        let Some(process) = self.nodes[number].process.as_ref() else {
            return;
        };
        for (&(_, direction), (stream_number, member)) in &process.links {
            let peer = process.replicas.peer(member, now);
            while let Some(batch) = peer.take(direction, *stream_number, BATCH_BYTES) {
                if let Some(stream) = self.network.stream(*stream_number)
                    && !stream.is_broken
                {
                    stream.queue(direction).push_back(batch);
                    self.sent.push((*stream_number, direction));
                }
            }
        }
        process.replicas.send_copies();
    }

    /// Delivers the next batch of a stream in one direction. False if it cannot be taken in now:
    /// the way is blocked, or the receiver is paused.
    pub fn deliver(&mut self, number: u64, sent: Direction) -> bool {
        let Some(stream) = self.network.stream(number) else {
            return true;
        };
        let ((from, sender), (to, receiver)) = stream.ends(sent);
        if self.network.is_blocked(from, to) || self.nodes[to].is_paused {
            return false;
        }
        let stream = self.network.stream(number).expect("looked up just now");
        let Some(batch) = stream.queue(sent).pop_front() else {
            return true;
        };
        if self.trace.is_some() {
            self.say_batch((from, to), number, sent, &batch);
        }
        let now = self.time_at(to);
        if self.nodes[to].member() != Some(receiver) {
            return true;
        }
        let Some(process) = self.nodes[to].process.as_mut() else {
            return true;
        };
        let side = match sent {
            Direction::Forward => Direction::Back,
            Direction::Back => Direction::Forward,
        };
        if process.links.get(&(from, side)) == Some(&(number, sender)) {
            process.heard.insert(sender, now);
        }
        let mut out = Out::default();
        let read = process
            .replicas
            .receive(now, &sender, side, number, &batch, &mut out);
        if read.is_err() {
            self.fail(format!("{receiver:?} cannot read what {sender:?} sent"));
        }
        self.perform(to, out);
        true
    }

    fn say_batch(
        &mut self,
        (from, to): (usize, usize),
        stream: u64,
        sent: Direction,
        batch: &[u8],
    ) {
        let mut messages = Vec::new();
        match sent {
            Direction::Forward => {
                messages.extend(
                    message::decode(batch)
                        .flatten()
                        .map(|m: Forward| format!("{m:?}")),
                );
            }
            Direction::Back => {
                messages.extend(
                    message::decode(batch)
                        .flatten()
                        .map(|m: Back| format!("{m:?}")),
                );
            }
        }
        for message in messages {
            self.say(|| format!("n{from} -> n{to} on {stream}: {message}"));
        }
    }

    /// One end of a broken stream finds out.
    pub fn close(&mut self, number: u64, initiator: bool) {
        let Some(stream) = self.network.stream(number) else {
            return;
        };
        let (here, there, direction) = if initiator {
            (stream.from, stream.to, Direction::Forward)
        } else {
            (stream.to, stream.from, Direction::Back)
        };
        let ((node, member), (other, peer)) = (here, there);
        if self.nodes[node].member() != Some(member) {
            return;
        }
        let Some(process) = self.nodes[node].process.as_mut() else {
            return;
        };
        if process.links.get(&(other, direction)) == Some(&(number, peer)) {
            process.links.remove(&(other, direction));
        }
        process.replicas.closed(&peer, direction, number);
        self.say(|| format!("{member:?} sees stream {number} with {peer:?} closed"));
    }
}
