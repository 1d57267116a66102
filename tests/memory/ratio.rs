//! How much of what is asked for is found, beside redis-server with the same memory and load.

use std::net::SocketAddr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tests::harness::{Quorate, Redis};
use tests::wire::{Wire, request};

use super::configure;

const MAXMEMORY: &str = "268435456";
const KEYS: usize = 3_000_000;
const VALUE: [u8; 100] = [b'v'; 100];
/// Requests that fill the memory, and those that are counted.
const WARM: usize = 3_000_000;
const COUNTED: usize = 500_000;
const BATCH: usize = 500;
/// By the rank of a key, how likely it is asked for: one over its rank to the power of this.
const EXPONENT: f64 = 0.99;

/// Ranks by their likelihood.
struct Zipf {
    sums: Vec<f64>,
}

impl Zipf {
    fn new() -> Zipf {
        let mut sum = 0.0;
        let weights = (1..=KEYS).map(|rank| (rank as f64).powf(-EXPONENT));
        let sums = weights.map(|weight| {
            sum += weight;
            sum
        });
        Zipf {
            sums: sums.collect(),
        }
    }

    fn draw(&self, random: &mut StdRng) -> usize {
        let all = self.sums.last().copied().unwrap_or_default();
        let wanted = random.random::<f64>() * all;
        self.sums.partition_point(|sum| *sum < wanted).min(KEYS - 1)
    }
}

/// A cache before something slow: what is not found is put there. Returns how much was found.
fn hits(wire: &mut Wire, zipf: &Zipf, random: &mut StdRng, requests: usize) -> usize {
    let mut found = 0;
    for _ in 0..requests / BATCH {
        let keys: Vec<String> = (0..BATCH)
            .map(|_| format!("key:{:08}", zipf.draw(random)))
            .collect();
        let gets = keys
            .iter()
            .flat_map(|key| request(&[b"GET", key.as_bytes()]));
        wire.send(&gets.collect::<Vec<u8>>()).unwrap();
        let replies: Vec<bool> = keys
            .iter()
            .map(|_| wire.receive().unwrap().text().is_some())
            .collect();
        let missed = || keys.iter().zip(&replies).filter(|(_, found)| !**found);
        let sets = missed().flat_map(|(key, _)| request(&[b"SET", key.as_bytes(), &VALUE]));
        wire.send(&sets.collect::<Vec<u8>>()).unwrap();
        for _ in missed() {
            assert_eq!(wire.receive().unwrap().shown(), "+OK");
        }
        found += replies.iter().filter(|found| **found).count();
    }
    found
}

/// The hit ratio in hundredths.
fn ratio(address: SocketAddr, policy: &str, zipf: &Zipf) -> f64 {
    configure(address, "maxmemory", MAXMEMORY);
    configure(address, "maxmemory-policy", policy);
    let mut wire = Wire::connect_within(address, Duration::from_secs(60)).unwrap();
    assert_eq!(wire.ask(&[b"FLUSHALL"]).unwrap().shown(), "+OK");
    let mut random = StdRng::seed_from_u64(42);
    // Every key once, in no order, until there is no room: as a cache is after a while.
    let mut fill = StdRng::seed_from_u64(7);
    for _ in 0..WARM / 2 / BATCH {
        let sets = (0..BATCH).flat_map(|_| {
            let key = format!("key:{:08}", fill.random_range(0..KEYS));
            request(&[b"SET", key.as_bytes(), &VALUE])
        });
        wire.send(&sets.collect::<Vec<u8>>()).unwrap();
        (0..BATCH).for_each(|_| assert_eq!(wire.receive().unwrap().shown(), "+OK"));
    }
    hits(&mut wire, zipf, &mut random, WARM / 2);
    100.0 * hits(&mut wire, zipf, &mut random, COUNTED) as f64 / COUNTED as f64
}

/// It takes minutes, so it runs by hand alone, best with an optimised build.
#[test]
fn as_much_is_found_as_in_redis() {
    if std::env::var_os("MEMORY_SECONDS").is_none() {
        return;
    }
    let zipf = Zipf::new();
    for policy in ["allkeys-lru", "allkeys-lfu"] {
        let redis = Redis::start(&[]);
        let theirs = ratio(redis.address, policy, &zipf);
        drop(redis);
        let quorate = Quorate::start(&[]);
        let ours = ratio(quorate.any_port, policy, &zipf);
        println!("{policy}: {ours:.2} % of requests found, redis-server {theirs:.2} %");
        assert!(ours >= theirs - 1.0, "{policy}: {ours} and {theirs}");
    }
}
