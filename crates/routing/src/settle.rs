//! Settling in the background: what a write or a primary left in doubt, before anybody asks.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use cluster::Slot;

use crate::cache::Cache;
use crate::error::Error;
use crate::host::{Host, Locked, Mark};
use crate::mode::Ruled;

/// The keys in doubt that the background settles, by slot; a slot has one task at a time.
#[derive(Default)]
pub(crate) struct Doubts {
    waiting: BTreeMap<Slot, BTreeSet<Bytes>>,
    running: BTreeSet<Slot>,
}

/// Keys of one slot that are settled together.
const BATCH: usize = 64;
const BACK_OFF_MIN: Duration = Duration::from_millis(50);

impl Doubts {
    pub(crate) fn lose(&mut self, slots: &BTreeSet<Slot>) {
        self.waiting.retain(|slot, _| !slots.contains(slot));
    }

    /// How many keys wait.
    pub(crate) fn count(&self) -> usize {
        self.waiting.values().map(BTreeSet::len).sum()
    }
}

impl<H: Host> Cache<H> {
    /// Settles the keys in the background, as often as it takes.
    pub(crate) fn settle_soon(self: &Rc<Self>, slot: Slot, keys: Vec<Bytes>) {
        let mut doubts = self.doubts.borrow_mut();
        doubts.waiting.entry(slot).or_default().extend(keys);
        self.metrics.doubts(doubts.count());
        if doubts.running.insert(slot) {
            let this = Rc::clone(self);
            self.host
                .spawn(Box::pin(async move { this.settle_slot(slot).await }));
        }
    }

    async fn settle_slot(self: &Rc<Self>, slot: Slot) {
        let mut failures = 0;
        loop {
            let batch: Vec<Bytes> = {
                let doubts = self.doubts.borrow();
                let waiting = doubts.waiting.get(&slot);
                waiting
                    .map(|keys| keys.iter().take(BATCH).cloned().collect())
                    .unwrap_or_default()
            };
            if batch.is_empty() {
                break;
            }
            match self.settle_keys(slot, &batch).await {
                // Where another primary settles them, the slot is lost, and nothing waits any more.
                Err(error) => {
                    tracing::debug!(%slot, %error, "keys in doubt could not be settled yet");
                    failures += 1;
                    self.host.sleep(self.back_off(failures, BACK_OFF_MIN)).await;
                }
                Ok(()) => {
                    failures = 0;
                    let mut doubts = self.doubts.borrow_mut();
                    if let Some(waiting) = doubts.waiting.get_mut(&slot) {
                        batch.iter().for_each(|key| {
                            waiting.remove(key);
                        });
                    }
                }
            }
        }
        let mut doubts = self.doubts.borrow_mut();
        doubts.waiting.remove(&slot);
        doubts.running.remove(&slot);
        self.metrics.doubts(doubts.count());
    }

    async fn settle_keys(self: &Rc<Self>, slot: Slot, keys: &[Bytes]) -> Result<(), Error> {
        let keyspaces = self.host.keyspaces();
        let ruled: Vec<(Bytes, Ruled)> = keys
            .iter()
            .filter_map(|key| Some((key.clone(), Ruled::of(keyspaces.with_database(key)?)?)))
            .collect();
        let timeout = ruled.iter().map(|(_, rule)| rule.keyspace.timeout.0).max();
        let Some(timeout) = timeout else {
            return Ok(());
        };
        let lines: Vec<_> = ruled.iter().map(|(key, _)| key.clone()).collect();
        let _turns = self.turns(slot, &lines, timeout).await?;
        // Only what is still in doubt: a load is not what the background is for.
        let doubtful = self.host.lock(slot, |locked| {
            ruled
                .into_iter()
                .filter(|(key, _)| is_in_doubt::<H>(locked, key))
                .collect::<Vec<_>>()
        });
        self.prepare(slot, &doubtful, timeout, |_| false, |_| false)
            .await
            .map(|_| ())
    }

    /// Grows with each failure in a row, and differs from node to node by chance.
    pub(crate) fn back_off(&self, failures: u32, least: Duration) -> Duration {
        let most = self.host.retry_max();
        let grown = least.saturating_mul(1 << failures.min(16)).min(most);
        let share = self.host.chance() as f64 / u64::MAX as f64;
        grown.mul_f64(0.5 + share / 2.0)
    }
}

fn is_in_doubt<H: Host>(locked: &mut H::Locked<'_>, key: &Bytes) -> bool {
    locked
        .entry(key)
        .is_some_and(|entry| matches!(entry.mark, Mark::Doubt { .. }))
}
