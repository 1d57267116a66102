//! What is said of the memory of the process: by `INFO`, `MEMORY` and the metrics.

use std::sync::atomic::Ordering::Relaxed;

use crate::node::Node;
use crate::process::Usage;

/// The memory of the process at one moment, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// All that is allocated.
    pub used: u64,
    /// The most that was seen allocated.
    pub peak: u64,
    /// What the system and the allocator say.
    pub usage: Usage,
    /// The limit; 0 is none.
    pub maxmemory: u64,
    /// What the data may take of it.
    pub data_max: u64,
    /// Entries and their tables.
    pub data: u64,
    /// Records for members that fall behind.
    pub backlog: u64,
    /// Records and copies on their way to other members.
    pub outgoing: u64,
    /// Buffers of clients.
    pub clients: u64,
    /// Buffers of clients, at most; 0 is no bound.
    pub clients_max: u64,
    /// What was allocated when the node had started.
    pub startup: u64,
}

impl Report {
    /// The memory as it is now.
    #[must_use]
    pub fn now(node: &Node) -> Report {
        let usage = Usage::now();
        let budget = node.store.budget();
        let data = budget.used_bytes() as u64;
        let used = usage.allocated.max(data);
        let peak = node.memory.peak.fetch_max(used, Relaxed).max(used);
        let peers = node.slots.replicas().peers();
        let limit = budget.maxmemory_bytes();
        let share = **node.parameters.maxmemory_clients.load();
        Report {
            used,
            peak,
            usage,
            maxmemory: limit as u64,
            data_max: budget.data_bytes_max().unwrap_or(0) as u64,
            data,
            backlog: node.slots.context().backlog_bytes() as u64,
            outgoing: peers.iter().map(|peer| peer.queued_bytes() as u64).sum(),
            clients: node.stats.client_bytes() as u64,
            clients_max: share.bytes_max(limit).unwrap_or(0) as u64,
            startup: node.memory.startup.load(Relaxed),
        }
    }

    /// What is allocated beside the data.
    #[must_use]
    pub fn overhead(&self) -> u64 {
        self.used - self.data
    }
}

/// How much one is of the other.
pub(crate) fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}
