//! What a client gets whose bytes are no request: Redis's own words, and its connection closed.
//! Whoever else is connected sees nothing of it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tests::harness::{Quorate, Redis, eventually, is_ready};
use tests::wire::Wire;

/// An answer that takes longer is none.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The longest line that Redis takes, and Quorate unless it is told otherwise.
const LINE: usize = 64 << 10;

/// All that the server says to these bytes until it closes the connection.
fn last_words(server: SocketAddr, bytes: &[u8]) -> String {
    let mut client = TcpStream::connect(server).unwrap();
    client.set_read_timeout(Some(TIMEOUT)).unwrap();
    client.write_all(bytes).unwrap();
    let mut said = Vec::new();
    let closed = client.read_to_end(&mut said);
    let said = said.escape_ascii().to_string();
    let bytes = &bytes[..bytes.len().min(80)];
    assert!(
        closed.is_ok(),
        "still open after {}: {said}",
        bytes.escape_ascii()
    );
    said
}

/// What is no request, one of each kind.
fn malformed() -> Vec<Vec<u8>> {
    let mut kinds: Vec<Vec<u8>> = [
        // The number of arguments.
        "*x\r\n",
        "*\r\n",
        "*+1\r\n",
        "* 1\r\n",
        "*01\r\n",
        "*-0\r\n",
        "*1.0\r\n",
        "*2147483648\r\n",
        "*99999999999999999999\r\n",
        // The length of an argument.
        "*1\r\n$x\r\n",
        "*1\r\n$\r\n",
        "*1\r\n$-1\r\n",
        "*1\r\n$4x\r\n",
        "*1\r\n$99999999999999999999\r\n",
        // An argument of another kind: a number, a line, an array, however deep, none at all.
        "*1\r\n:4\r\n",
        "*1\r\n+PING\r\n",
        "*1\r\n*1\r\n*1\r\n$4\r\nPING\r\n",
        "*1\r\n\r\n",
        "*1\r\n\n4\r\n",
        "*2\r\n$4\r\nECHO\r\n!5\r\n",
        // Words that are typed.
        "SET key \"value\r\n",
        "SET key 'value\r\n",
        "SET key \"value\"s\r\n",
        "SET key \"value\\\r\n",
        // What came before is answered, what comes after is not.
        "*1\r\n$4\r\nPING\r\n*1\r\n!4\r\nPING\r\n*1\r\n$4\r\nPING\r\n",
        "PING\r\nPING \"\r\nPING\r\n",
    ]
    .into_iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    // No byte more than it takes, for both close with nothing unread then.
    for beginning in ["*", "*1\r\n$", "x"] {
        let counted = beginning.rsplit('\n').next().unwrap().len();
        let line = "1".repeat(LINE + 1 - counted);
        kinds.push(format!("{beginning}{line}").into_bytes());
    }
    kinds
}

#[test]
fn what_is_no_request_gets_the_words_of_redis() {
    let redis = Redis::start(&[]);
    // One thread, so that all of these clients are neighbours.
    let quorate = Quorate::start(&["--threads", "1"]);
    let mut other = Wire::connect(quorate.any_port).unwrap();
    other.ask(&[b"SET", b"key", b"value"]).unwrap();
    let mut closed = 0.0;
    for bytes in malformed() {
        let expected = last_words(redis.address, &bytes);
        assert!(expected.contains("-ERR Protocol error: "), "{expected}");
        for port in [quorate.cluster_port, quorate.any_port] {
            assert_eq!(last_words(port, &bytes), expected);
            closed += 1.0;
        }
        assert_eq!(other.ask(&[b"GET", b"key"]).unwrap().shown(), "$\"value\"");
    }
    assert_eq!(quorate.metric("quorate_protocol_errors_total"), closed);
}

#[test]
fn who_has_not_authenticated_may_send_little() {
    let redis = Redis::start(&["--requirepass", "secret"]);
    let quorate = Quorate::start(&[]);
    let mut friend = Wire::connect(quorate.any_port).unwrap();
    let password = [b"CONFIG".as_slice(), b"SET", b"requirepass", b"secret"];
    assert_eq!(friend.ask(&password).unwrap().shown(), "+OK");
    for text in ["*11\r\n", "*2\r\n$4\r\nAUTH\r\n$16385\r\n"] {
        let expected = last_words(redis.address, text.as_bytes());
        assert!(expected.contains("unauthenticated"), "{expected}");
        assert_eq!(last_words(quorate.any_port, text.as_bytes()), expected);
    }
    assert_eq!(quorate.limit_reached("unauthenticated"), 2.0);
    let auth = friend.ask(&[b"AUTH", b"secret"]).unwrap();
    assert_eq!(auth.shown(), "+OK");
    let many = vec![b"PING".as_slice(); 11];
    let said = friend.ask(&many).unwrap().shown();
    assert!(said.contains("wrong number of arguments"), "{said}");
}

#[test]
fn a_web_browser_is_sent_away() {
    let quorate = Quorate::start(&[]);
    for (request, said) in [
        (
            "POST / HTTP/1.1\r\nHost: cache\r\n\r\nSET key value\r\n",
            "",
        ),
        (
            "GET / HTTP/1.1\r\nHost: cache\r\n\r\nSET key value\r\n",
            "-ERR wrong number of arguments for \\'get\\' command\\r\\n",
        ),
    ] {
        let all = last_words(quorate.any_port, request.as_bytes());
        let last = "-ERR Protocol error: this is not a port for HTTP\\r\\n";
        assert_eq!(all, format!("{said}{last}"));
    }
    let mut client = Wire::connect(quorate.any_port).unwrap();
    let value = client.ask(&[b"GET", b"key"]).unwrap();
    assert_eq!(value.shown(), "$-1", "nothing of it has run");
}

#[test]
fn noise_on_any_port_harms_nobody() {
    let quorate = Quorate::start(&[]);
    let line = quorate.process.stdout();
    let peer_port: SocketAddr = line
        .split(", ")
        .find_map(|part| part.strip_prefix("peer port ")?.parse().ok())
        .unwrap();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let ports = [
        quorate.cluster_port,
        quorate.any_port,
        quorate.admin_port,
        peer_port,
    ];
    for _ in 0..50 {
        let bytes: Vec<u8> = (0..512).flat_map(|_| noise()).collect();
        for port in ports {
            let mut client = TcpStream::connect(port).unwrap();
            // It may be closed before it has said everything.
            let _ = client.write_all(&bytes);
        }
    }
    let mut client = Wire::connect(quorate.cluster_port).unwrap();
    assert_eq!(client.ask(&[b"PING"]).unwrap().shown(), "+PONG");
    eventually("the node is ready", || is_ready(quorate.admin_port));
    assert_eq!(quorate.process.stdout(), line);
}
