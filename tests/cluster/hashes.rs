//! Hashes, small and large, while nodes come and go.

use std::net::SocketAddr;
use std::time::Duration;

use tests::harness::within;
use tests::trio::Trio;
use tests::wire::{Wire, request};

/// Fields of the large hash: some megabytes, many times what a copy sends at once.
const FIELDS: u32 = 50_000;
/// Fields that one command sets.
const BATCH: u32 = 500;

#[test]
fn copies_of_hashes_are_equal_whatever_happens_meanwhile() {
    let mut trio = Trio::start();
    let mut client = Wire::connect(trio.any_port(0)).unwrap();
    let set = |client: &mut Wire, key: &str, first: u32, value: &str| {
        let mut words = vec!["HSET".to_owned(), key.to_owned()];
        for field in first..first + BATCH {
            words.extend([format!("field:{field}"), format!("{value}:{field}")]);
        }
        let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
        client.send(&request(&words)).unwrap();
        let reply = client.receive().unwrap();
        assert_eq!(reply.kind, b':', "{}", reply.shown());
    };
    for first in (0..FIELDS).step_by(BATCH as usize) {
        set(
            &mut client,
            "large",
            first,
            "a value that is longer than it need be",
        );
        set(&mut client, &format!("small:{first}"), 0, "v");
    }
    // It comes back with nothing, and gets its copies while fields come and go.
    trio.kill(2);
    trio.is_given_up(2);
    trio.restart(2);
    for first in (0..FIELDS).step_by(BATCH as usize) {
        let removed = format!("field:{}", first + 7);
        let words: [&[u8]; 3] = [b"HDEL", b"large", removed.as_bytes()];
        assert_eq!(client.ask(&words).unwrap().shown(), ":1");
        set(&mut client, "large", first / 3 * 2 + 11, "another");
        assert_eq!(
            client
                .ask(&[b"HINCRBY", b"large", b"count", b"1"])
                .unwrap()
                .kind,
            b':'
        );
    }
    trio.become_whole();
    let length = client.ask(&[b"HLEN", b"large"]).unwrap().shown();
    let nodes = trio.cluster_ports();
    for key in ["large", "small:0", "small:500"] {
        within(Duration::from_secs(20), "all copies are equal", || {
            let [one, two, three] = nodes.map(|node| copy_of(node, key));
            (one.is_some() && one == two && two == three).then_some(())
        });
    }
    // The node that was empty serves alone what it was given.
    let copy = copy_of(nodes[2], "large").unwrap();
    assert_eq!(format!(":{}", copy.len()), length);
    assert!(copy.contains(&("count".to_owned(), (FIELDS / BATCH).to_string())));
}

/// The fields of a node's own copy, sorted; `None` if it cannot be read.
fn copy_of(node: SocketAddr, key: &str) -> Option<Vec<(String, String)>> {
    let mut wire = Wire::connect(node).ok()?;
    wire.ask(&[b"READONLY"]).ok()?;
    let reply = wire.ask(&[b"HGETALL", key.as_bytes()]).ok()?;
    let text =
        |frame: &tests::wire::Frame| Some(String::from_utf8_lossy(frame.text()?).into_owned());
    let pairs = reply.items()?.chunks(2);
    let mut pairs: Vec<_> = pairs
        .map(|pair| Some((text(&pair[0])?, text(&pair[1])?)))
        .collect::<Option<_>>()?;
    pairs.sort();
    Some(pairs)
}
