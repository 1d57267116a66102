//! Commands of the any port whose keys lie in more slots than go to the database at once.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;
use tests::harness::{Quorate, eventually, folder, is_ready, quorate};

use super::Client;
use super::sqlite::Sqlite;

/// A pipeline or a call hands over 64 commands at once: this is one of each, and one that follows
/// another to the database.
const WAITING_MAX: usize = 2 * 64 + 1;
const KEYS: usize = 1_000;

/// A node with a write-through keyspace, which lets few commands wait for its database.
fn start(folder: &TempDir) -> (Quorate, PathBuf) {
    let file = folder.path().join("some.db");
    let configuration = folder.path().join("q.toml");
    let text = format!(
        "[limits]\ndatabase_waiting_max = {WAITING_MAX}\n\
         [[keyspace]]\nname = \"wt\"\nmatch = \"wt:*\"\nmode = \"write-through\"\n\
         store = \"main\"\n\
         [store.main]\nurl = \"sqlite://{}\"\n",
        file.display()
    );
    fs::write(&configuration, text).unwrap();
    let node = Quorate::launch(quorate(), &["--config", &configuration.to_string_lossy()]);
    eventually("the node is ready", || is_ready(node.admin_port));
    (node, file)
}

#[test]
fn a_command_over_many_slots_takes_no_more_of_the_database_than_a_pipeline() {
    let folder = folder();
    let (node, file) = start(&folder);
    let mut client = Client::of(node.any_port);
    let pairs = |mark: &str| {
        let pair = |number| format!("wt:{number} {mark}{number}");
        let pairs: Vec<String> = (0..KEYS).map(pair).collect();
        pairs.join(" ")
    };
    let keys: Vec<String> = (0..KEYS).map(|number| format!("wt:{number}")).collect();
    let keys = keys.join(" ");
    let shown = |mark: &str| {
        let values: Vec<String> = (0..KEYS).map(|number| format!("{mark}{number}")).collect();
        format!("[{}]", values.join(" "))
    };
    assert_eq!(client.say(&format!("MSET {}", pairs("v"))), "OK");
    let rows = "SELECT count(*) FROM quorate_wt WHERE value IS NOT NULL";
    assert_eq!(Sqlite::new(file).run(rows), [KEYS.to_string()]);
    // What the cache does not have is read in the same way.
    assert_eq!(client.say("FLUSHALL"), "OK");
    assert_eq!(client.say(&format!("MGET {keys}")), shown("v"));
    // What the client sends before and behind keeps its place.
    client.send(&[
        "SET wt:999 first",
        &format!("MSET {}", pairs("w")),
        "APPEND wt:999 +",
        "GET wt:999",
        &format!("DEL {keys}"),
        "GET wt:0",
    ]);
    let heard: Vec<String> = (0..6).map(|_| client.hear()).collect();
    let expected = ["OK", "OK", "5", "w999+", &KEYS.to_string(), "nil"];
    assert_eq!(heard, expected);
    assert_eq!(node.limit_reached("database_waiting_max"), 0.0);
}
