//! Each rule of the protocol is needed: with it left out, the seed beside it fails. When the
//! protocol or the simulation has changed, `sim --without NAME` finds another one.

use cluster::replication::Rule;
use sim::{Run, Without, run};

/// With this left out, this seed fails. That both sets commit, and that grants end with the
/// promise, is shown by two of the schedules, which chance does not meet often enough.
const NEEDED: [(Without, u64); 13] = [
    (Without::Rule(Rule::NewSetHoldsAll), 466),
    (Without::Rule(Rule::OldTermsAreRefused), 9),
    (
        Without::Rule(Rule::AcknowledgementsAreOfTheirAttachment),
        54,
    ),
    (Without::Rule(Rule::HistoryHoldsIt), 1),
    (Without::Rule(Rule::LeasesEndFirst), 202),
    (Without::Rule(Rule::ReadsWait), 17),
    (Without::Rule(Rule::WaitersEndWithTheirEpoch), 3),
    (Without::Rule(Rule::GreatestLast), 7),
    (Without::Rule(Rule::QuorumSeals), 12),
    (Without::Rule(Rule::LossWaits), 35),
    (Without::Rule(Rule::GroupLease), 714),
    (Without::Incarnations, 4),
    (Without::Revs, 273),
];

fn fails(without: Without, seed: u64) -> Option<String> {
    let broken = Run {
        seed,
        without: Some(without),
        ..Run::default()
    };
    // Where the protocol's own assertions notice it first, that is a failure too.
    match std::panic::catch_unwind(|| run(&broken).failure) {
        Ok(failure) => failure,
        Err(_) => Some("an assertion of the protocol".to_owned()),
    }
}

#[test]
fn without_any_one_rule_some_seed_fails() {
    for (without, seed) in NEEDED {
        assert!(
            fails(without, seed).is_some(),
            "seed {seed} passes without {without:?}"
        );
    }
}
