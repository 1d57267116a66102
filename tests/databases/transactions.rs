//! Transactions over rows of a database: both rows or neither, whoever is killed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use tests::harness::within;
use tests::trio::{NODES, Trio};
use tests::wire::Wire;

use super::Client;
use super::killed::{configuration, file_of};
use super::sqlite::Sqlite;

const PAIRS: usize = 6;
/// A machine that does much else takes its time with a database file.
const PATIENCE: Duration = Duration::from_secs(90);

fn keys(pair: usize) -> [String; 2] {
    ["a", "b"].map(|name| format!("wt:{{{pair}}}:{name}"))
}

/// Gives both keys of each pair a value that nobody else gives, until it is told to stop. Every
/// other writer takes the keys in the opposite order.
fn start(
    number: usize,
    ports: [SocketAddr; NODES],
    stop: &Arc<AtomicBool>,
    done: &Arc<AtomicU64>,
) -> JoinHandle<()> {
    let (stop, done) = (Arc::clone(stop), Arc::clone(done));
    std::thread::spawn(move || {
        let mut node = number;
        while !stop.load(Relaxed) {
            node = (node + 1) % NODES;
            let Ok(mut wire) = Wire::connect(ports[node]) else {
                continue;
            };
            while !stop.load(Relaxed) && write_each(&mut wire, number, &done).is_ok() {}
        }
    })
}

fn write_each(wire: &mut Wire, number: usize, done: &AtomicU64) -> io::Result<()> {
    for pair in 0..PAIRS {
        let mut keys = keys(pair);
        if number % 2 == 1 {
            keys.reverse();
        }
        let value = format!("{number}:{}", done.load(Relaxed));
        let plain = format!("{{{pair}}}:plain");
        wire.ask(&[b"MULTI"])?;
        for key in keys.iter().chain([&plain]) {
            wire.ask(&[b"SET", key.as_bytes(), value.as_bytes()])?;
        }
        if wire.ask(&[b"EXEC"])?.kind == b'*' {
            done.fetch_add(1, Relaxed);
        }
    }
    Ok(())
}

/// The database never has one key of a pair without the other.
fn pairs_are_whole(database: &Sqlite) {
    let pairs = database.run(
        "SELECT substr(key, 1, instr(CAST(key AS TEXT), '}')), count(DISTINCT value), count(*) \
         FROM quorate_wt GROUP BY 1 HAVING count(DISTINCT value) <> 1 OR count(value) <> 2",
    );
    assert_eq!(pairs, Vec::<String>::new(), "torn");
}

#[test]
fn a_transaction_is_in_the_database_or_not() {
    let mut trio = Trio::configured(configuration);
    let database = Sqlite::new(file_of(trio.folder()));
    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::<AtomicU64>::default(),
    );
    let ports = [0, 1, 2].map(|node| trio.any_port(node));
    let writers: Vec<_> = (0..4)
        .map(|number| start(number, ports, &stop, &done))
        .collect();
    let goes_on = || {
        let enough = done.load(Relaxed) + 20;
        within(PATIENCE, "transactions are carried out", || {
            pairs_are_whole(&database);
            (done.load(Relaxed) >= enough).then_some(())
        });
    };
    for node in 0..NODES {
        goes_on();
        trio.kill(node);
        goes_on();
        trio.restart(node);
        trio.become_whole();
    }
    goes_on();
    stop.store(true, Relaxed);
    writers
        .into_iter()
        .for_each(|writer| writer.join().unwrap());
    let mut client = Client::of(trio.any_port(0));
    for pair in 0..PAIRS {
        let [a, b] = keys(pair);
        // What is in doubt is settled by whoever asks.
        let both = within(PATIENCE, "the rows can be read", || {
            let both = client.say(&format!("MGET {a} {b}"));
            both.starts_with('[').then_some(both)
        });
        let row = database.value("wt", &a).expect("every pair was written");
        assert_eq!(both, format!("[{row} {row}]"));
    }
    pairs_are_whole(&database);
}

/// One of two keys changes because its row did, or because a transaction is refused.
#[test]
fn what_is_watched_is_loaded_and_what_is_refused_leaves_nothing() {
    let trio = Trio::configured(configuration);
    let database = Sqlite::new(file_of(trio.folder()));
    let mut client = Client::of(trio.any_port(0));
    assert_eq!(client.say("SET wt:{1}:other x"), "OK");
    database.set("wt", "wt:{1}:a", "5");
    assert_eq!(client.say("WATCH wt:{1}:a wt:{1}:none"), "OK");
    assert_eq!(client.say("MULTI"), "OK");
    for line in [
        "INCR wt:{1}:a",
        "GET wt:{1}:none",
        "APPEND wt:{1}:none x",
        "SET p{1} v",
    ] {
        assert_eq!(client.say(line), "QUEUED");
    }
    assert_eq!(client.say("EXEC"), "[6 nil 1 OK]");
    assert_eq!(database.value("wt", "wt:{1}:a").as_deref(), Some("6"));
    assert_eq!(database.value("wt", "wt:{1}:none").as_deref(), Some("x"));
    let mut other = Client::of(trio.any_port(1));
    for (change, watched) in [
        ("DECR wt:{1}:a", "wt:{1}:a"),
        ("SET wb:{1}:b 1", "wb:{1}:b"),
    ] {
        assert_eq!(client.say(&format!("WATCH {watched}")), "OK");
        assert_ne!(other.say(change), "nil");
        assert_eq!(client.say("MULTI"), "OK");
        assert_eq!(client.say("SET wt:{1}:a lost"), "QUEUED");
        assert_eq!(client.say("EXEC"), "nil");
    }
    assert_eq!(client.say("GET wt:{1}:a"), "5");
    // Both modes in one, and a database that takes only one of the rows.
    database.run(
        "CREATE TRIGGER picky BEFORE INSERT ON quorate_wt WHEN NEW.value = CAST('bad' AS BLOB) \
         BEGIN SELECT RAISE(ABORT, 'not this one'); END",
    );
    client.send(&[
        "MULTI",
        "SET wt:{1}:c good",
        "SET wb:{1}:b 2",
        "SET wt:{1}:d bad",
        "EXEC",
    ]);
    let said: Vec<String> = (0..5).map(|_| client.hear()).collect();
    assert!(said[4].starts_with("STORE main: "), "{said:?}");
    let left = client.say("MGET wt:{1}:c wb:{1}:b wt:{1}:d");
    assert_eq!(left, "[nil 1 nil]");
    assert_eq!(database.value("wt", "wt:{1}:c"), None);
    // A value goes from one row to another with its row.
    assert_eq!(client.say("RENAME wt:{1}:a wt:{1}:e"), "OK");
    assert_eq!(database.value("wt", "wt:{1}:a"), None);
    assert_eq!(database.value("wt", "wt:{1}:e").as_deref(), Some("5"));
    assert_eq!(client.say("COPY wt:{1}:e wb:{1}:b"), "0");
    assert_eq!(client.say("COPY wt:{1}:e wb:{1}:b REPLACE"), "1");
    assert_eq!(client.say("KEYSPACE FLUSH wb").parse::<u32>(), Ok(1));
    assert_eq!(database.value("wb", "wb:{1}:b").as_deref(), Some("5"));
}
