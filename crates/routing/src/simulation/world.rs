//! A few nodes that lead the same slots in turn, over a modelled linear log.
//!
//! A record is committed a little after it was made. At a take-over the next primary has all that
//! is committed, and of the rest as much as chance left it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cluster::{Slot, Version};
use futures_util::future::LocalBoxFuture;

use super::{Executor, Node, NodeId, SimDatabase, SimLocked, WORLD};
use crate::database::Value;
use crate::error::Error;
use crate::host::{Change, Effect, Locked, Mark};
use crate::keyspace::Keyspaces;
use crate::mode::{Request, Use};
use crate::rule::Rules;
use crate::signal::Signal;
use crate::{Cache, keyspace};

/// Where virtual Unix time begins.
const UNIX_MS: u64 = 1_000_000_000;

#[derive(Clone, Debug)]
pub(crate) enum Command {
    Get(Vec<Bytes>),
    /// Keys with values; none removes. No need of the old ones.
    Set(Vec<(Bytes, Bytes)>),
    /// Sets a value with an end, in milliseconds of Unix time.
    SetUntil(Bytes, Bytes, u64),
    /// Sets, and returns the old value.
    Swap(Bytes, Bytes),
    Delete(Vec<Bytes>),
}

pub(crate) type Reply = Vec<Option<Bytes>>;

pub(crate) struct World {
    pub(crate) executor: Executor,
    pub(crate) database: Rc<SimDatabase>,
    pub(super) keyspaces: Arc<Keyspaces>,
    pub(super) rules: Rules,
    pub(super) slots: RefCell<BTreeMap<Slot, State>>,
    /// What a node had of a slot when it ceased to lead it.
    pub(super) left_behind: RefCell<BTreeMap<(NodeId, Slot), State>>,
    pub(super) epoch: Cell<u32>,
    pub(super) primary: Cell<NodeId>,
    pub(super) nodes: RefCell<BTreeMap<NodeId, Rc<Cache<Node>>>>,
    /// While set, nothing is committed: the copies are out of reach.
    pub(crate) cut_off: Cell<bool>,
    pub(crate) commit_ms: Cell<u64>,
    pub(crate) dirty_bytes_max: Cell<u64>,
    /// While set, the primary has no lease.
    pub(crate) no_lease: Cell<bool>,
    /// While set, nothing is recorded: there is no memory.
    pub(crate) no_memory: Cell<bool>,
}

#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) log: Vec<(Version, Vec<Effect>)>,
    pub(super) committed: Version,
    pub(super) last: Version,
    pub(super) table: BTreeMap<Bytes, Stored>,
    pub(super) waiting: Vec<(Version, Rc<Signal>)>,
}

#[derive(Clone)]
pub(super) struct Stored {
    pub(super) value: Option<Value>,
    pub(super) mark: Mark,
    pub(super) version: Version,
}

impl World {
    pub(crate) fn new(seed: u64, rules: Rules) -> Rc<World> {
        World::with_keyspaces(seed, rules, keyspace::example_settings())
    }

    /// The same on a real SQLite file.
    pub(crate) fn on_sqlite(seed: u64) -> Rc<World> {
        let executor = Executor::new(seed);
        let settings = keyspace::example_settings();
        let document = keyspace::check(&settings, &["main"]).unwrap();
        let database = SimDatabase::on_sqlite(&executor, &Keyspaces::new(document));
        World::with_database(executor, database, Rules::default(), settings)
    }

    pub(crate) fn with_keyspaces(
        seed: u64,
        rules: Rules,
        settings: Vec<keyspace::KeyspaceSettings>,
    ) -> Rc<World> {
        let executor = Executor::new(seed);
        let database = SimDatabase::new(&executor);
        World::with_database(executor, database, rules, settings)
    }

    fn with_database(
        executor: Executor,
        database: Rc<SimDatabase>,
        rules: Rules,
        mut settings: Vec<keyspace::KeyspaceSettings>,
    ) -> Rc<World> {
        for one in &mut settings {
            one.write_back.flush_timeout = crate::quantity::Span::from_millis(700);
        }
        let document = keyspace::check(&settings, &["main"]).unwrap();
        let world = Rc::new(World {
            database,
            executor,
            keyspaces: Arc::new(Keyspaces::new(document)),
            rules,
            slots: RefCell::default(),
            left_behind: RefCell::default(),
            epoch: Cell::new(1),
            primary: Cell::new(0),
            nodes: RefCell::default(),
            cut_off: Cell::new(false),
            commit_ms: Cell::new(3),
            dirty_bytes_max: Cell::new(u64::MAX),
            no_lease: Cell::new(false),
            no_memory: Cell::new(false),
        });
        world.start(0);
        world
    }

    /// Starts a node anew, with an empty memory.
    pub(crate) fn start(self: &Rc<Self>, node: NodeId) {
        let cache = Cache::with_rules(
            Node {
                world: Rc::clone(self),
                id: node,
            },
            crate::line::HeldLines::default(),
            self.rules,
        );
        self.nodes.borrow_mut().insert(node, cache);
    }

    pub(crate) fn primary(&self) -> NodeId {
        self.primary.get()
    }

    pub(crate) fn cache(&self, node: NodeId) -> Rc<Cache<Node>> {
        Rc::clone(&self.nodes.borrow()[&node])
    }

    /// The node's process ends; its tasks and its memory are gone.
    pub(crate) fn kill(self: &Rc<Self>, node: NodeId) {
        self.executor.kill(node);
        self.nodes.borrow_mut().remove(&node);
    }

    /// Another node becomes primary of all slots; `keep_tail` is how much of what is not committed
    /// it has.
    pub(crate) fn take_over(self: &Rc<Self>, node: NodeId, keep_tail: bool) {
        let old = self.primary.replace(node);
        self.epoch.set(self.epoch.get() + 1);
        let mut fired = Vec::new();
        for (slot, state) in self.slots.borrow_mut().iter_mut() {
            self.left_behind
                .borrow_mut()
                .insert((old, *slot), state.clone());
            let committed = state.committed;
            let sure = state
                .log
                .iter()
                .filter(|(version, _)| *version <= committed)
                .count();
            let tail = (state.log.len() - sure) as u64;
            let kept = if keep_tail {
                self.executor.draw(tail + 1) as usize
            } else {
                0
            };
            state.log.truncate(sure + kept);
            state.replay();
            state.last = state.log.last().map_or(Version::ZERO, |record| record.0);
            state.committed = state.last;
            fired.append(&mut state.waiting);
        }
        fired.iter().for_each(|(_, signal)| signal.fire());
        if old != node {
            self.tell_lost(old);
        }
        if !self.nodes.borrow().contains_key(&node) {
            self.start(node);
        }
        let cache = self.cache(node);
        let slots: Vec<_> = self.slots.borrow().keys().copied().collect();
        slots
            .into_iter()
            .for_each(|slot| cache.on_slot_active(slot));
    }

    /// A node hears a while after it happened that it leads no more; until then it finds out by
    /// its lease alone.
    fn tell_lost(self: &Rc<Self>, node: NodeId) {
        let Some(cache) = self.nodes.borrow().get(&node).cloned() else {
            return;
        };
        let world = Rc::clone(self);
        let wait = Duration::from_millis(self.executor.draw(400));
        let epoch = self.epoch.get();
        self.executor.spawn(
            node,
            Box::pin(async move {
                world.executor.sleep(wait).await;
                let slots: Vec<_> = world.slots.borrow().keys().copied().collect();
                if world.epoch.get() == epoch || world.primary() != node {
                    cache.on_slots_lost(&slots.into_iter().collect());
                }
            }),
        );
    }

    /// Evicts what is clean of a slot, or everything that `FLUSHALL` may remove.
    pub(crate) fn evict(self: &Rc<Self>, chosen: impl Fn(&Bytes) -> bool) {
        let node = Node {
            world: Rc::clone(self),
            id: self.primary(),
        };
        let slots: Vec<_> = self.slots.borrow().keys().copied().collect();
        for slot in slots {
            let clean: Vec<_> = {
                let slots = self.slots.borrow();
                let table = &slots[&slot].table;
                let of = table.iter().filter(|(key, entry)| {
                    chosen(key) && !matches!(entry.mark, Mark::Dirty { .. } | Mark::Doubt { .. })
                });
                of.map(|(key, _)| Effect {
                    key: key.clone(),
                    change: Change::Remove,
                })
                .collect()
            };
            if !clean.is_empty() {
                let _ = SimLocked { node: &node, slot }.append(clean);
            }
        }
    }

    /// What the primary's entry of the key is.
    pub(crate) fn entry(&self, key: &[u8]) -> Option<(Option<Bytes>, Mark)> {
        let slots = self.slots.borrow();
        let stored = slots.get(&Slot::of(key))?.table.get(key)?;
        Some((
            stored.value.as_ref().map(|value| value.bytes.clone()),
            stored.mark,
        ))
    }

    pub(crate) fn unix_ms(&self) -> u64 {
        UNIX_MS + self.executor.now().as_nanos() / 1_000_000
    }

    /// Sends a command to a node, on a task of the node; `None` if the node dies over it.
    pub(crate) fn send(
        self: &Rc<Self>,
        node: NodeId,
        command: Command,
    ) -> LocalBoxFuture<'static, Option<Result<Reply, Error>>> {
        let result: Rc<RefCell<Option<Result<Reply, Error>>>> = Rc::default();
        let done = Hangup(Rc::new(Signal::default()));
        let (slot, signal) = (Rc::clone(&result), Rc::clone(&done.0));
        let cache = self.nodes.borrow().get(&node).cloned();
        let request = request(command);
        self.executor.spawn(
            node,
            Box::pin(async move {
                let done = done;
                if let Some(cache) = cache {
                    let reply = cache.execute(request).await;
                    *slot.borrow_mut() = Some(reply);
                }
                drop(done);
            }),
        );
        Box::pin(async move {
            signal.wait().await;
            result.borrow_mut().take()
        })
    }

    /// Sends a command to the primary and waits for its reply.
    pub(crate) fn ask(self: &Rc<Self>, command: Command) -> Result<Reply, Error> {
        let reply = self.executor.block_on(self.send(self.primary(), command));
        reply.expect("the primary lives")
    }

    pub(super) fn commit_soon(self: &Rc<Self>, slot: Slot, version: Version) {
        let world = Rc::clone(self);
        let wait = Duration::from_micros(self.executor.draw(self.commit_ms.get() * 1_000 + 1));
        let epoch = self.epoch.get();
        self.executor.spawn(
            WORLD,
            Box::pin(async move {
                world.executor.sleep(wait).await;
                while world.cut_off.get() {
                    world.executor.sleep(Duration::from_millis(10)).await;
                }
                if world.epoch.get() == epoch {
                    world.commit(slot, version);
                }
            }),
        );
    }

    fn commit(&self, slot: Slot, version: Version) {
        let mut slots = self.slots.borrow_mut();
        let state = slots.get_mut(&slot).expect("it has a record");
        state.committed = state.committed.max(version);
        let committed = state.committed;
        let (fired, waiting) = std::mem::take(&mut state.waiting)
            .into_iter()
            .partition(|one| one.0 <= committed);
        state.waiting = waiting;
        drop(slots);
        let fired: Vec<(Version, Rc<Signal>)> = fired;
        fired.iter().for_each(|(_, signal)| signal.fire());
    }
}

/// Fires when it goes, also with the task that holds it.
struct Hangup(Rc<Signal>);

impl Drop for Hangup {
    fn drop(&mut self) {
        self.0.fire();
    }
}

fn request(command: Command) -> Request<Command> {
    let keys: Vec<(Bytes, Use)> = match &command {
        Command::Get(keys) => keys.iter().map(|key| (key.clone(), Use::Read)).collect(),
        Command::Set(pairs) => pairs
            .iter()
            .map(|(key, _)| (key.clone(), Use::Replace))
            .collect(),
        Command::SetUntil(key, ..) => vec![(key.clone(), Use::Replace)],
        Command::Swap(key, _) => vec![(key.clone(), Use::Change)],
        Command::Delete(keys) => keys.iter().map(|key| (key.clone(), Use::Change)).collect(),
    };
    Request {
        slot: Slot::of(&keys[0].0),
        keys,
        command,
    }
}

impl State {
    fn replay(&mut self) {
        self.table.clear();
        for (version, effects) in self.log.clone() {
            self.apply(version, &effects);
        }
    }

    pub(super) fn apply(&mut self, version: Version, effects: &[Effect]) {
        for Effect { key, change } in effects {
            match change.clone() {
                Change::Put(value, mark) => {
                    self.table.insert(
                        key.clone(),
                        Stored {
                            value,
                            mark,
                            version,
                        },
                    );
                }
                Change::Mark(mark) => {
                    let stored = self.table.get_mut(key).expect("a mark needs an entry");
                    stored.mark = mark;
                    stored.version = version;
                }
                Change::Remove => {
                    self.table.remove(key);
                }
            }
        }
    }
}
