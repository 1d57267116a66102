//! A cluster that loses more than it bears, and waits for its operator.

use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;
use tests::harness::{eventually, quorate};
use tests::http::get;
use tests::tags::Tags;
use tests::trio::{NODES, Trio};
use tests::wire::Wire;

use super::probe::Probe;
use super::{BOUND, MAJORITY_BOUND, REFUSED_WITHIN};

/// All slots.
const ALL: u64 = 16384;

#[test]
fn slots_that_lose_all_copies_wait_until_an_operator_accepts_it() {
    let mut trio = Trio::configured(|_| "[cluster]\non_loss = \"wait\"\n".to_owned());
    let mut probe = Probe::new(trio.cluster_ports(), &Arc::new(Tags::find()));
    probe.every_slot_takes_a_write(Instant::now(), BOUND);
    trio.kill(1);
    trio.kill(2);
    // It is what holds already, so it does no harm if it is decided later.
    let refused = config(&trio, 0, &["SET", "on-loss", "wait"]);
    assert!(
        refused.contains("not applied: ") || refused.starts_with("-UNCERTAIN "),
        "{refused}"
    );
    trio.kill(0);
    (0..NODES).for_each(|node| trio.restart(node));

    eventually("a leader of the metadata logs that slots wait", || {
        let logs = |node| trio.log(node).contains("slots wait until an operator");
        (0..NODES).any(logs).then_some(())
    });
    for node in 0..NODES {
        eventually(&format!("all slots wait, says node {node}"), || {
            let status = trio.status(node)?;
            (status["waiting"] == ALL && status["on_loss"] == "wait").then_some(status)
        });
        assert_eq!(trio.status(node).unwrap()["slots"]["covered"], 0);
        let sample = format!("quorate_cluster_slots{{state=\"waiting_for_operator\"}} {ALL}");
        let (_, metrics) = get(trio.admin_port(node), "/metrics").unwrap();
        assert!(metrics.lines().any(|line| line == sample), "{metrics}");
        let (_, page) = get(trio.admin_port(node), "/").unwrap();
        assert!(page.contains("CONFIG SET on-loss accept"), "{page}");
        assert_eq!(on_loss(&trio, node), "wait");
    }
    let said = cluster_status(&trio);
    assert!(said.contains("16384 slots may have lost"), "{said}");
    probe.every_slot_refuses_a_write(trio.cluster_ports()[0], Instant::now(), REFUSED_WITHIN);

    let accepted_at = Instant::now();
    assert_eq!(config(&trio, 1, &["SET", "on-loss", "accept"]), "+OK");
    assert_eq!(on_loss(&trio, 1), "accept", "at once where it was said");
    for node in 0..NODES {
        eventually(&format!("node {node} knows"), || {
            (on_loss(&trio, node) == "accept").then_some(())
        });
    }
    probe.every_slot_takes_a_write(accepted_at, MAJORITY_BOUND);
    trio.become_whole();
    assert_eq!(trio.status(2).unwrap()["waiting"], 0);
    let (_, metrics) = get(trio.admin_port(2), "/metrics").unwrap();
    let lost = format!("quorate_slots_lost_total {ALL}");
    assert!(metrics.lines().any(|line| line == lost), "{metrics}");
}

/// What a node answers to `CONFIG`, as a line.
fn config(trio: &Trio, node: usize, words: &[&str]) -> String {
    let mut wire = Wire::connect(trio.cluster_ports()[node]).unwrap();
    let words = ["CONFIG"].iter().chain(words).map(|word| word.as_bytes());
    wire.ask(&words.collect::<Vec<_>>()).unwrap().shown()
}

/// What is in force, as a node says.
fn on_loss(trio: &Trio, node: usize) -> &'static str {
    let shown = config(trio, node, &["GET", "on-loss"]);
    let words = ["accept", "wait"];
    let found = words
        .into_iter()
        .find(|word| shown.contains(&format!("\"{word}\"")));
    found.unwrap_or_else(|| panic!("{shown}"))
}

/// What the command line says of a cluster that is not healthy, which its JSON agrees with.
fn cluster_status(trio: &Trio) -> String {
    let node = trio.cluster_ports()[0].to_string();
    let ask = |more: &[&str]| {
        let mut command: Command = quorate();
        command
            .args(["cluster", "status", "--node", &node])
            .args(more);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stdout).unwrap()
    };
    let json: Value = serde_json::from_str(&ask(&["--json"])).unwrap();
    assert_eq!(json["cluster"]["waiting"], ALL);
    ask(&[])
}
