//! Nodes are killed while the database lacks what they have acknowledged.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use rand::RngExt;
use tests::harness::{eventually, within};
use tests::trio::{NODES, Trio};
use tests::wire::Wire;

use super::Client;
use super::sqlite::Sqlite;

/// How often a node is killed.
const ROUNDS: usize = 30;
/// How many clients write, each to keys of its own.
const WRITERS: usize = 4;
const KEYS: usize = 6;
/// A node is killed after so many acknowledgements at most, counted from when all is well.
const ACKNOWLEDGEMENTS_MAX: u64 = 400;

fn configuration(folder: &Path) -> String {
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

fn file_of(folder: &Path) -> std::path::PathBuf {
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
    let mut load = Load::start(&trio);
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

/// Clients that write greater and greater numbers to keys of their own.
struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    writers: Vec<JoinHandle<Vec<Key>>>,
}

/// A key and what is known of it.
#[derive(Debug)]
struct Key {
    name: String,
    acknowledged: u64,
    attempted: u64,
}

impl Load {
    fn start(trio: &Trio) -> Load {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let ports = [0, 1, 2].map(|node| trio.any_port(node));
        let writer = |number| {
            let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
            std::thread::spawn(move || write(number, ports, &stop, &acknowledged))
        };
        Load {
            writers: (0..WRITERS).map(writer).collect(),
            stop,
            acknowledged,
        }
    }

    /// Waits until so many more writes are acknowledged.
    fn goes_on(&self, more: u64) {
        let enough = self.acknowledged.load(Relaxed) + more;
        eventually("writes are acknowledged", || {
            (self.acknowledged.load(Relaxed) >= enough).then_some(())
        });
    }

    fn stop(&mut self) -> Vec<Key> {
        self.stop.store(true, Relaxed);
        let ended = self.writers.drain(..).map(|writer| writer.join().unwrap());
        ended.flatten().collect()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // A test that has failed must not go on loading the machine.
        self.stop.store(true, Relaxed);
    }
}

/// Writes until it is told to stop, by whichever node answers.
fn write(
    number: usize,
    ports: [SocketAddr; NODES],
    stop: &AtomicBool,
    acknowledged: &AtomicU64,
) -> Vec<Key> {
    let key = |at| Key {
        name: format!("wb:{number}:{at}"),
        acknowledged: 0,
        attempted: 0,
    };
    let mut keys: Vec<Key> = (0..KEYS).map(key).collect();
    let mut node = number % NODES;
    while !stop.load(Relaxed) {
        let mut wire = within(Duration::from_secs(30), "a node listens", || {
            node = (node + 1) % NODES;
            Wire::connect(ports[node]).ok()
        });
        while !stop.load(Relaxed) {
            if write_each(&mut wire, &mut keys, acknowledged).is_err() {
                break;
            }
        }
    }
    keys
}

/// Writes the next number to each key. An error that is a reply may mean anything.
fn write_each(wire: &mut Wire, keys: &mut [Key], acknowledged: &AtomicU64) -> std::io::Result<()> {
    for key in keys {
        key.attempted += 1;
        let (name, value) = (key.name.clone(), key.attempted.to_string());
        let reply = wire.ask(&[b"SET", name.as_bytes(), value.as_bytes()])?;
        if reply.kind == b'+' {
            key.acknowledged = key.attempted;
            acknowledged.fetch_add(1, Relaxed);
        }
    }
    Ok(())
}
