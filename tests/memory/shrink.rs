//! `maxmemory` is taken down under load.

use std::time::Duration;

use tests::harness::{Quorate, eventually};
use tests::wire::Wire;

use super::load::{Load, run_all};
use super::watch::info;
use super::{configure, seconds};

const KEYS: u32 = 12_000;

#[test]
fn less_memory_under_load_evicts_and_refuses_until_it_fits() {
    let node = Quorate::start(&["--maxmemory", "192MiB"]);
    configure(node.any_port, "maxmemory-policy", "allkeys-lru");
    let address = node.any_port;
    let load = move |seed| Load {
        address,
        keys: KEYS,
        seed,
    };
    let mut wire = Wire::connect(address).unwrap();
    let mut seed = 10;
    eventually("more is used than will be allowed", || {
        seed += 2;
        let filled = run_all(vec![load(seed), load(seed + 1)], Duration::from_secs(1));
        assert!(filled.errors.is_empty(), "{:?}", filled.errors);
        let used = info(&mut wire, "memory")["used_memory"];
        (used > (120 << 20) as f64).then_some(())
    });

    let meanwhile = std::thread::spawn(move || run_all(vec![load(3), load(4)], seconds(3)));
    configure(address, "maxmemory", "96mb");
    eventually("what is used fits", || {
        let memory = info(&mut wire, "memory");
        (memory["used_memory"] <= memory["maxmemory"]).then_some(())
    });
    let done = meanwhile.join().unwrap();
    let refused = |error: &String| error.starts_with("-OOM ");
    assert!(done.errors.iter().all(refused), "{:?}", done.errors);
    assert!(done.requests > 100, "{} requests", done.requests);
    let memory = info(&mut wire, "memory");
    assert!(memory["used_memory"] <= memory["maxmemory"], "{memory:?}");
    let calm = load(5).run(seconds(1));
    assert!(calm.errors.is_empty(), "{:?}", calm.errors);
    let stats = info(&mut wire, "stats");
    assert_eq!(stats["current_eviction_exceeded_time"], 0.0, "{stats:?}");
}

#[test]
fn without_eviction_less_memory_refuses_what_adds_and_serves_the_rest() {
    let node = Quorate::start(&["--maxmemory", "96MiB"]);
    let mut wire = Wire::connect(node.any_port).unwrap();
    let value = vec![b'v'; 10_000];
    for number in 0..1_000 {
        let key = format!("key:{number}");
        let reply = wire.ask(&[b"SET", key.as_bytes(), &value]).unwrap();
        assert_eq!(reply.shown(), "+OK");
    }
    configure(node.any_port, "maxmemory", "1mb");
    let full = "-OOM command not allowed when used memory > 'maxmemory'.";
    for request in [
        ["SET", "key:1", "v"],
        ["APPEND", "key:1", "v"],
        ["SET", "new", "v"],
    ] {
        let reply = wire.ask(&request.map(str::as_bytes)).unwrap();
        assert_eq!(reply.shown(), full, "{request:?}");
    }
    let reply = wire.ask(&[b"GET", b"key:1"]).unwrap();
    assert_eq!(reply.text().map(<[u8]>::len), Some(10_000));
    assert_eq!(wire.ask(&[b"DEL", b"key:1"]).unwrap().integer(), Some(1));
    configure(node.any_port, "maxmemory", "96mb");
    assert_eq!(wire.ask(&[b"SET", b"new", b"v"]).unwrap().shown(), "+OK");
}
