//! A database that stops being the cluster's while it is open: its file is taken away or replaced,
//! or another cluster takes it over.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use tests::harness::{Quorate, eventually, folder, is_ready, quorate};
use tests::http;

use super::Client;
use super::sqlite::Sqlite;

/// A cluster of one with a write-through and a write-back keyspace on this file.
fn start(file: &Path, more: &str) -> Quorate {
    let keyspace = |name: &str, mode: &str| {
        format!(
            "[[keyspace]]\nname = \"{name}\"\nmatch = \"{name}:*\"\nmode = \"{mode}\"\n\
             store = \"main\"\n"
        )
    };
    let text = format!(
        "{}{}[store.main]\nurl = \"sqlite://{}\"\n{more}",
        keyspace("wt", "write-through"),
        keyspace("wb", "write-back"),
        file.display()
    );
    let folder = file.parent().unwrap();
    let configuration = folder.join(format!("{}.toml", more.len()));
    fs::write(&configuration, text).unwrap();
    Quorate::launch(quorate(), &["--config", &configuration.to_string_lossy()])
}

/// What the node says of its databases while it is not ready because of them.
fn trouble(node: &Quorate, expected: &str) -> String {
    eventually(&format!("the node says {expected:?}"), || {
        let (status, text) = http::get(node.admin_port, "/readyz").unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("databases: "));
        let line = line.filter(|why| status == 503 && why.contains(expected));
        line.map(str::to_owned)
    })
}

fn status(node: &Quorate) -> String {
    let port = node.cluster_port.to_string();
    let mut command = quorate();
    let output = command
        .args(["cluster", "status", "--node", &port])
        .output();
    String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
}

/// Moves a database with what SQLite keeps beside it.
fn take(from: &Path, to: &Path) {
    fs::rename(from, to).unwrap();
    for end in ["-wal", "-shm"] {
        let [from, to] = [from, to].map(|file| format!("{}{end}", file.display()));
        let moved = fs::rename(from, to);
        assert!(moved.is_ok() || moved.is_err_and(|error| error.kind() == ErrorKind::NotFound));
    }
}

#[test]
fn nothing_is_acknowledged_into_a_file_that_is_gone_or_replaced() {
    let folder = folder();
    let [file, away] = ["some.db", "away.db"].map(|name| folder.path().join(name));
    let node = start(&file, "");
    eventually("the node is ready", || is_ready(node.admin_port));
    let mut client = Client::of(node.any_port);
    assert_eq!(client.say("SET wt:1 a"), "OK");
    assert_eq!(client.say("GET wt:1"), "a");

    take(&file, &away);
    let refused = client.say("SET wt:1 lost");
    assert!(refused.starts_with("STORE main: "), "{refused}");
    assert_eq!(client.say("SET wb:1 later"), "OK");
    trouble(&node, "there is no such file");
    assert!(status(&node).contains("is not ready for its databases"));
    assert!(client.say("GET wt:never").starts_with("STORE main: "));
    assert!(!file.exists(), "an empty one would be another database");

    // Another one in its place is not used, whatever is in it.
    let other = Sqlite::new(file.clone());
    other.run("CREATE TABLE theirs (a)");
    trouble(&node, "this is another database");
    assert!(client.say("SET wt:1 lost").starts_with("STORE main: "));
    assert_eq!(other.run("SELECT name FROM sqlite_schema"), ["theirs"]);

    take(&file, &folder.path().join("other.db"));
    take(&away, &file);
    eventually("the node is ready", || is_ready(node.admin_port));
    assert_eq!(client.say("SET wt:1 b"), "OK");
    let database = Sqlite::new(file);
    assert_eq!(database.value("wt", "wt:1").as_deref(), Some("b"));
    eventually("what waited is flushed", || {
        let value = database.value("wb", "wb:1");
        (value.as_deref() == Some("later")).then_some(())
    });
}

#[test]
fn a_cluster_whose_database_was_taken_over_says_so_and_writes_no_more() {
    let folder = folder();
    let file = folder.path().join("some.db");
    let old = start(&file, "");
    eventually("the node is ready", || is_ready(old.admin_port));
    let mut client = Client::of(old.any_port);
    assert_eq!(client.say("SET wt:1 old"), "OK");
    let database = Sqlite::new(file.clone());
    let owned_by = || database.run("SELECT cluster FROM quorate_store").remove(0);
    let word = format!("take_over = \"{}\"\n", owned_by());
    let new = start(&file, &word);
    eventually("the new owner is ready", || is_ready(new.admin_port));
    let mut owner = Client::of(new.any_port);
    assert_eq!(owner.say("GET wt:1"), "old");
    assert_eq!(owner.say("SET wt:1 new"), "OK");

    // A key that only the old cluster writes would be taken by its stamp.
    let refused = client.say("SET wt:2 late");
    assert!(refused.starts_with("STORE main: "), "{refused}");
    let why = trouble(&old, "another cluster");
    assert!(why.contains(&owned_by()), "{why}");
    let shown = status(&old);
    assert!(shown.contains("belongs to another cluster"), "{shown}");
    assert!(client.say("SET wt:1 late").starts_with("STORE main: "));
    assert_eq!(database.value("wt", "wt:1").as_deref(), Some("new"));
    assert_eq!(database.value("wt", "wt:2"), None);
    assert_eq!(is_ready(new.admin_port), Some(()));
}
