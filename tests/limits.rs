//! What a client gets that reaches a limit: the error that belongs to it. The limit is counted, and
//! whoever else is connected sees nothing of it.

use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use tests::harness::{Quorate, eventually, folder, quorate};
use tests::wire::{Wire, request};

/// A node with narrow limits, and somebody who is connected to it all the time.
struct Narrow {
    node: Quorate,
    other: Wire,
}

impl Narrow {
    fn start(limits: &str) -> Narrow {
        let folder = folder();
        let file = folder.path().join("quorate.toml");
        fs::write(&file, format!("[limits]\n{limits}")).unwrap();
        let config = file.to_str().unwrap();
        let node = Quorate::start(&["--threads", "1", "--config", config]);
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
