//! Clusters that grow and shrink under load.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tests::fleet::{Fleet, Placed, loads};
use tests::harness::{eventually, within};
use tests::tags::Tags;

use super::roamer::Traffic;

/// Slots begin to move soon after a node has joined.
const SETTINGS: &str = "[balance]\ndelay = \"500ms\"\n";
/// How long the load is watched before anything moves.
const QUIET: Duration = Duration::from_secs(3);
/// Five nodes share the machine of a test with whatever else it does: below this no span says
/// anything about them.
const NOISE: Duration = Duration::from_millis(300);

/// Every node is within a tenth of its fair share.
fn is_even(placed: &Placed, nodes: usize) {
    let loads = loads(placed);
    assert_eq!(loads.len(), nodes, "{loads:?}");
    let (led, held) = (16384 / nodes, 16384 * 3 / nodes);
    for (node, (leads, holds)) in loads {
        assert!(
            leads.abs_diff(led) <= led / 10,
            "{node} leads {leads} of {led}"
        );
        assert!(
            holds.abs_diff(held) <= held / 10,
            "{node} holds {holds} of {held}"
        );
    }
}

/// How many copies lie where there was none before.
fn moved(before: &Placed, after: &Placed) -> usize {
    let pairs = before.iter().zip(after);
    let new = pairs.map(|(old, new)| new.iter().filter(|one| !old.contains(one)).count());
    new.sum()
}

#[test]
fn three_become_five_and_three_again_and_nobody_notices() {
    let tags = Arc::new(Tags::find());
    let mut fleet = Fleet::start(3, SETTINGS);
    let before = fleet.placed();
    is_even(&before, 3);
    let traffic = Traffic::start(fleet.cluster_port(0), &tags);
    let begun = Instant::now();
    std::thread::sleep(QUIET);

    let joins = Instant::now();
    let joined = [fleet.join(), fleet.join()];
    eventually("five nodes are known", || {
        (fleet.status(0)?["nodes"].as_array()?.len() == 5).then_some(())
    });
    within(
        Duration::from_secs(60),
        "the new ones hold something",
        || {
            let status = fleet.status(0)?;
            let nodes = status["nodes"].as_array()?;
            nodes.iter().all(|node| node["led"] != 0).then_some(())
        },
    );
    fleet.comes_to_rest();
    let grown = joins.elapsed();
    let after = fleet.placed();
    is_even(&after, 5);
    let copies = moved(&before, &after);
    assert!(
        copies <= 16384 * 3 * 2 / 5 * 11 / 10,
        "{copies} copies moved"
    );

    let drains = Instant::now();
    let ids = joined.map(|node| fleet.id(node));
    let begun_too = fleet.operate(0, &["drain", &ids[0], "--no-wait"]);
    assert!(begun_too.status.success(), "{begun_too:?}");
    let drained = fleet.operate(0, &["drain", &ids[1]]);
    let said = String::from_utf8_lossy(&drained.stdout).into_owned();
    assert!(drained.status.success(), "{drained:?}");
    assert!(said.contains("holds nothing any more"), "{said}");
    traffic.goes_round();
    for (node, id) in joined.into_iter().zip(&ids) {
        fleet.stop(node);
        within(Duration::from_secs(60), "the node is forgotten", || {
            let forgotten = fleet.operate(0, &["forget", id]);
            forgotten.status.success().then_some(())
        });
    }
    fleet.comes_to_rest();
    let shrunk = drains.elapsed();
    is_even(&fleet.placed(), 3);
    let seen = traffic.stop();
    assert_eq!(seen.troubles, [], "clients saw nothing but redirections");
    let (normal, moving) = (seen.p99(begun, joins), seen.p99(joins, drains));
    println!(
        "grown in {grown:.1?}, shrunk in {shrunk:.1?}; {copies} copies moved; {} writes, p99 \
         {normal:.1?} before and {moving:.1?} while slots moved",
        seen.times.len()
    );
    assert!(
        moving <= (normal * 3).max(NOISE),
        "p99 {normal:?} before, {moving:?} then"
    );
}
