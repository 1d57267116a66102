//! On how many replicas a client's writes are, as `WAIT` says.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tests::harness::eventually;
use tests::trio::{NODES, Trio};
use tests::wire::Wire;

/// More than are remembered slot by slot.
const MANY: usize = 200;

fn ask(wire: &mut Wire, words: &[&str]) -> String {
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    wire.ask(&words).unwrap().shown()
}

fn wait(wire: &mut Wire, replicas: &str, timeout: &str) -> i64 {
    let reply = wire.ask(&[b"WAIT", replicas.as_bytes(), timeout.as_bytes()]);
    reply.unwrap().integer().unwrap()
}

/// Writes by this connection; on a busy machine the nodes may take each other for dead meanwhile.
fn set(wire: &mut Wire, key: &str) {
    eventually("a write", || {
        let reply = wire.ask(&[b"SET", key.as_bytes(), b"v"]).unwrap();
        (reply.text() == Some(b"OK")).then_some(())
    });
}

fn leads(port: SocketAddr, key: &str) -> bool {
    let mut wire = Wire::connect(port).unwrap();
    let reply = wire.ask(&[b"EXISTS", key.as_bytes()]).unwrap();
    reply.integer().is_some()
}

/// A key that this node leads.
fn key_of(trio: &Trio, node: usize) -> String {
    let port = trio.cluster_ports()[node];
    eventually("a node leads some of the keys", || {
        let mut keys = (0..50).map(|index| format!("key:{index}"));
        keys.find(|key| leads(port, key))
    })
}

#[test]
fn writes_by_one_any_port_are_on_all_replicas_whoever_leads_them() {
    let trio = Trio::start();
    for node in 0..NODES {
        let key = key_of(&trio, node);
        let mut client = Wire::connect(trio.any_port(0)).unwrap();
        assert_eq!(wait(&mut client, "2", "0"), 2, "nothing is written");
        set(&mut client, &key);
        assert_eq!(wait(&mut client, "2", "0"), 2, "a key of node {node}");
        assert_eq!(wait(&mut client, "0", "0"), 2);
        let asked = Instant::now();
        assert_eq!(wait(&mut client, "3", "70"), 2, "there are no more");
        assert!(asked.elapsed() >= Duration::from_millis(70));
    }
    let mut client = Wire::connect(trio.any_port(0)).unwrap();
    let keys = [0, 1, 2].map(|node| key_of(&trio, node));
    let [first, second, third] = &keys;
    ask(&mut client, &["MSET", first, "v", second, "v", third, "v"]);
    assert_eq!(wait(&mut client, "2", "0"), 2);
    for index in 0..MANY {
        set(&mut client, &format!("many:{index}"));
    }
    assert_eq!(wait(&mut client, "2", "0"), 2);

    let mut waiting = Wire::connect(trio.any_port(0)).unwrap();
    ask(&mut waiting, &["FLUSHALL"]);
    waiting.send(b"WAIT 3 0\r\n").unwrap();
    let is_waiting = |client: &mut Wire| {
        let clients = ask(client, &["CLIENT", "LIST"]);
        clients.contains("cmd=wait").then_some(())
    };
    eventually("a client waits", || is_waiting(&mut client));
    for _ in 0..MANY {
        set(&mut client, first);
    }
    assert!(is_waiting(&mut client).is_some(), "there are two replicas");
    drop(waiting);
    eventually("nobody waits", || match is_waiting(&mut client) {
        Some(()) => None,
        None => Some(()),
    });
}

#[test]
fn a_replica_that_stands_still_does_not_count_however_often_it_is_asked() {
    let trio = Trio::start();
    let keys = [key_of(&trio, 0), key_of(&trio, 1)];
    trio.pause(2);
    for key in &keys {
        let mut client = Wire::connect(trio.any_port(0)).unwrap();
        set(&mut client, key);
        for _ in 0..2 {
            assert_eq!(wait(&mut client, "2", "100"), 1, "{key}");
        }
    }
    let mut clients = [(); 2].map(|()| Wire::connect(trio.any_port(0)).unwrap());
    for (client, key) in clients.iter_mut().zip(&keys) {
        set(client, key);
        client.send(b"WAIT 2 0\r\n").unwrap();
    }
    trio.resume(2);
    for client in &mut clients {
        assert_eq!(client.receive().unwrap().integer(), Some(2));
    }
}

#[test]
fn who_wrote_before_a_slot_moved_waits_for_the_replicas_of_its_new_primary() {
    let trio = Trio::start();
    let key = key_of(&trio, 0);
    let ports = [trio.cluster_ports()[0], trio.any_port(0), trio.any_port(1)];
    let mut clients = ports.map(|port| Wire::connect(port).unwrap());
    for client in &mut clients {
        set(client, &key);
    }
    trio.pause(0);
    trio.is_given_up(0);
    let [_, _, other] = &mut clients;
    assert_eq!(wait(other, "1", "0"), 1);
    assert_eq!(wait(other, "2", "100"), 1);
    trio.resume(0);
    for client in &mut clients {
        assert_eq!(wait(client, "2", "0"), 2);
    }
}

#[test]
fn a_client_that_waits_without_end_may_leave_with_requests_behind_it() {
    let trio = Trio::start();
    let mut other = Wire::connect(trio.any_port(0)).unwrap();
    let mut waiting = Wire::connect(trio.any_port(0)).unwrap();
    let clients = |other: &mut Wire| ask(other, &["CLIENT", "LIST"]);
    waiting.send(b"SET k v\r\nWAIT 3 0\r\n").unwrap();
    eventually("a client waits", || {
        clients(&mut other).contains("cmd=wait").then_some(())
    });
    waiting.send(b"PING\r\nPING\r\n").unwrap();
    drop(waiting);
    eventually("the client is gone", || {
        (!clients(&mut other).contains("cmd=wait")).then_some(())
    });
}

#[test]
fn a_client_that_has_ended_its_sending_gets_all_replies() {
    let trio = Trio::start();
    for round in 0..20 {
        let mut client = TcpStream::connect(trio.any_port(round % NODES)).unwrap();
        let sets: String = (0..100).map(|key| format!("SET key:{key} v\r\n")).collect();
        client.write_all(sets.as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut replies = String::new();
        client.read_to_string(&mut replies).unwrap();
        assert_eq!(replies, "+OK\r\n".repeat(100));
    }
}
