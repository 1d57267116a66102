//! A database that cannot be used: the node says which and why, and serves what has none.

use std::fs;

use tests::harness::{Quorate, eventually, folder, is_ready, quorate};
use tests::http;

use super::Client;
use super::sqlite::Sqlite;

const KEYSPACE: &str = "[[keyspace]]\nname = \"wt\"\nmatch = \"wt:*\"\nmode = \"write-through\"\n\
                        store = \"main\"\n[store.main]\nurl = ";

#[test]
fn a_node_names_the_database_that_is_broken_and_serves_the_rest() {
    let folder = folder();
    let (file, configuration) = (folder.path().join("some.db"), folder.path().join("q.toml"));
    fs::write(
        &file,
        "this is text, and no database at all; it is long enough to be read",
    )
    .unwrap();
    let url = format!("sqlite://{}", file.display());
    fs::write(&configuration, format!("{KEYSPACE}\"{url}\"\n")).unwrap();
    let node = Quorate::launch(quorate(), &["--config", &configuration.to_string_lossy()]);
    let mut client = Client::of(node.any_port);
    eventually("the cluster serves plain keys", || {
        (client.say("SET plain v") == "OK").then_some(())
    });
    let why = eventually("the node says what is wrong", || {
        let (status, text) = http::get(node.admin_port, "/readyz").unwrap();
        assert_eq!(status, 503, "{text}");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("databases: "));
        line.filter(|why| why.contains("not a database"))
            .map(str::to_owned)
    });
    assert!(why.starts_with("store main: "), "{why}");
    assert!(why.contains("some.db"), "{why}");
    let status = quorate()
        .args([
            "cluster",
            "status",
            "--node",
            &node.cluster_port.to_string(),
        ])
        .output()
        .unwrap();
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(
        status.contains("is not ready for its databases: store main: "),
        "{status}"
    );
    assert!(!status.contains("Healthy."), "{status}");
    let refused = client.say("SET wt:1 v");
    assert!(refused.starts_with("STORE main: "), "{refused}");
    assert!(refused.contains("not a database"), "{refused}");
    assert!(client.say("GET wt:1").starts_with("STORE main: "));
    assert_eq!(client.say("GET plain"), "v");
    assert_eq!(client.say("MGET plain wt:1"), client.say("GET wt:1"));
    // As soon as there is a database, it is used.
    fs::remove_file(&file).unwrap();
    eventually("the node is ready", || is_ready(node.admin_port));
    assert_eq!(client.say("SET wt:1 v"), "OK");
    assert_eq!(Sqlite::new(file).value("wt", "wt:1").as_deref(), Some("v"));
}
