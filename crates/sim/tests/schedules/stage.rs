//! The stage on which the schedules of `docs/replication.md` are played: members A (the primary),
//! B, C of one slot, D beside them. Nothing moves but by a line of the script; ways are held and
//! let go, and what is held keeps its order.

use std::collections::BTreeSet;
use std::time::Duration;

use cluster::metadata::Entry;
use cluster::replication::{Refusal, Table as _};
use cluster::{Placement, Slot, Version};
use sim::run::judge_histories;
use sim::table::{Key, Value};
use sim::workload::{Answer, Kind, OpId};
use sim::world::Proposal;
use sim::{Config, World};

/// A member's place on the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    A,
    B,
    C,
    D,
}

pub(crate) struct Stage {
    pub(crate) world: World,
    /// Which node plays whom.
    cast: [usize; 4],
    /// Who hears nothing of the metadata log.
    deaf: BTreeSet<usize>,
    /// Whether proposals wait for the script instead of being committed.
    pub(crate) holds_proposals: bool,
    steps: u64,
}

pub(crate) fn slot() -> Slot {
    Slot::new(0).expect("there is a slot 0")
}

impl Stage {
    /// Four nodes, one slot on three of them, `W = 2`; D leads the metadata group.
    pub(crate) fn new() -> Stage {
        Stage::with(|_| {})
    }

    pub(crate) fn with(adjust: impl FnOnce(&mut Config)) -> Stage {
        let mut config = Config {
            nodes: 4,
            ..Config::default()
        };
        adjust(&mut config);
        let mut world = World::new(config, &[]);
        world.trace = Some(Vec::new());
        let placement = world.log.state().placement(slot()).clone();
        let mut cast: Vec<usize> = placement
            .in_sync
            .iter()
            .filter_map(|member| world.number_of(member))
            .collect();
        cast.extend((0..4).filter(|number| !placement.in_sync.contains(&member(&world, *number))));
        let mut stage = Stage {
            world,
            cast: cast.try_into().expect("four nodes"),
            deaf: BTreeSet::new(),
            holds_proposals: false,
            steps: 0,
        };
        stage.dial_all();
        stage.leads(Name::D, true);
        stage.pass(200);
        stage
    }

    pub(crate) fn node(&self, name: Name) -> usize {
        self.cast[name as usize]
    }

    pub(crate) fn leads(&mut self, name: Name, leads: bool) {
        let node = self.node(name);
        self.world.lead(node, leads);
    }

    /// Nothing passes from one to the other until it is let go.
    pub(crate) fn hold(&mut self, from: Name, to: Name) {
        let (from, to) = (self.node(from), self.node(to));
        self.world.network.set_blocked(from, to, true);
    }

    pub(crate) fn let_go(&mut self, from: Name, to: Name) {
        let (from, to) = (self.node(from), self.node(to));
        self.world.network.set_blocked(from, to, false);
        self.settle();
    }

    /// Nothing passes between this one and the others, either way.
    pub(crate) fn cut_off(&mut self, name: Name) {
        for other in [Name::A, Name::B, Name::C, Name::D] {
            if other != name {
                self.hold(name, other);
                self.hold(other, name);
            }
        }
    }

    pub(crate) fn join_again(&mut self, name: Name) {
        for other in [Name::A, Name::B, Name::C, Name::D] {
            if other != name {
                self.let_go(name, other);
                self.let_go(other, name);
            }
        }
    }

    /// Hears nothing of the metadata log from now on.
    pub(crate) fn deafen(&mut self, name: Name) {
        self.deaf.insert(self.node(name));
    }

    pub(crate) fn hears_again(&mut self, name: Name) {
        let node = self.node(name);
        self.deaf.remove(&node);
        self.settle();
    }

    pub(crate) fn pause(&mut self, name: Name, paused: bool) {
        let node = self.node(name);
        self.world.nodes[node].is_paused = paused;
    }

    pub(crate) fn kill(&mut self, name: Name) {
        let node = self.node(name);
        let others = 0..4;
        let streams: Vec<u64> = others
            .filter(|other| *other != node)
            .flat_map(|other| self.world.network.between(node, other))
            .collect();
        self.world.kill(node);
        for stream in streams {
            self.world.close(stream, true);
            self.world.close(stream, false);
        }
    }

    /// Starts again, with empty memory, and is registered.
    pub(crate) fn start(&mut self, name: Name) {
        let node = self.node(name);
        self.world.start(node);
        self.settle();
        self.dial_all();
        self.settle();
    }

    /// The stream from one to the other breaks, with all that is on its way, and is opened anew.
    pub(crate) fn reconnect(&mut self, from: Name, to: Name) {
        let (from, to) = (self.node(from), self.node(to));
        for stream in self.world.network.between(from, to) {
            let initiator = self.world.network.stream(stream).map(|s| s.from.0);
            if initiator == Some(from) {
                self.world.network.break_stream(stream, 0);
                self.world.close(stream, true);
                self.world.close(stream, false);
            }
        }
        self.world.dial(from, to);
    }

    fn dial_all(&mut self) {
        for from in 0..4 {
            for to in self.world.undialled(from) {
                let network = &self.world.network;
                if !network.is_blocked(from, to) && !network.is_blocked(to, from) {
                    self.world.dial(from, to);
                }
            }
        }
    }

    /// Everything that can be delivered is; the log takes what was proposed, and all hear of it.
    pub(crate) fn settle(&mut self) {
        loop {
            let mut moved = false;
            if !self.holds_proposals {
                while let Some(proposal) = self.world.proposed.pop_front() {
                    self.commit(&proposal);
                    moved = true;
                }
            }
            let last = self.world.log.last();
            for node in (0..4).filter(|node| !self.deaf.contains(node)) {
                let process = self.world.nodes[node].process.as_ref();
                if process.is_some_and(|process| process.state.applied() < last) {
                    let before = process.map(|process| process.state.applied());
                    self.world.apply(node, last);
                    let process = self.world.nodes[node].process.as_ref();
                    moved |= process.map(|process| process.state.applied()) != before;
                }
            }
            for (stream, direction) in self.world.network.busy() {
                moved |= self.world.deliver(stream, direction);
            }
            self.assert_sound();
            if !moved {
                return;
            }
        }
    }

    /// The log takes a proposal, and its proposer hears what it did.
    pub(crate) fn commit(&mut self, proposal: &Proposal) {
        let applied = self.world.commit(proposal);
        if proposal.tell {
            self.world.tell(proposal, Some(&applied));
        }
    }

    /// The log takes a proposal that says what it is not to do.
    pub(crate) fn is_refused(&mut self, proposal: &Proposal) -> bool {
        let before = self.placement();
        let applied = self.world.commit(proposal);
        !applied.refused_slots.is_empty() && self.placement() == before
    }

    /// Time passes, with all that ticks in it.
    pub(crate) fn pass(&mut self, millis: u64) {
        for _ in 0..millis / 25 {
            self.world.pass(Duration::from_millis(25));
            self.steps += 1;
            for node in 0..4 {
                if self.steps.is_multiple_of(4) {
                    self.world.heartbeat(node);
                    self.world.coordinate(node);
                }
                if self.steps.is_multiple_of(8) && !self.deaf.contains(&node) {
                    let (asked, index) = (self.world.time_at(node), self.world.log.last());
                    self.world.extend_group_lease(node, asked, index);
                }
                self.world.tick(node);
            }
            self.world.check_leaders(slot());
            self.settle();
        }
    }

    pub(crate) fn placement(&self) -> Placement {
        Placement::clone(self.world.log.state().placement(slot()))
    }

    /// The names in the in-sync set, by node.
    pub(crate) fn in_sync(&self) -> BTreeSet<Name> {
        let all = [Name::A, Name::B, Name::C, Name::D];
        let placement = self.placement();
        let is_in = |name: &Name| {
            let node = &self.world.nodes[self.node(*name)];
            placement
                .in_sync
                .iter()
                .any(|member| member.node == node.id)
        };
        all.into_iter().filter(is_in).collect()
    }

    pub(crate) fn primary(&self) -> Option<Name> {
        let primary = self.placement().primary?;
        let number = self.world.number_of(&primary)?;
        let all = [Name::A, Name::B, Name::C, Name::D];
        all.into_iter().find(|name| self.node(*name) == number)
    }

    pub(crate) fn ask(&mut self, name: Name, key: Key, kind: Kind) -> Result<OpId, Refusal> {
        let node = self.node(name);
        self.world.execute(node, slot(), key, kind)
    }

    pub(crate) fn set(&mut self, name: Name, key: Key, value: Value) -> OpId {
        self.ask(name, key, Kind::Set(value))
            .expect("takes the write")
    }

    pub(crate) fn get(&mut self, name: Name, key: Key) -> OpId {
        self.ask(name, key, Kind::Get).expect("takes the read")
    }

    pub(crate) fn is_done(&self, op: OpId) -> bool {
        self.world.history.is_done(op)
    }

    pub(crate) fn is_waiting(&self, op: OpId) -> bool {
        self.world.history.is_waiting(op)
    }

    /// How many replies wait at a member, those included that nobody waits for any more.
    pub(crate) fn waiting(&self, name: Name) -> usize {
        let process = self.world.nodes[self.node(name)].process.as_ref();
        process.expect("runs").replicas.lock(slot()).waiting()
    }

    /// The value that a member answers, once it does.
    pub(crate) fn reads(&mut self, name: Name, key: Key) -> Option<Value> {
        let op = self.get(name, key);
        self.settle();
        assert!(self.is_done(op), "{name:?} answers");
        match self.world.history.op(op).answer {
            Answer::Value(value) => value,
            answer => panic!("a read answers {answer:?}"),
        }
    }

    pub(crate) fn last(&self, name: Name) -> Version {
        let process = self.world.nodes[self.node(name)].process.as_ref();
        process.expect("runs").replicas.lock(slot()).last()
    }

    /// The value in a member's own table.
    pub(crate) fn holds(&self, name: Name, key: Key) -> Option<Value> {
        let process = self.world.nodes[self.node(name)].process.as_ref();
        process.expect("runs").replicas.lock(slot()).table.get(key)
    }

    pub(crate) fn digest(&self, name: Name) -> u64 {
        let process = self.world.nodes[self.node(name)].process.as_ref();
        process.expect("runs").replicas.lock(slot()).table.digest()
    }

    /// Whether a member may serve a read now.
    pub(crate) fn serves(&self, name: Name) -> bool {
        let node = &self.world.nodes[self.node(name)];
        let process = node.process.as_ref().expect("runs");
        let replica = process.replicas.lock(slot());
        replica
            .check_read(process.replicas.context(), node.time(self.world.now))
            .is_ok()
    }

    /// The changes of the in-sync set that wait to be committed.
    pub(crate) fn proposed_changes(&self) -> Vec<Proposal> {
        let is_change = |proposal: &&Proposal| matches!(proposal.entry, Entry::Change(_));
        self.world
            .proposed
            .iter()
            .filter(is_change)
            .cloned()
            .collect()
    }

    /// The scene is over: nothing that must hold was broken, and all histories have an order.
    pub(crate) fn end(mut self) {
        judge_histories(&mut self.world);
        self.assert_sound();
    }

    fn assert_sound(&self) {
        if let Some(failure) = self.world.invariants.failure() {
            let trace = self.world.trace.as_deref().unwrap_or_default();
            let from = trace.len().saturating_sub(60);
            panic!("{failure}\n{}", trace[from..].join("\n"));
        }
    }
}

fn member(world: &World, number: usize) -> cluster::Member {
    world.nodes[number].member().expect("all run at first")
}
