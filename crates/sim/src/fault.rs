//! What goes wrong in a run, and how often: drawn from the seed, so that some runs have little of
//! everything and others much of one thing.

use std::time::Duration;

use cluster::replication::{FailoverSettings, Settings};

use crate::Chance;
use crate::world::Config;

/// One kind of thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A process is killed, and starts again with empty memory.
    Kill,
    /// A process is asked to stop, and goes a moment later.
    Stop,
    /// A process stands still for a while.
    Pause,
    /// Nothing passes between two groups of nodes.
    Partition,
    /// Nothing passes from one node to another, the other way is open.
    OneWay,
    /// A stream breaks.
    Break,
    /// The metadata group gets another leader; the old one may not know yet.
    Leader,
    /// A node hears nothing of the metadata log for a while.
    Deaf,
    /// What one node sends to another takes long for a while.
    Slow,
    /// A leader of the metadata group is told something wrong about who is alive.
    Rumour,
}

const FAULTS: [Fault; 10] = [
    Fault::Kill,
    Fault::Stop,
    Fault::Pause,
    Fault::Partition,
    Fault::OneWay,
    Fault::Break,
    Fault::Leader,
    Fault::Deaf,
    Fault::Slow,
    Fault::Rumour,
];

/// The faults of one run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The faults that happen, with the mean span between two of a kind.
    pub faults: Vec<(Fault, Duration)>,
    /// For how long they go on.
    pub lasts: Duration,
    /// How long a message takes, on average, and in how many of a thousand cases it takes long.
    pub delay: (Duration, u64),
    /// In how many of a thousand cases a proposal is lost; its answer is; it comes late as well.
    pub proposals: (u64, u64, u64),
    /// How long a node takes to hear of an entry of the log, on average.
    pub apply: Duration,
    /// In how many of a thousand cases a node is killed just after a placement has changed.
    pub kills_at_changes: u64,
    /// Whether nodes take in several entries of the log as one.
    pub coalesces: bool,
    /// Whether more members may be killed than the slots have promised to bear.
    pub is_wild: bool,
    /// The mean span between two deeds of somebody who operates the cluster, if anybody does.
    pub administration: Option<Duration>,
    /// The mean span between two operations of one client, and how many there are.
    pub clients: (Duration, usize),
    /// How long a client waits.
    pub patience: Duration,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn draw(chance: &mut Chance) -> Plan {
        let mut faults = Vec::new();
        for fault in FAULTS {
            if chance.permille(550) {
                faults.push((fault, chance.millis(400, 6000)));
            }
        }
        Plan {
            faults,
            lasts: chance.millis(5_000, 16_000),
            delay: (
                Duration::from_micros(100 + chance.below(8_000)),
                chance.below(20),
            ),
            proposals: (chance.below(120), chance.below(120), chance.below(120)),
            apply: chance.millis(1, 120),
            kills_at_changes: if chance.permille(400) {
                chance.below(250)
            } else {
                0
            },
            coalesces: chance.permille(500),
            is_wild: chance.permille(120),
            administration: chance.permille(500).then(|| chance.millis(500, 4000)),
            clients: (chance.millis(5, 60), 2 + chance.index(6)),
            patience: chance.millis(200, 2500),
        }
    }
}

/// The world of a seed.
#[must_use]
pub fn config(chance: &mut Chance, nodes: Option<usize>) -> Config {
    let joiners = if chance.permille(400) {
        1 + chance.index(2)
    } else {
        0
    };
    let nodes = nodes.unwrap_or_else(|| 3 + chance.index(3)) + joiners;
    let replication_factor = if chance.permille(850) { 3 } else { 2 };
    let write_quorum = match chance.below(20) {
        0 => 1,
        1 if replication_factor == 3 => 3,
        _ => 2,
    };
    let backlog_bytes_max = 100 << chance.below(10);
    let settings = Settings {
        backlog_bytes_max,
        // Less than all slots may have, where there are more than two.
        backlog_total_bytes_max: 2 * backlog_bytes_max,
        queue_bytes_max: if chance.permille(300) { 5000 } else { 1 << 20 },
        copy_window_bytes: 100 << chance.below(6),
        copy_chunk_bytes: 20 << chance.below(5),
        silence: chance.millis(600, 1500),
        ..Settings::default()
    };
    Config {
        nodes,
        joiners,
        slots: 1 + u16::try_from(chance.below(5)).expect("small"),
        replication_factor,
        write_quorum,
        settings,
        failover: FailoverSettings {
            replace_after: chance.millis(2_000, 10_000),
            balance_delay: chance.millis(50, 2_000),
            moves_max: 1 + chance.index(8),
            transfers_max: 1 + chance.index(8),
            ..FailoverSettings::default()
        },
        ..Config::default()
    }
}

/// The clocks of a seed's nodes: where they start, and how fast they run. Two of them differ by
/// less than the one part in 64 that leases allow for.
#[must_use]
pub fn clocks(chance: &mut Chance, nodes: usize) -> Vec<(Duration, i64)> {
    let drifts = chance.permille(500);
    let mut clock = || {
        let fast = if drifts { chance.below(15_000) } else { 7_500 };
        let fast = i64::try_from(fast).expect("small") - 7_500;
        (chance.millis(0, 100_000), fast)
    };
    (0..nodes).map(|_| clock()).collect()
}
