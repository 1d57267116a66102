//! `sim --seed S` replays one run and says what happened; without a seed it tries many.

use std::io::Write;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser;
use cluster::metadata::OnLoss;
use sim::{Run, Without, run};

/// Simulates a cluster under faults.
#[derive(Debug, Parser)]
struct Arguments {
    /// Replays this run, instead of trying many.
    #[arg(long)]
    seed: Option<u64>,
    /// The first seed to try, and how many; a random one and 1000 if not given.
    #[arg(long)]
    from: Option<u64>,
    #[arg(long, default_value_t = 1000)]
    count: u64,
    /// How many nodes, if the seed is not to decide.
    #[arg(long)]
    nodes: Option<usize>,
    /// Cuts the run off after so many steps.
    #[arg(long)]
    steps: Option<u64>,
    /// Leaves a rule of the protocol out.
    #[arg(long, value_parser = without)]
    without: Option<Without>,
    /// What becomes of slots that may have lost something: accept or wait, if the seed is not to
    /// decide.
    #[arg(long)]
    on_loss: Option<OnLoss>,
    /// Prints what happens.
    #[arg(long)]
    trace: bool,
}

fn without(name: &str) -> Result<Without, String> {
    Without::named(name).ok_or_else(|| format!("there is no rule {name}"))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut out = std::io::stdout().lock();
    let written = match arguments.seed {
        Some(seed) => replay(&arguments, seed, &mut out),
        None => try_many(&arguments, &mut out),
    };
    match written {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}

fn run_of(arguments: &Arguments, seed: u64) -> Run {
    Run {
        seed,
        nodes: arguments.nodes,
        steps: arguments.steps,
        trace: arguments.trace && arguments.seed.is_some(),
        without: arguments.without,
        on_loss: arguments.on_loss,
    }
}

fn replay(arguments: &Arguments, seed: u64, out: &mut impl Write) -> std::io::Result<bool> {
    let outcome = run(&run_of(arguments, seed));
    for line in &outcome.trace {
        writeln!(out, "{line}")?;
    }
    let (called, answered) = outcome.operations;
    writeln!(
        out,
        "seed {seed}: {} steps, {called} operations, {answered} answered, {} slots excused",
        outcome.steps, outcome.excused
    )?;
    if let Some(failure) = &outcome.failure {
        writeln!(out, "FAILED: {failure}")?;
    }
    Ok(outcome.failure.is_none())
}

fn try_many(arguments: &Arguments, out: &mut impl Write) -> std::io::Result<bool> {
    let first = arguments.from.unwrap_or_else(random_seed);
    writeln!(out, "{} seeds from {first} on", arguments.count)?;
    let (mut failed, mut called, mut answered, mut steps) = (0, 0, 0, 0);
    let (mut excused, mut accepted) = (0, 0);
    for seed in first..first + arguments.count {
        let outcome = run(&run_of(arguments, seed));
        called += outcome.operations.0;
        answered += outcome.operations.1;
        excused += outcome.excused;
        accepted += outcome.accepted;
        steps += outcome.steps;
        if let Some(failure) = outcome.failure {
            failed += 1;
            writeln!(out, "seed {seed} FAILED: {failure}")?;
            out.flush()?;
        }
    }
    writeln!(
        out,
        "{failed} failed; {steps} steps, {called} operations, {answered} answered, {excused} slots \
         excused, losses accepted {accepted} times"
    )?;
    Ok(failed == 0)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where a run is not replayed"
)]
fn random_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64 % 1_000_000_000_000)
}
