//! What a client gets that reaches a limit: the error that belongs to it. The limit is counted, and
//! whoever else is connected sees nothing of it.

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use tests::harness::{Quorate, eventually, folder, free_ports, is_ready, quorate};
use tests::http;
use tests::trio::Trio;
use tests::wire::{Wire, request};

/// A node with narrow limits, and somebody who is connected to it all the time.
struct Narrow {
    node: Quorate,
    other: Wire,
}

impl Narrow {
    fn start(limits: &str) -> Narrow {
        Narrow::configured(&format!("[limits]\n{limits}"), &[])
    }

    fn configured(text: &str, arguments: &[&str]) -> Narrow {
        let folder = folder();
        let file = folder.path().join("quorate.toml");
        fs::write(&file, text).unwrap();
        let config = file.to_str().unwrap();
        let node = Quorate::start(&[&["--threads", "1", "--config", config], arguments].concat());
        let mut other = Wire::connect(node.any_port).unwrap();
        other.ask(&[b"SET", b"key", b"value"]).unwrap();
        Narrow { node, other }
    }

    fn client(&self) -> Wire {
        Wire::connect(self.node.any_port).unwrap()
    }

    /// Sends bytes that reach a limit; the client is told so, and closed.
    fn is_refused(&mut self, bytes: &[u8], said: &str, limit: &str) {
        let before = self.node.limit_reached(limit);
        let mut client = self.client();
        client.send(bytes).unwrap();
        assert_eq!(client.receive().unwrap().shown(), said);
        client.is_closed().unwrap();
        self.reached(limit, before);
    }

    /// The limit was reached once more, and nobody else has seen anything of it.
    fn reached(&mut self, limit: &str, before: f64) {
        assert_eq!(self.node.limit_reached(limit), before + 1.0, "{limit}");
        let value = self.other.ask(&[b"GET", b"key"]).unwrap();
        assert_eq!(value.shown(), "$\"value\"");
    }
}

/// A request of so many words.
fn words(count: usize, word: &[u8]) -> Vec<u8> {
    request(&vec![word; count])
}

#[test]
fn a_request_is_bounded_in_each_way() {
    let mut narrow = Narrow::start(
        "argument_bytes_max = \"2KiB\"\narguments_max = 64\nline_bytes_max = \"128B\"\n\
         query_bytes_max = \"64KiB\"\n",
    );
    // What is just within the limits is served.
    let mut client = narrow.client();
    let long = [b'x'; 2048];
    assert_eq!(client.ask(&[b"SET", &long, &long]).unwrap().shown(), "+OK");
    assert_eq!(
        client.ask(&[b"GET", &long]).unwrap().text(),
        Some(&long[..])
    );
    client.send(&words(64, b"exists")).unwrap();
    assert_eq!(client.receive().unwrap().integer(), Some(0));
    client
        .send(format!("ECHO {}\r\n", "x".repeat(121)).as_bytes())
        .unwrap();
    assert_eq!(client.receive().unwrap().text().unwrap().len(), 121);

    let error = |what: &str| format!("-ERR Protocol error: {what}");
    narrow.is_refused(
        b"*65\r\n",
        &error("invalid multibulk length"),
        "arguments_max",
    );
    narrow.is_refused(
        b"*2\r\n$3\r\nGET\r\n$2049\r\n",
        &error("invalid bulk length"),
        "argument_bytes_max",
    );
    let digits = "1".repeat(128);
    for (beginning, what) in [
        ("x", "too big inline request"),
        ("*", "too big mbulk count string"),
        ("*1\r\n$", "too big bulk count string"),
    ] {
        let bytes = format!("{beginning}{digits}");
        narrow.is_refused(bytes.as_bytes(), &error(what), "line_bytes_max");
    }
    // It is refused when it is announced, not when it is there.
    let mut bytes = words(64, &long);
    bytes.truncate(64 << 10);
    narrow.is_refused(&bytes, &error("too big request"), "query_bytes_max");

    // Who was within the limits is still there.
    assert_eq!(client.ask(&[b"PING"]).unwrap().shown(), "+PONG");
    assert_eq!(narrow.node.metric("quorate_protocol_errors_total"), 6.0);
}

#[test]
fn replies_that_are_left_unread_are_bounded() {
    let mut narrow = Narrow::start(
        "argument_bytes_max = \"32KiB\"\noutput_bytes_max = \"64KiB\"\n\
         output_soft_bytes = \"64KiB\"\noutput_soft_time = \"1s\"\n",
    );
    let mut client = narrow.client();
    let long = [b'x'; 16 << 10];
    client.ask(&[b"SET", b"long", &long]).unwrap();
    let many = client.ask(&[b"MGET", b"long", b"long", b"long"]).unwrap();
    assert_eq!(many.items().unwrap().len(), 3);
    client
        .send(&request(&[b"MGET", b"long", b"long", b"long", b"long"]))
        .unwrap();
    client.is_closed().unwrap();
    narrow.reached("output_bytes_max", 0.0);

    // Where the values come from several slots, the reply is not even put together.
    let mut client = narrow.client();
    client.ask(&[b"SET", b"other", &long]).unwrap();
    let words = [b"MGET".as_slice(), b"long", b"long", b"other", b"other"];
    assert_eq!(
        client.ask(&words).unwrap().shown(),
        "-ERR the values are too long for one reply, ask for fewer"
    );
}

#[test]
fn a_client_that_leaves_much_unread_for_too_long_is_closed() {
    let mut narrow = Narrow::start("output_soft_bytes = \"1MiB\"\noutput_soft_time = \"1s\"\n");
    let mut deaf = narrow.client();
    // More than the system takes for itself on the way to a client.
    let long = vec![b'x'; 32 << 20];
    deaf.ask(&[b"SET", b"long", &long]).unwrap();
    deaf.send(&request(&[b"GET", b"long"])).unwrap();
    eventually("the client is closed", || {
        (narrow.node.limit_reached("output_soft_bytes") > 0.0).then_some(())
    });
    narrow.reached("output_soft_bytes", 0.0);
}

#[test]
fn the_values_of_one_reply_are_bounded() {
    let mut narrow = Narrow::start("");
    let long = vec![b'x'; 1 << 20];
    narrow.other.ask(&[b"SET", b"long", &long]).unwrap();
    // The request is small, the reply would be a gigabyte and more.
    let mut names = vec![b"long".as_slice(); 1026];
    names[0] = b"MGET";
    let before = narrow.node.metric("redis_memory_used_rss_bytes");
    for port in [narrow.node.cluster_port, narrow.node.any_port] {
        let mut client = Wire::connect(port).unwrap();
        let said = client.ask(&names).unwrap().shown();
        assert_eq!(
            said,
            "-ERR the values are too long for one reply, ask for fewer"
        );
        assert_eq!(client.ask(&[b"PING"]).unwrap().shown(), "+PONG");
    }
    let grown = narrow.node.metric("redis_memory_used_rss_bytes") - before;
    assert!(grown < f64::from(64 << 20), "{grown} bytes more");
    let beyond = [b"SETRANGE".as_slice(), b"key", b"536870912", b"x"];
    assert_eq!(
        narrow.other.ask(&beyond).unwrap().shown(),
        "-ERR string exceeds maximum allowed size (proto-max-bulk-len)"
    );
    let failed = |command: &str| format!("quorate_commands_failed_total{{cmd=\"{command}\"}}");
    assert_eq!(narrow.node.metric(&failed("mget")), 2.0);
    assert_eq!(narrow.node.metric(&failed("setrange")), 1.0);
}

#[test]
fn memory_that_is_used_up_is_an_error() {
    let mut narrow = Narrow::start("");
    let maxmemory = [b"CONFIG".as_slice(), b"SET", b"maxmemory", b"1"];
    assert_eq!(narrow.other.ask(&maxmemory).unwrap().shown(), "+OK");
    let refused = narrow.other.ask(&[b"SET", b"more", b"value"]).unwrap();
    assert_eq!(
        refused.shown(),
        "-OOM command not allowed when used memory > 'maxmemory'."
    );
    assert_eq!(narrow.node.metric("redis_errors_total{err=\"OOM\"}"), 1.0);
    let value = narrow.other.ask(&[b"GET", b"key"]).unwrap();
    assert_eq!(value.shown(), "$\"value\"");
}

#[test]
fn a_pipeline_is_answered_whole_however_long_it_is() {
    let mut narrow = Narrow::start("pipeline_max = 7\n");
    let ping = request(&[b"PING"]);
    narrow.other.send(&ping.repeat(5_000)).unwrap();
    for _ in 0..5_000 {
        assert_eq!(narrow.other.receive().unwrap().shown(), "+PONG");
    }
}

#[test]
fn one_client_too_many_is_told_so() {
    let mut narrow = Narrow::start("maxclients = 3\n");
    let mut clients = [narrow.client(), narrow.client()];
    for client in &mut clients {
        assert_eq!(client.ask(&[b"PING"]).unwrap().shown(), "+PONG");
    }
    for port in [narrow.node.any_port, narrow.node.cluster_port] {
        let before = narrow.node.limit_reached("maxclients");
        let mut said = String::new();
        let mut refused = TcpStream::connect(port).unwrap();
        refused
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        refused.read_to_string(&mut said).unwrap();
        assert_eq!(said, "-ERR max number of clients reached\r\n");
        narrow.reached("maxclients", before);
    }
    drop(clients);
    eventually("there is room again", || {
        let reply = narrow.client().ask(&[b"PING"]).ok()?;
        (reply.shown() == "+PONG").then_some(())
    });
}

/// Returns when the other side closes the connection, without a word.
fn is_closed_unheard(mut connection: &TcpStream) {
    let patience = Some(Duration::from_secs(20));
    connection.set_read_timeout(patience).unwrap();
    let mut said = Vec::new();
    match connection.read_to_end(&mut said) {
        Ok(_) => assert_eq!(said, b""),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
}

#[test]
fn one_connection_of_other_nodes_too_many_is_closed() {
    let [port] = free_ports();
    let mut narrow = Narrow::configured(
        "[peers]\nnodes_max = 2\nconnections_max = 2\n",
        &["--peer-port", &port.to_string()],
    );
    let connect = || TcpStream::connect(("127.0.0.1", port)).unwrap();
    let others = [connect(), connect()];
    is_closed_unheard(&connect());
    narrow.reached("peers.connections_max", 0.0);
    drop(others);
}

#[test]
fn a_connection_to_the_admin_port_has_an_end() {
    let narrow = Narrow::configured(
        "[limits]\nadmin_connections_max = 1\n[timings]\nadmin_connection = \"1s\"\n",
        &[],
    );
    // Who asks for nothing keeps the next one waiting, but not for long.
    let silent = TcpStream::connect(narrow.node.admin_port).unwrap();
    eventually("there is room again", || is_ready(narrow.node.admin_port));
    is_closed_unheard(&silent);
}

#[test]
fn what_a_command_takes_for_itself_is_bounded() {
    let mut narrow = Narrow::start("scratch_bytes_max = \"1KiB\"\nscan_entries_max = 20\n");
    let mut ask = |words: &[&[u8]]| narrow.other.ask(words).unwrap();
    let long = [b'x'; 16];
    for key in [b"{k}1", b"{k}2"] {
        ask(&[b"SET", key, &long[..15]]);
    }
    assert_eq!(ask(&[b"LCS", b"{k}1", b"{k}2", b"LEN"]).integer(), Some(15));
    ask(&[b"SET", b"{k}2", &long]);
    assert_eq!(
        ask(&[b"LCS", b"{k}1", b"{k}2", b"LEN"]).shown(),
        "-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"
    );

    for key in 0..500 {
        ask(&[b"SET", format!("{{k}}:{key}").as_bytes(), b"value"]);
    }
    let step = ask(&[b"SCAN", b"0", b"COUNT", b"10000"]);
    let found = step.items().unwrap()[1].items().unwrap().len();
    assert!((1..=100).contains(&found), "{found} keys in one step");
}

#[test]
fn a_request_that_is_too_long_for_the_way_to_another_node_is_refused() {
    // Time enough for the writes that are not refused.
    let text = "[peers]\ncall_bytes_max = \"32MiB\"\n[timings]\nwrite_timeout = \"20s\"\n";
    let trio = Trio::configured(|_| text.to_owned());
    let mut client = Wire::connect(trio.any_port(0)).unwrap();
    let long = vec![b'x'; 32 << 20];
    let said: Vec<String> = (0..6)
        .map(|key| client.ask(&[b"SET", format!("key{key}").as_bytes(), &long]))
        .map(|reply| reply.unwrap().shown())
        .collect();
    let refused = "-ERR the request or its reply is too large for the way between two nodes; \
                   ask by the cluster port";
    let refusals = said.iter().filter(|said| *said == refused).count();
    assert!((1..=6).contains(&refusals), "{said:?}");
    // What the node leads itself goes nowhere.
    assert!(said.iter().all(|said| said == refused || said == "+OK"));
    let (_, metrics) = http::get(trio.admin_port(0), "/metrics").unwrap();
    let counted = format!("quorate_limits_total{{limit=\"peers.call_bytes_max\"}} {refusals}");
    assert!(metrics.lines().any(|line| line == counted), "{metrics}");
    // The others do not notice.
    let small = client.ask(&[b"MSET", b"key1", b"a", b"key2", b"b", b"key3", b"c"]);
    assert_eq!(small.unwrap().shown(), "+OK");
}

#[test]
fn a_transaction_is_bounded_in_number_and_in_bytes() {
    let mut narrow =
        Narrow::start("transaction_commands_max = 3\ntransaction_bytes_max = \"2KiB\"\n");
    let said = "-ERR the transaction is longer than limits.transaction_commands_max or \
                limits.transaction_bytes_max";
    let aborted = "-EXECABORT Transaction discarded because of previous errors.";
    let mut client = narrow.client();
    let mut ask = |words: &[&[u8]]| client.ask(words).unwrap().shown();
    ask(&[b"MULTI"]);
    for _ in 0..3 {
        assert_eq!(ask(&[b"INCR", b"n"]), "+QUEUED");
    }
    assert_eq!(ask(&[b"INCR", b"n"]), said);
    assert_eq!(
        ask(&[b"INCR", b"n"]),
        "+QUEUED",
        "it will not run, and takes no memory"
    );
    assert_eq!(ask(&[b"EXEC"]), aborted);
    narrow.reached("transaction_max", 0.0);
    ask(&[b"MULTI"]);
    assert_eq!(ask(&[b"SET", b"n", &[b'x'; 1024]]), "+QUEUED");
    let info = ask(&[b"CLIENT", b"LIST"]);
    assert_eq!(info, "+QUEUED");
    assert_eq!(ask(&[b"SET", b"n", &[b'x'; 1024]]), said);
    assert_eq!(ask(&[b"EXEC"]), aborted);
    narrow.reached("transaction_max", 1.0);
    // So is what is watched.
    assert_eq!(ask(&[b"WATCH", b"{n}1", b"{n}2", b"{n}3"]), "+OK");
    assert_eq!(ask(&[b"WATCH", b"{n}4"]), said);
    narrow.reached("transaction_max", 2.0);
    assert_eq!(ask(&[b"EXISTS", b"n"]), ":0");
}

#[test]
fn what_is_queued_is_shown() {
    let narrow = Narrow::start("");
    let mut client = narrow.client();
    client.ask(&[b"MULTI"]).unwrap();
    client.ask(&[b"SET", b"n", &[b'x'; 1000]]).unwrap();
    let mut other = narrow.client();
    let list = other.ask(&[b"CLIENT", b"LIST"]).unwrap().shown();
    assert!(
        list.contains(" flags=x ") && list.contains(" multi=1 "),
        "{list}"
    );
    let of_queue = list
        .split("multi-mem=")
        .filter_map(|rest| rest.split(' ').next()?.parse().ok());
    assert!(of_queue.max() > Some(1000), "{list}");
    client.ask(&[b"DISCARD"]).unwrap();
    let list = other.ask(&[b"CLIENT", b"LIST"]).unwrap().shown();
    assert!(
        !list.contains("flags=x") && !list.contains("multi=0"),
        "{list}"
    );
}

#[test]
fn a_client_that_is_idle_for_too_long_is_closed() {
    let narrow = Narrow::start("");
    let mut idle = narrow.client();
    let timeout = [b"CONFIG".as_slice(), b"SET", b"timeout", b"1"];
    assert_eq!(idle.ask(&timeout).unwrap().shown(), "+OK");
    // The beginning of a request is none.
    let mut slow = narrow.client();
    slow.send(b"*1\r\n$4\r\nPI").unwrap();
    idle.is_closed().unwrap();
    slow.is_closed().unwrap();
    // The one who is there all the time asks for nothing either.
    eventually("each of them is counted", || {
        (narrow.node.limit_reached("client_idle") == 3.0).then_some(())
    });
}

#[test]
fn more_clients_than_open_files_are_not_promised() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 300 && exec \"$0\" \"$@\""]);
    shell.arg(quorate().get_program());
    let node = Quorate::start_with(shell, &[]);
    let log = node.process.stderr();
    assert!(
        log.contains("maxclients is 150 instead of 10000") && log.contains("300 files"),
        "{log}"
    );
    assert_eq!(node.metric("quorate_maxclients"), 150.0);
    let mut clients: Vec<Wire> = (0..150)
        .map(|_| Wire::connect(node.any_port).unwrap())
        .collect();
    for client in &mut clients {
        assert_eq!(client.ask(&[b"PING"]).unwrap().shown(), "+PONG");
    }
    let mut refused = Wire::connect(node.any_port).unwrap();
    assert_eq!(
        refused.receive().unwrap().shown(),
        "-ERR max number of clients reached"
    );
    // The rest is enough for everybody else.
    assert_eq!(node.limit_reached("maxclients"), 1.0);
    assert_eq!(node.limit_reached("open_files"), 0.0);
    let more = [b"CONFIG".as_slice(), b"SET", b"maxclients", b"151"];
    let said = clients[0].ask(&more).unwrap().shown();
    assert!(said.ends_with("try with 150"), "{said}");
}
