//! Clusters of three real nodes that are killed, stopped and started again under load.
#![allow(
    clippy::print_stdout,
    reason = "what was measured is worth knowing, if the test fails above all"
)]

mod benchmark;
mod client;
mod growth;
mod load;
mod on_loss;
mod probe;
mod roamer;
mod transactions;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tests::harness::within;
use tests::tags::Tags;
use tests::trio::{NODES, Trio};
use tests::wire::Wire;

use self::load::{Key, Load, nothing_is_missing};
use self::probe::{Probe, members_become_equal};

/// So long after a node is gone every slot takes writes again, at the latest.
const BOUND: Duration = Duration::from_secs(5);
/// The same after a majority has come back: the metadata group elects a leader (1.5 s, more when
/// votes are split), slots of which most copies are gone wait until every lease of theirs is over
/// (3.2 s), and take writes only when a second copy has been made. Four to six seconds in all on an
/// idle machine, ten on one that does much else.
const MAJORITY_BOUND: Duration = Duration::from_secs(20);
/// So long after a majority is gone every write is refused. One that was taken before the node saw
/// that its streams had ended gets its answer after `write_timeout` (1 s).
const REFUSED_WITHIN: Duration = Duration::from_secs(3);
/// A node looks for a primary for `primary_wait` (3 s) before it says that there is none.
const ANY_PORT_REFUSES_WITHIN: Duration = Duration::from_secs(5);

/// A cluster, its load, and a probe of every slot.
struct Scene {
    trio: Trio,
    load: Load,
    probe: Probe,
}

impl Scene {
    fn begin() -> Scene {
        let (trio, tags) = (Trio::start(), Arc::new(Tags::find()));
        let nodes = trio.cluster_ports();
        let mut probe = Probe::new(nodes, &tags);
        probe.every_slot_takes_a_write(Instant::now(), BOUND);
        let load = Load::start(nodes, &tags);
        Scene { trio, load, probe }
    }

    fn serves_again(&mut self, what: &str, since: Instant, bound: Duration) {
        let took = self.probe.every_slot_takes_a_write(since, bound);
        println!(
            "{what}: every slot takes writes after {} ms",
            took.as_millis()
        );
        self.load.goes_on();
    }

    /// Ends the load; all that was acknowledged is there, at every node.
    fn ends(self) -> Rest {
        println!("{} writes were acknowledged", self.load.acknowledged());
        let mut rest = Rest {
            trio: self.trio,
            keys: self.load.stop(),
            probe: self.probe,
        };
        rest.nothing_is_missing();
        rest.probe.nothing_is_missing();
        let keys = rest.keys.iter().map(|key| key.name.clone());
        let names: Vec<String> = keys.chain(rest.probe.keys()).collect();
        members_become_equal(rest.trio.cluster_ports(), &names);
        rest
    }
}

/// A cluster whose load has ended.
struct Rest {
    trio: Trio,
    keys: Vec<Key>,
    probe: Probe,
}

impl Rest {
    fn nothing_is_missing(&self) {
        nothing_is_missing(self.trio.cluster_ports(), &self.keys);
    }

    fn serves_again(&mut self, what: &str, since: Instant, bound: Duration) {
        let took = self.probe.every_slot_takes_a_write(since, bound);
        println!(
            "{what}: every slot takes writes after {} ms",
            took.as_millis()
        );
    }

    /// The number of keys, each counted once, where its slot is led.
    fn keys(&self) -> i64 {
        let size = |node| {
            let mut wire = Wire::connect(node).unwrap();
            wire.ask(&[b"DBSIZE"]).unwrap().integer().unwrap()
        };
        self.trio.cluster_ports().map(size).iter().sum()
    }
}

#[test]
fn nodes_are_killed_one_after_the_other_and_start_again() {
    let mut scene = Scene::begin();
    for node in 0..NODES {
        let gone_at = Instant::now();
        scene.trio.kill(node);
        scene.serves_again(&format!("node {node} is killed"), gone_at, BOUND);
        scene.trio.restart(node);
        scene.trio.become_whole();
    }
    scene.ends();
}

#[test]
fn nodes_are_killed_and_start_again_at_once() {
    let mut scene = Scene::begin();
    for node in 0..NODES {
        let gone_at = Instant::now();
        scene.trio.kill(node);
        scene.trio.restart(node);
        let what = format!("node {node} is killed and starts at once");
        scene.serves_again(&what, gone_at, BOUND);
        scene.trio.become_whole();
    }
    scene.ends();
}

#[test]
fn nodes_are_stopped_for_seven_seconds() {
    let mut scene = Scene::begin();
    let leader = scene.trio.leader();
    for (node, role) in [
        (leader, "the leader"),
        ((leader + 1) % NODES, "another node"),
    ] {
        let stopped_at = Instant::now();
        scene.trio.pause(node);
        scene.serves_again(&format!("{role} is stopped"), stopped_at, BOUND);
        let span = Duration::from_secs(7);
        within(2 * span, "it has been stopped long enough", || {
            (stopped_at.elapsed() >= span).then_some(())
        });
        scene.trio.resume(node);
        scene.serves_again(&format!("{role} goes on"), Instant::now(), BOUND);
        scene.trio.become_whole();
    }
    scene.ends();
}

#[test]
fn a_majority_is_killed_and_starts_again() {
    let mut scene = Scene::begin();
    let gone_at = Instant::now();
    scene.trio.kill(0);
    scene.serves_again("node 0 is killed", gone_at, BOUND);
    // From now on every acknowledged write is at both other nodes.
    scene.trio.is_given_up(0);
    let gone_at = Instant::now();
    scene.trio.kill(1);
    refuses(&scene.trio, &scene.probe, 2, gone_at);
    let back_at = Instant::now();
    scene.trio.restart(0);
    scene.trio.restart(1);
    scene.serves_again("nodes 0 and 1 are back", back_at, MAJORITY_BOUND);
    scene.trio.become_whole();
    let mut rest = scene.ends();

    // Two at once are one more than the slots bear, but what the third one has is not given up.
    let gone_at = Instant::now();
    rest.trio.kill(1);
    rest.trio.kill(2);
    refuses(&rest.trio, &rest.probe, 0, gone_at);
    let back_at = Instant::now();
    rest.trio.restart(1);
    rest.trio.restart(2);
    rest.serves_again("nodes 1 and 2 are back", back_at, MAJORITY_BOUND);
    rest.nothing_is_missing();
    rest.trio.become_whole();

    (0..NODES).for_each(|node| rest.trio.kill(node));
    let back_at = Instant::now();
    (0..NODES).for_each(|node| rest.trio.restart(node));
    rest.serves_again("all nodes are back", back_at, MAJORITY_BOUND);
    rest.trio.become_whole();
    assert_eq!(
        rest.keys(),
        16384,
        "the probe has written its keys, and nothing else is there"
    );
}

/// The node that is left says of every write that it was not executed.
fn refuses(trio: &Trio, probe: &Probe, node: usize, since: Instant) {
    let address = trio.cluster_ports()[node];
    let took = probe.every_slot_refuses_a_write(address, since, REFUSED_WITHIN);
    println!(
        "a majority is gone: every slot refuses writes after {} ms",
        took.as_millis()
    );
    let took = probe.any_port_refuses_writes(trio.any_port(node));
    println!("by the any port a refusal takes {} ms", took.as_millis());
    assert!(took < ANY_PORT_REFUSES_WITHIN, "{took:?}");
}
