//! redis-benchmark as a cluster client of three nodes.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use tests::harness::{Process, within};
use tests::http;
use tests::trio::{NODES, Trio};
use tests::wire::{Frame, Wire};

use super::probe::members_become_equal;
use crate::operations::prometheus_accepts;

/// So long it runs, again and again.
const SPAN: Duration = Duration::from_secs(60);
/// Requests of each kind in one run.
const REQUESTS: &str = "200000";
/// It takes minutes where the machine has much else to do.
const PATIENCE: Duration = Duration::from_secs(300);
/// How many keys they are spread over.
const KEYS: &str = "20000";

#[test]
fn redis_benchmark_runs_without_an_error_and_leaves_equal_copies() {
    let trio = Trio::start();
    let nodes = trio.cluster_ports();
    let begun = Instant::now();
    while begun.elapsed() < SPAN {
        run(&trio, nodes[0]);
    }
    let keys: Vec<String> = nodes.iter().flat_map(|node| led_keys(*node)).collect();
    assert!(keys.len() > 10_000, "{} keys", keys.len());
    members_become_equal(nodes, &keys);
    for node in 0..NODES {
        let (code, metrics) = http::get(trio.admin_port(node), "/metrics").unwrap();
        assert_eq!(code, 200);
        prometheus_accepts(&metrics);
    }
}

/// Runs it once.
fn run(trio: &Trio, node: SocketAddr) {
    let mut command = Command::new("redis-benchmark");
    command
        .args(["--cluster", "-h", &node.ip().to_string()])
        .args(["-p", &node.port().to_string()])
        .args(["-t", "set,get,incr", "-c", "50", "--threads", "2"])
        .args(["-n", REQUESTS, "-r", KEYS, "-P", "4", "--csv"]);
    let mut benchmark = Process::start("redis-benchmark", &mut command, trio.folder());
    let status = within(PATIENCE, "redis-benchmark ends", || benchmark.has_ended());
    let (said, errors) = (benchmark.stdout(), benchmark.stderr());
    println!("{said}");
    assert!(status.success() && errors.is_empty(), "{status}: {errors}");
    assert!(!said.to_lowercase().contains("err"), "{said}");
    assert!(said.contains("\"INCR\","), "it ran to its end: {said}");
}

/// The keys of the slots that a node leads.
fn led_keys(node: SocketAddr) -> Vec<String> {
    let keys = Wire::connect(node).unwrap().ask(&[b"KEYS", b"*"]).unwrap();
    let text = |key: &Frame| String::from_utf8(key.text().unwrap().to_vec());
    let keys = keys.items().unwrap().iter().map(|key| text(key).unwrap());
    keys.collect()
}
