//! The node's counters as metrics. Handles are made once and kept; nothing is looked up by label
//! while requests run. Threads count for themselves, and [`FrontMetrics::publish`] carries their
//! sums over, each second and whenever somebody is about to read them. The time that commands took
//! is sampled by `admin`, since it is not a whole number of seconds.

use std::sync::atomic::Ordering::Relaxed;

use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};

use crate::command::table::table;
use crate::node::Node;
use crate::stats::Limit;

/// Handles of everything that the front end measures. Those made before the process has a recorder
/// go nowhere.
pub struct FrontMetrics {
    commands: Vec<CommandMetrics>,
    unknown: Counter,
    malformed: Counter,
    limits: Vec<Counter>,
    connections: Counter,
    connected: Gauge,
    maxclients: Gauge,
    bytes_in: Counter,
    bytes_out: Counter,
    memory_used: Gauge,
    memory_max: Gauge,
}

struct CommandMetrics {
    calls: Counter,
    failed: Counter,
    rejected: Counter,
}

impl FrontMetrics {
    /// The handles, described.
    #[must_use]
    pub fn new() -> FrontMetrics {
        describe();
        let of_command = |name: &'static str| CommandMetrics {
            calls: counter!("quorate_commands_total", "cmd" => name),
            failed: counter!("quorate_commands_failed_total", "cmd" => name),
            rejected: counter!("quorate_commands_rejected_total", "cmd" => name),
        };
        let limit = |limit: Limit| counter!("quorate_limits_total", "limit" => limit.name());
        FrontMetrics {
            commands: table()
                .ids()
                .map(|id| of_command(table().row(id).name))
                .collect(),
            unknown: counter!("quorate_commands_unknown_total"),
            malformed: counter!("quorate_protocol_errors_total"),
            limits: Limit::ALL.into_iter().map(limit).collect(),
            connections: counter!("quorate_connections_total"),
            connected: gauge!("quorate_connected_clients"),
            maxclients: gauge!("quorate_maxclients"),
            bytes_in: counter!("quorate_received_bytes_total"),
            bytes_out: counter!("quorate_sent_bytes_total"),
            memory_used: gauge!("quorate_data_bytes"),
            memory_max: gauge!("quorate_maxmemory_bytes"),
        }
    }

    /// Carries over what was counted.
    pub fn publish(&self, node: &Node) {
        let totals = node.stats.totals();
        for (metrics, total) in self.commands.iter().zip(&totals.commands) {
            metrics.calls.absolute(total.calls);
            metrics.failed.absolute(total.failed);
            metrics.rejected.absolute(total.rejected);
        }
        for (metric, total) in self.limits.iter().zip(totals.limits) {
            metric.absolute(total);
        }
        self.unknown.absolute(totals.unknown);
        self.malformed.absolute(totals.malformed);
        self.connections.absolute(totals.connections);
        self.bytes_in.absolute(totals.bytes_in);
        self.bytes_out.absolute(totals.bytes_out);
        self.connected.set(node.clients.connected() as f64);
        self.maxclients
            .set(node.parameters.maxclients.load(Relaxed) as f64);
        self.memory_used.set(node.store.used_bytes() as f64);
        self.memory_max.set(node.store.maxmemory_bytes() as f64);
    }
}

impl Default for FrontMetrics {
    fn default() -> FrontMetrics {
        FrontMetrics::new()
    }
}

fn describe() {
    let count = Unit::Count;
    describe_counter!(
        "quorate_commands_total",
        count,
        "Requests that ran, by command"
    );
    describe_counter!(
        "quorate_commands_failed_total",
        count,
        "Requests that ran and answered an error, by command"
    );
    describe_counter!(
        "quorate_commands_rejected_total",
        count,
        "Requests that were turned away before they ran, by command"
    );
    describe_counter!(
        "quorate_commands_unknown_total",
        count,
        "Requests of no known command"
    );
    describe_counter!(
        "quorate_protocol_errors_total",
        count,
        "Clients closed because what they sent is no request"
    );
    describe_counter!(
        "quorate_limits_total",
        count,
        "Clients refused or closed because they reached a limit, by limit"
    );
    describe_counter!(
        "quorate_connections_total",
        count,
        "Connections of clients so far"
    );
    describe_gauge!(
        "quorate_connected_clients",
        count,
        "Clients that are connected"
    );
    describe_gauge!(
        "quorate_maxclients",
        count,
        "Clients that may be connected at once"
    );
    describe_counter!(
        "quorate_received_bytes_total",
        Unit::Bytes,
        "Bytes read from clients"
    );
    describe_counter!(
        "quorate_sent_bytes_total",
        Unit::Bytes,
        "Bytes written to clients"
    );
    describe_gauge!(
        "quorate_data_bytes",
        Unit::Bytes,
        "Bytes that the data takes"
    );
    describe_gauge!(
        "quorate_maxmemory_bytes",
        Unit::Bytes,
        "Bytes that it may take; 0: no limit"
    );
}
