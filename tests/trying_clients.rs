//! Clients that try a node's patience: they never read, send a byte at a time, or are very many.
//! The others are served as if they were not there.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tests::harness::{Quorate, eventually};
use tests::wire::{Wire, request};

/// What `CLIENT LIST` says of the client at `address`: the number in that field.
fn shown(observer: &mut Wire, address: SocketAddr, field: &str) -> Option<u64> {
    let list = observer.ask(&[b"CLIENT", b"LIST"]).unwrap();
    let list = String::from_utf8_lossy(list.text().unwrap()).into_owned();
    let its = format!("addr={address}");
    let line = list
        .lines()
        .find(|line| line.split(' ').any(|word| word == its))?;
    line.split(' ')
        .find_map(|word| word.strip_prefix(field)?.strip_prefix('=')?.parse().ok())
}

/// A client that asks as long as the node takes requests, and reads nothing.
struct Deaf {
    stream: TcpStream,
    address: SocketAddr,
    request: Vec<u8>,
    /// Of the request that is being sent.
    sent: usize,
    /// Requests that are sent whole.
    requests: usize,
}

impl Deaf {
    fn connect(node: SocketAddr) -> Deaf {
        let stream = TcpStream::connect(node).unwrap();
        stream.set_nonblocking(true).unwrap();
        Deaf {
            address: stream.local_addr().unwrap(),
            stream,
            request: request(&[b"GET", b"long"]),
            sent: 0,
            requests: 0,
        }
    }

    /// Sends what can be sent now.
    fn ask_on(&mut self) {
        while let Ok(count) = self.stream.write(&self.request[self.sent..]) {
            self.sent += count;
            if self.sent == self.request.len() {
                (self.sent, self.requests) = (0, self.requests + 1);
            }
        }
    }
}

#[test]
fn a_client_that_never_reads_costs_little_and_harms_nobody() {
    let node = Quorate::start(&["--threads", "1"]);
    let mut other = Wire::connect(node.any_port).unwrap();
    let long = vec![b'x'; 100 << 10];
    other.ask(&[b"SET", b"long", &long]).unwrap();
    let before = node.metric("redis_memory_used_rss_bytes");
    let mut deaf: Vec<Deaf> = (0..20).map(|_| Deaf::connect(node.any_port)).collect();
    for client in &mut deaf {
        eventually("the node waits for the client to read", || {
            client.ask_on();
            let unread = shown(&mut other, client.address, "omem")?;
            (unread > 0).then_some(())
        });
    }
    // Each goes on asking until nobody takes its requests any more; the node keeps few of them.
    for client in &mut deaf {
        client.ask_on();
        let unread = shown(&mut other, client.address, "omem").unwrap();
        assert!(unread <= 200 << 10, "{unread} bytes are kept for it");
    }
    let asked: usize = deaf.iter().map(|client| client.requests).sum();
    let wanted = (asked * long.len()) as f64;
    let grown = node.metric("redis_memory_used_rss_bytes") - before;
    assert!(
        grown < 16e6 && grown < wanted / 10.0,
        "{grown} bytes more, for {wanted} that are wanted"
    );
    for _ in 0..100 {
        assert_eq!(other.ask(&[b"PING"]).unwrap().shown(), "+PONG");
    }

    let gone: Vec<SocketAddr> = deaf.iter().map(|client| client.address).collect();
    drop(deaf);
    eventually("nothing is left of them", || {
        gone.iter()
            .all(|address| shown(&mut other, *address, "omem").is_none())
            .then_some(())
    });
}

#[test]
fn a_client_that_reads_late_gets_every_reply() {
    // More than the system keeps on the way.
    const REPLIES: usize = 300;
    let node = Quorate::start(&["--threads", "1"]);
    let mut other = Wire::connect(node.any_port).unwrap();
    let long = vec![b'x'; 100 << 10];
    other.ask(&[b"SET", b"long", &long]).unwrap();
    let mut late = Wire::connect(node.any_port).unwrap();
    let requests = request(&[b"GET", b"long"]).repeat(REPLIES);
    late.send(&requests).unwrap();
    let address = late.local_address().unwrap();
    eventually("the node waits for the client to read", || {
        (shown(&mut other, address, "omem")? > 0).then_some(())
    });
    for _ in 0..REPLIES {
        assert!(late.receive().unwrap().text() == Some(&long));
    }
    assert_eq!(late.ask(&[b"PING"]).unwrap().shown(), "+PONG");
}

#[test]
fn a_client_that_sends_a_byte_at_a_time_is_served() {
    let node = Quorate::start(&["--threads", "1"]);
    let mut other = Wire::connect(node.any_port).unwrap();
    let mut slow = TcpStream::connect(node.any_port).unwrap();
    slow.set_nodelay(true).unwrap();
    slow.set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let address = slow.local_addr().unwrap();
    let request = request(&[b"SET", b"key", b"value"]);
    for (count, byte) in (1..).zip(&request) {
        slow.write_all(&[*byte]).unwrap();
        // The node has taken it, and goes on with the others.
        eventually("the byte is there", || {
            let taken = shown(&mut other, address, "qbuf")?;
            let all = count == request.len() as u64 && taken == 0;
            (taken == count || all).then_some(())
        });
    }
    let mut reply = [0; 5];
    slow.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"+OK\r\n");
    let value = other.ask(&[b"GET", b"key"]).unwrap();
    assert_eq!(value.shown(), "$\"value\"");
}

/// This process may open as many files as the system lets it at all.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, most).unwrap();
}

#[test]
fn five_thousand_clients_are_served_at_once() {
    const CLIENTS: usize = 5_000;
    /// Of memory, for a client that is connected and asks for nothing.
    const BYTES_MAX: f64 = 8192.0;
    raise_open_files();
    let node = Quorate::start(&[]);
    assert!(
        node.metric("quorate_maxclients") > CLIENTS as f64,
        "this test needs a hard limit of 6000 open files (`ulimit -Hn`)"
    );
    let mut other = Wire::connect(node.any_port).unwrap();
    other.ask(&[b"SET", b"key", b"value"]).unwrap();
    let before = node.metric("redis_memory_used_rss_bytes");
    let ports = [node.cluster_port, node.any_port];
    let mut clients: Vec<Wire> = (0..CLIENTS)
        .map(|number| {
            let mut client = Wire::connect(ports[number % 2]).unwrap();
            assert_eq!(client.ask(&[b"PING"]).unwrap().shown(), "+PONG");
            client
        })
        .collect();
    let connected = node.metric("quorate_connected_clients");
    assert_eq!(connected, CLIENTS as f64 + 1.0);
    let each = (node.metric("redis_memory_used_rss_bytes") - before) / CLIENTS as f64;
    assert!(each < BYTES_MAX, "{each} bytes a client");
    for client in &mut clients {
        client.send(&request(&[b"PING"])).unwrap();
    }
    let value = other.ask(&[b"GET", b"key"]).unwrap();
    assert_eq!(value.shown(), "$\"value\"");
    for client in &mut clients {
        assert_eq!(client.receive().unwrap().shown(), "+PONG");
    }
    drop(clients);
    eventually("they are gone", || {
        (node.metric("quorate_connected_clients") == 1.0).then_some(())
    });
}
