//! What the memory of the process goes to, and who gives way where there is too little.
//!
//! `maxmemory` is of the whole process. A part of it is set aside for the buffers of clients; what
//! is allocated for anything else but data is measured some times a second, and the data may take
//! what remains. So nothing but data evicts data, and a client whose buffers grow loses its
//! connection.

mod clients;
mod report;
mod room;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use cluster::{Member, Time, clock};
use parking_lot::Mutex;

use crate::node::Node;
use crate::process;
use crate::store::Budget;

pub(crate) use clients::{admits, cut_the_largest};
pub use report::Report;
pub(crate) use report::ratio;
pub(crate) use room::{Urgent, room_for, take_room};

/// How often it is measured, at most.
const MEASURED_EVERY: Duration = Duration::from_millis(5);
/// How often the memory of the process that is in use is looked at.
const RESIDENT_EVERY: Duration = Duration::from_millis(100);
/// What was allocated beside the data is remembered for about so many measurements.
const MEMORY_OF_PEAKS: usize = 128;
/// The part of `maxmemory` that is left free for what grows between two measurements.
const SLACK_PART: usize = 128;
/// The part of the data's memory that is evicted ahead of what comes.
const HEADROOM_PART: usize = 64;
/// The part of `maxmemory` that records for members which fall behind may take.
const BACKLOG_PART: usize = 32;

/// What was found out about the memory of the process.
#[derive(Debug, Default)]
pub struct Memory {
    /// Bytes allocated for neither data nor clients: the most of late.
    rest: AtomicUsize,
    /// Bytes that were about to be allocated for such things, and may not be measured yet.
    expected: AtomicUsize,
    /// Bytes by which the data gives way because the process takes more pages than it uses.
    resident_excess: AtomicUsize,
    /// What was allocated when it was measured for the first time.
    startup: AtomicU64,
    /// The most that was seen in use.
    peak: AtomicU64,
    /// Clients that were closed for the sake of memory.
    evicted_clients: AtomicU64,
    /// How often nothing was found that could be evicted.
    vain_evictions: AtomicU64,
    watched: Mutex<Watched>,
    /// Members that have no room for anything more.
    full: Mutex<Vec<Member>>,
    any_full: AtomicBool,
}

/// What is looked at by one thread at a time.
#[derive(Debug, Default)]
struct Watched {
    measured: Time,
    resident: Time,
    /// Since when the data takes more than it may.
    over_since: Option<Time>,
    over_total: Duration,
}

impl Memory {
    /// Measures, unless that was done a moment ago, and says what the data may take. Whoever
    /// maintains the store calls this again and again.
    pub(crate) fn measure(&self, node: &Node) {
        let Some(mut watched) = self.watched.try_lock() else {
            return;
        };
        let (now, budget) = (clock::now(), node.store.budget());
        watched.note_exceeded(now, budget);
        if now.since(watched.measured) < MEASURED_EVERY {
            return;
        }
        watched.measured = now;
        let limit = budget.maxmemory_bytes();
        let (data, clients) = (budget.used_bytes(), node.stats.client_bytes());
        let allocated = process::allocated();
        self.peak.fetch_max(allocated.max(data) as u64, Relaxed);
        if self.startup.load(Relaxed) == 0 {
            self.startup.store(allocated as u64, Relaxed);
        }
        if limit == 0 || allocated < data {
            // There is no limit, or another allocator than the one that is asked.
            return budget.set_elsewhere_bytes(0);
        }
        let rest = allocated.saturating_sub(data + clients);
        let held = self.rest.load(Relaxed);
        let held = rest.max(held - held.saturating_sub(rest).div_ceil(MEMORY_OF_PEAKS));
        self.rest.store(held, Relaxed);
        if now.since(watched.resident) >= RESIDENT_EVERY {
            watched.resident = now;
            self.watch_resident(limit);
        }
        let expected = self.expected.load(Relaxed);
        self.expected.fetch_sub(expected.div_ceil(4), Relaxed);
        let excess = self.resident_excess.load(Relaxed);
        let aside = clients::set_aside(node);
        let elsewhere = held + expected + excess + aside + limit / SLACK_PART;
        budget.set_elsewhere_bytes(elsewhere);
        node.slots
            .context()
            .set_backlog_bytes_max((limit / BACKLOG_PART).max(BACKLOG_BYTES_MIN));
    }

    /// Where the process takes many more pages than it uses, because what is left of them lies
    /// between entries, there is room for less data.
    fn watch_resident(&self, limit: usize) {
        let resident = process::resident();
        let (least, most) = (limit + limit / 32, limit + limit / 16);
        let excess = self.resident_excess.load(Relaxed);
        let excess = if resident > most {
            process::purge();
            (excess + (process::resident().saturating_sub(most)) / 8).min(limit / 8)
        } else if resident < least {
            excess - excess.div_ceil(16)
        } else {
            excess
        };
        self.resident_excess.store(excess, Relaxed);
    }

    /// Somebody is about to allocate so much for neither data nor clients.
    pub(crate) fn expect(&self, bytes: usize, budget: &Budget) {
        self.expected.fetch_add(bytes, Relaxed);
        budget.set_elsewhere_bytes(budget.elsewhere_bytes().saturating_add(bytes));
    }

    /// Which members have no room, of those that hold the same slots.
    pub(crate) fn set_full(&self, members: Vec<Member>) {
        self.any_full.store(!members.is_empty(), Relaxed);
        *self.full.lock() = members;
    }

    pub(crate) fn full_members(&self) -> Vec<Member> {
        match self.any_full.load(Relaxed) {
            true => self.full.lock().clone(),
            false => Vec::new(),
        }
    }

    pub(crate) fn count_vain_eviction(&self) {
        self.vain_evictions.fetch_add(1, Relaxed);
    }

    /// Clients that were closed for the sake of memory.
    #[must_use]
    pub fn evicted_clients(&self) -> u64 {
        self.evicted_clients.load(Relaxed)
    }

    /// How often nothing was found that could be evicted.
    #[must_use]
    pub fn vain_evictions(&self) -> u64 {
        self.vain_evictions.load(Relaxed)
    }

    /// How long the data took more than it may: altogether, and now.
    #[must_use]
    pub fn exceeded(&self) -> (Duration, Duration) {
        let watched = self.watched.lock();
        let present = watched.over_since.map(|since| clock::now().since(since));
        let present = present.unwrap_or_default();
        (watched.over_total + present, present)
    }
}

/// Whatever `maxmemory` is, so many bytes of records may be kept for members that fall behind.
const BACKLOG_BYTES_MIN: usize = 1 << 20;

/// How many bytes are kept free ahead of what comes.
pub(crate) fn headroom(budget: &Budget) -> usize {
    budget.data_bytes_max().unwrap_or(0) / HEADROOM_PART
}

impl Watched {
    fn note_exceeded(&mut self, now: Time, budget: &Budget) {
        if budget.lacking_bytes(0) > 0 {
            self.over_since.get_or_insert(now);
        } else if let Some(since) = self.over_since.take() {
            self.over_total += now.since(since);
        }
    }
}
