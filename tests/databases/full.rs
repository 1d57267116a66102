//! Memory that is full: what is clean is evicted, what the database lacks is not.

use tests::harness::eventually;
use tests::local_cluster::LocalCluster;

use super::{Client, Stage};

const MAXMEMORY: usize = 96 << 20;
/// As much as would fit if nothing else took memory: nearly twice as much as does.
const KEYS: usize = MAXMEMORY / VALUE_BYTES;
const VALUE_BYTES: usize = 8 << 10;
const BATCH: usize = 64;

fn start(policy: &str) -> Stage {
    let configuration = format!(
        "[memory]\nmaxmemory = {MAXMEMORY}\npolicy = {policy:?}\n\
         [store.main]\nurl = \"sqlite://FOLDER/data/quorate.db\"\n\
         [[keyspace]]\nname = \"wb\"\nmatch = \"wb:*\"\nmode = \"write-back\"\nstore = \"main\"\n"
    );
    Stage::of(LocalCluster::start_with(3, &configuration))
}

/// Sets keys, every eighth in the write-back keyspace; returns the replies.
fn set(client: &mut Client, numbers: std::ops::Range<usize>) -> Vec<String> {
    let lines: Vec<String> = numbers
        .map(|number| format!("SET {} {}", key(number), value(number)))
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    client.send(&lines);
    lines.iter().map(|_| client.hear()).collect()
}

fn key(number: usize) -> String {
    let keyspace = if number.is_multiple_of(8) {
        "wb"
    } else {
        "plain"
    };
    format!("{keyspace}:{number}")
}

fn value(number: usize) -> String {
    format!("{number:0>VALUE_BYTES$}")
}

#[test]
fn what_is_clean_is_evicted_and_what_is_dirty_reaches_the_database() {
    let stage = start("allkeys-lru");
    let mut client = stage.client(0);
    let mut most: f64 = 0.0;
    for first in (0..KEYS).step_by(BATCH) {
        let replies = set(&mut client, first..first + BATCH);
        assert!(replies.iter().all(|reply| reply == "OK"), "{replies:?}");
        let bytes = stage.metrics("quorate_data_bytes");
        most = bytes.into_iter().fold(most, f64::max);
    }
    let limit = MAXMEMORY as f64;
    assert!(most < limit, "{most} bytes of {limit}");
    for bytes in stage.metrics("quorate_data_bytes") {
        assert!(bytes > 0.4 * limit, "{bytes} bytes of {limit}");
    }
    assert!(stage.metric("quorate_evicted_keys_total") > 0.0);
    let missing = (0..KEYS)
        .filter(|number| !number.is_multiple_of(8))
        .filter(|number| client.say(&format!("GET {}", key(*number))) == "nil")
        .count();
    assert!(
        (KEYS / 4..KEYS * 3 / 4).contains(&missing),
        "{missing} of {KEYS}"
    );

    eventually("the database has all of them", || {
        (stage.metric("quorate_dirty_bytes") == 0.0).then_some(())
    });
    let rows = "SELECT count(*) FROM quorate_wb WHERE value IS NOT NULL";
    assert_eq!(stage.database.run(rows), [(KEYS / 8).to_string()]);
    for number in (0..KEYS).step_by(8) {
        assert_eq!(client.say(&format!("GET {}", key(number))), value(number));
    }
}

#[test]
fn without_eviction_a_write_is_refused() {
    let stage = start("noeviction");
    let mut client = stage.client(0);
    let refused = (0..KEYS).step_by(BATCH).find_map(|first| {
        let replies = set(&mut client, first..first + BATCH);
        let at = replies.iter().position(|reply| reply != "OK")?;
        Some((first + at, replies[at].clone()))
    });
    let (number, why) = refused.expect("more than fits is written");
    assert!(why.starts_with("OOM "), "{why}");
    for kept in 0..number {
        assert_eq!(client.say(&format!("GET {}", key(kept))), value(kept));
    }
    assert_eq!(stage.metric("quorate_evicted_keys_total"), 0.0);
    // Room that is made is room for others.
    assert_eq!(client.say("FLUSHALL"), "OK");
    eventually("a write fits again", || {
        (client.say("SET plain:again v") == "OK").then_some(())
    });
}
