//! The names by which the widely used exporter for Redis shows `INFO`, so that dashboards and
//! alerts made for Redis work as they are. What Quorate has none of is left out, unless a dashboard
//! needs it to tell that there is none.

use std::sync::atomic::Ordering::Relaxed;

use cluster::{SLOTS, clock};

use crate::admin::exposition::Exposition;
use crate::command::connection::REDIS_VERSION;
use crate::command::table::table;
use crate::memory::Report;
use crate::node::Node;
use crate::process::{self, Usage};
use crate::stats::{Limit, Totals};

pub(super) fn write(node: &Node, out: &mut Exposition) {
    let totals = node.stats.totals();
    server(node, out);
    clients(node, &totals, out);
    memory(node, out);
    traffic(&totals, out);
    lookups(node, &totals, out);
    commands(&totals, out);
    keyspace(node, out);
    cluster(node, out);
}

fn server(node: &Node, out: &mut Exposition) {
    let uptime = node.uptime_ms() as f64 / 1000.0;
    out.gauge("redis_up", "Whether the node answers.")
        .value(1.0);
    out.gauge(
        "redis_uptime_in_seconds",
        "For how long the node has been running.",
    )
    .value(uptime);
    let started = clock::unix_ms() as f64 / 1000.0 - uptime;
    out.gauge("redis_start_time_seconds", "When the node was started.")
        .value(started.floor());
    let port = node.settings.node.port.to_string();
    let labels = [
        ("role", "master"),
        ("redis_version", REDIS_VERSION),
        ("redis_build_id", "0"),
        ("redis_mode", "cluster"),
        ("os", &process::system()),
        ("maxmemory_policy", node.store.policy().name()),
        ("tcp_port", &port),
        ("run_id", &node.run_id),
        ("process_id", &std::process::id().to_string()),
    ];
    out.gauge("redis_instance_info", "What the node says of itself.")
        .of(&labels, 1.0);
    out.gauge("redis_process_id", "The number of the process.")
        .value(std::process::id().into());
    out.gauge(
        "redis_connected_slaves",
        "Replicas of Redis's own protocol: there are none.",
    )
    .value(0.0);
    out.gauge(
        "redis_loading_dump_file",
        "Whether a dump is being loaded: never.",
    )
    .value(0.0);
    let usage = Usage::now();
    out.counter(
        "redis_cpu_user_seconds_total",
        "Processor time spent in the program.",
    )
    .value(usage.user_seconds);
    out.counter(
        "redis_cpu_sys_seconds_total",
        "Processor time spent in the kernel.",
    )
    .value(usage.system_seconds);
}

fn clients(node: &Node, totals: &Totals, out: &mut Exposition) {
    let connected = node.clients.connected() as f64;
    out.gauge("redis_connected_clients", "Clients that are connected.")
        .value(connected);
    out.gauge(
        "redis_blocked_clients",
        "Clients that wait in a blocking command.",
    )
    .value(0.0);
    let most = node.parameters.maxclients.load(Relaxed) as f64;
    out.gauge(
        "redis_max_clients",
        "Clients that may be connected at once.",
    )
    .value(most);
    out.gauge(
        "redis_config_maxclients",
        "Clients that may be connected at once.",
    )
    .value(most);
    out.counter(
        "redis_connections_received_total",
        "Connections of clients so far.",
    )
    .value(totals.connections as f64);
    out.counter(
        "redis_rejected_connections_total",
        "Connections refused for their number.",
    )
    .value(totals.limits[Limit::Clients as usize] as f64);
}

fn memory(node: &Node, out: &mut Exposition) {
    let report = Report::now(node);
    let (usage, used, peak, dataset) = (report.usage, report.used, report.peak, report.data);
    let limit = report.maxmemory as f64;
    let resident = usage.resident as f64;
    for (name, help, value) in [
        (
            "redis_memory_used_bytes",
            "Bytes that are allocated.",
            used as f64,
        ),
        (
            "redis_memory_used_peak_bytes",
            "The most that was seen allocated.",
            peak as f64,
        ),
        (
            "redis_memory_used_dataset_bytes",
            "Bytes of data.",
            dataset as f64,
        ),
        (
            "redis_memory_used_overhead_bytes",
            "Bytes besides the data.",
            (used - dataset) as f64,
        ),
        (
            "redis_memory_used_rss_bytes",
            "Bytes of the process in memory.",
            resident,
        ),
        (
            "redis_memory_max_bytes",
            "Bytes that there may be; 0: no limit.",
            limit,
        ),
        (
            "redis_config_maxmemory",
            "Bytes that there may be; 0: no limit.",
            limit,
        ),
        (
            "redis_allocator_allocated_bytes",
            "Bytes allocated.",
            usage.allocated as f64,
        ),
        (
            "redis_allocator_active_bytes",
            "Bytes of the pages of these.",
            usage.active as f64,
        ),
        (
            "redis_allocator_resident_bytes",
            "Bytes of the allocator in memory.",
            usage.allocator_resident as f64,
        ),
        (
            "redis_mem_fragmentation_ratio",
            "Memory of the process over memory allocated.",
            resident / used.max(1) as f64,
        ),
    ] {
        out.gauge(name, help).value(value);
    }
}

fn traffic(totals: &Totals, out: &mut Exposition) {
    for (name, help, value) in [
        (
            "redis_commands_processed_total",
            "Requests that ran.",
            totals.calls(),
        ),
        (
            "redis_net_input_bytes_total",
            "Bytes read from clients.",
            totals.bytes_in,
        ),
        (
            "redis_net_output_bytes_total",
            "Bytes written to clients.",
            totals.bytes_out,
        ),
    ] {
        out.counter(name, help).value(value as f64);
    }
    let mut errors = out.counter("redis_errors_total", "Replies that were errors, by code.");
    for (code, count) in &totals.errors {
        errors.of(&[("err", code)], *count as f64);
    }
}

fn lookups(node: &Node, totals: &Totals, out: &mut Exposition) {
    for (name, help, value) in [
        (
            "redis_keyspace_hits_total",
            "Looks at a key that was there.",
            totals.hits,
        ),
        (
            "redis_keyspace_misses_total",
            "Looks at a key that was not.",
            totals.misses,
        ),
        (
            "redis_expired_keys_total",
            "Keys removed at their time.",
            node.store.expired_keys(),
        ),
        (
            "redis_evicted_keys_total",
            "Keys removed for memory.",
            node.store.evicted_keys(),
        ),
        (
            "redis_evicted_clients_total",
            "Clients closed for memory.",
            node.memory.evicted_clients(),
        ),
    ] {
        out.counter(name, help).value(value as f64);
    }
}

fn commands(totals: &Totals, out: &mut Exposition) {
    let ran = || {
        table()
            .ids()
            .zip(&totals.commands)
            .filter(|(_, total)| total.calls + total.rejected > 0)
    };
    let mut family = |name, help, value: &dyn Fn(&crate::stats::CommandTotals) -> f64| {
        let mut family = out.counter(name, help);
        for (id, total) in ran() {
            family.of(&[("cmd", table().row(id).name)], value(total));
        }
    };
    family(
        "redis_commands_total",
        "Requests that ran, by command.",
        &|total| total.calls as f64,
    );
    let seconds = "Time that requests took, waits for copies not counted, by command.";
    family("redis_commands_duration_seconds_total", seconds, &|total| {
        total.nanos as f64 / 1e9
    });
    let rejected = "Requests that were turned away before they ran, by command.";
    family("redis_commands_rejected_calls_total", rejected, &|total| {
        total.rejected as f64
    });
    let failed = "Requests that ran and answered an error, by command.";
    family("redis_commands_failed_calls_total", failed, &|total| {
        total.failed as f64
    });
}

/// The keys of the slots that the node leads, as a Redis master counts its own: a sum over the
/// nodes counts each key once.
fn keyspace(node: &Node, out: &mut Exposition) {
    let led = node.slots.tally();
    let db = [("db", "db0")];
    out.gauge("redis_db_keys", "Keys in the slots that the node leads.")
        .of(&db, led.keys as f64);
    out.gauge("redis_db_keys_expiring", "Those of them that expire.")
        .of(&db, led.expiring as f64);
}

fn cluster(node: &Node, out: &mut Exposition) {
    let layout = node.topology.layout();
    let counts = layout.counts();
    let leading = layout
        .shares()
        .values()
        .filter(|share| share.led > 0)
        .count();
    for (name, help, value) in [
        (
            "redis_cluster_enabled",
            "Whether the node is part of a cluster.",
            1,
        ),
        (
            "redis_cluster_state",
            "Whether every slot has a primary.",
            usize::from(counts.covered == SLOTS),
        ),
        (
            "redis_cluster_slots_assigned",
            "Slots that some node holds.",
            counts.assigned.into(),
        ),
        (
            "redis_cluster_slots_ok",
            "Slots with a primary.",
            counts.covered.into(),
        ),
        (
            "redis_cluster_slots_fail",
            "Slots without a primary.",
            (counts.assigned - counts.covered.min(counts.assigned)).into(),
        ),
        (
            "redis_cluster_known_nodes",
            "Nodes of the cluster.",
            layout.shares().len(),
        ),
        ("redis_cluster_size", "Nodes that lead slots.", leading),
    ] {
        out.gauge(name, help).value(value as f64);
    }
    out.gauge(
        "redis_cluster_current_epoch",
        "The greatest epoch of any slot.",
    )
    .value(layout.epoch().0.into());
}
