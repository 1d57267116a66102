//! Members with different memory: the least of them bounds what all hold.

use std::time::Duration;

use tests::harness::eventually;
use tests::trio::Trio;
use tests::wire::Wire;

use super::load::{Load, run_all};
use super::policies::members_are_equal;
use super::watch::{Watch, info};
use super::{configure, seconds};

const KEYS: u32 = 50_000;
const LIMITS: [u64; 3] = [128 << 20, 256 << 20, 256 << 20];

#[test]
fn members_evict_for_one_that_has_less_memory() {
    let trio = Trio::start();
    let ports = [0, 1, 2].map(|node| trio.any_port(node));
    for (port, limit) in ports.into_iter().zip(LIMITS) {
        configure(port, "maxmemory", &limit.to_string());
        configure(port, "maxmemory-policy", "allkeys-lru");
    }
    // Nobody asks the small one itself.
    let loads = ports[1..].iter().enumerate().flat_map(|(node, address)| {
        (0..2).map(move |client| Load {
            address: *address,
            keys: KEYS,
            seed: node as u64 * 10 + client,
        })
    });
    let loads: Vec<Load> = loads.collect();
    let watches = ports.map(Watch::on);
    let mut done = run_all(loads.clone(), seconds(3));
    // Until the small one has been full for a while.
    eventually("entries go", || {
        let more = run_all(loads.clone(), Duration::from_secs(1));
        done.requests += more.requests;
        done.errors.extend(more.errors);
        let evicted = |port| info(&mut Wire::connect(port).unwrap(), "stats")["evicted_keys"];
        let all = ports.iter().all(|port| evicted(*port) > 100.0);
        all.then_some(())
    });
    let most = watches.map(Watch::ends);
    println!("{} requests, {most:?}", done.requests);
    assert!(done.errors.is_empty(), "{:?}", done.errors);
    for (most, limit) in most.iter().zip(LIMITS) {
        assert!(most.used <= limit as f64, "{most:?}");
    }
    members_are_equal(&trio);
}

#[test]
fn where_nothing_is_evicted_a_full_member_refuses_for_all() {
    let trio = Trio::start();
    let ports = [0, 1, 2].map(|node| trio.any_port(node));
    for (port, limit) in ports.into_iter().zip(LIMITS) {
        configure(port, "maxmemory", &(limit / 2).to_string());
    }
    let mut wire = Wire::connect(ports[1]).unwrap();
    let watch = Watch::on(ports[0]);
    let value = vec![b'v'; 100_000];
    let mut number = 0;
    eventually("a write is refused", || {
        number += 1;
        let key = format!("key:{number}");
        let reply = wire.ask(&[b"SET", key.as_bytes(), &value]).unwrap().shown();
        assert!(reply == "+OK" || reply.starts_with("-OOM "), "{reply}");
        (reply != "+OK").then_some(())
    });
    assert!(number > 50, "{number} fit");
    let most = watch.ends();
    assert!(most.of_limit <= 1.0, "{most:?}");
    assert_eq!(
        wire.ask(&[b"GET", b"key:1"])
            .unwrap()
            .text()
            .map(<[u8]>::len),
        Some(100_000)
    );
}
