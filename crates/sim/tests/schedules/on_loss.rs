//! More members of the slot are gone than it bears.

use cluster::metadata::{Entry, OnLoss};
use sim::World;
use sim::workload::Kind;

use super::stage::Name::{A, B, C, D};
use super::stage::Stage;
use super::{K, OTHER};

/// A stage on which a slot that loses something waits for its operator.
fn stage(write_quorum: u8) -> Stage {
    Stage::with(|config| {
        config.on_loss = OnLoss::Wait;
        config.write_quorum = write_quorum;
    })
}

fn accept(stage: &mut Stage) {
    let operator = stage.node(D);
    stage
        .world
        .propose(operator, Entry::OnLoss(OnLoss::Accept), false);
    stage.settle();
}

fn losses(world: &World) -> u64 {
    world.log.state().losses()
}

#[test]
fn all_members_are_gone_and_the_slot_waits_until_that_is_accepted() {
    let mut stage = stage(2);
    let write = stage.set(A, K, 7);
    stage.settle();
    assert!(stage.is_done(write));
    for name in [A, B, C] {
        stage.kill(name);
    }
    stage.pass(500);
    for name in [A, B, C] {
        stage.start(name);
    }
    stage.pass(8000);
    assert_eq!((stage.primary(), stage.world.waiting), (None, 1));
    // Another leader of the metadata group finds the same.
    stage.leads(D, false);
    stage.leads(D, true);
    stage.pass(8000);
    assert_eq!((stage.primary(), stage.world.waiting), (None, 1));
    assert_eq!(losses(&stage.world), 0);
    accept(&mut stage);
    stage.pass(5000);
    let primary = stage.primary().expect("it goes on, empty");
    assert_eq!((stage.world.waiting, losses(&stage.world)), (0, 1));
    assert_eq!(stage.reads(primary, K), None);
    let write = stage.set(primary, OTHER, 9);
    stage.pass(100);
    assert!(stage.is_done(write));
    stage.end();
}

#[test]
fn what_one_member_still_has_is_there_once_the_loss_is_accepted() {
    let mut stage = stage(2);
    let write = stage.set(A, K, 7);
    stage.settle();
    assert!(stage.is_done(write));
    stage.kill(A);
    stage.kill(B);
    stage.start(A);
    stage.start(B);
    stage.pass(8000);
    assert_eq!((stage.primary(), stage.world.waiting), (None, 1));
    accept(&mut stage);
    stage.pass(5000);
    assert_eq!(stage.primary(), Some(C));
    assert_eq!(stage.reads(C, K), Some(7));
    assert_eq!((stage.world.waiting, losses(&stage.world)), (0, 1));
    stage.end();
}

#[test]
fn what_the_slot_bears_does_not_wait() {
    let mut stage = stage(2);
    let write = stage.set(A, K, 7);
    stage.settle();
    assert!(stage.is_done(write));
    stage.kill(A);
    stage.start(A);
    stage.pass(5000);
    let primary = stage.primary().expect("B and C seal");
    assert_eq!(stage.reads(primary, K), Some(7));
    assert_eq!((stage.world.waiting, losses(&stage.world)), (0, 0));
    stage.end();
}

/// With `W = 1` A alone may have acknowledged something, so nobody takes its place while it cannot
/// be reached, and nothing is lost when it comes back.
#[test]
fn a_primary_that_comes_back_ends_the_wait() {
    let mut stage = stage(1);
    stage.cut_off(A);
    let write = stage.set(A, K, 7);
    stage.settle();
    assert!(stage.is_done(write));
    stage.deafen(A);
    stage.pass(8000);
    assert_eq!((stage.primary(), stage.world.waiting), (None, 1));
    stage.hears_again(A);
    stage.join_again(A);
    stage.pass(5000);
    let primary = stage.primary().expect("A has reported");
    assert_eq!(stage.reads(primary, K), Some(7));
    assert_eq!((stage.world.waiting, losses(&stage.world)), (0, 0));
    stage.end();
}

#[test]
fn a_primary_that_does_not_come_back_is_passed_over_once_that_is_accepted() {
    let mut stage = stage(1);
    stage.kill(A);
    stage.pass(8000);
    assert_eq!((stage.primary(), stage.world.waiting), (None, 1));
    accept(&mut stage);
    stage.pass(5000);
    let primary = stage.primary().expect("one of the others");
    assert!(stage.ask(primary, K, Kind::Set(8)).is_ok());
    assert_eq!((stage.world.waiting, losses(&stage.world)), (0, 1));
    stage.end();
}

/// C is all that is left, has reported, and is out of reach when nothing more can come: what it has
/// is not thrown away.
#[test]
fn who_has_reported_is_waited_for() {
    let mut stage = Stage::new();
    let write = stage.set(A, K, 7);
    stage.settle();
    assert!(stage.is_done(write));
    stage.kill(A);
    stage.kill(B);
    stage.start(A);
    stage.start(B);
    stage.pass(500);
    assert_eq!(stage.primary(), None);
    stage.cut_off(C);
    stage.pass(8000);
    assert_eq!(stage.primary(), None);
    stage.join_again(C);
    stage.pass(5000);
    assert_eq!(stage.primary(), Some(C));
    assert_eq!(stage.reads(C, K), Some(7));
    assert_eq!(losses(&stage.world), 1);
    stage.end();
}
