//! Nodes are killed while the database lacks what they have acknowledged.

use std::path::Path;

use rand::RngExt;
use tests::trio::{NODES, Trio};

use super::Client;
use super::load::{Key, Load};
use super::sqlite::Sqlite;

/// How often a node is killed.
const ROUNDS: usize = 30;
/// A node is killed after so many acknowledgements at most, counted from when all is well.
const ACKNOWLEDGEMENTS_MAX: u64 = 400;

pub(super) fn configuration(folder: &Path) -> String {
    let keyspace = |name: &str, mode: &str| {
        format!(
            "[[keyspace]]\nname = \"{name}\"\nmatch = \"{name}:*\"\nmode = \"{mode}\"\n\
             store = \"main\"\n"
        )
    };
    let file = file_of(folder);
    format!(
        "{}{}[store.main]\nurl = \"sqlite://{}\"\n",
        keyspace("wb", "write-back"),
        keyspace("wt", "write-through"),
        file.display()
    )
}

pub(super) fn file_of(folder: &Path) -> std::path::PathBuf {
    folder.join("database.db")
}

/// In each round a primary is killed right after it has acknowledged writes. Every acknowledged
/// write reaches the database, and no row ever goes back. In the end all nodes are killed, and what
/// the database has is there again.
#[test]
fn what_a_killed_primary_has_acknowledged_reaches_the_database() {
    let mut trio = Trio::configured(configuration);
    let database = Sqlite::new(file_of(trio.folder()));
    database.watch("wb");
    let mut load = Load::start(&trio, "wb");
    for round in 0..ROUNDS {
        let more = rand::rng().random_range(1..=ACKNOWLEDGEMENTS_MAX);
        load.goes_on(more);
        let node = rand::rng().random_range(0..NODES);
        trio.kill(node);
        trio.restart(node);
        trio.become_whole();
        println!("round {round}: node {node} killed after {more} acknowledgements");
    }
    load.goes_on(ACKNOWLEDGEMENTS_MAX);
    let keys = load.stop();
    let mut client = Client::of(trio.any_port(0));
    let flushed = client.say("KEYSPACE FLUSH wb");
    assert!(flushed.parse::<u64>().is_ok(), "{flushed}");
    for key in &keys {
        let row = database.value("wb", &key.name);
        let row: u64 = row.expect("it was flushed").parse().unwrap();
        assert!(
            (key.acknowledged..=key.attempted).contains(&row),
            "{row}: {key:?}"
        );
        assert_eq!(client.say(&format!("GET {}", key.name)), row.to_string());
        let taken = database.watched("wb", &key.name);
        let taken: Vec<u64> = taken.iter().map(|value| value.parse().unwrap()).collect();
        assert!(taken.is_sorted(), "{key:?} went back: {taken:?}");
    }
    all_come_back(trio, &database, &keys);
}

/// All nodes are killed: they serve again, empty, with what the database has.
fn all_come_back(mut trio: Trio, database: &Sqlite, keys: &[Key]) {
    let mut client = Client::of(trio.any_port(1));
    assert_eq!(client.say("SET wt:k through"), "OK");
    assert_eq!(client.say("SET plain v"), "OK");
    (0..NODES).for_each(|node| trio.kill(node));
    (0..NODES).for_each(|node| trio.restart(node));
    trio.become_whole();
    for node in 0..NODES {
        let mut client = Client::of(trio.any_port(node));
        assert_eq!(client.say("GET plain"), "nil", "their memory is empty");
        assert_eq!(client.say("GET wt:k"), "through");
        for key in keys {
            let value = client.say(&format!("GET {}", key.name));
            assert_eq!(Some(value), database.value("wb", &key.name));
        }
    }
    // What comes after is newer than all before, for the database too.
    for key in keys {
        assert_eq!(
            client_of(&trio).say(&format!("SET {} last", key.name)),
            "OK"
        );
    }
    let _ = client_of(&trio).say("KEYSPACE FLUSH");
    for key in keys {
        assert_eq!(database.value("wb", &key.name).as_deref(), Some("last"));
    }
}

fn client_of(trio: &Trio) -> Client {
    Client::of(trio.any_port(2))
}
