//! Who is in sync, who learns, who is out of reach.

use cluster::Version;
use cluster::replication::{Liveness, Refusal};
use sim::workload::Kind;

use super::stage::Name::{A, B, C, D};
use super::stage::{self, Stage};
use super::{K, OTHER};

/// The coordinator takes C to be gone, A hears it well: nobody takes its place beside it.
#[test]
fn no_more_copies_than_wanted() {
    let mut stage = Stage::with(|config| {
        config.failover.replace_after = std::time::Duration::from_secs(1);
    });
    let way = (stage.node(D), stage.node(C));
    stage.world.rumours.insert(way, Liveness::Down);
    stage.pass(3000);
    let d = stage.world.nodes[stage.node(D)].member().unwrap();
    assert_eq!(stage.placement().learners, [d]);
    assert_eq!(stage.in_sync(), [A, B, C].into());
    // Once A hears nothing of C either, D is there already.
    stage.cut_off(C);
    stage.pass(2000);
    assert_eq!(stage.in_sync(), [A, B, D].into());
    stage.end();
}

#[test]
fn replies_that_nobody_waits_for_are_forgotten() {
    let mut stage = Stage::with(|config| config.settings.waiters_max = 3);
    stage.hold(A, B);
    stage.hold(A, C);
    let replies: Vec<_> = (0..3).map(|key| stage.set(A, key, 1)).collect();
    // There is no room for another one, but for one whose owner has given up.
    let refused = stage.set(A, K, 2);
    assert!(!stage.is_waiting(refused) && stage.waiting(A) == 3);
    stage.world.time_out(replies[0]);
    let fourth = stage.set(A, K, 3);
    assert!(stage.is_waiting(fourth) && stage.waiting(A) == 3);
    // The others go too, though nothing more comes for which there is no room.
    stage.world.time_out(replies[1]);
    stage.world.time_out(fourth);
    stage.pass(1300);
    assert_eq!(stage.waiting(A), 1);
    stage.let_go(A, B);
    stage.pass(100);
    assert!(stage.is_done(replies[2]) && !stage.is_done(replies[1]));
    stage.end();
}

/// C has reported more than B, and cannot be reached; B seals the slot by itself.
#[test]
fn a_report_from_out_of_reach_holds_nobody_up() {
    let mut stage = Stage::with(|config| config.write_quorum = 3);
    stage.hold(A, B);
    let write = stage.set(A, K, 7);
    stage.settle();
    assert!(stage.is_waiting(write) && stage.holds(C, K) == Some(7));
    let way = (stage.node(D), stage.node(C));
    stage.world.rumours.insert(way, Liveness::Down);
    stage.kill(A);
    stage.pass(4000);
    assert_eq!(stage.primary(), Some(B));
    assert_eq!(stage.reads(B, K), None);
    stage.end();
}

/// All who held everything are dead; C was in sync once, and still has what it had then.
#[test]
fn what_a_learner_holds_is_the_best_there_is() {
    let mut stage = Stage::new();
    let write = stage.set(A, K, 7);
    stage.settle();
    assert!(stage.is_done(write));
    stage.cut_off(C);
    stage.deafen(C);
    stage.pass(2500);
    assert_eq!(stage.in_sync(), [A, B].into());
    let later = stage.set(A, OTHER, 8);
    stage.settle();
    assert!(stage.is_done(later));
    // C is a learner now, and has yet to be brought up to date.
    // It is heard of by all, and hears nothing of A.
    for (from, to) in [(C, A), (C, B), (C, D), (B, C), (D, C)] {
        stage.let_go(from, to);
    }
    stage.pass(500);
    let c = stage.world.nodes[stage.node(C)].member().unwrap();
    assert_eq!(stage.placement().learners, [c]);
    stage.hears_again(C);
    assert_eq!(stage.holds(C, K), Some(7));
    for name in [A, B] {
        stage.kill(name);
        stage.start(name);
    }
    stage.pass(8000);
    let primary = stage.primary().expect("it goes on");
    assert_eq!(stage.reads(primary, K), Some(7));
    assert_eq!(stage.reads(primary, OTHER), None);
    stage.end();
}

/// B starts again before A hears that its stream to the old B is closed.
#[test]
fn who_is_gone_is_not_within_reach() {
    let mut stage = Stage::new();
    let (a, b) = (stage.node(A), stage.node(B));
    let streams = stage.world.network.between(a, b);
    stage.world.kill(b);
    stage.start(B);
    for stream in streams {
        stage.world.close(stream, true);
        stage.world.close(stream, false);
    }
    stage.kill(C);
    assert_eq!(stage.ask(A, K, Kind::Set(7)), Err(Refusal::TooFewCopies));
    stage.end();
}

/// C learns, and is suspected for a moment: it goes on with what it has.
#[test]
fn a_learner_that_is_suspected_for_a_moment_keeps_its_place() {
    let mut stage = Stage::new();
    stage.cut_off(C);
    stage.pass(2500);
    // It is heard of by all, and hears nothing of A.
    for (from, to) in [(C, A), (C, B), (C, D), (B, C), (D, C)] {
        stage.let_go(from, to);
    }
    stage.pass(500);
    let placement = stage.placement();
    assert_eq!(placement.learners.len(), 1);
    let way = (stage.node(D), stage.node(C));
    for rumour in [Liveness::Unknown, Liveness::Down] {
        stage.world.rumours.insert(way, rumour);
        stage.pass(300);
        assert_eq!(stage.placement(), placement);
    }
    stage.end();
}

/// C cannot apply a record: it gets a copy, instead of the same record for ever.
#[test]
fn a_record_that_cannot_be_applied_is_not_sent_again() {
    let mut stage = Stage::new();
    let c = stage.node(C);
    let process = stage.world.nodes[c].process.as_ref().unwrap();
    let never = Version::from_u64(u64::MAX);
    // It takes the key for one that was removed later.
    let mut replica = process.replicas.lock(stage::slot());
    replica.table.write(K, None, never);
    drop(replica);
    let write = stage.set(A, K, 7);
    stage.pass(200);
    assert!(stage.is_done(write));
    assert_eq!(stage.holds(C, K), Some(7));
    stage.end();
}
