//! The rules for how nodes deal with each other: gossip, metadata, failover, connections.

use routing::quantity::{Size, Span};

use super::{Checked, against, at_least, within};
use crate::config::settings::{Balance, Failover, Gossip, Metadata, Peers, Settings};

const MINUTE: Span = Span::from_secs(60);
const HOUR: Span = Span::from_secs(3_600);
const WEEK: Span = Span::from_secs(7 * 86_400);

pub(super) fn check(settings: &Settings) -> Checked {
    let (silence, heartbeat) = (settings.timings.silence, settings.timings.heartbeat);
    gossip(&settings.gossip)?;
    metadata(&settings.metadata)?;
    failover(&settings.failover, ("timings.silence", silence))?;
    balance(&settings.balance)?;
    progress(settings)?;
    peers(&settings.peers, ("timings.heartbeat", heartbeat))
}

fn gossip(gossip: &Gossip) -> Checked {
    let probe_period = ("gossip.probe_period", gossip.probe_period);
    let probe_timeout = ("gossip.probe_timeout", gossip.probe_timeout);
    let suspicion = ("gossip.suspicion", gossip.suspicion);
    let rejoin_interval = ("gossip.rejoin_interval", gossip.rejoin_interval);
    let remember_down = ("gossip.remember_down", gossip.remember_down);
    spans(&[
        (probe_period, MINUTE),
        (probe_timeout, MINUTE),
        (suspicion, MINUTE),
        (("gossip.interval", gossip.interval), MINUTE),
        (rejoin_interval, HOUR),
        (remember_down, WEEK),
        (("gossip.pause_tolerance", gossip.pause_tolerance), MINUTE),
    ])?;
    within("gossip.indirect_probes", gossip.indirect_probes, 1..=16)?;
    let packets = Size(4 << 10)..=Size(64 << 10);
    within("gossip.packet_bytes_max", gossip.packet_bytes_max, packets)?;
    // The detour through others takes time, too.
    twice(probe_period, probe_timeout)?;
    twice(suspicion, probe_period)?;
    at_least(remember_down, suspicion)?;
    at_least(remember_down, rejoin_interval)
}

fn metadata(metadata: &Metadata) -> Checked {
    let heartbeat = ("metadata.heartbeat", metadata.heartbeat);
    let election_min = ("metadata.election_min", metadata.election_min);
    let election_max = ("metadata.election_max", metadata.election_max);
    let propose_timeout = ("metadata.propose_timeout", metadata.propose_timeout);
    let lease = ("metadata.lease", metadata.lease);
    let voter_grace = ("metadata.voter_grace", metadata.voter_grace);
    spans(&[
        (heartbeat, MINUTE),
        (election_min, MINUTE),
        (election_max, MINUTE),
        (("metadata.call_timeout", metadata.call_timeout), MINUTE),
        (propose_timeout, MINUTE),
        (("metadata.pull_wait", metadata.pull_wait), MINUTE),
        (lease, MINUTE),
        (voter_grace, WEEK),
    ])?;
    let entries = 64..=1_000_000;
    within(
        "metadata.snapshot_entries",
        metadata.snapshot_entries,
        entries,
    )?;
    twice(election_min, heartbeat)?;
    if election_max.1 <= election_min.1 {
        let problem = format!(
            "must be more than {}, which is {}, not {}",
            election_min.0, election_min.1, election_max.1
        );
        return against(election_max.0, election_min.0, problem);
    }
    // A change of leader takes up to twice `election_max`.
    at_least(propose_timeout, election_max)?;
    twice(lease, election_max)?;
    twice(voter_grace, election_max)
}

fn failover(failover: &Failover, silence: (&'static str, Span)) -> Checked {
    let retry = ("failover.retry", failover.retry);
    let outcome = ("failover.outcome_timeout", failover.outcome_timeout);
    let progress = ("failover.progress_timeout", failover.progress_timeout);
    let replace = ("failover.replace_after", failover.replace_after);
    spans(&[
        (retry, MINUTE),
        (outcome, MINUTE),
        (progress, MINUTE),
        (("failover.grace", failover.grace), MINUTE),
        (replace, WEEK),
    ])?;
    twice(outcome, retry)?;
    twice(progress, retry)?;
    at_least(replace, silence)
}

fn balance(balance: &Balance) -> Checked {
    let hand_over = ("balance.hand_over_timeout", balance.hand_over_timeout);
    spans(&[
        (("balance.delay", balance.delay), HOUR),
        (hand_over, MINUTE),
    ])?;
    within("balance.moves_max", balance.moves_max, 1..=16_384)?;
    within("balance.transfers_max", balance.transfers_max, 1..=16_384)?;
    let rate = balance.copy_bytes_per_second;
    let rates = Size(64 << 10)..=Size(1 << 40);
    if rate == Size(0) {
        return Ok(());
    }
    within("balance.copy_bytes_per_second", rate, rates)
}

/// A change of primary ends when the old one's leases are over and its grace is, with no progress
/// to be seen before: one that began anew sooner would never end.
fn progress(settings: &Settings) -> Checked {
    let failover =
        settings
            .failover
            .settings(&settings.timings, &settings.metadata, &settings.balance);
    let least = failover.lease + failover.grace;
    if failover.progress > least {
        return Ok(());
    }
    let problem = format!(
        "must be more than timings.lease, a twentieth of it and failover.grace together, which is \
         {}, not {}",
        Span(least),
        settings.failover.progress_timeout
    );
    against("failover.progress_timeout", "timings.lease", problem)
}

fn peers(peers: &Peers, heartbeat: (&'static str, Span)) -> Checked {
    let silence = ("peers.silence", peers.silence);
    let reconnect_min = ("peers.reconnect_min", peers.reconnect_min);
    let reconnect_max = ("peers.reconnect_max", peers.reconnect_max);
    spans(&[
        (silence, MINUTE),
        (("peers.keepalive", peers.keepalive), HOUR),
        (("peers.connect_timeout", peers.connect_timeout), MINUTE),
        (("peers.greeting_timeout", peers.greeting_timeout), MINUTE),
        (reconnect_min, MINUTE),
        (reconnect_max, HOUR),
        (("peers.seed_interval", peers.seed_interval), HOUR),
    ])?;
    // Else a few heartbeats that are late would end a stream that is well.
    if silence.1.0 < 3 * heartbeat.1.0 {
        return too_short(silence, "three times", heartbeat);
    }
    at_least(reconnect_max, reconnect_min)?;
    peer_sizes(peers)?;
    peer_counts(peers)
}

fn peer_sizes(peers: &Peers) -> Checked {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    let call = ("peers.call_bytes_max", peers.call_bytes_max);
    let queued = ("peers.calls_queued_bytes_max", peers.calls_queued_bytes_max);
    let message = ("peers.message_bytes_max", peers.message_bytes_max);
    for ((key, size), least, most) in [
        (
            ("peers.frame_bytes_max", peers.frame_bytes_max),
            64 * KIB,
            16 * MIB,
        ),
        // A value may have 512 MiB, and is copied whole.
        (message, 513 * MIB, 4_096 * MIB),
        // The replies of a batch are one answer, which ends with the reply that is beyond 16 MiB.
        (call, 32 * MIB, 4_096 * MIB),
        (queued, 32 * MIB, 1 << 40),
    ] {
        within(key, size, Size(least)..=Size(most))?;
    }
    at_least(message, call)?;
    at_least(queued, call)
}

fn peer_counts(peers: &Peers) -> Checked {
    let nodes = ("peers.nodes_max", peers.nodes_max);
    let connections = ("peers.connections_max", peers.connections_max);
    for ((key, count), least, most) in [
        (
            ("peers.calls_in_flight_max", peers.calls_in_flight_max),
            16,
            1 << 20,
        ),
        (
            ("peers.gossip_packets_max", peers.gossip_packets_max),
            16,
            1 << 16,
        ),
        (nodes, 1, 1 << 12),
        (("peers.greetings_max", peers.greetings_max), 1, 1 << 16),
        (connections, 1, 1 << 20),
    ] {
        within(key, count, least..=most)?;
    }
    at_least(connections, nodes)
}

/// Each span is long enough to be measured, and no longer than this.
fn spans(spans: &[((&'static str, Span), Span)]) -> Checked {
    for &((key, span), most) in spans {
        within(key, span, Span::from_millis(10)..=most)?;
    }
    Ok(())
}

fn twice(span: (&'static str, Span), other: (&'static str, Span)) -> Checked {
    if span.1.0 < 2 * other.1.0 {
        return too_short(span, "twice", other);
    }
    Ok(())
}

fn too_short(
    (key, span): (&'static str, Span),
    times: &str,
    (other, least): (&'static str, Span),
) -> Checked {
    let problem = format!("must be at least {times} {other}, which is {least}, not {span}");
    against(key, other, problem)
}
