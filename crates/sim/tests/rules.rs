//! Each rule of the protocol is needed: with it left out, the seed beside it fails. When the
//! protocol or the simulation has changed, `sim --without NAME` finds another one.

use cluster::replication::Rule;
use sim::{Run, Without, run};

/// These are shown by two of the schedules: chance does not meet them often enough.
const BY_SCHEDULES: [Rule; 2] = [Rule::BothSetsCommit, Rule::GrantsEndWithThePromise];

/// With this left out, this seed fails.
const NEEDED: [(Without, u64); 13] = [
    (Without::Rule(Rule::NewSetHoldsAll), 336),
    (Without::Rule(Rule::OldTermsAreRefused), 454),
    (
        Without::Rule(Rule::AcknowledgementsAreOfTheirAttachment),
        1486,
    ),
    (Without::Rule(Rule::HistoryHoldsIt), 0),
    (Without::Rule(Rule::LeasesEndFirst), 65),
    (Without::Rule(Rule::ReadsWait), 24),
    (Without::Rule(Rule::WaitersEndWithTheirEpoch), 4),
    (Without::Rule(Rule::GreatestLast), 9),
    (Without::Rule(Rule::QuorumSeals), 22),
    (Without::Rule(Rule::LossWaits), 10),
    (Without::Rule(Rule::GroupLease), 153),
    (Without::Incarnations, 1),
    (Without::Revs, 146),
];

fn fails(without: Option<Without>, seed: u64) -> Option<String> {
    let broken = Run {
        seed,
        without,
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
        assert_eq!(fails(None, seed), None, "seed {seed} with all rules");
        assert!(
            fails(Some(without), seed).is_some(),
            "seed {seed} passes without {without:?}"
        );
    }
}

#[test]
fn no_rule_is_forgotten() {
    let named = NEEDED.map(|(without, _)| without);
    for rule in Rule::ALL {
        let shown = named.contains(&Without::Rule(rule)) || BY_SCHEDULES.contains(&rule);
        assert!(shown, "nothing shows that {rule:?} is needed");
    }
}
