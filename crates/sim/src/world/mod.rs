//! The world: nodes, their clocks, the network between them, the metadata log. Nothing happens here
//! by itself: a run of chance or a script says what happens next, and after each step the
//! invariants are checked.

mod log;
mod network;
mod node;
mod serve;
mod streams;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Display;
use std::time::Duration;

use cluster::metadata::{Applied, Entry, Form, OnLoss};
use cluster::replication::{
    Coordinator, Direction, FailoverSettings, Liveness, Orders, Out, Replicas, Rules, Settings,
};
use cluster::{Incarnation, Lineage, Member, NodeId, NodeInfo, Slot, Time, ring};

pub use self::log::{Log, Proposal};
pub use self::network::Network;
pub use self::node::{Node, Process};
pub use self::serve::effect;
use crate::KvTable;
use crate::invariant::Invariants;
use crate::run::Without;
use crate::workload::{History, Reply};

/// How a world is made.
#[derive(Clone, Debug)]
pub struct Config {
    /// How many nodes.
    pub nodes: usize,
    /// How many of them, the last ones, are not there when the cluster is made.
    pub joiners: usize,
    /// How many slots.
    pub slots: u16,
    /// `N`.
    pub replication_factor: u8,
    /// `W`.
    pub write_quorum: u8,
    /// Each member's settings.
    pub settings: Settings,
    /// The coordinators' settings.
    pub failover: FailoverSettings,
    /// `L_meta`, by the clock of whoever is granted it.
    pub group_lease: Duration,
    /// What becomes of slots of which something may be missing.
    pub on_loss: OnLoss,
    /// What is left out of the protocol, if anything.
    pub without: Option<Without>,
}

impl Config {
    /// Leaves something out of the protocol.
    pub fn leave_out(&mut self, without: Option<Without>) {
        self.without = without;
        if let Some(Without::Rule(rule)) = without {
            self.settings.rules = Rules::without(rule);
            self.failover.rules = Rules::without(rule);
        }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            nodes: 3,
            joiners: 0,
            slots: 1,
            replication_factor: 3,
            write_quorum: 2,
            settings: Settings::default(),
            failover: FailoverSettings::default(),
            group_lease: Duration::from_millis(1500),
            on_loss: OnLoss::default(),
            without: None,
        }
    }
}

/// Everything there is.
pub struct World {
    /// How it was made.
    pub config: Config,
    /// The time that no node knows.
    pub now: Time,
    /// The nodes, by number.
    pub nodes: Vec<Node>,
    /// What lies between them.
    pub network: Network,
    /// The metadata log.
    pub log: Log,
    /// Entries proposed and not yet dealt with, by number.
    pub proposed: VecDeque<Proposal>,
    /// Batches that went into streams and that nobody has been told of yet.
    pub sent: Vec<(u64, Direction)>,
    /// Wrong words about who is alive: what `.0` is told of `.1`.
    pub rumours: BTreeMap<(usize, usize), Liveness>,
    /// What clients did and what they were answered.
    pub history: History,
    /// What must hold.
    pub invariants: Invariants,
    /// How many slots wait for an operator, as a coordinator has said last.
    pub waiting: usize,
    /// What happened, in words, if anybody wants to read it.
    pub trace: Option<Vec<String>>,
    /// Members that are about to stop, as all know.
    pub departing: BTreeSet<Member>,
    /// The ring's order, and of which nodes.
    order: Option<(Vec<ring::RingNode>, ring::Order)>,
    dead: BTreeSet<Member>,
}

impl World {
    /// A world whose nodes run, are registered, and hold all slots, empty.
    #[must_use]
    pub fn new(config: Config, clocks: &[(Duration, i64)]) -> World {
        let ids: Vec<NodeId> = (0..config.nodes).map(node_id).collect();
        let mut log = Log::new(config.slots);
        let founders = config.nodes - config.joiners;
        log.append(form(&config, &ids[..founders]));
        let node = |(number, id): (usize, &NodeId)| Node {
            id: *id,
            clock: clocks.get(number).copied().unwrap_or_default(),
            is_paused: false,
            incarnation: 0,
            process: None,
        };
        let nodes = ids.iter().enumerate().map(node).collect();
        let mut world = World {
            invariants: Invariants::new(config.slots),
            config,
            now: Time::ZERO,
            nodes,
            network: Network::default(),
            log,
            proposed: VecDeque::new(),
            sent: Vec::new(),
            rumours: BTreeMap::new(),
            history: History::default(),
            waiting: 0,
            trace: None,
            departing: BTreeSet::new(),
            order: None,
            dead: BTreeSet::new(),
        };
        for number in 0..founders {
            world.start(number);
            world.proposed.clear();
            world.apply(number, 1);
        }
        world
    }

    /// Adds a line to the trace.
    pub fn say(&mut self, what: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>9.3}  {}", now.as_nanos() as f64 / 1e9, what()));
        }
    }

    /// Time passes.
    pub fn pass(&mut self, span: Duration) {
        self.now = self.now + span;
    }

    /// What a node's clock shows.
    #[must_use]
    pub fn time_at(&self, node: usize) -> Time {
        self.nodes[node].time(self.now)
    }

    /// The node that runs, or ran, this member.
    #[must_use]
    pub fn number_of(&self, member: &Member) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == member.node)
    }

    /// Whether this member's process was killed.
    #[must_use]
    pub fn is_dead(&self, member: &Member) -> bool {
        self.dead.contains(member)
    }

    /// Starts a node with empty memory; it asks to be registered. It knows the metadata that any
    /// node had on disk: none, so that it takes in the whole log again.
    pub fn start(&mut self, number: usize) {
        let now = self.time_at(number);
        let node = &mut self.nodes[number];
        assert!(node.process.is_none(), "node {number} runs already");
        if self.config.without != Some(Without::Incarnations) || node.incarnation == 0 {
            node.incarnation += 1;
        }
        let member = Member {
            node: node.id,
            incarnation: Incarnation(node.incarnation),
        };
        self.dead.remove(&member);
        let config = &self.config;
        let settings = config.settings.clone();
        node.process = Some(Process {
            member,
            replicas: Replicas::new(member, config.slots, settings, |_| KvTable::default()),
            state: cluster::metadata::State::new(config.slots),
            is_registered: false,
            coordinator: None,
            heard: BTreeMap::new(),
            links: BTreeMap::new(),
            began: now,
        });
        node.is_paused = false;
        let info = NodeInfo {
            weight: ring::WEIGHT,
            ..NodeInfo::default()
        };
        let entry = Entry::Register { member, info };
        self.say(|| format!("{member:?} starts"));
        self.propose(number, entry, false);
    }

    /// Kills a node's process: its memory is gone. Its streams break; who was at their other ends
    /// finds out when told so.
    pub fn kill(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let Some(process) = node.process.take() else {
            return;
        };
        node.is_paused = false;
        let member = process.member;
        self.say(|| format!("{member:?} is killed"));
        self.dead.insert(member);
        self.history.abandon(number);
        for other in 0..self.nodes.len() {
            for stream in self.network.between(number, other) {
                self.network.break_stream(stream, usize::MAX);
            }
        }
        let moment = self.history.moment();
        self.invariants
            .killed(member, &self.log, &self.dead, moment);
    }

    /// A proposal for the log. Whether and when it arrives is decided by who looks at `proposed`.
    pub fn propose(&mut self, from: usize, entry: Entry, tell: bool) {
        let incarnation = self.nodes[from].incarnation;
        self.say(|| format!("n{from} proposes {entry:?}"));
        self.proposed.push_back(Proposal {
            from: (from, incarnation),
            entry,
            tell,
        });
    }

    /// The log takes a proposal.
    pub fn commit(&mut self, proposal: &Proposal) -> Applied {
        let mut entry = proposal.entry.clone();
        if self.config.without == Some(Without::Revs)
            && let Entry::Change(changes) = &mut entry
        {
            for change in changes {
                change.rev = self.log.state().placement(change.slot).rev;
            }
        }
        let applied = self.log.append(entry);
        let index = self.log.last();
        self.say(|| {
            let refused = &applied.refused_slots;
            format!("log {index}: {:?} refused: {refused:?}", proposal.entry)
        });
        let moment = self.history.moment();
        if let Entry::Activate(slots) = &proposal.entry {
            for of in slots.iter().filter(|of| of.may_lose) {
                self.went_on(of.slot, &applied, moment);
            }
        }
        self.invariants.appended(&self.log, &self.dead, moment);
        applied
    }

    /// A slot has a primary again, perhaps without all that was acknowledged.
    fn went_on(&mut self, slot: Slot, applied: &Applied, moment: u64) {
        if !applied.slots.contains(&slot) {
            return;
        }
        self.say(|| format!("{slot:?} goes on, though records may be lost"));
        if self.log.state().placement(slot).write_quorum == 1 {
            self.invariants.passed_over(slot, moment);
        }
    }

    /// What became of a coordinator's entry; `None` where nobody can say.
    pub fn tell(&mut self, proposal: &Proposal, applied: Option<&Applied>) {
        let (number, incarnation) = proposal.from;
        let now = self.time_at(number);
        let node = &mut self.nodes[number];
        if node.incarnation == incarnation
            && let Some(process) = &mut node.process
            && let Some(coordinator) = &mut process.coordinator
        {
            coordinator.outcome(now, &proposal.entry, applied);
        }
    }

    /// A node applies the log up to an index, all at once.
    pub fn apply(&mut self, number: usize, upto: u64) {
        let now = self.time_at(number);
        let mut out = Out::default();
        let log = &self.log;
        let Some(process) = self.nodes[number].awake() else {
            return;
        };
        let mut state = process.state.clone();
        while state.applied() < upto.min(log.last()) {
            let next = state.applied() + 1;
            let entry = log.entry(next).expect("not beyond the last");
            state.apply(next, entry);
        }
        if state.applied() > process.state.applied() {
            process.take_in(now, state, &mut out);
        }
        let applied = process.state.applied();
        self.say(|| format!("n{number} has applied log {applied}"));
        self.perform(number, out);
    }

    /// A node's tick.
    pub fn tick(&mut self, number: usize) {
        let now = self.time_at(number);
        let mut out = Out::default();
        let Some(process) = self.nodes[number].awake() else {
            return;
        };
        process.replicas.tick(now, &mut out);
        self.perform(number, out);
    }

    /// A node asks its peers for leases.
    pub fn heartbeat(&mut self, number: usize) {
        let now = self.time_at(number);
        if let Some(process) = self.nodes[number].awake() {
            process.replicas.heartbeat(now);
            self.flush(number);
        }
    }

    /// A node begins, or ceases, to believe that it leads the metadata group.
    pub fn lead(&mut self, number: usize, leads: bool) {
        let failover = self.config.failover.clone();
        if let Some(process) = &mut self.nodes[number].process {
            process.coordinator = leads.then(|| Coordinator::new(failover));
            self.say(|| format!("n{number} leads the metadata group: {leads}"));
        }
    }

    /// The tick of a node's coordinator, where it has one.
    pub fn coordinate(&mut self, number: usize) {
        let now = self.time_at(number);
        let node = &mut self.nodes[number];
        let Some(process) = node.awake() else { return };
        let Some(mut coordinator) = process.coordinator.take() else {
            return;
        };
        let mut orders = Orders::default();
        let nodes = process.state.ring_nodes();
        let (slots, copies) = (self.config.slots, self.config.replication_factor);
        if self.order.as_ref().is_none_or(|(of, _)| *of != nodes) {
            let order = ring::Order::new(&nodes, slots, usize::from(copies));
            self.order = Some((nodes, order));
        }
        let process = self.nodes[number].process.as_ref().expect("awake");
        let liveness = |member: &Member| {
            let other = self.number_of(member).unwrap_or(usize::MAX);
            match self.rumours.get(&(number, other)) {
                Some(rumour) => *rumour,
                None => match process.liveness(member, now) {
                    Liveness::Down => Liveness::Down,
                    _ if self.departing.contains(member) => Liveness::Departs,
                    liveness => liveness,
                },
            }
        };
        let order = self.order.as_ref().map(|(_, order)| order);
        let order = |slot: Slot| order.expect("just made").of(slot);
        coordinator.tick(now, &process.state, &liveness, &order, &mut orders);
        let process = self.nodes[number].process.as_mut().expect("awake");
        process.coordinator = Some(coordinator);
        for (member, message) in orders.sends {
            process.replicas.coordinate(now, &member, message);
        }
        self.waiting = orders.waiting;
        for entry in orders.entries {
            self.propose(number, entry, true);
        }
        self.flush(number);
    }

    /// The metadata group's lease, asked for at `asked` by the node's clock: the node has it once
    /// it has applied all that was committed when the group answered.
    pub fn extend_group_lease(&mut self, number: usize, asked: Time, index: u64) -> bool {
        let until = asked + self.config.group_lease;
        match self.nodes[number].awake() {
            Some(process) if process.state.applied() >= index => {
                process.replicas.extend_group_lease(until);
                true
            }
            _ => false,
        }
    }

    /// What a step at a node left to be done.
    fn perform(&mut self, number: usize, out: Out<Reply>) {
        for (reply, outcome) in out.released {
            self.release(reply.op, outcome);
        }
        if !out.proposals.is_empty() {
            self.propose(number, Entry::Change(out.proposals), false);
        }
        let now = self.time_at(number);
        if let Some(process) = &mut self.nodes[number].process
            && let Some(coordinator) = &mut process.coordinator
        {
            for (member, report) in out.reports {
                coordinator.report(now, &member, report);
            }
        }
        self.flush(number);
        self.check(number);
    }

    fn check(&mut self, number: usize) {
        self.invariants.after_step(&self.nodes, number);
    }

    /// Fails with what happened so far.
    pub fn fail(&mut self, why: impl Display) {
        self.invariants.fail(why.to_string());
    }
}

/// The identity of the node with this number.
#[must_use]
pub fn node_id(number: usize) -> NodeId {
    let number = u8::try_from(number).expect("a handful of nodes");
    NodeId::from_bytes([0xa0 + number; 20])
}

fn form(config: &Config, ids: &[NodeId]) -> Entry {
    let info = NodeInfo {
        weight: ring::WEIGHT,
        ..NodeInfo::default()
    };
    let member = |id: &NodeId| Member {
        node: *id,
        incarnation: Incarnation(1),
    };
    Entry::Form(Form {
        lineage: Lineage(1),
        hash_seed: [1, 2, 3, 4],
        nodes: ids.iter().map(|id| (member(id), info.clone())).collect(),
        replication_factor: Some(config.replication_factor),
        write_quorum: Some(config.write_quorum),
        read_quorum: None,
        on_loss: Some(config.on_loss),
        documents: Vec::new(),
    })
}
