//! How far something is that the cluster does by itself: a bar on a terminal, a line now and then
//! for all else.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use node::topology::plan::Plan;

use super::movement::span;
use crate::cli::Failure;

/// How often it is looked how far it is.
const EVERY: Duration = Duration::from_millis(500);
/// How often a line says so where there is no terminal: in so many looks.
const LINE_EVERY: u64 = 10;
/// So many looks in a row may fail: a slot that cannot be asked now can be soon.
const FAILURES: u32 = 20;
/// So many looks in a row find nothing left before that is believed: a step may be between two.
const CALM: u32 = 2;

/// Shows how much of the plan is left until nothing is. `left` says what still is.
pub(super) fn show(
    plan: &Plan,
    mut left: impl FnMut() -> Result<Plan, Failure>,
) -> Result<(), Failure> {
    let total = plan.left();
    let bar = bar(total);
    let is_terminal = std::io::stderr().is_terminal();
    let (mut calm, mut failed, mut looks) = (0, 0, 0_u64);
    while calm < CALM {
        let plan = match left() {
            Ok(plan) => plan,
            Err(_) if failed < FAILURES => {
                failed += 1;
                wait();
                continue;
            }
            Err(failure) => {
                bar.abandon();
                return Err(failure);
            }
        };
        failed = 0;
        let rest = plan.left();
        calm = if rest == 0 { calm + 1 } else { 0 };
        bar.set_position(total.saturating_sub(rest));
        if !plan.balances && rest > 0 {
            bar.abandon();
            return Err(Failure::Run(
                "slots stay where they are: balancing is off, --resume of `quorate cluster \
                 balance` lets them move"
                    .to_owned(),
            ));
        }
        if !is_terminal && rest > 0 && looks.is_multiple_of(LINE_EVERY) {
            let (copies, primaries) = (plan.copies, plan.primaries);
            let seconds = span(plan.seconds);
            println!("{copies} copies and {primaries} primaries left, about {seconds}");
        }
        looks += 1;
        wait();
    }
    bar.finish_and_clear();
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a command line has a thread of its own"
)]
fn wait() {
    std::thread::sleep(EVERY);
}

/// Draws on the terminal that the process's errors go to, and nowhere else.
fn bar(total: u64) -> ProgressBar {
    let style = "{bar:40} {percent:>3}%  {pos} of {len} moves, {eta} left";
    let style = ProgressStyle::with_template(style).expect("the template is a valid one");
    ProgressBar::new(total).with_style(style)
}
