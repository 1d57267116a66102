//! Each cache mode, against the file.

use std::time::{Duration, Instant};

use tests::harness::eventually;

use super::{Client, Stage};

/// So many clients miss one key at the same time.
const HERD: usize = 1_000;

#[test]
fn the_modes_keep_their_promises_to_the_database() {
    let stage = Stage::set();
    write_through(&stage);
    write_around(&stage);
    write_back(&stage);
    together(&stage);
    what_is_counted(&stage);
    a_herd_is_one_query(&stage);
}

/// The database has it when the client hears of it.
fn write_through(stage: &Stage) {
    let (mut client, file) = (stage.client(0), &stage.database);
    let value = |key: &str| file.value("wt", key);
    for number in 0..20 {
        let key = format!("wt:{number}");
        assert_eq!(client.say(&format!("SET {key} v{number}")), "OK");
        assert_eq!(value(&key), Some(format!("v{number}")));
    }
    assert_eq!(client.say("APPEND wt:0 +"), "3");
    assert_eq!(value("wt:0").as_deref(), Some("v0+"));
    assert_eq!(client.say("INCRBY wt:n 7"), "7");
    assert_eq!(value("wt:n").as_deref(), Some("7"));
    assert_eq!(client.say("DEL wt:1 wt:2 wt:none"), "2");
    assert_eq!((value("wt:1"), value("wt:2")), (None, None));
    assert_eq!(client.say("GET wt:1"), "nil");
    // All keys of one command are one transaction.
    assert_eq!(client.say("MSET wt:{a}1 x wt:{a}2 y"), "OK");
    assert_eq!(value("wt:{a}2").as_deref(), Some("y"));
    // What was never in the cache is read through it, and what another node shows is the same.
    file.set("wt", "wt:outside", "there");
    for node in 0..3 {
        assert_eq!(stage.client(node).say("GET wt:outside"), "there");
    }
    assert_eq!(client.say("SET wt:outside NEW XX GET"), "there");
    assert_eq!(value("wt:outside").as_deref(), Some("NEW"));
    // A time to live ends the row too.
    assert_eq!(client.say("SET wt:short v EX 1000"), "OK");
    assert_eq!(value("wt:short").as_deref(), Some("v"));
    assert_eq!(client.say("PEXPIRE wt:short 1"), "1");
    eventually("the row has ended with its key", || {
        value("wt:short").is_none().then_some(())
    });
    assert_eq!(client.say("GET wt:short"), "nil");
    // The requests of one client keep their order.
    client.send(&["SET wt:p 1", "GET wt:p", "INCR wt:p", "GET wt:p"]);
    let heard: Vec<String> = (0..4).map(|_| client.hear()).collect();
    assert_eq!(heard, ["OK", "1", "2", "2"]);
}

/// The write leaves no stale entry behind: the next read is the database's.
fn write_around(stage: &Stage) {
    let (mut client, file) = (stage.client(1), &stage.database);
    assert_eq!(client.say("SET wa:k 1"), "OK");
    assert_eq!(file.value("wa", "wa:k").as_deref(), Some("1"));
    assert_eq!(client.say("EXISTS plain wa:k"), "1");
    assert_eq!(client.say("GET wa:k"), "1");
    assert_eq!(client.say("SET wa:k 2"), "OK");
    assert_eq!(client.say("GET wa:k"), "2");
    assert_eq!(client.say("SET wa:k 3"), "OK");
    file.set("wa", "wa:k", "from outside");
    assert_eq!(client.say("GET wa:k"), "from outside");
    assert_eq!(client.say("DEL wa:k"), "1");
    assert_eq!(
        (client.say("GET wa:k"), file.value("wa", "wa:k")),
        ("nil".into(), None)
    );
}

/// The database has it a moment later, many writes of a key as one.
fn write_back(stage: &Stage) {
    let (mut client, file) = (stage.client(2), &stage.database);
    // The flush interval is 100 ms; the rest is for a machine that does other things as well.
    let mut taken: Vec<Duration> = (0..9)
        .map(|number| {
            let (key, begun) = (format!("wb:{number}"), Instant::now());
            assert_eq!(client.say(&format!("SET {key} v")), "OK");
            eventually("the database has it", || {
                file.value("wb", &key).filter(|value| value == "v")
            });
            begun.elapsed()
        })
        .collect();
    taken.sort();
    let median = taken[taken.len() / 2];
    assert!(median < Duration::from_secs(1), "{taken:?}");
    file.watch("wb");
    const WRITES: usize = 2_000;
    let lines: Vec<String> = (1..=WRITES).map(|n| format!("SET wb:hot {n}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    client.send(&lines);
    for _ in 0..WRITES {
        assert_eq!(client.hear(), "OK");
    }
    assert_eq!(client.say("GET wb:hot"), WRITES.to_string());
    let flushed: usize = client.say("KEYSPACE FLUSH wb").parse().unwrap();
    assert!(
        flushed <= 1,
        "there is one key, and it may be flushed by now"
    );
    let taken = file.watched("wb", "wb:hot");
    assert_eq!(taken.last(), Some(&WRITES.to_string()));
    assert!(
        taken.len() < WRITES / 10,
        "{} rows are written",
        taken.len()
    );
    assert_eq!(client.say("DEL wb:hot"), "1");
    let _ = client.say("KEYSPACE FLUSH");
    assert_eq!(file.value("wb", "wb:hot"), None);
    assert_eq!(stage.metric("quorate_dirty_bytes"), 0.0);
}

/// Keys of several keyspaces in one command, and what empties the cache.
fn together(stage: &Stage) {
    let (mut client, file) = (stage.client(0), &stage.database);
    assert_eq!(client.say("MSET wt:{t}1 a wb:{t}2 b plain:{t}3 c"), "OK");
    assert_eq!(file.value("wt", "wt:{t}1").as_deref(), Some("a"));
    let three = "MGET wt:{t}1 wb:{t}2 plain:{t}3";
    assert_eq!(client.say(three), "[a b c]");
    assert_eq!(client.say("KEYSPACE LIST"), "[wa wb wt]");
    let shown = client.say("KEYSPACE GET wb");
    assert!(
        shown.starts_with("[name wb match wb:* mode write-back"),
        "{shown}"
    );
    assert_eq!(client.say("FLUSHALL"), "OK");
    assert_eq!(
        client.say(three),
        "[a b nil]",
        "the database is not emptied"
    );
}

/// What the cache modes answer counts as what is answered at once does.
fn what_is_counted(stage: &Stage) {
    let (mut client, file) = (stage.client(0), &stage.database);
    let failed = "quorate_commands_failed_total{cmd=\"incr\"}";
    let before = stage.metric(failed);
    assert_eq!(client.say("SET wt:text abc"), "OK");
    let refused = client.say("INCR wt:text");
    assert!(refused.contains("not an integer"), "{refused}");
    eventually("the error is counted", || {
        (stage.metric(failed) == before + 1.0).then_some(())
    });
    // Of several keys each is a hit or a miss.
    assert_eq!(client.say("SET wt:{h}1 warm"), "OK");
    file.set("wt", "wt:{h}2", "cold");
    let looks = ["hits", "misses"].map(|name| format!("redis_keyspace_{name}_total"));
    let before = looks.each_ref().map(|name| stage.metric(name));
    assert_eq!(client.say("MGET wt:{h}1 wt:{h}2"), "[warm cold]");
    let after = looks.each_ref().map(|name| stage.metric(name));
    assert_eq!(after, before.map(|count| count + 1.0));
}

/// Many clients miss a key at the same time: the database is asked once.
fn a_herd_is_one_query(stage: &Stage) {
    const LOADS: &str = "quorate_store_loads_total{store=\"main\"}";
    stage.database.set("wt", "wt:herd", "value");
    let before = stage.counter(LOADS);
    let mut herd: Vec<Client> = (0..HERD).map(|number| stage.client(number % 3)).collect();
    for client in &mut herd {
        client.send(&["GET wt:herd"]);
    }
    for client in &mut herd {
        assert_eq!(client.hear(), "value");
    }
    assert_eq!(stage.counter(LOADS) - before, 1.0);
}
