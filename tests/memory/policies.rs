//! Three nodes under a load that does not fit, each policy in turn.

use std::net::SocketAddr;
use std::time::Duration;

use tests::harness::eventually;
use tests::trio::{NODES, Trio};
use tests::wire::{Wire, request};

use super::load::{Load, key, run_all};
use super::watch::{Watch, info};
use super::{configure, seconds};

const MAXMEMORY: f64 = (256 << 20) as f64;
/// Their values are 10 KB on average: twice as much as fits.
const KEYS: u32 = 50_000;
const POLICIES: [&str; 9] = [
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-fifo",
    "allkeys-random",
    "volatile-lru",
    "volatile-lfu",
    "volatile-fifo",
    "volatile-random",
    "volatile-ttl",
];

#[test]
fn every_policy_keeps_the_limits_and_nobody_hears_an_error() {
    let trio = Trio::configured(|_| format!("[memory]\nmaxmemory = {MAXMEMORY}\n"));
    let ports = [0, 1, 2].map(|node| trio.any_port(node));
    for port in ports {
        configure(port, "maxmemory-policy", POLICIES[0]);
    }
    for (at, policy) in (fill(ports)..).zip(POLICIES) {
        for port in ports {
            configure(port, "maxmemory-policy", policy);
        }
        let before = evicted(ports);
        let watches = ports.map(Watch::on);
        let done = run_all(loads(ports, at), seconds(1));
        let most = watches.map(Watch::ends);
        let went = evicted(ports) - before;
        println!(
            "{policy}: {} requests, {went} evicted, {most:?}",
            done.requests
        );
        assert!(done.errors.is_empty(), "{policy}: {:?}", done.errors);
        assert!(done.late * 20 < done.requests, "{policy}: {done:?}");
        assert!(went > 0.0, "{policy} evicted nothing");
        for most in most {
            assert!(most.used <= MAXMEMORY, "{policy}: {most:?}");
            assert!(most.resident <= 1.1 * MAXMEMORY, "{policy}: {most:?}");
        }
    }
    members_are_equal(&trio);
}

/// Fills the memory, so that each policy evicts from its beginning on. Returns the next round.
fn fill(ports: [SocketAddr; NODES]) -> u64 {
    for round in 1..=120 {
        let filled = run_all(loads(ports, round), Duration::from_secs(1));
        assert!(filled.errors.is_empty(), "{:?}", filled.errors);
        if evicted(ports) > 0.0 {
            return round + 1;
        }
    }
    panic!("the memory does not get full");
}

fn loads(ports: [SocketAddr; NODES], round: u64) -> Vec<Load> {
    let of_port = |(node, address): (usize, SocketAddr)| {
        (0..2).map(move |client| Load {
            address,
            keys: KEYS,
            seed: round * 100 + node as u64 * 10 + client,
        })
    };
    ports.into_iter().enumerate().flat_map(of_port).collect()
}

fn evicted(ports: [SocketAddr; NODES]) -> f64 {
    let of = |port| info(&mut Wire::connect(port).unwrap(), "stats")["evicted_keys"];
    ports.map(of).iter().sum()
}

/// What a copy has of each key: the beginning of its value, by which a write is known.
fn copy(address: SocketAddr) -> Vec<String> {
    let mut wire = Wire::connect_within(address, Duration::from_secs(60)).unwrap();
    assert_eq!(wire.ask(&[b"READONLY"]).unwrap().shown(), "+OK");
    let mut values = Vec::new();
    for first in (0..KEYS).step_by(500) {
        let batch: Vec<u8> = (first..first + 500)
            .flat_map(|number| request(&[b"GETRANGE", key(number).as_bytes(), b"0", b"15"]))
            .collect();
        wire.send(&batch).unwrap();
        values.extend((0..500).map(|_| wire.receive().unwrap().shown()));
    }
    values
}

/// All copies have the same, once nothing changes any more.
pub(super) fn members_are_equal(trio: &Trio) {
    let ports = trio.cluster_ports();
    eventually("all copies have the same", || {
        let [first, second, third] = ports.map(copy);
        let present = first.iter().filter(|value| *value != "$\"\"").count();
        assert!(
            present > 100 && !first[0].starts_with('-'),
            "{present} keys are there"
        );
        (first == second && second == third).then_some(())
    });
}
