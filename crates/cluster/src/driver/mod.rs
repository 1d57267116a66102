//! The only loop with a clock and a network: feeds the replication's state machine with what
//! happens, and performs what it says.
//!
//! Replication, metadata, gossip and links know nothing of each other; they meet here.

mod changes;
mod coordination;
mod group_lease;
mod links;
mod loops;
mod view;

use std::collections::BTreeSet;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use self::changes::Changes;
use crate::metadata::{Applied, Entry, State};
use crate::replication::{
    Busy, Coordinator, Direction, FailoverSettings, Liveness, Out, Outcome, Replicas, Table, Token,
    Turn,
};
use crate::transport::{BoxFuture, Links};
use crate::{Member, clock, ring};

/// A reply that waits for copies.
pub trait Waiting: Token + Send + 'static {
    /// Says what became of it.
    fn resolve(self, outcome: Outcome);
}

/// What the driver needs of the metadata group.
pub trait Metadata: Send + Sync + 'static {
    /// The newest state that this node has applied.
    fn state(&self) -> Arc<State>;

    /// Resolves when the state is newer than the entry at this index.
    fn newer_than(&self, index: u64) -> BoxFuture<'static, ()>;

    /// Proposes an entry. `None`: nobody knows what became of it.
    fn propose(&self, entry: Entry) -> BoxFuture<'static, Option<Applied>>;

    /// The term in which this node leads the group, if it does.
    fn leads(&self) -> Option<u64>;

    /// Asks the group's leader to let this member lead slots alone, for the group lease from now.
    /// Answers with the index that this node must have applied before it may: what was decided
    /// until then may say otherwise. `None` if there is no answer.
    fn lease(&self, member: Member) -> BoxFuture<'static, Option<u64>>;
}

/// What the driver needs of the gossip.
pub trait Gossip: Send + Sync + 'static {
    /// A packet has arrived.
    fn received(&self, from: Member, packet: &[u8]);

    /// What gossip says of a member.
    fn liveness(&self, member: &Member) -> Liveness;
}

/// The spans of the driver's own loops.
#[derive(Clone, Debug)]
pub struct DriverSettings {
    /// How often the slots that asked for it are looked at.
    pub tick: Duration,
    /// How often leases are renewed.
    pub heartbeat: Duration,
    /// How often the coordinator looks at all slots, where this node leads the metadata group.
    pub coordinate: Duration,
    /// `L_meta`: how long the metadata group's lease lasts.
    pub group_lease: Duration,
    /// After so long without a word a member's stream counts as silent.
    pub silence: Duration,
    /// The spans of a change of primary.
    pub failover: FailoverSettings,
}

/// Joins the parts of one member.
pub struct Driver<T: Table, K: Waiting> {
    settings: DriverSettings,
    replicas: Arc<Replicas<T, K>>,
    metadata: Arc<dyn Metadata>,
    gossip: Arc<dyn Gossip>,
    links: Arc<dyn Links>,
    /// The coordinator and the term of the metadata group in which it leads.
    coordinator: Mutex<Option<(u64, Coordinator)>>,
    /// How many slots wait for an operator, as the coordinator has said last.
    waiting: AtomicUsize,
    /// The state that the replicas were told of.
    seen: watch::Sender<Arc<State>>,
    /// The ring's order of nodes, and which nodes it was made of.
    ring: Mutex<Option<(u64, Arc<ring::Order>)>>,
    changes: Mutex<Changes>,
    /// Something waits in the streams to ourselves.
    loopback: Arc<Notify>,
    /// Something was heard of a slot whose primary is about to change.
    news: Notify,
    /// The members that are about to stop.
    departing: Mutex<BTreeSet<Member>>,
    /// There is room for copies of slots: the next tick is not waited for.
    copies: Notify,
    tasks: Mutex<JoinSet<()>>,
    /// Who wants to know which slots this member leads.
    turns: OnceLock<OnTurns>,
}

/// Hears of the slots that this member begins or ceases to lead, in the order in which it does.
pub type OnTurns = Box<dyn Fn(Vec<Turn>) + Send + Sync>;

/// The number of the streams that lead from a member to itself.
const LOOPBACK: u64 = 1;

impl<T: Table, K: Waiting> Driver<T, K> {
    /// Joins the parts. Nothing moves before [`Driver::start`].
    pub fn new(
        settings: DriverSettings,
        replicas: Arc<Replicas<T, K>>,
        metadata: Arc<dyn Metadata>,
        gossip: Arc<dyn Gossip>,
        links: Arc<dyn Links>,
    ) -> Arc<Driver<T, K>> {
        Arc::new(Driver {
            settings,
            replicas,
            metadata,
            gossip,
            links,
            coordinator: Mutex::default(),
            waiting: AtomicUsize::default(),
            seen: watch::Sender::default(),
            ring: Mutex::default(),
            changes: Mutex::default(),
            loopback: Arc::default(),
            news: Notify::new(),
            departing: Mutex::default(),
            copies: Notify::new(),
            tasks: Mutex::default(),
            turns: OnceLock::new(),
        })
    }

    /// Starts the loops on the runtime of the caller. They end with [`Driver::stop`]; a panic in
    /// one of them ends the process. `formed` is called once, when the cluster is known and before
    /// any slot is placed here. Where it says `false`, no slot ever is: this member cannot serve
    /// such a cluster.
    pub fn start(self: &Arc<Self>, formed: impl FnOnce(&State) -> bool + Send + 'static) {
        let me = self.replicas.me();
        for direction in [Direction::Forward, Direction::Back] {
            self.replicas.opened(clock::now(), &me, direction, LOOPBACK);
            let loopback = Arc::clone(&self.loopback);
            let peer = self.replicas.peer(&me, clock::now());
            peer.on_ready(direction, LOOPBACK, move || loopback.notify_one());
        }
        self.links.drive(Arc::new(links::LinkEnd(Arc::clone(self))));
        let mut tasks = self.tasks.lock();
        let follow = Arc::clone(self).follow_metadata(Box::new(formed));
        tasks.spawn(loops::run("metadata", follow));
        tasks.spawn(loops::run("loopback", Arc::clone(self).speak_to_oneself()));
        tasks.spawn(loops::run(
            "group lease",
            Arc::clone(self).renew_group_lease(),
        ));
        tasks.spawn(loops::run("tick", Arc::clone(self).tick()));
    }

    /// From now on this hears which slots the member begins or ceases to lead.
    ///
    /// # Panics
    /// If somebody hears it already.
    pub fn on_turns(&self, hear: OnTurns) {
        assert!(self.turns.set(hear).is_ok(), "turns are heard by one");
    }

    /// A slot is handed over when nothing is under way in it: this says, under the slot's lock,
    /// whether something is that the replication does not know of.
    ///
    /// # Panics
    /// If somebody says so already.
    pub fn on_yield(&self, busy: Busy) {
        self.replicas.on_yield(busy);
    }

    /// These members are about to stop: what they lead is handed over.
    pub fn set_departing(&self, members: BTreeSet<Member>) {
        *self.departing.lock() = members;
    }

    /// Ends the loops.
    pub fn stop(&self) {
        self.tasks.lock().abort_all();
    }

    /// Performs what the replication says: releases replies, keeps proposals for the next tick,
    /// hands reports to the coordinator, says who leads.
    pub fn perform(&self, out: Out<K>) {
        if !out.turns.is_empty()
            && let Some(hear) = self.turns.get()
        {
            hear(out.turns);
        }
        for (token, outcome) in out.released {
            token.resolve(outcome);
        }
        if !out.proposals.is_empty() {
            self.changes.lock().gather(out.proposals);
        }
        if !out.reports.is_empty() {
            let now = clock::now();
            if let Some((_, coordinator)) = &mut *self.coordinator.lock() {
                for (member, report) in out.reports {
                    coordinator.report(now, &member, report);
                }
                self.news.notify_one();
            }
        }
    }

    async fn tick(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(self.settings.tick);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut beat_at, mut coordinate_at) = (clock::now(), clock::now());
        loop {
            tokio::select! {
                biased;
                _ = ticks.tick() => {}
                () = self.copies.notified() => {
                    self.replicas.send_copies();
                    continue;
                }
                () = self.news.notified() => {
                    self.coordinate(clock::now(), false);
                    continue;
                }
            }
            let now = clock::now();
            if now >= beat_at {
                beat_at = now + self.settings.heartbeat;
                self.replicas.heartbeat(now);
            }
            let mut out = Out::default();
            self.replicas.tick(now, &mut out);
            self.perform(out);
            self.propose_changes();
            self.reap();
            if now >= coordinate_at {
                coordinate_at = now + self.settings.coordinate;
                self.coordinate(now, true);
            }
        }
    }

    /// Forgets tasks that have ended.
    fn reap(&self) {
        let mut tasks = self.tasks.lock();
        while tasks.try_join_next().is_some() {}
    }

    async fn speak_to_oneself(self: Arc<Self>) {
        let me = self.replicas.me();
        let peer = self.replicas.peer(&me, clock::now());
        loop {
            self.loopback.notified().await;
            loop {
                let mut spoken = false;
                for (taken, heard) in [
                    (Direction::Forward, Direction::Back),
                    (Direction::Back, Direction::Forward),
                ] {
                    let Some(batch) = peer.take(taken, LOOPBACK, usize::MAX) else {
                        continue;
                    };
                    spoken = true;
                    let mut out = Out::default();
                    let now = clock::now();
                    self.replicas
                        .receive(now, &me, heard, LOOPBACK, &batch, &mut out)
                        .expect("a member understands itself");
                    self.perform(out);
                }
                if !spoken {
                    break;
                }
            }
        }
    }
}
