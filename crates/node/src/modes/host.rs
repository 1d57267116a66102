//! This node, as the cache modes see it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use cluster::replication::{Need, Out};
use cluster::{Epoch, Slot, Time, Version, clock};
use futures_util::future::LocalBoxFuture;
use routing::Lost;
use routing::database::Database;
use routing::host::{Host, Wait};
use routing::keyspace::Keyspaces;

use super::errand::{Reply, Task};
use super::slot::LockedSlot;
use super::stores::Stores;
use crate::gather::{Timeouts, Waits};
use crate::node::Node;
use crate::stats::Limit;

/// The node around its cache modes; lives on their thread.
pub(super) struct NodeHost {
    pub(super) node: Arc<Node>,
    pub(super) stores: Rc<Stores>,
}

impl Host for NodeHost {
    type Command = Task;
    type Reply = Reply;
    type Locked<'a> = LockedSlot<'a>;

    fn now(&self) -> Time {
        clock::now()
    }

    fn unix_ms(&self) -> u64 {
        clock::unix_ms()
    }

    fn sleep(&self, span: Duration) -> LocalBoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(span))
    }

    fn chance(&self) -> u64 {
        rand::random()
    }

    fn spawn(&self, task: LocalBoxFuture<'static, ()>) {
        tokio::task::spawn_local(task);
    }

    fn keyspaces(&self) -> Arc<Keyspaces> {
        self.node.modes.keyspaces()
    }

    fn retry_max(&self) -> Duration {
        self.node.settings.timings.database_retry_max.0
    }

    fn dirty_bytes_max(&self) -> u64 {
        self.node.dirty_bytes_max()
    }

    fn database(&self, store: &str) -> Result<Rc<dyn Database>, String> {
        self.stores.database(store)
    }

    fn met_foreign(&self, store: &str) {
        self.stores.met_foreign(store);
    }

    fn lock<T>(&self, slot: Slot, step: impl FnOnce(&mut LockedSlot<'_>) -> T) -> T {
        let slots = &self.node.slots;
        let mut locked = LockedSlot {
            node: &self.node,
            replica: slots.lock(slot),
            out: Out::default(),
        };
        let result = step(&mut locked);
        let LockedSlot { replica, out, .. } = locked;
        drop(replica);
        slots.perform(out);
        result
    }

    fn held(
        &self,
        slot: Slot,
        epoch: Epoch,
        version: Version,
        wait: Wait,
    ) -> LocalBoxFuture<'static, Result<(), Lost>> {
        if version == Version::ZERO {
            return Box::pin(std::future::ready(Ok(())));
        }
        let timeouts = Timeouts::of(&self.node);
        let slots = &self.node.slots;
        let (mut out, mut waits) = (Out::default(), Waits::default());
        let mut locked = slots.lock(slot);
        if locked.active_epoch() != Some(epoch) {
            return Box::pin(std::future::ready(Err(Lost::Deposed)));
        }
        let (need, timeout, writes) = match wait {
            Wait::Write => {
                let copies = locked.placement().write_quorum;
                (Need::Copies(copies), timeouts.write, true)
            }
            Wait::Read => (Need::Committed, timeouts.read, false),
        };
        if locked.committed() < version || writes {
            let waiting = locked.wait(slots.context(), version, need, waits.token(), &mut out);
            // Where too many wait, the token is dropped, and the outcome counts as not known.
            waiting.unwrap_or_else(|_| self.node.stats.reached(Limit::Waiters));
        }
        drop(locked);
        slots.perform(out);
        let node = Arc::clone(&self.node);
        Box::pin(async move {
            if waits.all(timeout, writes).await.is_ok() {
                return Ok(());
            }
            let leads_still = node.slots.lock(slot).active_epoch() == Some(epoch);
            Err(if leads_still {
                Lost::TimedOut
            } else {
                Lost::Deposed
            })
        })
    }
}
