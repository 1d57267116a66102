//! A reader that does not read its replies costs itself, and no data.

use std::io::Write as _;
use std::net::TcpStream;

use tests::harness::{Quorate, eventually};
use tests::wire::{Wire, request};

use super::configure;
use super::watch::info;

const MAXMEMORY: f64 = (128 << 20) as f64;
const VALUE_BYTES: usize = 64 << 10;
/// What each of them leaves unread is a batch of replies: together twice what they may.
const READERS: usize = 100;
/// As many values as fill most of the memory, and evict nothing.
const KEYS: usize = 1_000;

#[test]
fn a_reader_that_never_reads_loses_its_connection_and_no_data_goes() {
    let node = Quorate::start(&["--maxmemory", "128MiB"]);
    configure(node.any_port, "maxmemory-policy", "allkeys-lru");
    configure(node.any_port, "maxmemory-clients", "4mb");
    let mut wire = Wire::connect(node.any_port).unwrap();
    let value = vec![b'v'; VALUE_BYTES];
    for number in 0..KEYS {
        let key = format!("key:{number}");
        let set = wire.ask(&[b"SET", key.as_bytes(), &value]).unwrap();
        assert_eq!(set.shown(), "+OK");
    }
    let mut deaf = Vec::new();
    for _ in 0..READERS {
        let mut stream = TcpStream::connect(node.any_port).unwrap();
        let gets: Vec<u8> = (0..KEYS)
            .flat_map(|number| request(&[b"GET", format!("key:{number}").as_bytes()]))
            .collect();
        stream.write_all(&gets).unwrap();
        deaf.push(stream);
    }
    eventually("those who do not read are closed", || {
        let stats = info(&mut wire, "stats");
        let memory = info(&mut wire, "memory");
        assert!(memory["used_memory"] <= MAXMEMORY, "{memory:?}");
        assert_eq!(stats["evicted_keys"], 0.0, "their buffers evict nothing");
        let clients = info(&mut wire, "clients")["connected_clients"];
        let within = memory["mem_clients_normal"] <= 5.0 * 1024.0 * 1024.0;
        (stats["evicted_clients"] >= 1.0 && clients < READERS as f64 && within).then_some(())
    });
    // Who reads is served, and has everything.
    let size = wire.ask(&[b"DBSIZE"]).unwrap();
    assert_eq!(size.integer(), Some(KEYS as i64));
    let reply = wire.ask(&[b"GET", b"key:7"]).unwrap();
    assert_eq!(reply.text().map(<[u8]>::len), Some(VALUE_BYTES));
    let doctor = wire.ask(&[b"MEMORY", b"DOCTOR"]).unwrap().shown();
    assert!(doctor.contains("maxmemory-clients"), "{doctor}");
    assert!(node.limit_reached("maxmemory_clients") >= 1.0);
}

#[test]
fn a_request_that_is_too_long_for_the_memory_of_clients_ends_its_connection_alone() {
    let node = Quorate::start(&["--maxmemory", "128MiB"]);
    configure(node.any_port, "maxmemory-clients", "4mb");
    let mut other = Wire::connect(node.any_port).unwrap();
    let mut wire = Wire::connect(node.any_port).unwrap();
    let long = request(&[b"SET", b"long", &vec![b'v'; 64 << 20]]);
    // The node closes while we are sending.
    let sent = wire.send(&long).and_then(|()| wire.receive());
    assert!(sent.is_err(), "{:?}", sent.map(|frame| frame.shown()));
    let used = info(&mut other, "memory")["used_memory_peak"];
    assert!(used < MAXMEMORY, "{used}");
    assert_eq!(other.ask(&[b"SET", b"k", b"v"]).unwrap().shown(), "+OK");
    assert_eq!(info(&mut other, "stats")["evicted_clients"], 1.0);
}
