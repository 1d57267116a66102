//! Hashes of database keyspaces: their rows hold what `DUMP` gives, which redis-server reads.

use tests::harness::{Redis, eventually};
use tests::wire::{Frame, Wire};

use super::Stage;

#[test]
fn a_hash_is_a_row_as_redis_would_dump_it() {
    let stage = Stage::set();
    let redis = Redis::start(&["--hash-max-listpack-entries", "0"]);
    let mut redis = Wire::connect(redis.address).unwrap();
    write_through(&stage, &mut redis);
    what_others_write(&stage, &mut redis);
    write_around(&stage, &mut redis);
    write_back(&stage, &mut redis);
}

/// Each change is a whole row at once.
fn write_through(stage: &Stage, redis: &mut Wire) {
    let mut client = stage.client(0);
    assert_eq!(client.say("HSET wt:h name Ada age 36 age 37"), "2");
    assert_eq!(
        kind_and_fields(stage, redis, "wt", "wt:h"),
        "hash [name Ada age 37]"
    );
    assert_eq!(client.say("HINCRBY wt:h age 5"), "42");
    assert_eq!(client.say("HINCRBYFLOAT wt:h half 0.5"), "0.5");
    assert_eq!(client.say("HDEL wt:h name missing"), "1");
    assert_eq!(
        kind_and_fields(stage, redis, "wt", "wt:h"),
        "hash [age 42 half 0.5]"
    );
    assert_eq!(client.say("HSETNX wt:h age 1"), "0");
    // What another node reads comes from the slot's primary; what nobody has, from the database.
    assert_eq!(stage.client(1).say("HGETALL wt:h"), "[age 42 half 0.5]");
    assert_eq!(client.say("FLUSHALL"), "OK");
    assert_eq!(stage.client(2).say("HGET wt:h age"), "42");
    assert_eq!(client.say("FLUSHALL"), "OK");
    assert_eq!(
        client.say("HINCRBY wt:h age 1"),
        "43",
        "the old value is loaded first"
    );
    assert_eq!(client.say("TYPE wt:h"), "hash");
    // The last field takes the row along.
    assert_eq!(client.say("HDEL wt:h age half"), "2");
    assert_eq!(stage.database.value("wt", "wt:h"), None);
    assert_eq!(client.say("EXISTS wt:h"), "0");
    // A hash with a table.
    let many: String = (0..1_000)
        .map(|number| format!(" f{number} {number}"))
        .collect();
    assert_eq!(client.say(&format!("HSET wt:many{many}")), "1000");
    assert_eq!(client.say("HSET wt:many f7 seven more 1"), "1");
    assert_eq!(client.say("FLUSHALL"), "OK");
    assert_eq!(
        client.say("HMGET wt:many f7 f999 more none"),
        "[seven 999 1 nil]"
    );
    assert_eq!(client.say("HLEN wt:many"), "1001");
    assert_eq!(client.say("SET wt:many string"), "OK");
    assert_eq!(
        stage.database.value("wt", "wt:many").as_deref(),
        Some("string")
    );
    assert!(client.say("HGET wt:many f7").starts_with("WRONGTYPE"));
}

/// Rows that another program has written, by what redis-server dumps or by mistake.
fn what_others_write(stage: &Stage, redis: &mut Wire) {
    let mut client = stage.client(1);
    redis
        .ask(&[
            b"HSET", b"h", b"number", b"-123456", b"text", b"short", b"7", b"",
        ])
        .unwrap();
    let dump = redis.ask(&[b"DUMP", b"h"]).unwrap();
    let row = |key: &str, kind: &str, bytes: &[u8]| {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        stage.database.run(&format!(
            "INSERT INTO quorate_wt (key, kind, value) \
             VALUES (CAST('{key}' AS BLOB), '{kind}', x'{hex}')"
        ));
    };
    let dump = dump.text().unwrap();
    row("wt:theirs", "hash", dump);
    assert_eq!(
        client.say("HMGET wt:theirs number text 7"),
        "[-123456 short ]"
    );
    assert_eq!(client.say("HINCRBY wt:theirs number 1"), "-123455");
    row("wt:cut", "hash", &dump[1..]);
    row("wt:other", "stream", b"x");
    for key in ["wt:cut", "wt:other"] {
        for command in [format!("HGET {key} f"), format!("HSET {key} f v")] {
            let said = client.say(&command);
            assert!(said.contains("The database has a"), "{command}: {said}");
        }
    }
    assert_eq!(
        client.say("SET wt:cut v"),
        "OK",
        "what is there does not matter"
    );
}

fn write_around(stage: &Stage, redis: &mut Wire) {
    let mut client = stage.client(2);
    assert_eq!(client.say("HSET wa:h a 1"), "1");
    assert_eq!(
        client.say("HSET wa:h b 2 a 3"),
        "1",
        "the old value is loaded first"
    );
    assert_eq!(
        kind_and_fields(stage, redis, "wa", "wa:h"),
        "hash [a 3 b 2]"
    );
    assert_eq!(client.say("HGETALL wa:h"), "[a 3 b 2]");
}

/// The database has it a moment later.
fn write_back(stage: &Stage, redis: &mut Wire) {
    let mut client = stage.client(0);
    assert_eq!(client.say("HSET wb:h a 1 b 2"), "2");
    assert_eq!(client.say("HDEL wb:h a"), "1");
    assert_eq!(client.say("HINCRBY wb:h b 1"), "3");
    let _ = client.say("KEYSPACE FLUSH wb");
    assert_eq!(kind_and_fields(stage, redis, "wb", "wb:h"), "hash [b 3]");
    assert_eq!(client.say("HDEL wb:h b"), "1");
    eventually("the row is a tombstone", || {
        stage.database.value("wb", "wb:h").is_none().then_some(())
    });
    assert_eq!(client.say("HGETALL wb:h"), "[]");
}

/// The kind of a row, and what redis-server makes of its value.
fn kind_and_fields(stage: &Stage, redis: &mut Wire, keyspace: &str, key: &str) -> String {
    let sql = format!(
        "SELECT kind, hex(value) FROM quorate_{keyspace} WHERE key = CAST('{key}' AS BLOB)"
    );
    let row = stage.database.run(&sql).pop().expect("a row");
    let (kind, hex) = row.split_once('|').expect("two columns");
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    let value: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
    let restored = redis
        .ask(&[b"RESTORE", b"r", b"0", &value, b"REPLACE"])
        .unwrap();
    assert_eq!(restored.text(), Some(&b"OK"[..]), "{}", restored.shown());
    let fields: Frame = redis.ask(&[b"HGETALL", b"r"]).unwrap();
    // Redis's table has an order of its own.
    let items = fields.items().unwrap();
    let mut pairs: Vec<String> = items
        .chunks(2)
        .map(|pair| format!("{} {}", super::shown(&pair[0]), super::shown(&pair[1])))
        .collect();
    let order = |pair: &String| {
        ["name", "age", "half", "a", "b"]
            .iter()
            .position(|f| pair.starts_with(&format!("{f} ")))
    };
    pairs.sort_by_key(order);
    format!("{kind} [{}]", pairs.join(" "))
}
