//! Clients on real sockets, against a node that is a cluster by itself.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::Server;
use crate::config::Settings;
use crate::node::Node;
use cluster::Slot;
use routing::quantity::Size;

struct Running {
    node: Arc<Node>,
    server: Server,
}

fn start(change: impl FnOnce(&mut Settings)) -> Running {
    let mut settings = Settings::default();
    (
        settings.node.port,
        settings.node.any_port,
        settings.node.threads,
    ) = (0, 0, 2);
    change(&mut settings);
    let node = Node::alone(settings);
    let server = Server::start(&node).unwrap();
    Running { node, server }
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    socket
}

/// Sends, and reads as many bytes as are expected.
fn expect(socket: &mut TcpStream, request: &str, reply: &str) {
    socket.write_all(request.as_bytes()).unwrap();
    let mut got = vec![0; reply.len()];
    socket.read_exact(&mut got).unwrap();
    assert_eq!(String::from_utf8_lossy(&got), reply, "to {request:?}");
}

/// All that comes until the node closes.
fn rest(socket: &mut TcpStream) -> String {
    let mut text = Vec::new();
    socket.read_to_end(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn both_ports_answer_inline_and_multibulk_requests_in_order() {
    let running = start(|_| {});
    for address in [running.server.cluster_address, running.server.any_address] {
        let mut client = connect(address);
        expect(&mut client, "PING\r\n", "+PONG\r\n");
        let pipeline = "*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n*1\r\n$4\r\nping\r\nfoo 'a b'\r\n\r\n";
        let unknown = "-ERR unknown command 'foo', with args beginning with: 'a b' \r\n";
        expect(
            &mut client,
            pipeline,
            &format!("$2\r\nhi\r\n+PONG\r\n{unknown}"),
        );
        for byte in "*1\r\n$4\r\nPING\r".bytes() {
            client.write_all(&[byte]).unwrap();
        }
        expect(&mut client, "\n", "+PONG\r\n");
        client.write_all(b"QUIT\r\nPING\r\n").unwrap();
        assert_eq!(rest(&mut client), "+OK\r\n");
    }
    running.server.stop();
    assert_eq!(running.node.clients.connected(), 0);
}

#[test]
fn values_that_were_set_are_read_back() {
    let running = start(|_| {});
    let mut client = connect(running.server.any_address);
    expect(
        &mut client,
        "SET k v\r\nGET k\r\nGET missing\r\n",
        "+OK\r\n$1\r\nv\r\n$-1\r\n",
    );
    expect(
        &mut client,
        "MSET a 1 b 2 c 3\r\nMGET c x a\r\n",
        "+OK\r\n*3\r\n$1\r\n3\r\n$-1\r\n$1\r\n1\r\n",
    );
    expect(&mut client, "DEL a b x\r\nDBSIZE\r\n", ":2\r\n:2\r\n");
    expect(&mut client, "HELLO 3\r\n", "%7\r\n");
    let mut other = connect(running.server.cluster_address);
    let crossed = "-CROSSSLOT Keys in request don't hash to the same slot\r\n";
    expect(
        &mut other,
        "MGET a b\r\nMGET {a}1 {a}2\r\n",
        &format!("{crossed}*2\r\n$-1\r\n$-1\r\n"),
    );
    expect(&mut other, "FLUSHALL\r\nDBSIZE\r\n", "+OK\r\n:0\r\n");
    running.server.stop();
}

#[test]
fn more_keys_than_a_reply_may_hold_are_an_error() {
    let running = start(|settings| settings.limits.output_bytes_max = Size(1_000));
    let mut client = connect(running.server.any_address);
    let error = "-ERR the keys are more than one reply may hold; use SCAN\r\n";
    for number in 0..20 {
        expect(
            &mut client,
            &format!("SET key:{number:03} v\r\n"),
            "+OK\r\n",
        );
    }
    expect(
        &mut client,
        "KEYS *\r\nDBSIZE\r\n",
        &format!("{error}:20\r\n"),
    );
    expect(&mut client, "KEYS *07\r\n", "*1\r\n$7\r\nkey:007\r\n");
    running.server.stop();
}

#[test]
fn what_a_client_asks_about_commands_and_clients_has_bounds() {
    let running = start(|_| {});
    let mut client = connect(running.server.any_address);
    let error = |text: &str| format!("-ERR {text}\r\n");
    let names = " get".repeat(1_025);
    let few = error("no more than 1024 commands are described at once");
    for subcommand in ["INFO", "DOCS"] {
        expect(
            &mut client,
            &format!("COMMAND {subcommand}{names}\r\n"),
            &few,
        );
    }
    let long = "n".repeat(1_025);
    let too_long = error("Client names cannot be longer than 1024 bytes");
    expect(
        &mut client,
        &format!("CLIENT SETNAME {long}\r\n"),
        &too_long,
    );
    let too_long = error("lib-name cannot be longer than 1024 bytes");
    expect(
        &mut client,
        &format!("CLIENT SETINFO lib-name {long}\r\n"),
        &too_long,
    );
    // However often it is asked for, a client is listed once.
    client
        .write_all(b"CLIENT LIST ID 1 1 1 1\r\nQUIT\r\n")
        .unwrap();
    assert_eq!(rest(&mut client).matches("id=").count(), 1);
    running.server.stop();
}

#[test]
fn a_slot_that_holds_more_keys_than_a_reply_is_an_error() {
    let running = start(|settings| settings.limits.output_bytes_max = Size(2_000));
    let mut client = connect(running.server.cluster_address);
    for number in 0..100 {
        let set = format!("SET {{k}}{number:03} v\r\n");
        expect(&mut client, &set, "+OK\r\n");
    }
    let slot = Slot::of(b"k").number();
    let error = "-ERR the keys are more than one reply may hold; use SCAN\r\n";
    let ask = |count| format!("CLUSTER GETKEYSINSLOT {slot} {count}\r\n");
    expect(&mut client, &ask(1_000), error);
    expect(&mut client, &ask(2), "*2\r\n");
    running.server.stop();
}

#[test]
fn garbage_closes_its_sender_and_nobody_else() {
    let running = start(|_| {});
    let mut other = connect(running.server.any_address);
    expect(&mut other, "PING\r\n", "+PONG\r\n");
    let mut client = connect(running.server.any_address);
    client.write_all(b"*1\r\n!1\r\nPING\r\nmore of it").unwrap();
    assert_eq!(
        rest(&mut client),
        "-ERR Protocol error: expected '$', got '!'\r\n"
    );
    expect(&mut other, "PING\r\n", "+PONG\r\n");
    running.server.stop();
    assert_eq!(running.node.stats.totals().malformed, 1);
}

#[test]
fn a_client_above_the_limit_is_told_so() {
    let running = start(|settings| settings.limits.maxclients = 1);
    let mut first = connect(running.server.any_address);
    expect(&mut first, "PING\r\n", "+PONG\r\n");
    let mut second = connect(running.server.any_address);
    assert_eq!(rest(&mut second), "-ERR max number of clients reached\r\n");
    expect(&mut first, "PING\r\n", "+PONG\r\n");
    running.server.stop();
}

#[test]
fn only_one_process_may_hold_a_port() {
    let running = start(|_| {});
    let port = running.server.cluster_address.port();
    let mut settings = Settings::default();
    (settings.node.port, settings.node.any_port) = (port, 0);
    let error = Server::start(&Node::alone(settings))
        .err()
        .expect("the port is taken");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&port.to_string()), "{error}");
    running.server.stop();
}

#[test]
fn a_client_that_never_reads_harms_nobody_and_stopping_does_not_wait_for_it_for_ever() {
    let running = start(|settings| {
        settings.node.threads = 1;
        settings.timings.stop_timeout = routing::quantity::Span::from_millis(50);
    });
    let mut deaf = connect(running.server.any_address);
    deaf.set_write_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let request = format!("*2\r\n$4\r\nECHO\r\n$60000\r\n{}\r\n", "x".repeat(60_000));
    while deaf.write_all(request.as_bytes()).is_ok() {}
    let mut other = connect(running.server.any_address);
    expect(&mut other, "PING\r\n", "+PONG\r\n");
    let held = |node: &Node| -> u64 {
        let cards = node.clients.all();
        let bytes = |card: &Arc<crate::client_state::ClientCard>| {
            card.output_bytes.load(std::sync::atomic::Ordering::Relaxed)
        };
        cards.iter().map(bytes).sum()
    };
    assert!(
        (1..200_000).contains(&held(&running.node)),
        "{}",
        held(&running.node)
    );
    running.server.stop();
}

#[test]
fn a_stop_loses_no_reply_to_what_has_arrived() {
    let running = start(|_| {});
    let mut clients: Vec<_> = (0..8)
        .map(|_| connect(running.server.any_address))
        .collect();
    for client in &mut clients {
        expect(client, "PING\r\n", "+PONG\r\n");
        client
            .write_all("ECHO abc\r\n".repeat(1000).as_bytes())
            .unwrap();
    }
    running.server.stop();
    for client in &mut clients {
        client.shutdown(Shutdown::Write).ok();
        let text = rest(client);
        assert_eq!(
            text.len() % "$3\r\nabc\r\n".len(),
            0,
            "no reply is cut in half"
        );
        assert_eq!(text, "$3\r\nabc\r\n".repeat(1000));
    }
}

#[test]
fn a_password_is_asked_for() {
    let running = start(|settings| settings.node.requirepass = Some("secret".to_owned()));
    let mut client = connect(running.server.any_address);
    expect(
        &mut client,
        "DBSIZE\r\n",
        "-NOAUTH Authentication required.\r\n",
    );
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    expect(
        &mut client,
        "AUTH secre\r\nAUTH bob secret\r\n",
        &format!("{wrong}{wrong}"),
    );
    let mut long = connect(running.server.any_address);
    long.write_all(b"*11\r\n").unwrap();
    assert_eq!(
        rest(&mut long),
        "-ERR Protocol error: unauthenticated multibulk length\r\n"
    );
    expect(
        &mut client,
        "AUTH default secret\r\nPING\r\n",
        "+OK\r\n+PONG\r\n",
    );
    expect(
        &mut client,
        "RESET\r\nPING\r\n",
        "+RESET\r\n-NOAUTH Authentication required.\r\n",
    );
    running.server.stop();
}

#[test]
fn what_takes_memory_is_refused_when_it_is_used_up() {
    let running = start(|settings| settings.memory.maxmemory = routing::quantity::Size(1));
    let mut client = connect(running.server.any_address);
    let full = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    expect(&mut client, "SET k v\r\n", full);
    expect(
        &mut client,
        "CONFIG SET maxmemory 0\r\nSET k v\r\n",
        "+OK\r\n+OK\r\n",
    );
    let less = "CONFIG SET maxmemory 1\r\nSET k w\r\n";
    expect(&mut client, less, &format!("+OK\r\n{full}"));
    expect(&mut client, "GET k\r\nDEL k\r\n", "$1\r\nv\r\n:1\r\n");
    running.server.stop();
}
