//! Whole groups in one process: real logs on disk, calls in memory that can be lost and cut.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;
use tokio::time::{Instant, timeout};

use super::*;
use crate::metadata::{
    BootstrapSettings, Document, Entry, FenceSlot, LeaseError, ProposeError, bootstrap,
};
use crate::transport::{CallError, Lost, NotSent};
use crate::{Incarnation, NodeInfo, Slot};

const PATIENCE: Duration = Duration::from_secs(60);

/// What the nodes speak through.
#[derive(Default)]
struct Wire {
    handlers: Mutex<BTreeMap<(NodeId, CallKind), Arc<dyn Handler>>>,
    /// Nodes that nobody reaches, and that reach nobody.
    cut: Mutex<BTreeSet<NodeId>>,
    /// Of a hundred calls, how many are lost on the way, and as many answers.
    lost: Mutex<Option<(StdRng, u32)>>,
}

impl Wire {
    fn loses(&self) -> bool {
        self.lost
            .lock()
            .as_mut()
            .is_some_and(|(rng, share)| rng.random_range(0..100) < *share)
    }

    fn lose(&self, seed: u64, share: u32) {
        *self.lost.lock() = Some((StdRng::seed_from_u64(seed), share));
    }
}

struct End {
    wire: Arc<Wire>,
    me: Member,
}

impl Calls for End {
    fn call(
        &self,
        to: NodeId,
        kind: CallKind,
        request: Bytes,
        time: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let (wire, me) = (Arc::clone(&self.wire), self.me);
        Box::pin(async move {
            let cut = |node| wire.cut.lock().contains(node);
            let handler = wire.handlers.lock().get(&(to, kind)).cloned();
            let Some(handler) = handler.filter(|_| !cut(&to) && !cut(&me.node)) else {
                return Err(CallError::NotSent(NotSent::NoLink));
            };
            if wire.loses() {
                return Err(CallError::Unknown(Lost::LinkLost));
            }
            let answer = timeout(time, handler.handle(me, kind, request)).await;
            let answer = answer.map_err(|_| CallError::Unknown(Lost::TimedOut))?;
            if wire.loses() || cut(&to) || cut(&me.node) {
                return Err(CallError::Unknown(Lost::LinkLost));
            }
            Ok(answer)
        })
    }

    fn serve(&self, kind: CallKind, handler: Arc<dyn Handler>) {
        self.wire
            .handlers
            .lock()
            .insert((self.me.node, kind), handler);
    }
}

/// A cluster under test, node by node.
struct World {
    wire: Arc<Wire>,
    directories: Vec<TempDir>,
    neighbours: Vec<watch::Sender<Neighbours>>,
    running: BTreeMap<usize, Group>,
    settings: GroupSettings,
    expect: usize,
}

fn id(at: usize) -> NodeId {
    NodeId::from_bytes([at as u8 + 1; 20])
}

fn info() -> NodeInfo {
    NodeInfo {
        weight: 100,
        ..NodeInfo::default()
    }
}

impl World {
    fn new(count: usize, expect: usize) -> World {
        let settings = GroupSettings {
            heartbeat: Duration::from_millis(60),
            election_min: Duration::from_millis(200),
            election_max: Duration::from_millis(300),
            call_timeout: Duration::from_millis(500),
            propose_timeout: Duration::from_secs(2),
            pull_wait: Duration::from_millis(500),
            voter_grace: Duration::from_millis(500),
            ..GroupSettings::default()
        };
        World {
            wire: Arc::default(),
            directories: (0..count).map(|_| tempfile::tempdir().unwrap()).collect(),
            neighbours: (0..count).map(|_| watch::Sender::default()).collect(),
            running: BTreeMap::new(),
            settings,
            expect,
        }
    }

    /// Starts nodes as one start of several processes, and waits until all belong to a cluster.
    async fn start(&mut self, nodes: impl IntoIterator<Item = usize>) {
        let nodes: Vec<usize> = nodes.into_iter().collect();
        for &at in &nodes {
            let disk = Arc::new(Disk::open(self.directories[at].path()).unwrap());
            let incarnation = disk.draw_incarnation().unwrap();
            let me = Member {
                node: id(at),
                incarnation,
            };
            let calls = Arc::new(End {
                wire: Arc::clone(&self.wire),
                me,
            });
            let neighbours = self.neighbours[at].subscribe();
            let settings = self.settings.clone();
            let group = Group::start(me, disk, calls, neighbours, 64, settings)
                .await
                .unwrap();
            self.running.insert(at, group);
        }
        self.introduce();
        let groups: Vec<Group> = nodes.iter().map(|at| self.running[at].clone()).collect();
        let expect = Some(self.expect);
        let joining = groups.iter().map(|group| async move {
            let settings = BootstrapSettings {
                expect,
                ..BootstrapSettings::default()
            };
            bootstrap(group, info(), settings).await.unwrap();
            group.register(info()).await.unwrap();
        });
        timeout(PATIENCE, futures_util::future::join_all(joining))
            .await
            .unwrap();
    }

    /// Tells all nodes which ones run.
    fn introduce(&self) {
        let known = |at: &usize| (id(*at), (self.running[at].me(), info()));
        for (at, sender) in self.neighbours.iter().enumerate() {
            let mut alive: BTreeMap<_, _> = self.running.keys().map(known).collect();
            alive.remove(&id(at));
            sender.send_replace(Neighbours {
                alive,
                seeds: Vec::new(),
            });
        }
    }

    async fn stop(&mut self, at: usize) {
        let group = self.running.remove(&at).unwrap();
        self.wire
            .handlers
            .lock()
            .retain(|(node, _), _| *node != id(at));
        group.stop().await;
        drop(group);
        self.introduce();
    }

    /// The node that leads, once one does and the others that are not cut off agree.
    async fn leader(&self) -> usize {
        let cut = self.wire.cut.lock().clone();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let connected = self
                .running
                .iter()
                .filter(|(at, _)| !cut.contains(&id(**at)));
            let mut leads = connected.map(|(at, group)| (*at, group.watch_leadership()));
            let leader = leads.find(|(_, seen)| seen.borrow().leading.is_some());
            if let Some((at, _)) = leader {
                return at;
            }
            let changes = self.running.values().map(|group| async move {
                group.watch_leadership().changed().await.unwrap();
            });
            let changes = changes.map(Box::pin);
            let one = futures_util::future::select_all(changes);
            // A change between the look and the wait is seen at the next look.
            let _ = timeout(Duration::from_millis(50), one).await;
            assert!(Instant::now() < deadline, "nobody leads");
        }
    }

    /// Waits until the condition holds for the node's state.
    async fn sees(&self, at: usize, condition: impl Fn(&State) -> bool) {
        let mut state = self.running[&at].watch_state();
        let wait = state.wait_for(|state| condition(state));
        timeout(PATIENCE, wait)
            .await
            .expect("the state never came")
            .unwrap();
    }

    /// Waits until all nodes know this node's entries, and compares their states.
    async fn agree(&self) {
        let newest = self
            .running
            .values()
            .map(|group| group.state().applied())
            .max()
            .unwrap();
        for at in self.running.keys() {
            self.sees(*at, |state| state.applied() >= newest).await;
        }
        let states: Vec<Arc<State>> = self.running.values().map(Group::state).collect();
        for state in &states {
            if state.applied() == states[0].applied() {
                assert_eq!(state, &states[0]);
            }
        }
    }

    async fn set(&self, at: usize, name: &str) -> Result<(), ProposeError> {
        let (name, value) = (name.to_owned(), Bytes::new());
        let entry = Entry::Document(Document {
            name,
            value,
            expect: None,
        });
        self.running[&at]
            .propose(entry)
            .await
            .map(|applied| assert_eq!(applied.refused, None))
    }

    /// Proposes until it is known to be applied.
    async fn set_surely(&self, at: usize, name: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.set(at, name).await.is_err() {
            assert!(Instant::now() < deadline, "nothing can be proposed");
        }
    }
}

/// Asks for a lease, which counts once this member has applied what was decided before it.
async fn holds_lease(group: &Group) -> Result<(), LeaseError> {
    let index = group.lease(group.me()).await?;
    let mut state = group.watch_state();
    let known = state.wait_for(|state| state.applied() >= index);
    timeout(PATIENCE, known).await.unwrap().unwrap();
    Ok(())
}

#[tokio::test]
async fn one_node_alone_is_a_cluster_at_once() {
    let mut world = World::new(1, 1);
    world.start([0]).await;
    let group = &world.running[&0];
    assert_eq!(group.voters(), [id(0)].into());
    assert_eq!(group.state().write_quorum(), 1);
    holds_lease(group).await.unwrap();
}

#[tokio::test]
async fn three_nodes_make_one_cluster_and_decide_alike() {
    let mut world = World::new(3, 3);
    world.start(0..3).await;
    for at in 0..3 {
        world.set(at, &format!("from {at}")).await.unwrap();
    }
    world.agree().await;
    let state = world.running[&0].state();
    assert_eq!(state.documents().len(), 3);
    assert_eq!(state.nodes().len(), 3);
    assert!(
        state
            .placements()
            .all(|(_, placement)| placement.in_sync.len() == 3)
    );
    let lineages: BTreeSet<_> = world
        .running
        .values()
        .map(|group| group.state().lineage())
        .collect();
    assert_eq!(lineages.len(), 1);
}

#[tokio::test]
async fn a_dead_leader_is_replaced_and_comes_back_as_another_member() {
    let mut world = World::new(3, 3);
    world.start(0..3).await;
    let leader = world.leader().await;
    let before = world.running[&leader].me();
    world.set(leader, "before").await.unwrap();
    world.stop(leader).await;
    let next = world.leader().await;
    assert_ne!(next, leader);
    world.set_surely(next, "while it is away").await;
    world.start([leader]).await;
    let group = &world.running[&leader];
    assert_eq!(
        group.me().incarnation,
        Incarnation(before.incarnation.0 + 1)
    );
    assert!(
        group.state().is_known_dead(&before),
        "it knows that it has registered"
    );
    world
        .sees(leader, |state| state.document("while it is away").is_some())
        .await;
    world.agree().await;
}

#[tokio::test]
async fn all_nodes_restart_with_what_they_had_decided() {
    let mut world = World::new(3, 3);
    world.settings.snapshot_entries = 10;
    world.start(0..3).await;
    for number in 0..30 {
        world.set_surely(number % 3, &format!("{number}")).await;
    }
    let lineage = world.running[&0].state().lineage();
    for at in 0..3 {
        world.stop(at).await;
    }
    world.start(0..3).await;
    world.agree().await;
    let state = world.running[&1].state();
    assert_eq!((state.lineage(), state.documents().len()), (lineage, 30));
}

#[tokio::test]
async fn lost_calls_neither_lose_nor_repeat_a_decision() {
    let mut world = World::new(3, 3);
    world.start(0..3).await;
    world.wire.lose(7, 15);
    let mut certain = Vec::new();
    let mut refused = Vec::new();
    for number in 0..60 {
        let name = format!("{number}");
        match world.set(number % 3, &name).await {
            Ok(()) => certain.push(name),
            Err(ProposeError::NotProposed) => refused.push(name),
            Err(ProposeError::Unknown) => {}
        }
    }
    world.wire.lose(7, 0);
    world.set_surely(0, "end").await;
    world.sees(0, |state| state.document("end").is_some()).await;
    world.agree().await;
    let state = world.running[&0].state();
    assert!(!certain.is_empty());
    for name in &certain {
        assert_eq!(
            state.document(name).map(|document| document.rev),
            Some(1),
            "{name}"
        );
    }
    assert!(refused.iter().all(|name| state.document(name).is_none()));
    assert!(
        state
            .documents()
            .iter()
            .all(|(name, document)| name == "end" || document.rev == 1)
    );
}

#[tokio::test]
async fn a_leader_that_is_cut_off_decides_and_promises_nothing() {
    let mut world = World::new(3, 3);
    world.start(0..3).await;
    let old = world.leader().await;
    let since = world.running[&old]
        .watch_leadership()
        .borrow()
        .leading
        .unwrap();
    assert_eq!(holds_lease(&world.running[&old]).await, Ok(()));
    world.wire.cut.lock().insert(id(old));
    assert!(world.set(old, "in the minority").await.is_err());
    assert_eq!(
        holds_lease(&world.running[&old]).await,
        Err(LeaseError::NoLeader)
    );
    let new = world.leader().await;
    let taken_over = world.running[&new]
        .watch_leadership()
        .borrow()
        .leading
        .unwrap();
    assert!(taken_over.since > since.since && taken_over.term > since.term);
    world.set_surely(new, "in the majority").await;
    world.wire.cut.lock().clear();
    world
        .sees(old, |state| state.document("in the majority").is_some())
        .await;
    world.agree().await;
}

#[tokio::test]
async fn a_member_that_has_a_successor_gets_no_lease() {
    let mut world = World::new(3, 3);
    world.start(0..3).await;
    let group = &world.running[&1];
    let successor = Member {
        incarnation: Incarnation(9),
        ..group.me()
    };
    let entry = Entry::Register {
        member: successor,
        info: info(),
    };
    world.running[&0].propose(entry).await.unwrap();
    assert_eq!(holds_lease(group).await, Err(LeaseError::Dead));
}

#[tokio::test]
async fn a_lease_tells_its_holder_of_every_fence_before_it() {
    let mut world = World::new(4, 3);
    world.start(0..3).await;
    world.start([3]).await;
    let slot = Slot::new(5).unwrap();
    let rev = world.running[&0].state().placement(slot).rev;
    let fence = Entry::Fence(vec![FenceSlot { slot, rev }]);
    assert_eq!(
        world.running[&0].propose(fence).await.unwrap().slots,
        [slot]
    );
    let outside = &world.running[&3];
    holds_lease(outside).await.unwrap();
    assert_eq!(outside.state().placement(slot).primary, None);
    assert_eq!(outside.slot_map().load().primary(slot), None);
}

#[tokio::test]
async fn a_node_outside_the_group_follows_it_and_takes_the_place_of_a_dead_voter() {
    let mut world = World::new(4, 3);
    world.settings.snapshot_entries = 10;
    world.start(0..3).await;
    for number in 0..40 {
        world.set_surely(0, &format!("{number}")).await;
    }
    world.start([3]).await;
    world.set_surely(3, "proposed from outside").await;
    world
        .sees(3, |state| state.document("proposed from outside").is_some())
        .await;
    let leader = world.leader().await;
    let victim = (0..3).find(|at| *at != leader).unwrap();
    world.stop(victim).await;
    let wanted: BTreeSet<NodeId> = (0..4).filter(|at| *at != victim).map(id).collect();
    for group in world.running.values() {
        let mut metrics = group.inner().raft.metrics();
        let wait = metrics.wait_for(|_| group.voters() == wanted);
        timeout(PATIENCE, wait)
            .await
            .expect("its voters are others")
            .unwrap();
    }
    world.agree().await;
}
