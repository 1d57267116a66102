//! Which entries go when memory is full.
//!
//! A [`Policy`] has 24 bits in each entry to itself. It says what they are when an entry is made
//! and when it is used, and how soon an entry should go. That carries what keeps no order of its
//! own: recency, frequency with decay, time of arrival. A policy that does keep one (the queues of
//! S3-FIFO) offers its candidates itself instead of letting a sample be taken.

mod evictor;
mod lru;

use std::fmt::Debug;

use super::entry::Entry;
use super::slot::SlotTable;

pub use evictor::Evictor;

/// How many entries of a slot are looked at in one sample.
const SAMPLE: usize = 5;

/// All policies, as `maxmemory-policy` names them; the first is the default.
pub static POLICIES: [&dyn Policy; 2] = [&NoEviction, &lru::AllKeysLru];

/// How entries are chosen for eviction.
pub trait Policy: Debug + Send + Sync {
    /// The name in the configuration.
    fn name(&self) -> &'static str;

    /// Whether anything is evicted at all. If not, what takes memory is refused at the limit.
    fn evicts(&self) -> bool {
        true
    }

    /// The bits of a new entry.
    fn on_insert(&self, clock: u32) -> u32;

    /// The bits of an entry that is used, which had `access` before.
    fn on_access(&self, access: u32, clock: u32) -> u32;

    /// How soon the entry should go: the greater, the sooner.
    fn rank(&self, entry: &Entry, clock: u32) -> u32;

    /// Offers entries of a slot for eviction. By default a sample from a random place on.
    fn candidates(&self, table: &SlotTable, random: u64, offer: &mut dyn FnMut(&Entry)) {
        table.sample(random, SAMPLE, offer);
    }
}

/// Evicts nothing.
#[derive(Debug)]
struct NoEviction;

impl Policy for NoEviction {
    fn name(&self) -> &'static str {
        "noeviction"
    }

    fn evicts(&self) -> bool {
        false
    }

    // The time of the last use is kept all the same, so that a change of policy finds it.
    fn on_insert(&self, clock: u32) -> u32 {
        lru::AllKeysLru.on_insert(clock)
    }

    fn on_access(&self, access: u32, clock: u32) -> u32 {
        lru::AllKeysLru.on_access(access, clock)
    }

    fn rank(&self, _entry: &Entry, _clock: u32) -> u32 {
        0
    }

    fn candidates(&self, _: &SlotTable, _: u64, _: &mut dyn FnMut(&Entry)) {}
}

/// The policies' clock: 24 bits that count quarters of a second, and wrap after 49 days.
pub(super) fn clock(now_unix_ms: u64) -> u32 {
    (now_unix_ms >> 8) as u32 & CLOCK_MASK
}

const CLOCK_MASK: u32 = 0x00FF_FFFF;
