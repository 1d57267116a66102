//! Random schedules by seed, and what must hold in each. Leaving out a rule must break some seed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use cluster::Time;

use super::history::{Operation, is_linearizable};
use super::{Command, WORLD, World};
use crate::error::Error;
use crate::host::Mark;
use crate::keyspace::{KeyspaceSettings, example_settings};
use crate::quantity::Span;
use crate::rule::{Rule, Rules};

const KEYS: [&str; 4] = ["wt:1", "wt:2", "wa:1", "wb:1"];
const CLIENTS: u64 = 4;
/// How long the trouble lasts, in virtual milliseconds.
const TROUBLE_MS: u64 = 6_000;

/// What the clients of one run saw, by key.
#[derive(Default)]
struct Record {
    histories: RefCell<BTreeMap<Bytes, Vec<Operation>>>,
    values: Cell<u64>,
    broken: RefCell<Option<String>>,
    over: Cell<bool>,
    clients: Cell<u64>,
}

#[test]
fn every_seed_keeps_the_promises() {
    for seed in 0..seeds() {
        if let Err(broken) = run(seed, Rules::default(), true) {
            panic!("seed {seed}: {broken}");
        }
    }
}

/// More of them on demand.
fn seeds() -> u64 {
    std::env::var("QUORATE_SEEDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(200)
}

/// [`Rule::LeaseAtAnswer`] is broken by a schedule of its own: chance meets its case too rarely.
#[test]
fn each_rule_left_out_breaks_some_seed() {
    for rule in [
        Rule::IntentWaits,
        Rule::DoubtDropsOldValue,
        Rule::FreshStamp,
        Rule::FlushCommitted,
        Rule::CleanIfSame,
        Rule::VoidLoads,
        Rule::UnansweredIsUncertain,
        Rule::DoubtServedByNobody,
    ] {
        let broken = (0..2_000).find(|&seed| run(seed, Rules::without(rule), true).is_err());
        let Some(seed) = broken else {
            panic!("no seed needs the rule {rule:?}");
        };
        // It is the rule that was missed, and nothing else.
        let kept = run(seed, Rules::default(), true);
        assert_eq!(kept, Ok(()), "seed {seed}, with {rule:?}");
    }
}

#[test]
fn without_the_guard_some_seed_breaks() {
    let broken = (0..400).find(|&seed| run(seed, Rules::default(), false).is_err());
    let seed = broken.expect("some seed needs the guard");
    assert_eq!(run(seed, Rules::default(), true), Ok(()), "seed {seed}");
}

fn settings(seed: u64) -> Vec<KeyspaceSettings> {
    let mut settings = example_settings();
    for one in &mut settings {
        // Short in half of the seeds, so that entries become stale and are loaded while all else
        // happens; long in the others, so that no load mends what was wrong.
        let short = seed.is_multiple_of(2);
        one.ttl = if short {
            Span::from_millis(400)
        } else {
            Span::from_secs(3_600)
        };
        one.negative_ttl = if short {
            Span::from_millis(150)
        } else {
            Span::from_secs(3_600)
        };
        one.timeout = Span::from_millis(200);
    }
    settings
}

/// One run; what it broke, if it broke anything.
fn run(seed: u64, rules: Rules, guard: bool) -> Result<(), String> {
    let world = World::with_keyspaces(seed, rules, settings(seed));
    world.database.guard.set(guard);
    world.database.trouble.set(world.executor.draw(40));
    world
        .commit_ms
        .set([2, 20, 80][world.executor.draw(3) as usize]);
    let record = Rc::new(Record::default());
    for _ in 0..CLIENTS {
        record.clients.set(record.clients.get() + 1);
        let (world, record) = (Rc::clone(&world), Rc::clone(&record));
        let executor = world.executor.clone();
        executor.spawn(WORLD, Box::pin(async move { client(world, record).await }));
    }
    faults(&world);
    if world.executor.draw(2) == 0 {
        // What was lost last is written over by nobody.
        world.cut_off.set(true);
        world.executor.run_for(Duration::from_millis(400));
        record.over.set(true);
        world.take_over(world.primary() + 1, false);
        world.cut_off.set(false);
    }
    record.over.set(true);
    world.database.trouble.set(0);
    let quiet = Rc::clone(&record);
    let waiting = Rc::clone(&world);
    world.executor.block_on(async move {
        while quiet.clients.get() > 0 {
            waiting.executor.sleep(Duration::from_millis(50)).await;
        }
    });
    // Longer than any statement may be late, and any retry waits.
    world.executor.run_for(Duration::from_millis(15_000));
    check(&world, &record)
}

fn faults(world: &Rc<World>) {
    let until = world.executor.now() + Duration::from_millis(TROUBLE_MS);
    let mut next = world.primary() + 1;
    while world.executor.now() < until {
        world
            .executor
            .run_for(Duration::from_millis(20 + world.executor.draw(700)));
        let old = world.primary();
        match world.executor.draw(6) {
            0 => {
                world.kill(old);
                world.take_over(next, true);
                next += 1;
            }
            1 => {
                // Deposed, alive, and unaware for a while.
                world.executor.pause(old);
                world.take_over(next, true);
                next += 1;
                world
                    .executor
                    .run_for(Duration::from_millis(world.executor.draw(500)));
                world.executor.resume(old);
            }
            2 => {
                world.take_over(next, true);
                next += 1;
            }
            3 => {
                let of = KEYS[world.executor.draw(4) as usize];
                world.evict(|key| key == of.as_bytes());
            }
            4 => {
                world.cut_off.set(true);
                world
                    .executor
                    .run_for(Duration::from_millis(world.executor.draw(1_500)));
                world.cut_off.set(false);
            }
            _ => {
                world.executor.pause(old);
                world
                    .executor
                    .run_for(Duration::from_millis(world.executor.draw(400)));
                world.executor.resume(old);
            }
        }
    }
}

async fn client(world: Rc<World>, record: Rc<Record>) {
    let mut operations = 0;
    while !record.over.get() && operations < 60 {
        operations += 1;
        let pause = world.executor.draw(180);
        world.executor.sleep(Duration::from_millis(pause)).await;
        let key = Bytes::from_static(KEYS[world.executor.draw(4) as usize].as_bytes());
        let number = record.values.replace(record.values.get() + 1);
        let value = Bytes::from(format!("v{number}"));
        let command = match world.executor.draw(10) {
            0..5 => Command::Get(vec![key.clone()]),
            5..8 => Command::Set(vec![(key.clone(), value.clone())]),
            8 => Command::Swap(key.clone(), value.clone()),
            _ => Command::Delete(vec![key.clone()]),
        };
        perform(&world, &record, key, value, command).await;
    }
    record.clients.set(record.clients.get() - 1);
}

async fn perform(
    world: &Rc<World>,
    record: &Rc<Record>,
    key: Bytes,
    value: Bytes,
    command: Command,
) {
    let invoked = world.executor.now();
    let wrote = match &command {
        Command::Get(_) => None,
        Command::Delete(_) => Some(None),
        _ => Some(Some(value)),
    };
    let sees = !matches!(command, Command::Set(_));
    let reply = world.send(world.primary(), command).await;
    let returned = Some(world.executor.now());
    let operation = match reply {
        Some(Ok(reply)) => {
            if let Some(Some(value)) = wrote.as_ref().filter(|_| !key.starts_with(b"wb:"))
                && !world.database.had(&key).contains(&Some(value.clone()))
            {
                let told = format!("{key:?} = {value:?} is acknowledged, not in the database");
                record.broken.borrow_mut().get_or_insert(told);
            }
            let saw = sees.then(|| reply.into_iter().next().flatten());
            Operation {
                invoked,
                returned,
                saw,
                wrote,
            }
        }
        // The node died, or says so: it may have been done, may still be, or never. What it would
        // have seen is not known either.
        None | Some(Err(Error::Unconfirmed | Error::UncertainStore { .. })) => Operation {
            invoked,
            returned: None,
            saw: None,
            wrote,
        },
        // Not applied: as if it had never been asked.
        Some(Err(_)) => return,
    };
    if operation.wrote.is_some() || operation.returned.is_some() {
        record
            .histories
            .borrow_mut()
            .entry(key)
            .or_default()
            .push(operation);
    }
}

fn check(world: &Rc<World>, record: &Record) -> Result<(), String> {
    if let Some(broken) = record.broken.borrow().clone() {
        return Err(broken);
    }
    for name in KEYS {
        let key = Bytes::from_static(name.as_bytes());
        let row = world.database.value(&key);
        if let Some((_, mark @ (Mark::Dirty { .. } | Mark::Doubt { .. }))) = world.entry(&key) {
            return Err(format!("{name} is {mark:?} when all is quiet"));
        }
        if let Some((value, Mark::Clean { .. })) = world.entry(&key)
            && value != row
        {
            return Err(format!(
                "{name} is {value:?} in the cache and {row:?} in the database"
            ));
        }
        let invoked = world.executor.now();
        let reply = world.ask(Command::Get(vec![key.clone()]));
        let shown = reply.map_err(|error| format!("{name}: {error} when all is quiet"))?;
        if shown[0] != row {
            return Err(format!(
                "{name} is {:?}, and {row:?} in the database",
                shown[0]
            ));
        }
        let mut histories = record.histories.borrow_mut();
        let history = histories.entry(key.clone()).or_default();
        let returned = Some(world.executor.now());
        let saw = Some(shown[0].clone());
        history.push(Operation {
            invoked,
            returned,
            saw,
            wrote: None,
        });
        if !is_linearizable(history) {
            return Err(format!(
                "{name}: no single register shows this: {history:#?}"
            ));
        }
        never_back(name, history, &world.database.had(&key))?;
    }
    Ok(())
}

/// No row goes from a newer value back to an older one: to one whose write had returned before the
/// newer one's was asked for.
fn never_back(name: &str, history: &[Operation], rows: &[Option<Bytes>]) -> Result<(), String> {
    let span = |value: &Bytes| -> Option<(Time, Option<Time>)> {
        let of = history
            .iter()
            .find(|operation| operation.wrote == Some(Some(value.clone())))?;
        Some((of.invoked, of.returned))
    };
    let spans: Vec<_> = rows
        .iter()
        .flatten()
        .map(|value| (value, span(value)))
        .collect();
    for (at, (later, later_span)) in spans.iter().enumerate() {
        let Some((_, Some(returned))) = later_span else {
            continue;
        };
        for (earlier, earlier_span) in &spans[..at] {
            if earlier_span.is_some_and(|(invoked, _)| *returned < invoked) {
                return Err(format!(
                    "{name}: the row went from {earlier:?} back to {later:?}"
                ));
            }
        }
    }
    Ok(())
}
