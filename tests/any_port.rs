//! The two ways into a cluster of three nodes: every node's any port serves all slots, and the
//! cluster port says where a slot is led.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tests::harness::{Quorate, eventually, free_ports};
use tests::wire::{Content, Frame, Wire, request};

/// Enough to meet every node many times in one pipeline.
const KEYS: usize = 1_000;

/// Three nodes that have found each other and serve all slots.
fn cluster() -> [Quorate; 3] {
    let ports = free_ports::<3>().map(|port| port.to_string());
    let seeds = ports.join(",127.0.0.1:");
    let seeds = format!("127.0.0.1:{seeds}");
    let nodes = ports.map(|port| {
        let cluster = ["--bootstrap-expect", "3", "--seed", &seeds];
        let node = ["--peer-port", &port, "--threads", "1"];
        Quorate::start(&[cluster, node].concat())
    });
    for node in &nodes {
        eventually("every slot takes a write", || {
            let replies = pipeline(node.any_port, &sets("warm"));
            replies.iter().all(|reply| reply.kind == b'+').then_some(())
        });
    }
    nodes
}

fn key(index: usize) -> String {
    format!("key:{index}")
}

/// For each key: `SET`, then `GET`.
fn sets(value: &str) -> Vec<Vec<String>> {
    let set = |index| vec!["SET".to_owned(), key(index), format!("{value}:{index}")];
    (0..KEYS).map(set).collect()
}

fn pipeline(address: SocketAddr, requests: &[Vec<String>]) -> Vec<Frame> {
    let mut wire = Wire::connect(address).unwrap();
    let mut bytes = Vec::new();
    for words in requests {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        bytes.extend(request(&words));
    }
    wire.send(&bytes).unwrap();
    requests.iter().map(|_| wire.receive().unwrap()).collect()
}

fn text(frame: &Frame) -> String {
    match &frame.content {
        Content::Line(text) | Content::Text(text) => String::from_utf8(text.clone()).unwrap(),
        other => panic!("{other:?} is no text"),
    }
}

#[test]
fn every_node_serves_all_slots_by_its_any_port_in_order() {
    let nodes = cluster();
    for (number, node) in nodes.iter().enumerate() {
        let value = format!("of node {number}");
        let mut requests = Vec::new();
        for set in sets(&value) {
            let get = vec!["GET".to_owned(), set[1].clone()];
            let append = vec!["APPEND".to_owned(), set[1].clone(), "!".to_owned()];
            requests.extend([set, append, get]);
        }
        for (index, replies) in pipeline(node.any_port, &requests).chunks(3).enumerate() {
            assert_eq!(text(&replies[0]), "OK");
            assert_eq!(text(&replies[2]), format!("{value}:{index}!"));
        }
        let keys: Vec<String> = (0..KEYS).map(key).collect();
        let pairs = keys.iter().flat_map(|key| [key.clone(), value.clone()]);
        let many = |name: &str| [vec![name.to_owned()], keys.clone()].concat();
        let mset = std::iter::once("MSET".to_owned()).chain(pairs).collect();
        let requests = [
            mset,
            many("MGET"),
            many("EXISTS"),
            many("DEL"),
            many("TOUCH"),
        ];
        let replies = pipeline(node.any_port, &requests);
        assert_eq!(text(&replies[0]), "OK");
        let Content::Items(values) = &replies[1].content else {
            panic!("{:?}", replies[1])
        };
        assert!(values.len() == KEYS && values.iter().all(|found| text(found) == value));
        let counts: Vec<String> = replies[2..].iter().map(text).collect();
        assert_eq!(counts, [KEYS.to_string(), KEYS.to_string(), "0".into()]);
    }
    moved_leads_to_the_primary(&nodes);
}

fn moved_leads_to_the_primary(nodes: &[Quorate; 3]) {
    let mut led = BTreeMap::new();
    for index in 0..50 {
        let get = vec!["GET".to_owned(), key(index)];
        let reply = text_or_null(&pipeline(nodes[0].cluster_port, std::slice::from_ref(&get))[0]);
        let Some((_, address)) = reply
            .strip_prefix("MOVED ")
            .and_then(|to| to.split_once(' '))
        else {
            assert_eq!(reply, "");
            continue;
        };
        let address: SocketAddr = address.parse().unwrap();
        assert!(nodes[1..].iter().any(|node| node.cluster_port == address));
        assert_eq!(text_or_null(&pipeline(address, &[get])[0]), "");
        *led.entry(address).or_insert(0) += 1;
    }
    assert_eq!(led.len(), 2, "both other nodes lead some of fifty slots");
    let crossed = ["MGET", "a", "b"].map(str::to_owned).to_vec();
    let reply = text_or_null(&pipeline(nodes[0].cluster_port, &[crossed])[0]);
    assert!(reply.starts_with("CROSSSLOT "), "{reply}");
}

fn text_or_null(frame: &Frame) -> String {
    match frame.content {
        Content::Null => String::new(),
        _ => text(frame),
    }
}
