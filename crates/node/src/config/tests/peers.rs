//! How nodes deal with each other: what goes together, and what it becomes.

use super::*;

/// Each file is refused with this message.
fn refused(files: &[(&str, &str)]) {
    for (text, said) in files {
        let (line, message) = file_error(text);
        assert_eq!((line > 1, message.as_str()), (true, *said));
    }
}

#[test]
fn the_spans_of_gossip_and_metadata_go_together() {
    refused(&[
        (
            "[gossip]\nprobe_timeout = \"126ms\"\n",
            "gossip.probe_period: must be at least twice gossip.probe_timeout, which is 126ms, \
             not 250ms",
        ),
        (
            "[gossip]\nprobe_period = \"400ms\"\n",
            "gossip.suspicion: must be at least twice gossip.probe_period, which is 400ms, \
             not 750ms",
        ),
        (
            "[gossip]\nrejoin_interval = \"2s\"\nremember_down = \"1s\"\n",
            "gossip.remember_down: must be at least gossip.rejoin_interval, which is 2s, not 1s",
        ),
        (
            "[metadata]\nheartbeat = \"300ms\"\n",
            "metadata.election_min: must be at least twice metadata.heartbeat, which is 300ms, \
             not 500ms",
        ),
        (
            "[metadata]\nelection_min = \"750ms\"\n",
            "metadata.election_max: must be more than metadata.election_min, which is 750ms, \
             not 750ms",
        ),
        (
            "[metadata]\nlease = \"1s\"\n",
            "metadata.lease: must be at least twice metadata.election_max, which is 750ms, not 1s",
        ),
        (
            "[metadata]\npropose_timeout = \"500ms\"\n",
            "metadata.propose_timeout: must be at least metadata.election_max, which is 750ms, \
             not 500ms",
        ),
    ]);
}

#[test]
fn the_spans_of_failover_and_of_streams_go_together() {
    refused(&[
        (
            "[failover]\nretry = \"1100ms\"\n",
            "failover.outcome_timeout: must be at least twice failover.retry, which is 1100ms, \
             not 2s",
        ),
        (
            "[failover]\nprogress_timeout = \"1550ms\"\n",
            "failover.progress_timeout: must be more than timings.lease, a twentieth of it and \
             failover.grace together, which is 1550ms, not 1550ms",
        ),
        (
            "[failover]\nreplace_after = \"1s\"\n",
            "failover.replace_after: must be at least timings.silence, which is 1500ms, not 1s",
        ),
        (
            "[peers]\nsilence = \"299ms\"\n",
            "peers.silence: must be at least three times timings.heartbeat, which is 100ms, \
             not 299ms",
        ),
        (
            "[peers]\nreconnect_min = \"2s\"\n",
            "peers.reconnect_max: must be at least peers.reconnect_min, which is 2s, not 1s",
        ),
        (
            "[peers]\ncall_bytes_max = \"600MiB\"\n",
            "peers.message_bytes_max: must be at least peers.call_bytes_max, which is 600MiB, \
             not 576MiB",
        ),
        (
            "[peers]\ncalls_queued_bytes_max = \"64MiB\"\n",
            "peers.calls_queued_bytes_max: must be at least peers.call_bytes_max, which is \
             544MiB, not 64MiB",
        ),
        (
            "[peers]\nconnections_max = 1000\n",
            "peers.connections_max: must be at least peers.nodes_max, which is 1024, not 1000",
        ),
    ]);
}

#[test]
fn no_bound_between_nodes_can_be_nothing() {
    for section in ["gossip", "metadata", "failover", "peers"] {
        let table = keys::template()[section].clone();
        for (key, default) in table.as_object().unwrap() {
            let nothing = if default.is_string() { "\"0\"" } else { "0" };
            let (line, message) = file_error(&format!("[{section}]\n{key} = {nothing}\n"));
            assert_eq!(line, 2, "{message}");
            assert!(
                message.starts_with(&format!("{section}.{key}: must be from ")),
                "{message}"
            );
        }
    }
}

#[test]
fn the_spans_between_nodes_are_those_of_the_code_until_somebody_sets_them() {
    let shown = |settings: &Settings| {
        [
            format!("{:?}", settings.peers.limits()),
            format!("{:?}", settings.gossip.settings()),
            format!("{:?}", settings.metadata.settings()),
        ]
    };
    let code = [
        format!("{:?}", cluster::transport::Limits::default()),
        format!("{:?}", cluster::membership::Settings::default()),
        format!("{:?}", cluster::metadata::GroupSettings::default()),
    ];
    assert_eq!(shown(&Settings::default()), code);

    // The leases that a change of primary waits for are those that are granted, and a bit more.
    let text =
        "[timings]\nlease = \"1s\"\n[metadata]\nlease = \"4s\"\n[failover]\ngrace = \"1s\"\n";
    let settings = from_file(text).unwrap();
    let failover =
        settings
            .failover
            .settings(&settings.timings, &settings.metadata, &settings.balance);
    let millis =
        [failover.lease, failover.group_lease, failover.grace].map(|span| span.as_millis());
    assert_eq!(millis, [1_050, 4_200, 1_000]);
    assert_eq!(settings.metadata.settings().meta_lease.as_millis(), 4_000);
}
