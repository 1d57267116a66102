//! A run: what happens next, and when, is drawn from the seed. The same seed replays exactly.

mod administrator;
mod faults;
mod metadata;
mod streams;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use cluster::metadata::{Applied, Entry, OnLoss};
use cluster::replication::{Direction, Rule};
use cluster::{Slot, Time};

use crate::Chance;
use crate::fault::{self, Fault, Plan};
use crate::invariant::linearizable;
use crate::invariant::service::Probes;
use crate::table::Key;
use crate::workload::{Op, OpId, Workload};
use crate::world::{Proposal, World};

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// All chance comes from it.
    pub seed: u64,
    /// How many nodes, if the seed is not to decide.
    pub nodes: Option<usize>,
    /// After so many steps the run is cut off, if at all.
    pub steps: Option<u64>,
    /// Whether what happens is kept, in words.
    pub trace: bool,
    /// What is left out of the protocol, to show that it is needed.
    pub without: Option<Without>,
    /// What becomes of slots of which something may be missing, if the seed is not to decide.
    pub on_loss: Option<OnLoss>,
}

impl Run {
    /// One seed in five has slots wait, and an operator who comes by now and then.
    fn on_loss(&self) -> OnLoss {
        let waits = self.seed.is_multiple_of(5);
        let of_seed = if waits { OnLoss::Wait } else { OnLoss::Accept };
        self.on_loss.unwrap_or(of_seed)
    }
}

/// What a run can leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    /// A rule of the replication.
    Rule(Rule),
    /// A node that restarts is the member that it was.
    Incarnations,
    /// A change that was judged by an older placement is applied all the same.
    Revs,
}

impl Without {
    /// What has this name, as it is written in the code.
    #[must_use]
    pub fn named(name: &str) -> Option<Without> {
        match name {
            "Incarnations" => Some(Without::Incarnations),
            "Revs" => Some(Without::Revs),
            _ => {
                let mut rules = Rule::ALL.into_iter();
                let rule = rules.find(|rule| format!("{rule:?}") == name)?;
                Some(Without::Rule(rule))
            }
        }
    }
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What broke, if anything did.
    pub failure: Option<String>,
    /// What happened, in words, if that was asked for.
    pub trace: Vec<String>,
    /// How many steps it took.
    pub steps: u64,
    /// How many operations were called, and how many were answered.
    pub operations: (usize, usize),
    /// Slots that lost more members than they promise to bear.
    pub excused: usize,
    /// How often an operator found slots that waited, and let them go on.
    pub accepted: usize,
}

/// What is due at some moment.
#[derive(Debug)]
enum Event {
    Tick(usize, u64),
    Heartbeat(usize, u64),
    Coordinate(usize, u64),
    AskGroup(usize, u64),
    GroupAnswers(usize, Time),
    GroupLease(usize, Time, u64),
    Dial(usize, usize),
    Establish(u64, (usize, usize)),
    Deliver(u64, Direction),
    Close(u64, bool),
    Commit(Proposal, bool),
    Tell(Proposal, Option<Applied>),
    Apply(usize, u64),
    Lead(usize, bool),
    Client(usize),
    TimeOut(OpId),
    Fault(usize),
    Start(usize),
    Resume(usize),
    Unblock(usize, usize),
    EndRumour(usize, usize),
    EndSlow(usize, usize),
    EndDeaf(usize),
    Kill(usize),
    EndOfFaults,
    Operator,
    Administrator,
    Probe,
}

struct Scheduler {
    world: World,
    plan: Plan,
    chance: Chance,
    events: BinaryHeap<Reverse<(Time, u64)>>,
    due: BTreeMap<u64, Event>,
    numbered: u64,
    workload: Workload,
    /// What each client waits for.
    clients: Vec<Option<OpId>>,
    dialling: BTreeSet<(usize, usize)>,
    /// How much longer what one node sends to another takes.
    slow: BTreeMap<(usize, usize), Duration>,
    /// Who hears nothing of the metadata log.
    deaf: BTreeSet<usize>,
    /// Who leads the metadata group in truth.
    leader: Option<usize>,
    faults_over: bool,
    accepted: usize,
    probes: Probes,
    is_done: bool,
}

/// How long the slots may take to be served again after the faults.
const SERVICE: Duration = Duration::from_secs(30);

/// Runs a seed.
#[must_use]
pub fn run(run: &Run) -> Outcome {
    let mut scheduler = Scheduler::new(run);
    let mut steps = 0;
    while scheduler.world.invariants.failure().is_none() && !scheduler.is_done {
        if run.steps.is_some_and(|most| steps >= most) {
            break;
        }
        steps += 1;
        scheduler.step();
    }
    let mut world = scheduler.world;
    if world.invariants.failure().is_none() {
        judge_histories(&mut world);
    }
    let ops = world.history.ops();
    let answered = ops.iter().filter(|op| op.returned.is_some()).count();
    let slots = Slot::all().take(usize::from(world.config.slots));
    Outcome {
        failure: world.invariants.failure().map(str::to_owned),
        steps,
        operations: (ops.len(), answered),
        excused: slots
            .filter(|slot| world.invariants.excused(*slot).is_some())
            .count(),
        accepted: scheduler.accepted,
        trace: world.trace.unwrap_or_default(),
    }
}

/// Each key's history must be linearizable, up to the moment from which its slot may lose data.
pub fn judge_histories(world: &mut World) {
    let mut keys: BTreeMap<(Slot, Key), Vec<Op>> = BTreeMap::new();
    for op in world.history.ops() {
        let until = world.invariants.excused(op.at.0).unwrap_or(u64::MAX);
        if op.called > until {
            continue;
        }
        let mut op = op.clone();
        op.returned = op.returned.filter(|returned| *returned <= until);
        keys.entry(op.at).or_default().push(op);
    }
    for ((slot, key), ops) in keys {
        let ops: Vec<&Op> = ops.iter().collect();
        if let Err(why) = linearizable::check(&ops) {
            world.fail(format!("{slot:?} k{key} is not linearizable: {why}"));
            return;
        }
    }
}

impl Scheduler {
    fn new(run: &Run) -> Scheduler {
        let mut chance = Chance::new(run.seed);
        let mut config = fault::config(&mut chance, run.nodes);
        config.leave_out(run.without);
        config.on_loss = run.on_loss();
        let clocks = fault::clocks(&mut chance, config.nodes);
        let mut plan = Plan::draw(&mut chance);
        // Nothing may be lost then, whatever is killed.
        plan.is_wild |= config.on_loss == OnLoss::Wait;
        let workload = Workload::new(config.slots, &mut chance);
        let mut world = World::new(config, &clocks);
        world.trace = run.trace.then(Vec::new);
        world.say(|| format!("{plan:?}"));
        let mut scheduler = Scheduler {
            clients: vec![None; plan.clients.1],
            world,
            plan,
            chance,
            events: BinaryHeap::new(),
            due: BTreeMap::new(),
            numbered: 0,
            workload,
            dialling: BTreeSet::new(),
            slow: BTreeMap::new(),
            deaf: BTreeSet::new(),
            leader: None,
            faults_over: false,
            accepted: 0,
            probes: Probes::default(),
            is_done: false,
        };
        scheduler.begin();
        scheduler
    }

    fn begin(&mut self) {
        for number in 0..self.world.nodes.len() {
            if self.world.nodes[number].process.is_some() {
                self.schedule_node(number);
            }
        }
        for client in 0..self.clients.len() {
            let after = self.chance.around(self.plan.clients.0);
            self.after(after, Event::Client(client));
        }
        for fault in 0..self.plan.faults.len() {
            let after = self.chance.around(self.plan.faults[fault].1);
            self.after(after, Event::Fault(fault));
        }
        self.after(Duration::from_millis(5), Event::Lead(0, true));
        self.after(self.plan.lasts, Event::EndOfFaults);
        if self.world.config.on_loss == OnLoss::Wait {
            self.operator();
        }
        if let Some(mean) = self.plan.administration {
            let after = self.chance.around(mean);
            self.after(after, Event::Administrator);
        }
        for number in 0..self.world.nodes.len() {
            if self.world.nodes[number].process.is_none() {
                let after = self.chance.between(Duration::ZERO, self.plan.lasts);
                self.after(after, Event::Start(number));
            }
        }
    }

    /// The regular events of a node that has just started.
    fn schedule_node(&mut self, number: usize) {
        let start = self.world.nodes[number].incarnation;
        let after = self.chance.millis(0, 40);
        self.after(after, Event::Tick(number, start));
        self.after(after, Event::Heartbeat(number, start));
        self.after(after, Event::Coordinate(number, start));
        self.after(after, Event::AskGroup(number, start));
    }

    fn after(&mut self, span: Duration, event: Event) {
        self.numbered += 1;
        self.events
            .push(Reverse((self.world.now + span, self.numbered)));
        self.due.insert(self.numbered, event);
    }

    fn step(&mut self) {
        let Some(Reverse((at, number))) = self.events.pop() else {
            self.world.fail("nothing happens any more");
            return;
        };
        self.world.now = at;
        let event = self.due.remove(&number).expect("every event is due once");
        self.happen(event);
        self.schedule_sent();
        self.schedule_proposed();
    }

    fn is_running(&self, number: usize, start: u64) -> bool {
        let node = &self.world.nodes[number];
        node.incarnation == start && node.process.is_some()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick(number, start) => self.tick(number, start),
            Event::Heartbeat(number, start) => {
                if self.is_running(number, start) {
                    self.world.heartbeat(number);
                    let every = self.world.config.settings.heartbeat;
                    self.after(every, Event::Heartbeat(number, start));
                }
            }
            Event::Coordinate(number, start) => {
                if self.is_running(number, start) {
                    self.world.coordinate(number);
                    let again = self.chance.millis(40, 120);
                    self.after(again, Event::Coordinate(number, start));
                }
            }
            Event::AskGroup(number, start) => self.ask_group(number, start),
            Event::GroupAnswers(number, asked) => self.group_answers(number, asked),
            Event::GroupLease(number, asked, index) => self.group_lease(number, asked, index),
            Event::Dial(from, to) => self.dial(from, to),
            Event::Establish(stream, pair) => {
                self.dialling.remove(&pair);
                self.world.establish(stream);
            }
            Event::Deliver(stream, direction) => self.deliver(stream, direction),
            Event::Close(stream, initiator) => self.world.close(stream, initiator),
            Event::Commit(proposal, again) => self.commit(&proposal, again),
            Event::Tell(proposal, applied) => self.world.tell(&proposal, applied.as_ref()),
            Event::Apply(number, upto) => self.apply(number, upto),
            Event::Lead(number, leads) => self.lead(number, leads),
            Event::Client(client) => self.client(client),
            Event::TimeOut(op) => self.world.time_out(op),
            Event::Fault(fault) => self.fault(fault),
            Event::Start(number) => self.start(number),
            Event::Resume(number) => self.resume(number),
            Event::Unblock(from, to) => self.world.network.set_blocked(from, to, false),
            Event::EndRumour(from, to) => {
                self.world.rumours.remove(&(from, to));
            }
            Event::EndSlow(from, to) => {
                self.slow.remove(&(from, to));
            }
            Event::EndDeaf(number) => self.end_deaf(number),
            Event::Kill(number) => self.kill(number),
            Event::EndOfFaults => self.end_of_faults(),
            Event::Operator => self.operator(),
            Event::Administrator => self.administrator(),
            Event::Probe => self.probe(),
        }
    }

    fn tick(&mut self, number: usize, start: u64) {
        if !self.is_running(number, start) {
            return;
        }
        self.world.tick(number);
        for slot in Slot::all().take(usize::from(self.world.config.slots)) {
            self.world.check_leaders(slot);
        }
        for to in self.world.undialled(number) {
            if self.dialling.insert((number, to)) {
                let after = self.chance.millis(1, 150);
                self.after(after, Event::Dial(number, to));
            }
        }
        let again = self.chance.millis(20, 50);
        self.after(again, Event::Tick(number, start));
    }

    fn client(&mut self, client: usize) {
        let pause = self.chance.around(self.plan.clients.0);
        self.after(pause, Event::Client(client));
        let waits = self.clients[client].is_some_and(|op| self.world.history.is_waiting(op));
        if waits {
            return;
        }
        let next = self.workload.next(&mut self.chance, &self.world.history);
        let (slot, key, kind) = next;
        let number = self.chance.index(self.world.nodes.len());
        let view = self.world.nodes[number].process.as_ref();
        let primary = view.and_then(|view| view.state.placement(slot).primary);
        let at = primary.and_then(|member| self.world.number_of(&member));
        let at = at.filter(|_| self.chance.permille(850)).unwrap_or(number);
        if let Ok(op) = self.world.execute(at, slot, key, kind) {
            self.clients[client] = Some(op);
            self.after(self.plan.patience, Event::TimeOut(op));
        }
    }

    fn probe(&mut self) {
        let answered = self.probes.are_answered(&mut self.world);
        let over = self.plan.lasts + SERVICE;
        if !self.world.log.state().balances() {
            // What was said before may have arrived later.
            self.world.propose(0, Entry::Balance(true), false);
        }
        if answered {
            self.is_done = true;
        } else if self.world.now.since(Time::ZERO) > over {
            let missing = self.probes.missing(&self.world);
            self.world.fail(format!("not served again: {missing}"));
        } else {
            self.after(Duration::from_millis(250), Event::Probe);
        }
    }
}

/// Whether a fault of this kind may happen to a node that does not run.
fn needs_process(fault: Fault) -> bool {
    matches!(fault, Fault::Kill | Fault::Stop | Fault::Pause)
}
