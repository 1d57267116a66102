//! `MEMORY`: what keys and the process take, and what is remarkable about it.

mod doctor;

use bytes::Bytes;

use super::{Answer, Args, Session, help};
use crate::census::Census;
use crate::error::CommandError;
use crate::memory::{Report, ratio};
use crate::process;
use crate::resp::Reply;
use crate::store::Tx;

type Answered<'a> = Result<Answer<'a>, CommandError>;

/// `MEMORY USAGE key [SAMPLES count]`: what a key takes here. Nothing is estimated from samples, so
/// their number is read and does not matter.
pub(crate) fn usage<'t>(
    tx: &'t mut Tx<'_>,
    args: &mut Args<'_>,
) -> Result<Reply<'t>, CommandError> {
    let key = args.key()?;
    while !args.is_empty() {
        if !(args.remaining() > 1 && args.option("samples")) || args.int()? < 0 {
            return Err(CommandError::Syntax);
        }
    }
    let bytes = tx.bytes(key);
    Ok(bytes.map_or(Reply::Null, |bytes| integer(bytes as u64)))
}

/// `MEMORY STATS`
pub(crate) fn stats<'a>(session: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    let node = session.node;
    let report = Report::now(node);
    let Report { used, usage, .. } = report;
    let census = Census::take(&node.slots);
    let keys = census.led.keys as u64;
    let entries = census.led.entry_bytes + census.copies.entry_bytes;
    let net = used.saturating_sub(report.startup);
    let tables = report.data.saturating_sub(entries as u64);
    let percent = |part, whole| Reply::Double(100.0 * ratio(part, whole));
    let database = vec![
        (text("overhead.hashtable.main"), integer(tables)),
        (text("overhead.hashtable.expires"), integer(0)),
        (text("overhead.hashtable.slot-to-keys"), integer(0)),
    ];
    let rows = [
        ("peak.allocated", integer(report.peak)),
        ("total.allocated", integer(used)),
        ("startup.allocated", integer(report.startup)),
        ("replication.backlog", integer(report.backlog)),
        ("clients.slaves", integer(report.outgoing)),
        ("clients.normal", integer(report.clients)),
        ("cluster.links", integer(0)),
        ("aof.buffer", integer(0)),
        ("lua.caches", integer(0)),
        ("functions.caches", integer(0)),
        ("db.0", Reply::Map(database)),
        ("overhead.total", integer(report.overhead())),
        ("keys.count", integer(keys)),
        (
            "keys.bytes-per-key",
            integer(net.checked_div(keys).unwrap_or(0)),
        ),
        ("dataset.bytes", integer(report.data)),
        (
            "dataset.percentage",
            percent(report.data, net.max(report.data)),
        ),
        ("peak.percentage", percent(used, report.peak)),
        ("allocator.allocated", integer(usage.allocated)),
        ("allocator.active", integer(usage.active)),
        ("allocator.resident", integer(usage.allocator_resident)),
    ];
    let rows = rows.into_iter().chain(fragmentation(&report));
    let rows = rows.map(|(name, value)| (text(name), value));
    Ok(Reply::Map(rows.collect()).into())
}

/// How much more there is of pages than of what lies in them, at each step up to the system.
fn fragmentation(report: &Report) -> [(&'static str, Reply<'static>); 8] {
    let usage = &report.usage;
    let times = |more, less| Reply::Double(ratio(more, less));
    let bytes = |more: u64, less: u64| Reply::Int(more.cast_signed() - less.cast_signed());
    let (resident, in_allocator) = (usage.resident, usage.allocator_resident);
    let (active, allocated) = (usage.active, usage.allocated);
    [
        ("allocator-fragmentation.ratio", times(active, allocated)),
        ("allocator-fragmentation.bytes", bytes(active, allocated)),
        ("allocator-rss.ratio", times(in_allocator, active)),
        ("allocator-rss.bytes", bytes(in_allocator, active)),
        ("rss-overhead.ratio", times(resident, in_allocator)),
        ("rss-overhead.bytes", bytes(resident, in_allocator)),
        ("fragmentation", times(resident, report.used)),
        ("fragmentation.bytes", bytes(resident, report.used)),
    ]
}

/// `MEMORY DOCTOR`
pub(crate) fn doctor<'a>(session: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    let findings = doctor::examine(&doctor::Patient::of(session.node));
    Ok(Reply::Verbatim(findings.into()).into())
}

/// `MEMORY PURGE`
pub(crate) fn purge<'a>(_: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    process::purge();
    Ok(Reply::Ok.into())
}

/// `MEMORY MALLOC-STATS`
pub(crate) fn malloc_stats<'a>(_: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    Ok(Reply::Verbatim(process::allocator_report().into()).into())
}

/// `MEMORY HELP`
pub(crate) fn help<'a>(_: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    Ok(help::of("memory|help").into())
}

fn text(text: &'static str) -> Reply<'static> {
    Reply::Bulk(Bytes::from_static(text.as_bytes()))
}

fn integer(number: u64) -> Reply<'static> {
    Reply::Int(i64::try_from(number).unwrap_or(i64::MAX))
}
