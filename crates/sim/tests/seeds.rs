//! Fixed seeds, so that what fails here fails everywhere. `make sim` tries others.

use sim::{Run, run};

/// Runs a quarter of the seeds each, so that two cores share them.
fn none_fails(seeds: std::ops::Range<u64>) {
    let (mut operations, mut answered, mut accepted) = (0, 0, 0);
    for seed in seeds {
        let outcome = run(&Run {
            seed,
            ..Run::default()
        });
        if let Some(failure) = outcome.failure {
            panic!("seed {seed}: {failure} (replay: `make sim SEED={seed}`)");
        }
        operations += outcome.operations.0;
        answered += outcome.operations.1;
        accepted += outcome.accepted;
    }
    // A simulation in which nothing is served would find nothing either.
    assert!(
        answered * 10 > operations * 9 && answered > 10_000,
        "{answered} of {operations}"
    );
    assert!(accepted > 0, "some slots wait for their operator");
}

#[test]
fn the_first_quarter_of_the_seeds() {
    none_fails(1..76);
}

#[test]
fn the_second_quarter_of_the_seeds() {
    none_fails(76..151);
}

#[test]
fn the_third_quarter_of_the_seeds() {
    none_fails(151..226);
}

#[test]
fn the_last_quarter_of_the_seeds() {
    none_fails(226..301);
}

#[test]
fn a_seed_replays_exactly() {
    let traced = Run {
        seed: 7,
        trace: true,
        ..Run::default()
    };
    assert_eq!(run(&traced).trace, run(&traced).trace);
}
