//! Which entries go when memory is full.
//!
//! A [`Policy`] has 24 bits in each entry to itself. It says what they are when an entry is made
//! and when it is used, and how soon an entry should go. That carries what keeps no order of its
//! own: recency, frequency with decay, time of arrival. A policy that does keep one (the queues of
//! S3-FIFO) offers its candidates itself instead of letting a sample be taken.

mod conditions;
mod evictor;
mod fifo;
mod lfu;
mod lru;
mod none;
mod random;
mod trace;
mod ttl;

use std::fmt::Debug;

use super::entry::Entry;
use super::slot::SlotTable;

pub use conditions::{Conditions, SAMPLES_MAX};
pub use evictor::{Evictor, Reason};
pub use trace::Trace;

use Scope::{All, Expiring};

/// All policies, as `maxmemory-policy` names them; the first is the default.
pub static POLICIES: [&dyn Policy; 10] = [
    &none::NoEviction,
    &lru::Lru(All),
    &lfu::Lfu(All),
    &fifo::Fifo(All),
    &random::Random(All),
    &lru::Lru(Expiring),
    &lfu::Lfu(Expiring),
    &fifo::Fifo(Expiring),
    &random::Random(Expiring),
    &ttl::SoonestExpiry,
];

/// How entries are chosen for eviction.
pub trait Policy: Debug + Send + Sync {
    /// The name in the configuration.
    fn name(&self) -> &'static str;

    /// Whether anything is evicted at all. If not, what takes memory is refused at the limit.
    fn evicts(&self) -> bool {
        true
    }

    /// Which entries may go.
    fn scope(&self) -> Scope;

    /// What the bits of an entry say.
    fn trace(&self) -> Trace {
        Trace::Moment
    }

    /// The bits of a new entry.
    fn on_insert(&self, now: &Conditions) -> u32;

    /// The bits of an entry that is used, which had `access` before.
    fn on_access(&self, access: u32, now: &Conditions) -> u32;

    /// How soon the entry with these bits should go: the greater, the sooner.
    fn rank(&self, entry: &Entry, access: u32, now: &Conditions) -> u64;

    /// Offers entries of a slot for eviction, each with its bits, up to `count` of them: by default
    /// a sample from a random place on. Returns where another sample of the slot may go on.
    fn candidates(
        &self,
        table: &SlotTable,
        random: u64,
        count: usize,
        offer: &mut dyn FnMut(&Entry, u32),
    ) -> u64 {
        table.sample_for(self.scope(), self.trace(), random, count, offer)
    }
}

/// Which entries may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Any.
    All,
    /// Those that expire.
    Expiring,
}

impl Scope {
    /// Whether this one may go.
    #[must_use]
    pub fn includes(self, entry: &Entry) -> bool {
        self == All || entry.expires_at().is_some()
    }

    /// The policy's name, by whether it is about all keys.
    fn pick(self, all: &'static str, expiring: &'static str) -> &'static str {
        match self {
            All => all,
            Expiring => expiring,
        }
    }
}
