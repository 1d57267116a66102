//! `INFO`: what the node says of itself, under the names that Redis gives it, so that clients and
//! exporters find what they look for. What Quorate has none of is left out, or zero where it is
//! read as a number.

use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

use cluster::clock;

use crate::client_state::Port;
use crate::command::connection::REDIS_VERSION;
use crate::command::table::table;
use crate::command::{Answer, Args, Session};
use crate::error::CommandError;
use crate::memory::{Report, ratio};
use crate::process::Usage;
use crate::resp::Reply;
use crate::stats::Limit;

/// Writes the fields of one section.
type Section = fn(&Session<'_>, &mut String);

/// Every section: its name, its title, whether `INFO` alone shows it, and what writes it.
const SECTIONS: [(&str, &str, bool, Section); 11] = [
    ("server", "Server", true, server),
    ("clients", "Clients", true, clients),
    ("memory", "Memory", true, memory),
    ("persistence", "Persistence", true, persistence),
    ("stats", "Stats", true, stats),
    ("replication", "Replication", true, replication),
    ("cpu", "CPU", true, cpu),
    ("commandstats", "Commandstats", false, commandstats),
    ("errorstats", "Errorstats", true, errorstats),
    ("cluster", "Cluster", true, cluster_section),
    ("keyspace", "Keyspace", true, keyspace),
];

pub(crate) fn info<'a>(
    session: &mut Session<'_>,
    args: &mut Args<'a>,
) -> Result<Answer<'a>, CommandError> {
    let wanted: Vec<String> = args
        .map(|word| String::from_utf8_lossy(word).to_lowercase())
        .collect();
    let is_wanted = |name: &str, by_default: bool| {
        let by_default = by_default && wanted.is_empty();
        by_default
            || wanted.iter().any(|word| match word.as_str() {
                "all" | "everything" => true,
                "default" => SECTIONS
                    .iter()
                    .any(|(known, _, shown, _)| *known == name && *shown),
                word => word == name,
            })
    };
    let mut text = String::with_capacity(4096);
    for (name, title, by_default, write) in SECTIONS {
        if is_wanted(name, by_default) {
            if !text.is_empty() {
                text += "\r\n";
            }
            field(&mut text, "# ", title, "");
            write(session, &mut text);
        }
    }
    Ok(Reply::Verbatim(text.into()).into())
}

fn field(text: &mut String, name: &str, middle: &str, value: impl std::fmt::Display) {
    write!(text, "{name}{middle}{value}\r\n").expect("a string takes whatever is written");
}

/// Lines of `name:value`.
fn fields(text: &mut String, lines: &[(&str, &dyn std::fmt::Display)]) {
    for (name, value) in lines {
        field(text, name, ":", value);
    }
}

fn server(session: &Session<'_>, text: &mut String) {
    let node = session.node;
    let (mode, port) = match session.client.port {
        Port::Cluster => ("cluster", node.settings.node.port),
        Port::Any => ("standalone", node.settings.node.any_port),
    };
    let port = if port == 0 {
        session.client.card.local.port()
    } else {
        port
    };
    let uptime = node.uptime_ms() / 1000;
    let micros = clock::unix_micros();
    let config_file = node.config_file.get();
    let config_file = config_file.map_or_else(String::new, |file| file.display().to_string());
    fields(
        text,
        &[
            ("redis_version", &REDIS_VERSION),
            ("redis_git_sha1", &"00000000"),
            ("redis_git_dirty", &0),
            ("redis_build_id", &"0"),
            ("quorate_version", &env!("CARGO_PKG_VERSION")),
            ("redis_mode", &mode),
            ("os", &crate::process::system()),
            ("arch_bits", &usize::BITS),
            ("multiplexing_api", &"epoll"),
            ("process_id", &std::process::id()),
            ("process_supervised", &"no"),
            ("run_id", &node.run_id),
            ("tcp_port", &port),
            ("server_time_usec", &micros),
            ("uptime_in_seconds", &uptime),
            ("uptime_in_days", &(uptime / 86_400)),
            ("hz", &10),
            ("configured_hz", &10),
            ("lru_clock", &((micros / 1_000_000) & 0xff_ffff)),
            ("executable", &crate::process::executable()),
            ("config_file", &config_file),
            ("io_threads_active", &0),
        ],
    );
}

fn clients(session: &Session<'_>, text: &mut String) {
    let node = session.node;
    let cards = node.clients.all();
    let most = |bytes: &dyn Fn(&crate::client_state::ClientCard) -> u64| {
        cards.iter().map(|card| bytes(card)).max().unwrap_or(0)
    };
    fields(
        text,
        &[
            ("connected_clients", &node.clients.connected()),
            ("cluster_connections", &0),
            ("maxclients", &node.parameters.maxclients.load(Relaxed)),
            (
                "client_recent_max_input_buffer",
                &most(&|card| card.query_bytes.load(Relaxed)),
            ),
            (
                "client_recent_max_output_buffer",
                &most(&|card| card.output_bytes.load(Relaxed)),
            ),
            ("blocked_clients", &0),
            ("tracking_clients", &0),
            ("clients_in_timeout_table", &0),
        ],
    );
}

fn memory(session: &Session<'_>, text: &mut String) {
    let node = session.node;
    let report = Report::now(node);
    let (used, peak, usage) = (report.used, report.peak, report.usage);
    let (data, maxmemory) = (report.data, report.maxmemory);
    let resident = usage.resident;
    let dataset_part = percent(data, used.saturating_sub(report.startup).max(data));
    fields(
        text,
        &[
            ("used_memory", &used),
            ("used_memory_human", &human(used)),
            ("used_memory_rss", &resident),
            ("used_memory_rss_human", &human(resident)),
            ("used_memory_peak", &peak),
            ("used_memory_peak_human", &human(peak)),
            ("used_memory_peak_perc", &percent(used, peak)),
            ("used_memory_overhead", &report.overhead()),
            ("used_memory_startup", &report.startup),
            ("used_memory_dataset", &data),
            ("used_memory_dataset_perc", &dataset_part),
            ("allocator_allocated", &usage.allocated),
            ("allocator_active", &usage.active),
            ("allocator_resident", &usage.allocator_resident),
            ("total_system_memory", &usage.machine),
            ("total_system_memory_human", &human(usage.machine)),
            ("used_memory_lua", &0),
            ("used_memory_vm_eval", &0),
            ("used_memory_lua_human", &human(0)),
            ("used_memory_scripts_eval", &0),
            ("number_of_cached_scripts", &0),
            ("number_of_functions", &0),
            ("number_of_libraries", &0),
            ("used_memory_vm_functions", &0),
            ("used_memory_vm_total", &0),
            ("used_memory_vm_total_human", &human(0)),
            ("used_memory_functions", &0),
            ("used_memory_scripts", &0),
            ("used_memory_scripts_human", &human(0)),
            ("maxmemory", &maxmemory),
            ("maxmemory_human", &human(maxmemory)),
            ("maxmemory_policy", &node.store.policy().name()),
        ],
    );
    fragmentation(&report, text);
    fields(
        text,
        &[
            ("mem_not_counted_for_evict", &0),
            ("mem_replication_backlog", &report.backlog),
            (
                "mem_total_replication_buffers",
                &(report.backlog + report.outgoing),
            ),
            ("mem_clients_slaves", &report.outgoing),
            ("mem_clients_normal", &report.clients),
            ("mem_cluster_links", &0),
            ("mem_aof_buffer", &0),
            ("mem_allocator", &"jemalloc"),
            ("active_defrag_running", &0),
            ("lazyfree_pending_objects", &0),
            ("lazyfreed_objects", &0),
        ],
    );
}

/// How much more there is of pages than of what lies in them, at each step up to the system.
fn fragmentation(report: &Report, text: &mut String) {
    let usage = &report.usage;
    let steps = [
        ("allocator_frag", usage.active, usage.allocated),
        ("allocator_rss", usage.allocator_resident, usage.active),
        ("rss_overhead", usage.resident, usage.allocator_resident),
        ("mem_fragmentation", usage.resident, report.used),
    ];
    for (name, more, less) in steps {
        let bytes = more.cast_signed() - less.cast_signed();
        let times = format!("{:.2}", ratio(more, less));
        field(text, name, "_ratio:", times);
        field(text, name, "_bytes:", bytes);
    }
}

fn human(bytes: u64) -> String {
    let units = [("G", 1_u64 << 30), ("M", 1 << 20), ("K", 1 << 10)];
    let unit = units.iter().find(|(_, unit)| bytes >= *unit);
    unit.map_or_else(
        || format!("{bytes}B"),
        |(name, unit)| format!("{:.2}{name}", bytes as f64 / *unit as f64),
    )
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.2}%", part as f64 * 100.0 / whole.max(1) as f64)
}

/// Nothing is kept on disk but in databases of record; what monitors watch is always well.
fn persistence(_: &Session<'_>, text: &mut String) {
    fields(
        text,
        &[
            ("loading", &0),
            ("async_loading", &0),
            ("rdb_changes_since_last_save", &0),
            ("rdb_bgsave_in_progress", &0),
            ("rdb_last_save_time", &0),
            ("rdb_last_bgsave_status", &"ok"),
            ("rdb_last_bgsave_time_sec", &-1),
            ("rdb_current_bgsave_time_sec", &-1),
            ("aof_enabled", &0),
            ("aof_rewrite_in_progress", &0),
            ("aof_last_bgrewrite_status", &"ok"),
            ("aof_last_write_status", &"ok"),
        ],
    );
}

fn stats(session: &Session<'_>, text: &mut String) {
    let node = session.node;
    let totals = node.stats.since_reset();
    let rates = node.stats.rates();
    let (exceeded, now_exceeded) = node.memory.exceeded();
    let kbps = |bytes: u64| format!("{:.2}", bytes as f64 / 1024.0);
    fields(
        text,
        &[
            ("total_connections_received", &totals.connections),
            ("total_commands_processed", &totals.calls()),
            ("instantaneous_ops_per_sec", &rates.calls),
            ("total_net_input_bytes", &totals.bytes_in),
            ("total_net_output_bytes", &totals.bytes_out),
            ("instantaneous_input_kbps", &kbps(rates.bytes_in)),
            ("instantaneous_output_kbps", &kbps(rates.bytes_out)),
            (
                "rejected_connections",
                &totals.limits[Limit::Clients as usize],
            ),
            ("sync_full", &0),
            ("sync_partial_ok", &0),
            ("sync_partial_err", &0),
            ("expired_keys", &node.store.expired_keys()),
            ("evicted_keys", &node.store.evicted_keys()),
            ("evicted_clients", &node.memory.evicted_clients()),
            ("total_eviction_exceeded_time", &exceeded.as_millis()),
            ("current_eviction_exceeded_time", &now_exceeded.as_millis()),
            ("keyspace_hits", &totals.hits),
            ("keyspace_misses", &totals.misses),
            ("pubsub_channels", &0),
            ("pubsub_patterns", &0),
            ("latest_fork_usec", &0),
            ("total_forks", &0),
            ("migrate_cached_sockets", &0),
            ("tracking_total_keys", &0),
            ("unexpected_error_replies", &0),
            ("total_error_replies", &totals.error_replies()),
        ],
    );
}

fn replication(session: &Session<'_>, text: &mut String) {
    fields(
        text,
        &[
            ("role", &"master"),
            ("connected_slaves", &0),
            ("master_failover_state", &"no-failover"),
            ("master_replid", &session.node.run_id),
            (
                "master_replid2",
                &"0000000000000000000000000000000000000000",
            ),
            ("master_repl_offset", &0),
            ("second_repl_offset", &-1),
            ("repl_backlog_active", &0),
            ("repl_backlog_size", &0),
            ("repl_backlog_first_byte_offset", &0),
            ("repl_backlog_histlen", &0),
        ],
    );
}

fn cpu(_: &Session<'_>, text: &mut String) {
    let usage = Usage::now();
    fields(
        text,
        &[
            ("used_cpu_sys", &format_args!("{:.6}", usage.system_seconds)),
            ("used_cpu_user", &format_args!("{:.6}", usage.user_seconds)),
            ("used_cpu_sys_children", &"0.000000"),
            ("used_cpu_user_children", &"0.000000"),
        ],
    );
}

fn commandstats(session: &Session<'_>, text: &mut String) {
    let totals = session.node.stats.since_reset();
    for (id, total) in table().ids().zip(&totals.commands) {
        if total.calls + total.rejected == 0 {
            continue;
        }
        let usec = total.nanos / 1000;
        let per_call = total.nanos as f64 / 1000.0 / total.calls.max(1) as f64;
        let value = format_args!(
            "calls={},usec={usec},usec_per_call={per_call:.2},rejected_calls={},failed_calls={}",
            total.calls, total.rejected, total.failed
        )
        .to_string();
        field(
            text,
            "cmdstat_",
            &format!("{}:", table().row(id).name),
            value,
        );
    }
}

fn errorstats(session: &Session<'_>, text: &mut String) {
    for (code, count) in session.node.stats.since_reset().errors {
        field(text, "errorstat_", &code, format_args!(":count={count}"));
    }
}

fn cluster_section(session: &Session<'_>, text: &mut String) {
    fields(
        text,
        &[(
            "cluster_enabled",
            &u8::from(session.client.port == Port::Cluster),
        )],
    );
}

fn keyspace(session: &Session<'_>, text: &mut String) {
    let tally = session.node.slots.tally();
    if tally.keys > 0 {
        let (keys, expires) = (tally.keys, tally.expiring);
        field(
            text,
            "db0:",
            "",
            format_args!("keys={keys},expires={expires},avg_ttl=0"),
        );
    }
}
