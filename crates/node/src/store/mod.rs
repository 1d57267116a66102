//! The data: entries by slot, what they take, when they expire, which go when memory is full.
//!
//! [`Store`] holds what all slots of a node share: the seed of their hashes, the byte budget, the
//! eviction policy and its clock. The tables themselves lie behind their slots' locks, which
//! belong to replication; [`Store::table`] makes an empty one. A command reads and writes a table
//! through a [`Tx`]. Time is an argument everywhere: [`Store::tick`] moves the policy's clock.

mod absence;
mod budget;
mod copy;
pub mod effect;
pub mod entry;
pub mod evict;
pub mod expire;
mod led;
mod removals;
mod segments;
mod size_class;
mod slot;
mod trash;
pub mod tx;
pub mod value;

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use ahash::RandomState;
use parking_lot::Mutex;

pub use budget::{Budget, Reserved};
pub use entry::{Entry, Kind, Mark};
pub use evict::{Conditions, Evictor, POLICIES, Policy, Reason, SAMPLES_MAX, Scope, Trace};
pub use expire::Expiry;
pub use led::LedSlots;
pub use segments::POSITION_BITS;
pub use size_class::rounded;
pub use slot::{SlotTable, Tally};
pub use tx::{Tx, WrongType};
pub use value::{Hash, Items, Limits};

use trash::Trash;
use value::Making;

/// What the slots of a node have in common. A clone is another handle of the same. As it is made
/// it has no limit, evicts nothing, and is not keyed.
#[derive(Clone, Debug, Default)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Known once the cluster is: before that there is no entry anywhere.
    hasher: OnceLock<RandomState>,
    budget: Budget,
    scratch_bytes_max: OnceLock<usize>,
    record_bytes_max: OnceLock<usize>,
    /// The position in [`POLICIES`] of the one in force.
    policy: AtomicU8,
    conditions: Conditions,
    expired_keys: AtomicU64,
    /// By policy and reason.
    evicted_keys: [[AtomicU64; Reason::ALL.len()]; POLICIES.len()],
    limits: Limits,
    /// Entries that no slot has any more and that are still to be given back.
    trash: Mutex<Vec<Trash>>,
}

impl Store {
    /// A store that is keyed.
    #[must_use]
    pub fn new(seeds: [u64; 4]) -> Store {
        let store = Store::default();
        store.key(seeds);
        store
    }

    /// Says by which seeds keys are hashed; nothing can be stored before. They are the same on all
    /// nodes of a cluster, so that a walk over a slot has one order everywhere, and known to nobody
    /// else, so that no client makes keys collide.
    ///
    /// # Panics
    /// If the store has other seeds already.
    pub fn key(&self, seeds: [u64; 4]) {
        let [first, second, third, fourth] = seeds;
        let hasher = RandomState::with_seeds(first, second, third, fourth);
        let fresh = self.shared.hasher.set(hasher).is_ok();
        assert!(
            fresh,
            "a store is keyed once: its entries lie in the order of their hashes"
        );
    }

    /// An empty table for a slot.
    #[must_use]
    pub fn table(&self) -> SlotTable {
        SlotTable::new(self.shared.clone())
    }

    /// How much there may be, and how much there is.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.shared.budget
    }

    /// What all slots take together, as the allocator rounds it.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.shared.budget.used_bytes()
    }

    /// The limit of the process; 0 is none.
    #[must_use]
    pub fn maxmemory_bytes(&self) -> usize {
        self.shared.budget.maxmemory_bytes()
    }

    /// Sets the limit; 0 is none.
    pub fn set_maxmemory_bytes(&self, bytes: usize) {
        self.shared.budget.set_maxmemory_bytes(bytes);
    }

    /// Sets how many bytes a command may take for its own work; as it is made, a store allows
    /// 512 MiB. Only the first word counts.
    pub fn set_scratch_bytes_max(&self, bytes: usize) {
        self.shared.scratch_bytes_max.get_or_init(|| bytes);
    }

    /// Says how many bytes the values of one record have at most. Asked for once.
    pub fn set_record_bytes_max(&self, bytes: usize) {
        self.shared.record_bytes_max.get_or_init(|| bytes);
    }

    /// Whether the data takes more than it may: time to evict.
    #[must_use]
    pub fn is_over_limit(&self) -> bool {
        self.shared.budget.lacking_bytes(0) > 0
    }

    /// How many keys this node has removed because they were past their time.
    #[must_use]
    pub fn expired_keys(&self) -> u64 {
        self.shared.expired_keys.load(Ordering::Relaxed)
    }

    /// How many keys this node has removed for the sake of memory.
    #[must_use]
    pub fn evicted_keys(&self) -> u64 {
        self.evicted().map(|(_, _, count)| count).sum()
    }

    /// The same, by policy and reason.
    pub fn evicted(&self) -> impl Iterator<Item = (&'static str, Reason, u64)> {
        let by_policy = POLICIES.iter().zip(&self.shared.evicted_keys);
        by_policy.flat_map(|(policy, counts)| {
            let by_reason = Reason::ALL.into_iter().zip(counts);
            by_reason.map(|(reason, count)| (policy.name(), reason, count.load(Ordering::Relaxed)))
        })
    }

    /// What the eviction policies go by.
    #[must_use]
    pub fn conditions(&self) -> &Conditions {
        &self.shared.conditions
    }

    /// The eviction policy in force.
    #[must_use]
    pub fn policy(&self) -> &'static dyn Policy {
        self.shared.policy()
    }

    /// Puts the policy of this name in force, if there is one.
    pub fn set_policy(&self, name: &str) -> bool {
        let found = POLICIES
            .iter()
            .position(|policy| policy.name().eq_ignore_ascii_case(name));
        if let Some(position) = found {
            self.shared.policy.store(position as u8, Ordering::Relaxed);
        }
        found.is_some()
    }

    /// Up to where values are packed.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// Moves the eviction policy's clock. Whoever maintains the store calls this some times a
    /// second.
    pub fn tick(&self, now_unix_ms: u64) {
        self.shared.conditions.set_unix_ms(now_unix_ms);
    }

    /// Gives back memory of slots that were emptied or replaced and of large values, about `items`
    /// entries or fields of it. Returns whether there is more. Takes no slot's lock.
    pub fn sweep(&self, items: usize) -> bool {
        let Some(mut trash) = self.shared.trash.lock().pop() else {
            return false;
        };
        let mut found = Vec::new();
        let (freed, done) = trash.shed(items, &mut found);
        let mut waiting = self.shared.trash.lock();
        if !done {
            waiting.push(trash);
        }
        waiting.append(&mut found);
        self.shared.budget.adjust(freed, 0);
        !waiting.is_empty()
    }
}

impl Shared {
    #[inline]
    fn hash(&self, key: &[u8]) -> u64 {
        let hasher = self
            .hasher
            .get()
            .expect("slots are placed when the cluster is known");
        hasher.hash_one(key)
    }

    fn record_bytes_max(&self) -> usize {
        self.record_bytes_max.get().copied().unwrap_or(512 << 20)
    }

    fn scratch_bytes_max(&self) -> usize {
        self.scratch_bytes_max.get().copied().unwrap_or(512 << 20)
    }

    #[inline]
    fn policy(&self) -> &'static dyn Policy {
        POLICIES[usize::from(self.policy.load(Ordering::Relaxed))]
    }

    fn count_expired(&self) {
        self.expired_keys.fetch_add(1, Ordering::Relaxed);
    }

    fn count_evicted(&self, reason: Reason) {
        let policy = usize::from(self.policy.load(Ordering::Relaxed));
        self.evicted_keys[policy][reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn making(&self) -> Making<'_> {
        let hasher = self.hasher.get();
        Making {
            hasher: hasher.expect("slots are placed when the cluster is known"),
            limits: &self.limits,
        }
    }

    /// Takes over what a slot has got rid of; it counts until [`Store::sweep`] frees it.
    fn discard(&self, trash: Trash) {
        if trash.bytes() > 0 {
            self.budget.adjust(0, trash.bytes());
            self.trash.lock().push(trash);
        }
    }

    /// Gives back an entry that a slot has no more: at once, unless that takes long.
    fn drop_entry(&self, entry: Entry) {
        if let Some(trash) = Trash::of_value(entry) {
            self.discard(trash);
        }
    }
}

#[cfg(test)]
mod tests;
