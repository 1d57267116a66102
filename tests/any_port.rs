//! The two ways into a cluster of three nodes: every node's any port serves all slots, also where a
//! command means all keys, and the cluster port says where a slot is led.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tests::harness::{PATIENCE, Quorate, eventually, free_ports, within};
use tests::wire::{Content, Frame, Wire, request};

/// Enough to meet every node many times in one pipeline.
const KEYS: usize = 1_000;
/// An error comes after a second, and more if the machine is busy.
const LATE: Duration = Duration::from_secs(10);

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

/// As [`pipeline`]; all of it is sent again as long as one of the replies is a refusal, for on a
/// machine that is busy enough the nodes take each other for dead.
fn served(address: SocketAddr, requests: &[Vec<String>]) -> Vec<Frame> {
    eventually("requests are served", || {
        let replies = pipeline(address, requests);
        (!replies.iter().any(is_refused)).then_some(replies)
    })
}

/// Errors that a client gets while a slot has no primary that serves.
fn is_refused(frame: &Frame) -> bool {
    let refusals = ["CLUSTERDOWN ", "TRYAGAIN ", "NOREPLICAS ", "UNCERTAIN "];
    let is_one = |refusal: &&str| text(frame).starts_with(*refusal);
    frame.kind == b'-' && refusals.iter().any(is_one)
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
        for (index, replies) in served(node.any_port, &requests).chunks(3).enumerate() {
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
        let replies = served(node.any_port, &requests);
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

/// In one pipeline, so that what is watched must be known before `EXEC` goes its way.
#[test]
fn every_node_takes_transactions_of_all_slots() {
    let nodes = cluster();
    let words = |line: &str| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
    for (number, node) in nodes.iter().enumerate() {
        let mut requests = Vec::new();
        for index in 0..100 {
            let (key, other) = (key(index), format!("absent:{{{}}}", key(index)));
            for line in [
                &format!("WATCH {key} {other}"),
                "MULTI",
                &format!("SET {key} {number}"),
                "PING",
                &format!("APPEND {key} !"),
                &format!("GET {key}"),
                "EXEC",
                // Changed, and changed back.
                &format!("WATCH {other}"),
                &format!("SET {other} 1"),
                &format!("DEL {other}"),
                "MULTI",
                &format!("SET {key} lost"),
                "EXEC",
                &format!("GET {key}"),
            ] {
                requests.push(words(line));
            }
        }
        for replies in served(node.any_port, &requests).chunks(14) {
            let queued = |at: usize| text(&replies[at]) == "QUEUED";
            assert!((2..6).all(queued) && queued(11), "{replies:?}");
            let done = replies[6].shown();
            assert_eq!(done, format!("*[+OK, +PONG, :2, $\"{number}!\"]"));
            assert_eq!(
                replies[12].content,
                Content::Null,
                "a watched key was there"
            );
            assert_eq!(text(&replies[13]), format!("{number}!"));
        }
    }
    let crossing = ["MULTI", "SET key:1 1", "SET key:2 2", "EXEC", "GET key:1"].map(words);
    let replies = served(nodes[0].any_port, &crossing);
    assert!(text(&replies[3]).starts_with("CROSSSLOT"), "{replies:?}");
    assert_eq!(text(&replies[4]), "2!");
    a_transaction_that_is_led_elsewhere_is_sent_there(&nodes);
}

fn a_transaction_that_is_led_elsewhere_is_sent_there(nodes: &[Quorate; 3]) {
    let mut wire = Wire::connect(nodes[0].cluster_port).unwrap();
    let mut ask = |line: &str| {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        wire.ask(&words).unwrap().shown()
    };
    let elsewhere = (0..KEYS)
        .map(key)
        .find(|key| ask(&format!("GET {key}")).starts_with("-MOVED"));
    let elsewhere = elsewhere.expect("a node leads a third of all slots");
    assert!(ask(&format!("WATCH {elsewhere}")).starts_with("-MOVED"));
    ask("MULTI");
    assert!(ask(&format!("GET {elsewhere}")).starts_with("-MOVED"));
    let aborted = "-EXECABORT Transaction discarded because of previous errors.";
    assert_eq!(ask("EXEC"), aborted);
    // Who reads the node's own copy does so in transactions too, and writes where the primary is.
    assert_eq!(ask("READONLY"), "+OK");
    assert_eq!(ask(&format!("WATCH {elsewhere}")), "+OK");
    assert_eq!(ask("MULTI"), "+OK");
    assert_eq!(ask(&format!("EXISTS {elsewhere}")), "+QUEUED");
    assert_eq!(ask("EXEC"), "*[:1]");
    assert_eq!(ask("MULTI"), "+OK");
    assert!(ask(&format!("SET {elsewhere} 1")).starts_with("-MOVED"));
    assert_eq!(ask("EXEC"), aborted);
}

fn moved_leads_to_the_primary(nodes: &[Quorate; 3]) {
    let mut led = BTreeMap::new();
    for index in 0..50 {
        let get = vec!["GET".to_owned(), key(index)];
        let reply = text_or_null(&served(nodes[0].cluster_port, std::slice::from_ref(&get))[0]);
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

fn request_of(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The reply, whatever it is.
fn ask(address: SocketAddr, words: &[&str]) -> Frame {
    pipeline(address, &[request_of(words)]).remove(0)
}

/// The reply, which is no refusal.
fn answer(address: SocketAddr, words: &[&str]) -> Frame {
    served(address, &[request_of(words)]).remove(0)
}

fn number(frame: &Frame) -> i64 {
    frame
        .integer()
        .unwrap_or_else(|| panic!("{}", frame.shown()))
}

fn texts(frame: &Frame) -> BTreeSet<String> {
    let items = frame.items().unwrap_or_else(|| panic!("{}", frame.shown()));
    let found: BTreeSet<String> = items.iter().map(text).collect();
    assert_eq!(found.len(), items.len(), "a key is there twice");
    found
}

/// The next cursor and the keys, unless the reply is an error.
fn scanned(frame: &Frame) -> Option<(String, BTreeSet<String>)> {
    let [cursor, keys] = frame.items()? else {
        panic!("{}", frame.shown())
    };
    Some((text(cursor), texts(keys)))
}

fn all_keys() -> BTreeSet<String> {
    (0..KEYS).map(key).collect()
}

/// All that a whole iteration shows, each of its calls at the next of the nodes. A call that is
/// refused is made again, at the next.
fn scan_all(ports: &[SocketAddr], count: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut cursor = "0".to_owned();
    let mut port = ports.iter().cycle();
    loop {
        let (next, keys) = eventually("a step of SCAN", || {
            let words = ["SCAN", &cursor, "COUNT", count];
            scanned(&ask(*port.next().unwrap(), &words))
        });
        found.extend(keys);
        cursor = next;
        if cursor == "0" {
            return found;
        }
    }
}

#[test]
fn commands_about_all_keys_mean_the_whole_cluster_on_every_any_port() {
    let nodes = cluster();
    let any_ports = nodes.each_ref().map(|node| node.any_port);
    for (index, port) in any_ports.into_iter().enumerate() {
        let mut requests = vec![request_of(&["FLUSHDB", "SYNC"])];
        requests.extend(sets("v"));
        let further: [&[&str]; 5] = [
            &["DBSIZE"],
            &["FLUSHALL"],
            &["DBSIZE"],
            &["SET", "x", "1"],
            &["DBSIZE"],
        ];
        requests.extend(further.map(request_of));
        let replies = served(port, &requests);
        let last: Vec<String> = replies[KEYS + 1..].iter().map(text).collect();
        let in_order = [&*KEYS.to_string(), "OK", "0", "OK", "1"];
        assert_eq!(last, in_order, "a pipeline keeps its order");
        for other in any_ports {
            assert_eq!(number(&answer(other, &["DBSIZE"])), 1);
            assert_eq!(text(&answer(other, &["RANDOMKEY"])), "x");
        }
        let flush = ["FLUSHALL", "FLUSHDB"][index % 2];
        assert_eq!(text(&answer(port, &[flush, "ASYNC"])), "OK");
        for other in any_ports {
            assert_eq!(number(&answer(other, &["DBSIZE"])), 0);
            assert_eq!(texts(&answer(other, &["KEYS", "*"])), BTreeSet::new());
            assert_eq!(answer(other, &["RANDOMKEY"]).content, Content::Null);
            let empty = scanned(&answer(other, &["SCAN", "0"]));
            assert_eq!(empty, Some(("0".to_owned(), BTreeSet::new())));
        }
    }
    served(any_ports[0], &sets("v"));
    let mut drawn = BTreeSet::new();
    for port in any_ports {
        assert_eq!(number(&answer(port, &["DBSIZE"])), KEYS as i64);
        assert_eq!(texts(&answer(port, &["KEYS", "key:*"])), all_keys());
        assert_eq!(texts(&answer(port, &["KEYS", "key:77"])).len(), 1);
        assert_eq!(scan_all(&[port], "1000000"), all_keys());
        let randoms = vec![request_of(&["RANDOMKEY"]); 40];
        drawn.extend(served(port, &randoms).iter().map(text));
    }
    assert!(drawn.len() > 60, "of 120 draws few are the same: {drawn:?}");
    assert!(drawn.is_subset(&all_keys()), "{drawn:?}");
    assert_eq!(scan_all(&any_ports, "10"), all_keys());
    each_cluster_port_means_its_own_slots(&nodes);
}

fn each_cluster_port_means_its_own_slots(nodes: &[Quorate; 3]) {
    // A slot may change hands between two of the questions.
    eventually("the nodes' own keys are all keys", || {
        let mut found = BTreeSet::new();
        let mut sum = 0;
        for port in nodes.each_ref().map(|node| node.cluster_port) {
            let keys = texts(&answer(port, &["KEYS", "*"]));
            let size = number(&answer(port, &["DBSIZE"]));
            let random = text(&answer(port, &["RANDOMKEY"]));
            let agree = scan_all(&[port], "100") == keys && size == keys.len() as i64;
            if !agree || keys.len() == KEYS || !keys.contains(&random) {
                return None;
            }
            sum += keys.len();
            found.extend(keys);
        }
        (sum == KEYS && found == all_keys()).then_some(())
    });
    let [first, second, _] = nodes;
    assert_eq!(text(&answer(first.cluster_port, &["FLUSHALL"])), "OK");
    assert!(number(&answer(second.any_port, &["DBSIZE"])) > 0);
}

#[test]
fn a_scan_shows_what_is_there_all_the_time_whatever_else_comes_and_goes() {
    let nodes = cluster();
    let any_ports = nodes.each_ref().map(|node| node.any_port);
    let [_, writer, _] = any_ports;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let others: Vec<String> = (0..200).map(|index| format!("other:{index}")).collect();
            while !over.load(Relaxed) {
                let mset = others.iter().flat_map(|key| [key.clone(), "v".into()]);
                let mset = std::iter::once("MSET".to_owned()).chain(mset).collect();
                let del = [vec!["DEL".to_owned()], others.clone()].concat();
                pipeline(writer, &[mset, del]);
            }
        });
        for count in ["7", "100", "3000"] {
            let found = scan_all(&any_ports, count);
            let missing: Vec<String> = all_keys().difference(&found).cloned().collect();
            if !missing.is_empty() {
                over.store(true, Relaxed);
                panic!("{missing:?} not shown with COUNT {count}");
            }
        }
        over.store(true, Relaxed);
    });
}

#[test]
fn without_one_node_the_answers_are_whole_and_without_two_there_are_none() {
    let nodes = cluster();
    let [first, second, third] = &nodes;
    let alive = [first.any_port, second.any_port];
    let begun = ["SCAN", "0", "COUNT", "300"];
    let (mut cursor, mut found) = scanned(&answer(third.any_port, &begun)).unwrap();
    third.process.signal(Signal::KILL);
    for port in alive {
        within(2 * PATIENCE, "keys are counted without the third", || {
            let size = ask(port, &["DBSIZE"]);
            let counted = !is_refused(&size);
            assert!(!counted || number(&size) == KEYS as i64, "{}", size.shown());
            let keys = ask(port, &["KEYS", "*"]);
            let shown = !is_refused(&keys);
            assert!(!shown || texts(&keys) == all_keys());
            (counted && shown).then_some(())
        });
    }
    while cursor != "0" {
        let (next, keys) = scanned(&answer(alive[0], &["SCAN", &cursor])).unwrap();
        found.extend(keys);
        cursor = next;
    }
    assert_eq!(found, all_keys(), "a cursor of the third goes on elsewhere");
    assert_eq!(text(&answer(alive[1], &["FLUSHALL"])), "OK");
    let sizes = alive.map(|port| number(&answer(port, &["DBSIZE"])));
    assert_eq!(sizes, [0, 0]);

    served(alive[0], &sets("v"));
    second.process.signal(Signal::KILL);
    let commands: [&[&str]; 4] = [&["DBSIZE"], &["KEYS", "*"], &["RANDOMKEY"], &["FLUSHALL"]];
    for words in commands.into_iter().cycle().take(8) {
        let asked = Instant::now();
        let reply = ask(alive[0], words);
        assert!(is_refused(&reply), "{words:?}: {}", reply.shown());
        assert!(asked.elapsed() < LATE, "{words:?} took too long");
    }
    eventually("no slot is scanned any more", || {
        is_refused(&ask(alive[0], &["SCAN", "0"])).then_some(())
    });
}
