//! Settling in the background: what a write or a primary left in doubt, before anybody asks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use cluster::Slot;

use crate::cache::Cache;
use crate::error::Refusal;
use crate::host::{Host, Locked, Mark};
use crate::keyspace::DefinitionId;
use crate::mode::Ruled;

/// The keys in doubt that the background settles, by slot and definition: what cannot be settled
/// holds up no other slot, and no other store.
#[derive(Default)]
pub(crate) struct Doubts(BTreeMap<Place, Queue>);

type Place = (Slot, DefinitionId);

/// The keys of one place; there as long as its task runs.
#[derive(Default)]
struct Queue {
    order: VecDeque<Bytes>,
    /// Each key that waits or is asked about, with how often that was in vain.
    attempts: BTreeMap<Bytes, u32>,
}

/// Keys of one place that are settled together, at most. Fewer after each failure, so that one that
/// fails for itself soon stands alone.
const BATCH: usize = 64;
const BACK_OFF_MIN: Duration = Duration::from_millis(50);
/// After so many attempts the log says so, and again each time that they have doubled.
const ATTEMPTS_QUIET: u32 = 8;

impl Doubts {
    /// Says whether a task must be started for the place.
    fn add(&mut self, place: Place, key: Bytes) -> bool {
        let is_new = !self.0.contains_key(&place);
        let queue = self.0.entry(place).or_default();
        if queue.attempts.insert(key.clone(), 0).is_none() {
            // Before those that were tried in vain.
            queue.order.push_front(key);
        }
        is_new
    }

    /// The next keys to ask about. `None` ends the task: nothing is left.
    fn take(&mut self, place: Place, most: usize) -> Option<Vec<Bytes>> {
        let queue = self.0.get_mut(&place)?;
        let mut taken = Vec::new();
        while let Some(key) = queue.order.pop_front() {
            taken.extend(Some(key).filter(|key| queue.attempts.contains_key(key)));
            if taken.len() == most {
                break;
            }
        }
        if taken.is_empty() {
            self.0.remove(&place);
            return None;
        }
        Some(taken)
    }

    /// It was asked about these keys: who is still in doubt waits behind the others. Gives the
    /// greatest number of attempts of one of them.
    fn put_back(&mut self, place: Place, asked: Vec<Bytes>, still: &BTreeSet<Bytes>) -> u32 {
        let mut most = 0;
        let Some(queue) = self.0.get_mut(&place) else {
            return most;
        };
        for key in asked {
            if !still.contains(&key) {
                queue.attempts.remove(&key);
            } else if let Some(attempts) = queue.attempts.get_mut(&key) {
                *attempts = attempts.saturating_add(1);
                most = most.max(*attempts);
                queue.order.push_back(key);
            }
        }
        most
    }

    /// Other members lead the slots: what is in doubt there is theirs to settle.
    pub(crate) fn lose(&mut self, slots: &BTreeSet<Slot>) {
        for (_, queue) in self
            .0
            .iter_mut()
            .filter(|((slot, _), _)| slots.contains(slot))
        {
            queue.order.clear();
            queue.attempts.clear();
        }
    }

    /// How many keys wait.
    pub(crate) fn count(&self) -> usize {
        self.0.values().map(|queue| queue.attempts.len()).sum()
    }
}

impl<H: Host> Cache<H> {
    /// Settles the keys in the background, as often as it takes.
    pub(crate) fn settle_soon(self: &Rc<Self>, slot: Slot, keys: Vec<(Bytes, DefinitionId)>) {
        let mut doubts = self.doubts.borrow_mut();
        for (key, definition) in keys {
            let place = (slot, definition);
            if doubts.add(place, key) {
                let this = Rc::clone(self);
                self.host
                    .spawn(Box::pin(async move { this.settle_place(place).await }));
            }
        }
        self.metrics.doubts(doubts.count());
    }

    /// Which of the keys are in doubt, and by which definition, unless another primary is to know.
    pub(crate) fn in_doubt(&self, slot: Slot, keys: &[Bytes]) -> Vec<(Bytes, DefinitionId)> {
        self.host.lock(slot, |locked| {
            // Who has no lease for the moment is still the one to settle, as soon as it has.
            if locked.lead() == Err(Refusal::NotPrimary) {
                return Vec::new();
            }
            let doubt = |key: &Bytes| match locked.entry(key)?.mark {
                Mark::Doubt { definition, .. } => Some((key.clone(), definition)),
                _ => None,
            };
            keys.iter().filter_map(doubt).collect()
        })
    }

    async fn settle_place(self: &Rc<Self>, place: Place) {
        let (mut most, mut failures) = (BATCH, 0);
        loop {
            let taken = self.doubts.borrow_mut().take(place, most);
            let Some(batch) = taken else { break };
            let why = self.settle_keys(place.0, &batch).await;
            // Whatever was said: what counts is what is recorded.
            let still = self.in_doubt(place.0, &batch);
            let still: BTreeSet<_> = still.into_iter().map(|(key, _)| key).collect();
            let asked = batch.len();
            let attempts = self.doubts.borrow_mut().put_back(place, batch, &still);
            self.metrics.doubts(self.doubts.borrow().count());
            if still.len() < asked {
                (most, failures) = ((most * 2).min(BATCH), 0);
                continue;
            }
            most = (asked / 2).max(1);
            failures += 1;
            if attempts >= ATTEMPTS_QUIET && attempts.is_power_of_two() {
                let key = still.first().map(|key| key.escape_ascii().to_string());
                let keys = still.len();
                tracing::warn!(
                    slot = %place.0, keys, key, attempts, why, "keys in doubt cannot be settled"
                );
            }
            let wait = self.back_off(failures, BACK_OFF_MIN);
            self.host.sleep(wait).await;
        }
        self.metrics.doubts(self.doubts.borrow().count());
    }

    /// Says why it failed, if it did, for all of them or for one.
    async fn settle_keys(self: &Rc<Self>, slot: Slot, keys: &[Bytes]) -> Option<String> {
        let keyspaces = self.host.keyspaces();
        let mut ruled: Vec<(Bytes, Ruled)> = keys
            .iter()
            .filter_map(|key| Some((key.clone(), Ruled::of(keyspaces.with_database(key)?)?)))
            .collect();
        ruled.sort_by(|(a, _), (b, _)| a.cmp(b));
        let timeout = ruled
            .iter()
            .map(|(_, rule)| rule.keyspace.timeout.0)
            .max()?;
        let lines: Vec<_> = ruled.iter().map(|(key, _)| key.clone()).collect();
        let prepared = match self.turns(slot, &lines, timeout).await {
            Err(error) => Err(error),
            Ok(_turns) => {
                // Only what is still in doubt: a load is not what the background is for.
                let doubtful: BTreeMap<_, _> = self.in_doubt(slot, &lines).into_iter().collect();
                ruled.retain(|(key, _)| doubtful.contains_key(key));
                let nothing = |_: &Bytes| false;
                self.prepare(slot, &ruled, timeout, nothing, nothing).await
            }
        };
        let error = match prepared {
            Ok(prepared) => prepared.failed.into_values().next(),
            Err(error) => Some(error),
        };
        error.map(|error| error.to_string())
    }

    /// Grows with each failure in a row, and differs from node to node by chance.
    pub(crate) fn back_off(&self, failures: u32, least: Duration) -> Duration {
        let most = self.host.retry_max();
        let grown = least.saturating_mul(1 << failures.min(16)).min(most);
        let share = self.host.chance() as f64 / u64::MAX as f64;
        grown.mul_f64(0.5 + share / 2.0)
    }
}
