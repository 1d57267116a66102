//! The schedules that the replication must pass, each as a script. Members A (primary), B, C of a
//! slot with `W = 2`; D holds nothing of it at first, and leads the metadata group.

mod members;
mod on_loss;
mod stage;

use cluster::Epoch;
use cluster::metadata::Entry;
use cluster::replication::{Refusal, Rule};
use sim::Without;
use sim::workload::Kind;

use stage::Name::{A, B, C, D};
use stage::Stage;

const K: u16 = 1;
const OTHER: u16 = 2;

#[test]
fn removed_holder() {
    let mut stage = Stage::new();
    // A write is acknowledged by A and C, while B lags.
    stage.hold(A, B);
    let write = stage.set(A, K, 7);
    stage.settle();
    assert!(stage.is_done(write) && stage.holds(B, K).is_none());
    // C goes silent. B is heard of, for its stream is new, but has yet to say what it holds.
    stage.hold(C, A);
    stage.pass(1000);
    stage.reconnect(A, B);
    stage.holds_proposals = true;
    stage.pass(700);
    assert!(
        stage.proposed_changes().is_empty(),
        "a set whose members may lack the write"
    );
    // B gets the write: now the set may be without C.
    stage.let_go(A, B);
    stage.holds_proposals = false;
    stage.pass(100);
    assert_eq!(stage.in_sync(), [A, B].into());
    stage.kill(A);
    stage.pass(5000);
    assert_eq!(stage.primary(), Some(B));
    assert_eq!(stage.reads(B, K), Some(7));
    stage.end();
}

/// What C acknowledges late is committed by the set in force, once no other one is proposed.
#[test]
fn a_proposal_that_is_dropped_leaves_nothing_waiting() {
    let mut stage = Stage::new();
    // B lags, so that a set without C cannot be proposed.
    stage.hold(A, B);
    let first = stage.set(A, K, 7);
    stage.settle();
    assert!(stage.is_done(first));
    stage.hold(C, A);
    let second = stage.set(A, K, 8);
    stage.pass(1000);
    stage.reconnect(A, B);
    stage.pass(700);
    assert!(stage.is_waiting(second) && stage.holds(C, K) == Some(8));
    stage.let_go(C, A);
    stage.pass(100);
    assert!(stage.is_done(second), "A and C hold it");
    assert_eq!(stage.in_sync(), [A, B, C].into());
    stage.end();
}

/// `{A,B}` is applied, and A does not hear of it.
fn with_a_lost_proposal_reply(without: Option<Without>) -> Stage {
    let mut stage = Stage::with(|config| config.leave_out(without));
    stage.cut_off(C);
    stage.deafen(A);
    stage.pass(1600);
    assert_eq!(stage.in_sync(), [A, B].into());
    // C is back; B lags.
    stage.join_again(C);
    stage.hold(A, B);
    stage
}

#[test]
fn lost_proposal_reply() {
    let mut stage = with_a_lost_proposal_reply(None);
    let write = stage.set(A, K, 7);
    stage.pass(300);
    assert_eq!(stage.holds(C, K), Some(7));
    assert!(
        stage.is_waiting(write),
        "C is not of the set that may be in force"
    );
    stage.pass(1000);
    assert!(stage.is_waiting(write), "no timeout makes it a success");
    // B may take over alone, and does without the write.
    stage.kill(A);
    stage.pass(5000);
    assert_eq!(stage.primary(), Some(B));
    assert_eq!(stage.reads(B, K), None);
    assert!(!stage.is_done(write));
    stage.end();
}

#[test]
fn lost_proposal_reply_with_one_set_in_force_alone() {
    let rule = Without::Rule(Rule::BothSetsCommit);
    let mut stage = with_a_lost_proposal_reply(Some(rule));
    let write = stage.set(A, K, 7);
    stage.pass(300);
    assert!(stage.is_done(write), "what B may take over without");
}

#[test]
fn late_proposal() {
    let mut stage = Stage::new();
    stage.cut_off(C);
    stage.holds_proposals = true;
    stage.pass(2200);
    // Sent, and sent again, for nobody answered.
    let proposals = stage.proposed_changes();
    assert!(proposals.len() >= 2 && proposals[0].entry == proposals[1].entry);
    stage.world.proposed.clear();
    stage.commit(&proposals[0]);
    stage.holds_proposals = false;
    stage.settle();
    assert_eq!(stage.in_sync(), [A, B].into());
    stage.join_again(C);
    stage.pass(1500);
    assert_eq!(stage.in_sync(), [A, B, C].into(), "C is added again");
    assert!(
        stage.is_refused(&proposals[1]),
        "the set is as it was, the rev is not"
    );
    // Nor after a fence.
    stage.kill(A);
    stage.pass(1300);
    assert!(stage.placement().epoch > Epoch(1));
    assert!(stage.is_refused(&proposals[1]));
    stage.end();
}

#[test]
fn two_coordinators() {
    let mut stage = Stage::new();
    let write = stage.set(A, K, 7);
    stage.settle();
    assert!(stage.is_done(write));
    stage.kill(A);
    // D fences 2, seals, has the others reconciled, and pauses before it activates.
    let mut activation = None;
    stage.holds_proposals = true;
    for _ in 0..200 {
        stage.pass(25);
        while let Some(proposal) = stage.world.proposed.pop_front() {
            match proposal.entry {
                Entry::Activate(_) => activation = Some(proposal),
                _ => stage.commit(&proposal),
            }
        }
        if activation.is_some() {
            break;
        }
    }
    let second = activation.expect("D comes that far");
    assert_eq!(stage.placement().epoch, Epoch(2));
    stage.pause(D, true);
    // B leads now. It finds a fence that is not its own, and fences again.
    stage.leads(B, true);
    stage.holds_proposals = false;
    stage.pass(3000);
    assert_eq!(stage.placement().epoch, Epoch(3));
    let primary = stage.primary().expect("B activates");
    // What the first one began changes nothing any more; nor does a second activation.
    assert!(stage.is_refused(&second));
    stage.pause(D, false);
    stage.pass(500);
    let mut third = second.clone();
    if let Entry::Activate(slots) = &mut third.entry {
        slots[0].epoch = Epoch(3);
    }
    assert!(stage.is_refused(&third), "the slot has a primary");
    assert_eq!(stage.primary(), Some(primary));
    assert_eq!(stage.reads(primary, K), Some(7));
    stage.end();
}

#[test]
fn instant_restart() {
    let mut stage = Stage::new();
    // A write is acknowledged by A1 and B; C lags.
    stage.hold(A, C);
    let write = stage.set(A, K, 7);
    stage.settle();
    assert!(stage.is_done(write));
    stage.set(A, OTHER, 8);
    let first = stage.world.nodes[stage.node(A)].member();
    stage.kill(A);
    stage.pass(25);
    stage.start(A);
    // A2 is there at once, with nothing.
    let second = stage.world.nodes[stage.node(A)].member();
    assert!(second > first && !stage.serves(A));
    assert!(stage.ask(A, K, Kind::Get).is_err());
    stage.let_go(A, C);
    let counts = |stage: &Stage| stage.placement().in_sync.contains(&second.unwrap());
    assert!(!counts(&stage));
    stage.pass(3000);
    let primary = stage.primary().expect("the slot is led again");
    assert_ne!(primary, A);
    assert_eq!(stage.reads(primary, K), Some(7), "B had it");
    // A2 counts once it has been brought up to date, and then it is equal.
    stage.pass(3000);
    assert!(counts(&stage));
    assert_eq!(stage.holds(A, K), Some(7));
    assert_eq!(stage.digest(A), stage.digest(primary));
    stage.end();
}

/// A alone holds writes that nobody acknowledged, on a key that was there and on a new one.
fn with_a_divergent_tail() -> Stage {
    let mut stage = Stage::new();
    let write = stage.set(A, K, 1);
    stage.settle();
    assert!(stage.is_done(write));
    stage.cut_off(A);
    stage.deafen(A);
    for value in 10..20 {
        stage.set(A, K, value);
        stage.set(A, OTHER, value);
    }
    stage
}

#[test]
fn divergent_tail() {
    let mut stage = with_a_divergent_tail();
    // Epoch 2 goes on without A, and has one record.
    stage.pass(4000);
    let primary = stage.primary().expect("led by another");
    assert_ne!(primary, A);
    let write = stage.set(primary, 3, 3);
    stage.pass(100);
    assert!(stage.is_done(write));
    assert!(stage.last(primary) > stage.last(A) && stage.last(primary).seq() < 10);
    // A returns: what only it held is gone.
    stage.join_again(A);
    stage.hears_again(A);
    stage.pass(4000);
    assert_eq!(stage.holds(A, K), Some(1));
    assert_eq!(stage.holds(A, OTHER), None);
    assert_eq!(stage.digest(A), stage.digest(primary));
    assert_eq!(stage.in_sync(), [A, B, C].into());
    stage.end();
}

#[test]
fn old_reply() {
    let mut stage = with_a_divergent_tail();
    // A client and a read of it wait at A.
    let write = stage.set(A, K, 99);
    let read = stage.get(A, K);
    stage.pass(4000);
    let primary = stage.primary().expect("led by another");
    let newer = stage.set(primary, K, 100);
    stage.pass(100);
    assert!(stage.is_done(newer) && stage.is_waiting(write) && stage.is_waiting(read));
    // A is deposed, matches, hears of greater versions that are committed.
    stage.join_again(A);
    stage.hears_again(A);
    stage.pass(4000);
    assert_eq!(stage.holds(A, K), Some(100));
    assert!(
        !stage.is_done(write) && !stage.is_waiting(write),
        "UNCERTAIN"
    );
    assert!(!stage.is_done(read) && !stage.is_waiting(read), "TRYAGAIN");
    stage.end();
}

#[test]
fn late_acks() {
    let mut stage = Stage::new();
    // B and C hold the write and seal; their acknowledgements are on their way.
    stage.hold(B, A);
    stage.hold(C, A);
    let write = stage.set(A, K, 7);
    stage.settle();
    assert_eq!((stage.holds(B, K), stage.holds(C, K)), (Some(7), Some(7)));
    stage.hold(A, D);
    stage.hold(D, A);
    stage.pass(4000);
    let primary = stage.primary().expect("led by another");
    assert!(primary != A && stage.placement().epoch == Epoch(2));
    // They arrive when epoch 2 is active: success is right only if the write is in it.
    stage.let_go(B, A);
    stage.let_go(C, A);
    assert_eq!(stage.reads(primary, K), Some(7));
    assert!(!stage.is_waiting(write));
    stage.end();
}

#[test]
fn a_report_of_an_older_epoch_does_not_count() {
    let mut stage = Stage::new();
    stage.kill(A);
    stage.pass(900);
    // D fences 2; the reports of B and C are on their way.
    stage.hold(B, D);
    stage.hold(C, D);
    stage.pass(600);
    assert_eq!(stage.placement().epoch, Epoch(2));
    // D begins anew and fences 3; nobody hears its seals. The reports for 2 arrive.
    stage.hold(D, B);
    stage.hold(D, C);
    stage.leads(D, true);
    stage.pass(200);
    assert_eq!(stage.placement().epoch, Epoch(3));
    stage.let_go(B, D);
    stage.let_go(C, D);
    stage.pass(2000);
    assert_eq!(stage.primary(), None);
    // Those for 3 count.
    stage.let_go(D, B);
    stage.let_go(D, C);
    stage.pass(2500);
    assert!(stage.primary().is_some());
    stage.end();
}

/// A is fenced and hears nothing of it: neither from D, nor from B, who is to lead, nor by the log.
/// Its heartbeats go on, and C answers them.
fn with_heartbeats_that_never_stop(without: Option<Without>) -> Stage {
    let mut stage = Stage::with(|config| config.leave_out(without));
    stage.hold(A, D);
    stage.hold(D, A);
    stage.hold(B, A);
    stage.deafen(A);
    stage.pass(4000);
    stage
}

#[test]
fn heartbeats_that_never_stop() {
    let stage = with_heartbeats_that_never_stop(None);
    assert_eq!(
        stage.primary(),
        Some(B),
        "what B and C granted to A is over"
    );
    assert!(stage.serves(B) && !stage.serves(A));
    stage.end();
}

#[test]
#[should_panic(expected = "at one moment")]
fn heartbeats_that_never_stop_and_are_granted_a_lease_all_the_same() {
    let rule = Without::Rule(Rule::GrantsEndWithThePromise);
    with_heartbeats_that_never_stop(Some(rule)).end();
}

#[test]
fn reveals() {
    let mut stage = Stage::new();
    let kept = stage.set(A, OTHER, 1);
    stage.settle();
    assert!(stage.is_done(kept));
    stage.hold(A, B);
    stage.hold(A, C);
    // An uncommitted SET of K, an uncommitted DEL of the other.
    let set = stage.set(A, K, 7);
    let delete = stage.ask(A, OTHER, Kind::Delete).unwrap();
    // Whatever would show one of them waits.
    let seen = [
        stage.get(A, K),
        stage.ask(A, K, Kind::SetIfAbsent(8)).unwrap(),
        stage.get(A, OTHER),
        stage.ask(A, OTHER, Kind::Delete).unwrap(),
    ];
    // What neither touches need not.
    let untouched = stage.get(A, 3);
    stage.pass(300);
    assert!(stage.is_done(untouched));
    assert!(
        seen.iter()
            .chain([&set, &delete])
            .all(|op| stage.is_waiting(*op))
    );
    stage.let_go(A, B);
    stage.pass(100);
    assert!(
        seen.iter()
            .chain([&set, &delete])
            .all(|op| stage.is_done(*op))
    );
    stage.end();
}

#[test]
fn below_w() {
    let mut stage = Stage::with(|config| {
        config.failover.replace_after = std::time::Duration::from_secs(4);
    });
    stage.kill(B);
    stage.pass(2000);
    assert_eq!(stage.in_sync(), [A, C].into());
    // C dies with a write waiting at A.
    stage.hold(A, C);
    let write = stage.set(A, K, 7);
    stage.kill(C);
    stage.pass(1000);
    assert!(stage.is_waiting(write));
    stage.pass(1000);
    assert_eq!(stage.in_sync(), [A].into());
    // Reads of its key go on; writes are refused.
    assert_eq!(stage.reads(A, K), Some(7));
    assert_eq!(stage.ask(A, K, Kind::Set(8)), Err(Refusal::TooFewCopies));
    // D takes their place, and then holds all.
    stage.pass(4000);
    assert_eq!(stage.in_sync(), [A, D].into());
    let next = stage.set(A, OTHER, 9);
    stage.pass(100);
    assert!(stage.is_done(next) && stage.is_done(write));
    stage.kill(A);
    stage.pass(5000);
    assert_eq!(stage.primary(), Some(D));
    assert_eq!(
        (stage.reads(D, K), stage.reads(D, OTHER)),
        (Some(7), Some(9))
    );
    stage.end();
}
