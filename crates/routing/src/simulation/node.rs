//! One node's view of the world: the host of its cache modes, and its slots.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cluster::{Epoch, Member, Slot, Time, Version};
use futures_util::future::{LocalBoxFuture, select};

use super::database::Handle;
use super::world::State;
use super::{Command, NodeId, Reply, World};
use crate::database::{Database, Value};
use crate::error::{Lost, Refusal};
use crate::host::{Effect, Entry, Given, Host, Locked, Mark, Ran, Wait};
use crate::keyspace::Keyspaces;
use crate::signal::Signal;

/// How long a reply waits for copies.
const HELD_TIMEOUT: Duration = Duration::from_millis(1_000);

/// The members of each slot, of whom none is modelled but the primary, and how many of them have a
/// write before it is acknowledged.
const COPIES: usize = 3;
const WRITE_QUORUM: usize = 2;

/// One node's view.
pub(crate) struct Node {
    pub(super) world: Rc<World>,
    pub(super) id: NodeId,
}

pub(crate) struct SimLocked<'a> {
    pub(super) node: &'a Node,
    pub(super) slot: Slot,
}

impl Host for Node {
    type Command = Command;
    type Reply = Reply;
    type Locked<'a> = SimLocked<'a>;

    fn now(&self) -> Time {
        self.world.executor.now()
    }

    fn unix_ms(&self) -> u64 {
        self.world.unix_ms()
    }

    fn sleep(&self, span: Duration) -> LocalBoxFuture<'static, ()> {
        self.world.executor.sleep(span)
    }

    fn chance(&self) -> u64 {
        self.world.executor.draw(u64::MAX)
    }

    fn spawn(&self, task: LocalBoxFuture<'static, ()>) {
        self.world.executor.spawn(self.id, task);
    }

    fn keyspaces(&self) -> Arc<Keyspaces> {
        Arc::clone(&self.world.keyspaces)
    }

    fn retry_max(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn dirty_bytes_max(&self) -> u64 {
        self.world.dirty_bytes_max.get()
    }

    fn database(&self, _store: &str) -> Result<Rc<dyn Database>, String> {
        Ok(Rc::new(Handle(Rc::clone(&self.world.database))))
    }

    fn lock<T>(&self, slot: Slot, step: impl FnOnce(&mut SimLocked<'_>) -> T) -> T {
        self.world.slots.borrow_mut().entry(slot).or_default();
        step(&mut SimLocked { node: self, slot })
    }

    fn held(
        &self,
        slot: Slot,
        epoch: Epoch,
        version: Version,
        _wait: Wait,
    ) -> LocalBoxFuture<'static, Result<(), Lost>> {
        let world = Rc::clone(&self.world);
        Box::pin(async move {
            let signal = Rc::new(Signal::default());
            {
                let mut slots = world.slots.borrow_mut();
                let state = slots.entry(slot).or_default();
                if version == Version::ZERO {
                    return Ok(());
                }
                if epoch.0 != world.epoch.get() {
                    return Err(Lost::Deposed);
                }
                if version <= state.committed {
                    return Ok(());
                }
                state.waiting.push((version, Rc::clone(&signal)));
            }
            let limit = world.executor.sleep(HELD_TIMEOUT);
            select(Box::pin(signal.wait()), limit).await;
            let slots = world.slots.borrow();
            if epoch.0 != world.epoch.get() {
                Err(Lost::Deposed)
            } else if version <= slots[&slot].committed {
                Ok(())
            } else {
                Err(Lost::TimedOut)
            }
        })
    }
}

impl SimLocked<'_> {
    fn with<T>(&self, step: impl FnOnce(&mut State) -> T) -> T {
        let world = &self.node.world;
        if world.primary() != self.node.id {
            let mut left_behind = world.left_behind.borrow_mut();
            return step(left_behind.entry((self.node.id, self.slot)).or_default());
        }
        let mut slots = world.slots.borrow_mut();
        step(slots.get_mut(&self.slot).expect("the lock made it"))
    }
}

impl Locked<Node> for SimLocked<'_> {
    fn lead(&mut self) -> Result<Epoch, Refusal> {
        let world = &self.node.world;
        if world.primary.get() != self.node.id {
            return Err(Refusal::NotPrimary);
        }
        if world.no_lease.get() {
            return Err(Refusal::ClusterDown);
        }
        Ok(Epoch(world.epoch.get()))
    }

    fn outlasts(&self, departing: &BTreeSet<Member>) -> bool {
        COPIES - departing.len() >= WRITE_QUORUM
    }

    fn committed(&self) -> Version {
        self.with(|state| state.committed)
    }

    fn entry(&mut self, key: &[u8]) -> Option<Entry> {
        self.with(|state| {
            let stored = state.table.get(key)?;
            Some(Entry {
                has_value: stored.value.is_some(),
                expires_at: stored.value.as_ref().and_then(|value| value.expires_at),
                mark: stored.mark,
                version: stored.version,
                bytes: (key.len() + stored.value.as_ref().map_or(0, |value| value.bytes.len()))
                    as u64,
            })
        })
    }

    fn value(&mut self, key: &[u8]) -> Option<Value> {
        self.with(|state| state.table.get(key).and_then(|stored| stored.value.clone()))
    }

    fn marked(&mut self) -> Vec<(Bytes, Entry)> {
        let keys: Vec<_> = self.with(|state| {
            let held = state.table.iter().filter(|(_, stored)| {
                matches!(stored.mark, Mark::Dirty { .. } | Mark::Doubt { .. })
            });
            held.map(|(key, _)| key.clone()).collect()
        });
        keys.into_iter()
            .filter_map(|key| Some((key.clone(), self.entry(&key)?)))
            .collect()
    }

    fn run(&mut self, command: &Command, given: &Given, now_unix_ms: u64) -> Ran<Reply> {
        let mut met = Version::ZERO;
        let mut written: BTreeMap<Bytes, Option<Value>> = BTreeMap::new();
        let mut look = |key: &Bytes, written: &mut BTreeMap<Bytes, Option<Value>>| {
            if let Some(value) = written.get(key).or_else(|| given.get(key)) {
                return value.as_ref().map(|value| value.bytes.clone());
            }
            let stored = self.with(|state| state.table.get(key).cloned())?;
            if !matches!(stored.mark, Mark::Clean { .. }) {
                met = met.max(stored.version);
            }
            let value = stored.value?;
            if value.expires_at.is_some_and(|at| at <= now_unix_ms) {
                written.insert(key.clone(), None);
                return None;
            }
            Some(value.bytes)
        };
        let value = |bytes: &Bytes, expires_at| {
            Some(Value {
                kind: "string".into(),
                bytes: bytes.clone(),
                expires_at,
            })
        };
        let reply = match command {
            Command::Get(keys) => keys.iter().map(|key| look(key, &mut written)).collect(),
            Command::Set(pairs) => {
                for (key, bytes) in pairs {
                    written.insert(key.clone(), value(bytes, None));
                }
                Vec::new()
            }
            Command::SetUntil(key, bytes, at) => {
                written.insert(key.clone(), value(bytes, Some(*at)));
                Vec::new()
            }
            Command::Swap(key, bytes) => {
                let old = look(key, &mut written);
                written.insert(key.clone(), value(bytes, None));
                vec![old]
            }
            Command::Delete(keys) => {
                let old: Vec<_> = keys.iter().map(|key| look(key, &mut written)).collect();
                for (key, _) in keys.iter().zip(&old).filter(|(_, old)| old.is_some()) {
                    written.insert(key.clone(), None);
                }
                old
            }
        };
        Ran {
            reply,
            written: written.into_iter().collect(),
            met,
        }
    }

    fn next_version(&mut self) -> Result<Version, Refusal> {
        let epoch = self.lead()?;
        Ok(self
            .with(|state| state.last.next(epoch))
            .expect("an epoch is long"))
    }

    fn fresh_stamp(&mut self) -> Result<Version, Refusal> {
        let stamp = self.next_version()?;
        self.with(|state| state.last = stamp);
        Ok(stamp)
    }

    fn append(&mut self, effects: Vec<Effect>) -> Result<Version, Refusal> {
        if self.node.world.no_memory.get() {
            return Err(Refusal::OutOfMemory);
        }
        let version = self.fresh_stamp()?;
        self.with(|state| {
            state.apply(version, &effects);
            state.log.push((version, effects));
        });
        self.node.world.commit_soon(self.slot, version);
        Ok(version)
    }
}
