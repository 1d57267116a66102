//! What is particular to Quorate: slots, replication, metadata.

use std::collections::BTreeMap;

use cluster::replication::Shortage;
use cluster::{NodeId, SLOTS};

use crate::admin::Admin;
use crate::admin::exposition::Exposition;
use crate::census::Census;
use crate::memory::Report;
use crate::node::Node;
use crate::topology::Standing;

pub(super) fn write(admin: &Admin, out: &mut Exposition) {
    let node = &admin.node;
    let census = Census::take(&node.slots);
    out.gauge("quorate_build_info", "Which version of Quorate runs.")
        .of(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    let ready = f64::from(u8::from(admin.readiness.report().is_ready()));
    out.gauge(
        "quorate_ready",
        "Whether clients should be sent to this node.",
    )
    .value(ready);
    slots(node, out);
    data(&census, out);
    memory(node, &census, out);
    removals(node, out);
    replication(node, &census, out);
    metadata(node, out);
}

fn slots(node: &Node, out: &mut Exposition) {
    let layout = node.topology.layout();
    let share = layout
        .shares()
        .get(&node.topology.me().node)
        .cloned()
        .unwrap_or_default();
    out.gauge(
        "quorate_slots",
        "Slots that this node has been given, by its role in them.",
    )
    .of(&[("role", "primary")], share.led.into())
    .of(&[("role", "copy")], share.copies.into())
    .of(&[("role", "learner")], share.learning.into())
    .of(&[("role", "moving")], share.moving.into())
    .of(&[("role", "lost")], share.lost.into());
    let counts = layout.counts();
    out.gauge(
        "quorate_cluster_slots",
        "Slots of the cluster, by their state.",
    )
    .of(&[("state", "covered")], counts.covered.into())
    .of(
        &[("state", "without_primary")],
        (SLOTS - counts.covered).into(),
    )
    .of(&[("state", "below_write_quorum")], counts.below_w.into())
    .of(&[("state", "short_of_copies")], counts.short.into())
    .of(&[("state", "with_learners")], counts.learning.into())
    .of(
        &[("state", "waiting_for_operator")],
        node.topology.waiting().into(),
    );
    out.counter(
        "quorate_slots_lost_total",
        "Slots of the cluster that went on although acknowledged writes may be lost.",
    )
    .value(node.topology.map().state().losses() as f64);
    let map = node.topology.map();
    let mut standings: BTreeMap<&str, f64> = [
        Standing::Up,
        Standing::Suspect,
        Standing::Down,
        Standing::Stopped,
    ]
    .into_iter()
    .map(|standing| (standing.name(), 0.0))
    .collect();
    for (id, record) in map.nodes() {
        *standings
            .entry(node.topology.standing(*id, record).name())
            .or_default() += 1.0;
    }
    let mut nodes = out.gauge(
        "quorate_cluster_nodes",
        "Nodes of the cluster, as this one sees them.",
    );
    for (standing, count) in standings {
        nodes.of(&[("state", standing)], count);
    }
}

fn data(census: &Census, out: &mut Exposition) {
    let tallies = [("primary", census.led), ("copy", census.copies)];
    let mut family = |name, help, value: &dyn Fn(&crate::store::Tally) -> usize| {
        let mut family = out.gauge(name, help);
        for (role, tally) in &tallies {
            family.of(&[("role", role)], value(tally) as f64);
        }
    };
    family(
        "quorate_keys",
        "Keys, by the node's role in their slot.",
        &|tally| tally.keys,
    );
    family("quorate_keys_expiring", "Keys that expire.", &|tally| {
        tally.expiring
    });
    family(
        "quorate_entries_dirty",
        "Entries that their database lacks.",
        &|tally| tally.dirty,
    );
    family(
        "quorate_entries_in_doubt",
        "Entries that their database may not agree with.",
        &|tally| tally.in_doubt,
    );
}

fn memory(node: &Node, census: &Census, out: &mut Exposition) {
    let report = Report::now(node);
    let (usage, data) = (report.usage, report.data);
    let entries = |tally: crate::store::Tally| (tally.entry_bytes as u64).min(data) as f64;
    let (led, copies) = (entries(census.led), entries(census.copies));
    let tables = (data as f64 - led - copies).max(0.0);
    let (backlog, outgoing) = (report.backlog as f64, report.outgoing as f64);
    let clients = report.clients as f64;
    let rest = report.overhead() as f64 - backlog - outgoing - clients;
    out.gauge(
        "quorate_memory_bytes",
        "Bytes that are allocated, by what for.",
    )
    .of(&[("part", "primary_entries")], led)
    .of(&[("part", "copy_entries")], copies)
    .of(&[("part", "tables")], tables)
    .of(&[("part", "backlog")], backlog)
    .of(&[("part", "outgoing")], outgoing)
    .of(&[("part", "clients")], clients)
    .of(&[("part", "other")], rest.max(0.0));
    out.gauge(
        "quorate_data_max_bytes",
        "Bytes that the data may take, of what the process may; 0: no limit.",
    )
    .value(report.data_max as f64);
    out.gauge(
        "quorate_client_memory_max_bytes",
        "Bytes that the buffers of all clients may take; 0: no limit.",
    )
    .value(report.clients_max as f64);
    out.gauge(
        "quorate_memory_resident_bytes",
        "Bytes of the process that are in memory.",
    )
    .value(usage.resident as f64);
}

fn removals(node: &Node, out: &mut Exposition) {
    out.counter(
        "quorate_expired_keys_total",
        "Keys that this node removed at their time.",
    )
    .value(node.store.expired_keys() as f64);
    out.counter(
        "quorate_evicted_keys_total",
        "Keys that this node removed for want of memory.",
    )
    .value(node.store.evicted_keys() as f64);
    let mut evicted = out.counter(
        "quorate_evictions_total",
        "The same, by policy and whose memory it was: the node's own, or that of others.",
    );
    let policy = node.store.policy().name();
    for (name, reason, count) in node.store.evicted() {
        // Those that were never in force are not worth a line.
        if count > 0 || name == policy {
            let labels = [("policy", name), ("memory", reason.name())];
            evicted.of(&labels, count as f64);
        }
    }
    out.counter(
        "quorate_evictions_in_vain_total",
        "How often nothing was found that could be evicted.",
    )
    .value(node.memory.vain_evictions() as f64);
    out.counter(
        "quorate_evicted_clients_total",
        "Clients closed because the buffers of all took too much memory.",
    )
    .value(node.memory.evicted_clients() as f64);
    out.counter(
        "quorate_memory_exceeded_seconds_total",
        "For how long the data took more than it may.",
    )
    .value(node.memory.exceeded().0.as_secs_f64());
}

fn replication(node: &Node, census: &Census, out: &mut Exposition) {
    out.gauge(
        "quorate_uncommitted_records",
        "Records that wait for their copies.",
    )
    .value(census.uncommitted as f64);
    out.gauge("quorate_waiting_replies", "Replies that wait for copies.")
        .value(census.waiting as f64);
    let me = node.topology.me().node;
    let mut peers: BTreeMap<NodeId, (usize, bool, bool)> = BTreeMap::new();
    for (id, _) in node.topology.map().nodes().filter(|(id, _)| **id != me) {
        peers.insert(*id, (0, false, false));
    }
    for peer in node.slots.replicas().peers() {
        if let Some(known) = peers.get_mut(&peer.member().node) {
            known.0 += peer.queued_bytes();
            known.1 |= peer.is_connected();
            known.2 |= peer.shortage() != Shortage::default();
        }
    }
    let mut family = |name, help, value: &dyn Fn(&(usize, bool, bool)) -> f64| {
        let mut family = out.gauge(name, help);
        for (id, state) in &peers {
            family.of(&[("peer", &id.to_string())], value(state));
        }
    };
    let flag = |is: bool| f64::from(u8::from(is));
    let queue = "Bytes of records that wait to be sent to another node.";
    family("quorate_peer_queue_bytes", queue, &|state| state.0 as f64);
    let connected = "Whether the stream of records to another node is open.";
    family("quorate_peer_connected", connected, &|state| flag(state.1));
    let short = "Whether another node says that it is short of memory.";
    family("quorate_peer_short_of_memory", short, &|state| {
        flag(state.2)
    });
}

fn metadata(node: &Node, out: &mut Exposition) {
    let (topology, group) = (&node.topology, node.topology.group());
    let me = topology.me().node;
    let flag = |is: bool| f64::from(u8::from(is));
    out.gauge(
        "quorate_metadata_index",
        "The last metadata entry that this node knows.",
    )
    .value(topology.map().version() as f64);
    out.gauge(
        "quorate_metadata_leader_known",
        "Whether the node knows who leads the metadata.",
    )
    .value(flag(group.leader.is_some()));
    out.gauge(
        "quorate_metadata_leader",
        "Whether this node leads the metadata.",
    )
    .value(flag(group.leader == Some(me)));
    out.gauge(
        "quorate_metadata_voter",
        "Whether this node votes on the metadata.",
    )
    .value(flag(group.voters.contains(&me)));
    out.gauge(
        "quorate_metadata_voters",
        "Nodes that vote on the metadata; 0 where not known.",
    )
    .value(group.voters.len() as f64);
}
