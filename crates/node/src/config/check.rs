//! The rules that bind settings to bounds and to each other.

mod peers;

use std::fmt::Display;
use std::ops::RangeInclusive;

use routing::keyspace::{self, BadKeyspace};
use routing::quantity::{Size, Span};

use super::error::nearest;
use super::settings::{Cluster, Limits, Memory, Node, Settings, Timings};
use super::values::is_host;

/// A rule that is broken, and the key to blame.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) key: String,
    pub(super) problem: String,
    /// The setting that it does not go with.
    pub(super) against: Option<&'static str>,
}

type Checked<T = ()> = Result<T, Wrong>;

/// The settings, complete: a secret that lies in a file has been read.
pub(super) fn check(mut settings: Settings) -> Checked<Settings> {
    node(&settings.node)?;
    settings.cluster.secret = secret(&settings.cluster)?;
    cluster(&settings.cluster)?;
    timings(&settings.timings)?;
    limits(&settings.limits)?;
    memory(&settings.memory)?;
    peers::check(&settings)?;
    keyspaces(&settings)?;
    Ok(settings)
}

fn wrong<T>(key: impl Into<String>, problem: impl Into<String>) -> Checked<T> {
    Err(Wrong {
        key: key.into(),
        problem: problem.into(),
        against: None,
    })
}

/// A setting that does not go with another one.
fn against<T>(key: &str, other: &'static str, problem: impl Into<String>) -> Checked<T> {
    wrong(key, problem).map_err(|wrong| Wrong {
        against: Some(other),
        ..wrong
    })
}

fn within<T: Copy + PartialOrd + Display>(
    key: &str,
    value: T,
    range: RangeInclusive<T>,
) -> Checked {
    if range.contains(&value) {
        return Ok(());
    }
    let (least, most) = (range.start(), range.end());
    if least == most {
        return wrong(key, format!("must be {least}, not {value}"));
    }
    wrong(key, format!("must be from {least} to {most}, not {value}"))
}

/// A setting that is at least as much as another one.
fn at_least<T: PartialOrd + Display>(
    (key, value): (&str, T),
    (other, least): (&'static str, T),
) -> Checked {
    if value >= least {
        return Ok(());
    }
    let problem = format!("must be at least {other}, which is {least}, not {value}");
    against(key, other, problem)
}

fn node(node: &Node) -> Checked {
    if node.data.as_os_str().is_empty() {
        return wrong("node.data", "must name a folder");
    }
    if let Some(host) = node
        .hostname
        .as_deref()
        .filter(|host| !is_host(host) && host.parse::<std::net::IpAddr>().is_err())
    {
        return wrong("node.hostname", format!("{host:?} is no host name"));
    }
    if node.zone.len() > 255 {
        return wrong("node.zone", "is longer than 255 bytes");
    }
    within("node.weight", node.weight, 1..=10_000)?;
    within("node.threads", node.threads, 0..=1_024)?;
    if node.requirepass.as_deref() == Some("") {
        return wrong("node.requirepass", "is empty; leave it out for no password");
    }
    let ports = [
        ("node.port", node.port),
        ("node.any_port", node.any_port),
        ("node.peer_port", node.peer_port),
        ("node.admin_port", node.admin_port),
    ];
    for (at, (key, port)) in ports.iter().enumerate() {
        if let Some((other, _)) = ports[..at]
            .iter()
            .find(|(_, other)| other == port && *port != 0)
        {
            let problem = format!("is {port}, as {other} is; each port needs its own");
            return against(key, other, problem);
        }
    }
    Ok(())
}

fn secret(cluster: &Cluster) -> Checked<Option<String>> {
    let (key, secret) = match (&cluster.secret, &cluster.secret_file) {
        (Some(_), Some(_)) => {
            return wrong(
                "cluster.secret_file",
                "cluster.secret is set too; one must go",
            );
        }
        (Some(secret), None) => ("cluster.secret", secret.clone()),
        (None, Some(path)) => match std::fs::read_to_string(path) {
            Ok(text) => ("cluster.secret_file", text.trim().to_owned()),
            Err(error) => {
                let problem = format!("{} cannot be read: {error}", path.display());
                return wrong("cluster.secret_file", problem);
            }
        },
        (None, None) => return Ok(None),
    };
    if !(16..=1_024).contains(&secret.len()) {
        let problem = format!("a secret has 16 to 1024 bytes, this one {}", secret.len());
        return wrong(key, problem);
    }
    Ok(Some(secret))
}

fn cluster(cluster: &Cluster) -> Checked {
    if let Some(expect) = cluster.bootstrap_expect {
        within("cluster.bootstrap_expect", expect, 1..=1_024)?;
    }
    let copies = copies(cluster);
    within("cluster.replication_factor", copies, 1..=16)?;
    if let Some(quorum) = cluster.write_quorum {
        within("cluster.write_quorum", quorum, 1..=16)?;
        if quorum > copies {
            let problem = format!("cannot be {quorum} of {copies} copies");
            return against(
                "cluster.write_quorum",
                "cluster.replication_factor",
                format!("{problem} (cluster.replication_factor)"),
            );
        }
    }
    within(
        "cluster.read_quorum",
        cluster.read_quorum.unwrap_or(1),
        1..=1,
    )
}

/// Copies of each slot. A cluster is not made with a smaller quorum than somebody asked for, so
/// those count that it has where nobody says: three, or its founding nodes if they are fewer.
fn copies(cluster: &Cluster) -> u8 {
    let alone = cluster.seeds.addresses().is_empty();
    let founders = cluster
        .bootstrap_expect
        .unwrap_or(if alone { 1 } else { 3 });
    let few = u8::try_from(founders.min(3)).expect("three at most");
    cluster.replication_factor.unwrap_or(few)
}

fn timings(timings: &Timings) -> Checked {
    let least = Span::from_millis(10);
    let most = Span::from_secs(60);
    for (key, span) in [
        ("timings.write_timeout", timings.write_timeout),
        ("timings.read_timeout", timings.read_timeout),
        ("timings.primary_wait", timings.primary_wait),
        ("timings.lease", timings.lease),
        ("timings.heartbeat", timings.heartbeat),
        ("timings.silence", timings.silence),
        ("timings.proposal_retry", timings.proposal_retry),
    ] {
        within(key, span, least..=most)?;
    }
    let year = Span::from_secs(31_536_000);
    within(
        "timings.client_idle",
        timings.client_idle,
        Span::default()..=year,
    )?;
    within(
        "timings.client_keepalive",
        timings.client_keepalive,
        Span::default()..=year,
    )?;
    within(
        "timings.stop_timeout",
        timings.stop_timeout,
        least..=Span::from_secs(600),
    )?;
    let patience = Span::default()..=Span::from_secs(600);
    within("timings.data_wait", timings.data_wait, patience)?;
    for (key, span, least, most) in [
        ("admin_connection", timings.admin_connection, 1_000, 86_400),
        ("flush_timeout", timings.flush_timeout, 10, 600),
        ("database_patience", timings.database_patience, 10, 600),
        // The first pause is a quarter of a second, while a database is opened.
        ("database_retry_max", timings.database_retry_max, 250, 3_600),
        ("database_close", timings.database_close, 10, 60),
    ] {
        let range = Span::from_millis(least)..=Span::from_secs(most);
        within(&format!("timings.{key}"), span, range)?;
    }
    for (key, span) in [
        ("timings.client_idle", timings.client_idle),
        ("timings.client_keepalive", timings.client_keepalive),
    ] {
        if !span.as_millis().is_multiple_of(1_000) {
            let problem = format!("must be whole seconds, not {span}");
            return wrong(key, problem);
        }
    }
    // With less, one lost heartbeat would be enough to stop a primary.
    if timings.lease.as_millis() < 3 * timings.heartbeat.as_millis() {
        let problem = format!(
            "must be at least three times timings.heartbeat, which is {}, not {}",
            timings.heartbeat, timings.lease
        );
        return against("timings.lease", "timings.heartbeat", problem);
    }
    at_least(
        ("timings.silence", timings.silence),
        ("timings.lease", timings.lease),
    )
}

/// What `argument_bytes_max` may be. A value never is longer, so a longer argument could not be
/// used.
pub(crate) const ARGUMENT_BYTES: RangeInclusive<u64> = 1 << 10..=512 << 20;
/// What `query_bytes_max` may be.
pub(crate) const QUERY_BYTES: RangeInclusive<u64> = 64 << 10..=3 << 30;

/// Entries of a slot that may be compared for one eviction.
const SAMPLES: RangeInclusive<u32> = 1..=crate::store::SAMPLES_MAX;
/// What Redis takes for the settings of its counters of uses.
pub(crate) const LFU: RangeInclusive<u32> = 0..=i32::MAX as u32;

fn memory(memory: &Memory) -> Checked {
    let (factor, decay) = (memory.lfu_log_factor, memory.lfu_decay_time);
    within(
        "memory.maxmemory_samples",
        memory.maxmemory_samples,
        SAMPLES,
    )?;
    within("memory.lfu_log_factor", factor, LFU)?;
    within("memory.lfu_decay_time", decay, LFU)
}

fn limits(limits: &Limits) -> Checked {
    const TIB: u64 = 1 << 40;
    let size = |name: &str, size: Size, least: u64, most: u64| {
        within(&format!("limits.{name}"), size, Size(least)..=Size(most))
    };
    let most = limits.argument_bytes_max;
    let (least, top) = ARGUMENT_BYTES.into_inner();
    size("argument_bytes_max", most, least, top)?;
    size("line_bytes_max", limits.line_bytes_max, 64, 1 << 20)?;
    let (least, top) = QUERY_BYTES.into_inner();
    size("query_bytes_max", limits.query_bytes_max, least, top)?;
    size("output_bytes_max", limits.output_bytes_max, 64 << 10, TIB)?;
    size("output_soft_bytes", limits.output_soft_bytes, 64 << 10, TIB)?;
    size("backlog_bytes_max", limits.backlog_bytes_max, 1 << 10, TIB)?;
    size(
        "backlog_total_bytes_max",
        limits.backlog_total_bytes_max,
        1 << 20,
        TIB,
    )?;
    size(
        "peer_queue_bytes_max",
        limits.peer_queue_bytes_max,
        1 << 20,
        TIB,
    )?;
    size("copy_window_bytes", limits.copy_window_bytes, 64 << 10, TIB)?;
    size(
        "scratch_bytes_max",
        limits.scratch_bytes_max,
        1 << 10,
        1 << 30,
    )?;
    let scan = 1..=1 << 30;
    within("limits.scan_entries_max", limits.scan_entries_max, scan)?;
    let count = |name: &str, count: usize, range| within(&format!("limits.{name}"), count, range);
    count("maxclients", limits.maxclients, 1..=1_000_000)?;
    count("arguments_max", limits.arguments_max, 16..=1 << 20)?;
    count("pipeline_max", limits.pipeline_max, 1..=1 << 20)?;
    count("uncommitted_max", limits.uncommitted_max, 1..=1 << 24)?;
    count("waiters_max", limits.waiters_max, 1..=1 << 24)?;
    let commands = limits.transaction_commands_max;
    count("transaction_commands_max", commands, 1..=1 << 20)?;
    let bytes = limits.transaction_bytes_max;
    size("transaction_bytes_max", bytes, 1 << 10, 1 << 30)?;
    count(
        "database_waiting_max",
        limits.database_waiting_max,
        1..=1 << 24,
    )?;
    count(
        "admin_connections_max",
        limits.admin_connections_max,
        1..=1 << 16,
    )?;
    let soft = Span::from_secs(1)..=Span::from_secs(86_400);
    within("limits.output_soft_time", limits.output_soft_time, soft)?;
    let argument = ("limits.argument_bytes_max", limits.argument_bytes_max);
    let query = ("limits.query_bytes_max", limits.query_bytes_max);
    let output = ("limits.output_bytes_max", limits.output_bytes_max);
    at_least(query, argument)?;
    at_least(output, argument)
}

fn keyspaces(settings: &Settings) -> Checked {
    let stores: Vec<&str> = settings.store.keys().map(String::as_str).collect();
    for (name, store) in &settings.store {
        if let Err(bad) = keyspace::check_store(name, store, &settings.keyspace) {
            return wrong(inside(format!("store.{name}"), bad.field), bad.problem);
        }
    }
    let all = &settings.keyspace;
    if let Err(BadKeyspace { at, setting }) = keyspace::check(all, &stores) {
        let key = inside(format!("keyspace[{at}]"), setting.field);
        let meant = all[at]
            .store
            .as_deref()
            .filter(|_| setting.field == "store");
        let near = meant.and_then(|store| Some((store, nearest(store, stores)?)));
        return match near {
            Some((store, near)) if store != near => wrong(
                key,
                format!("there is no store {store:?}; did you mean {near:?}?"),
            ),
            _ => wrong(key, setting.problem),
        };
    }
    Ok(())
}

/// The key of a field of a table; without a field, that of the table itself.
fn inside(table: String, field: &str) -> String {
    if field.is_empty() {
        return table;
    }
    format!("{table}.{field}")
}
