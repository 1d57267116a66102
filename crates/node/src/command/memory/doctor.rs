//! `MEMORY DOCTOR`: what an operator should know about the memory of this node.

use std::fmt::Write as _;
use std::sync::atomic::Ordering::Relaxed;

use crate::memory::{Report, ratio};
use crate::node::Node;

const MIB: u64 = 1 << 20;
/// Below this nothing that is found means much.
const LITTLE: u64 = 32 * MIB;

/// What is examined.
#[derive(Debug, Default)]
pub(super) struct Patient {
    pub(super) report: Report,
    pub(super) policy: &'static str,
    pub(super) evicts: bool,
    pub(super) evicted_clients: u64,
    pub(super) vain_evictions: u64,
    pub(super) exceeded_now_ms: u64,
    /// Bytes of entries that their database lacks, of the slots that this node leads.
    pub(super) held: u64,
    /// The most that the databases may lack of it.
    pub(super) held_max: u64,
    /// The client with the largest buffers: its number and their bytes.
    pub(super) largest_client: (u64, u64),
    /// Members that hold the same slots and say that they have no room.
    pub(super) full_members: Vec<String>,
}

impl Patient {
    pub(super) fn of(node: &Node) -> Patient {
        let policy = node.store.policy();
        let cards = node.clients.all();
        let bytes = cards
            .iter()
            .map(|card| (card.buffer_bytes.load(Relaxed), card.id));
        let (most, id) = bytes.max().unwrap_or((0, 0));
        let full = node.memory.full_members();
        Patient {
            report: Report::now(node),
            policy: policy.name(),
            evicts: policy.evicts(),
            evicted_clients: node.memory.evicted_clients(),
            vain_evictions: node.memory.vain_evictions(),
            exceeded_now_ms: node.memory.exceeded().1.as_millis() as u64,
            held: node.slots.tally().held_bytes as u64,
            held_max: node.dirty_bytes_max(),
            largest_client: (id, most),
            full_members: full.iter().map(|member| member.node.to_string()).collect(),
        }
    }
}

/// Findings, each with what can be done about it.
pub(super) fn examine(patient: &Patient) -> String {
    let report = &patient.report;
    let mut findings = Vec::new();
    if report.maxmemory > 0 {
        of_the_limit(patient, &mut findings);
    }
    if report.used > LITTLE {
        of_the_pages(report, &mut findings);
    }
    of_clients(patient, &mut findings);
    if patient.held_max < u64::MAX && patient.held > patient.held_max / 4 * 3 {
        findings.push(format!(
            "Databases lack {} of entries here, of at most {}; beyond that, writes to their \
             keyspaces are refused. Look at the databases with KEYSPACE LIST and the log.",
            mib(patient.held),
            mib(patient.held_max)
        ));
    }
    if !patient.full_members.is_empty() {
        findings.push(format!(
            "Other nodes that hold the same slots have no room: {}. Entries are evicted here for \
             their sake; give all nodes the same maxmemory.",
            patient.full_members.join(", ")
        ));
    }
    let mut text = match findings.len() {
        0 => "Nothing is remarkable about the memory of this node.\n".to_owned(),
        1 => "One thing is remarkable about the memory of this node:\n".to_owned(),
        count => format!("{count} things are remarkable about the memory of this node:\n"),
    };
    for finding in findings {
        // Writing to a string does not fail.
        let _ = write!(text, "\n* {finding}\n");
    }
    text
}

fn of_the_limit(patient: &Patient, findings: &mut Vec<String>) {
    let report = &patient.report;
    if report.data_max < report.maxmemory / 4 {
        findings.push(format!(
            "Of maxmemory ({}) only {} is left for data: the rest goes to clients, to records for \
             other nodes, and to the process itself. Raise maxmemory.",
            mib(report.maxmemory),
            mib(report.data_max)
        ));
    }
    if report.data > report.data_max && patient.exceeded_now_ms > 1_000 {
        findings.push(format!(
            "The data takes {} and may take {}, for {} s now.",
            mib(report.data),
            mib(report.data_max),
            patient.exceeded_now_ms / 1_000
        ));
    }
    let is_nearly_full = report.data > report.data_max / 100 * 95;
    if is_nearly_full && !patient.evicts {
        findings.push(
            "Memory is nearly used up, and maxmemory-policy noeviction lets nothing go: writes \
             are refused. Raise maxmemory, remove keys, or choose a policy that evicts."
                .to_owned(),
        );
    }
    if is_nearly_full && patient.evicts && patient.vain_evictions > 0 {
        findings.push(format!(
            "{} times nothing was found that {} may evict: keys without expiry under a volatile \
             policy, entries that databases lack, or slots that other nodes lead.",
            patient.vain_evictions, patient.policy
        ));
    }
}

fn of_the_pages(report: &Report, findings: &mut Vec<String>) {
    let usage = &report.usage;
    if ratio(report.peak, report.used) > 1.5 {
        findings.push(format!(
            "At its peak the node used {}, and now {}: what the system shows as its memory may \
             be from then.",
            mib(report.peak),
            mib(report.used)
        ));
    }
    let fragmented = usage.active.saturating_sub(usage.allocated);
    if ratio(usage.active, usage.allocated) > 1.2 && fragmented > 10 * MIB {
        findings.push(format!(
            "{} lie unused between allocations, because values of many sizes came and went. It is \
             used again by values of such sizes.",
            mib(fragmented)
        ));
    }
    let kept = usage.allocator_resident.saturating_sub(usage.active);
    if ratio(usage.allocator_resident, usage.active) > 1.1 && kept > 10 * MIB {
        findings.push(format!(
            "The allocator keeps {} that it does not use. MEMORY PURGE gives it back.",
            mib(kept)
        ));
    }
}

fn of_clients(patient: &Patient, findings: &mut Vec<String>) {
    let report = &patient.report;
    let (id, bytes) = patient.largest_client;
    let most = report.clients_max;
    if bytes > MIB && (most == 0 || bytes > most / 4) {
        findings.push(format!(
            "The buffers of client {id} take {}: it sends much at once, or does not read its \
             replies (CLIENT LIST shows it). All clients together may take {}.",
            mib(bytes),
            if most == 0 {
                "what is free".to_owned()
            } else {
                mib(most)
            }
        ));
    }
    if patient.evicted_clients > 0 {
        findings.push(format!(
            "{} clients were closed because the buffers of all took more than maxmemory-clients.",
            patient.evicted_clients
        ));
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / MIB as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> Patient {
        let mut report = Report {
            used: 200 * MIB,
            peak: 210 * MIB,
            maxmemory: 256 * MIB,
            data_max: 210 * MIB,
            data: 180 * MIB,
            clients_max: 12 * MIB,
            ..Report::default()
        };
        report.usage.allocated = 200 * MIB;
        report.usage.active = 210 * MIB;
        report.usage.allocator_resident = 215 * MIB;
        Patient {
            report,
            policy: "allkeys-lru",
            evicts: true,
            held_max: u64::MAX,
            ..Patient::default()
        }
    }

    #[test]
    fn a_healthy_node_has_no_findings() {
        let text = examine(&healthy());
        assert_eq!(
            text,
            "Nothing is remarkable about the memory of this node.\n"
        );
    }

    #[test]
    fn each_trouble_is_found_and_no_other() {
        type Trouble = fn(&mut Patient);
        let cases: [(Trouble, &str); 9] = [
            (
                |sick| sick.report.data_max = 60 * MIB - 1,
                "only 60.0 MiB is left",
            ),
            (|sick| sick.report.peak = 400 * MIB, "At its peak"),
            (|sick| sick.report.usage.active = 250 * MIB, "lie unused"),
            (
                |sick| sick.report.usage.allocator_resident = 250 * MIB,
                "MEMORY PURGE",
            ),
            (
                |sick| sick.largest_client = (7, 4 * MIB),
                "client 7 take 4.0 MiB",
            ),
            (|sick| sick.evicted_clients = 3, "3 clients were closed"),
            (
                |sick| (sick.held, sick.held_max) = (50 * MIB, 60 * MIB),
                "Databases lack 50.0",
            ),
            (
                |sick| sick.full_members = vec!["abc".to_owned()],
                "have no room: abc",
            ),
            (
                |sick| (sick.report.data, sick.vain_evictions) = (209 * MIB, 2),
                "2 times nothing was found that allkeys-lru",
            ),
        ];
        for (trouble, expected) in cases {
            let mut sick = healthy();
            trouble(&mut sick);
            if expected.starts_with("only") {
                sick.report.data = 10 * MIB;
            }
            let text = examine(&sick);
            assert!(
                text.starts_with("One thing") && text.contains(expected),
                "{text}"
            );
        }
    }
}
