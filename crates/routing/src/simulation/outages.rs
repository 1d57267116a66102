//! Schedules of write-back's queue, of nodes that stop, slots that move and keys that end.

use std::collections::BTreeSet;
use std::rc::Rc;

use cluster::{Incarnation, Member, NodeId, Slot};

use super::schedules::{
    A, B, NOTHING, absent, get, is_store_error, key, millis, schedule, set, shows,
};
use super::{Command, Fate, WORLD, World};
use crate::error::{Error, Refusal};
use crate::keyspace::{WhenFull, example_settings};
use crate::quantity::Size;
use crate::rule::{Rule, Rules};

fn slots() -> Vec<Slot> {
    Slot::all().collect()
}

#[test]
fn keyspace_flush_returns_when_the_database_has_what_was_dirty() {
    schedule(|world| {
        for number in 0..20 {
            assert_eq!(world.ask(set(&format!("wb:{number}"), "v")), NOTHING);
        }
        let (cache, all) = (world.cache(A), slots());
        let flushed = world
            .executor
            .block_on(async move { cache.flush(Some("wb"), &all, millis(5_000)).await });
        assert!(flushed.iter().all(|one| one.end.is_ok()));
        assert!(flushed.iter().any(|one| one.keys > 0));
        for number in 0..20 {
            let row = world.database.value(format!("wb:{number}").as_bytes());
            assert_eq!(row, Some(key("v")));
        }
        assert_eq!(world.cache(A).dirty_bytes(), 0);
        // Across a take-over it does not say that it is done.
        world.database.meet(&[Fate::Never]);
        assert_eq!(world.ask(set("wb:1", "w")), NOTHING);
        let cache = world.cache(A);
        let executor = world.executor.clone();
        let other = Rc::clone(world);
        let flushed = world.executor.block_on(async move {
            executor.spawn(
                WORLD,
                Box::pin(async move {
                    other.executor.sleep(millis(50)).await;
                    other.take_over(B, false);
                }),
            );
            cache.flush(None, &slots(), millis(5_000)).await
        });
        let of_key = Slot::of(b"wb:1").index();
        assert_eq!(flushed[of_key].end, Err(Refusal::NotPrimary));
        world.executor.run_for(millis(500));
        assert_eq!(
            world.database.value(b"wb:1"),
            Some(key("w")),
            "B flushes what is marked"
        );
    });
}

#[test]
fn flushes_are_coalesced_and_batched() {
    schedule(|world| {
        for round in 0..5 {
            for number in 0..30 {
                let value = format!("v{round}");
                let write = world.send(A, set(&format!("wb:{number}"), &value));
                world.executor.block_on(write);
            }
        }
        world.executor.run_for(millis(1_000));
        let batches = world.database.batches.borrow().clone();
        let rows: usize = batches.iter().sum();
        assert!(rows < 150, "150 writes, {rows} rows in {batches:?}");
        for number in 0..30 {
            let row = world.database.value(format!("wb:{number}").as_bytes());
            assert_eq!(row, Some(key("v4")));
        }
    });
}

/// So that each fits the time that it has.
#[test]
fn batches_are_bounded_in_bytes_and_halved_while_they_fail() {
    let world = World::new(1, Rules::default());
    world.database.meet(&[Fate::NotDone; 3]);
    let value = "x".repeat(1 << 20);
    for number in 0..12 {
        let write = world.send(A, set(&format!("wb:{number}"), &value));
        world.executor.block_on(write);
    }
    world.executor.run_for(millis(5_000));
    let batches = world.database.batches.borrow().clone();
    assert_eq!(world.cache(A).dirty_bytes(), 0, "{batches:?}");
    assert!(batches.iter().all(|&rows| rows <= 3), "{batches:?}");
    assert_eq!(batches[1..4], [1, 1, 1], "{batches:?}");
}

#[test]
fn dirty_bytes_stay_below_the_bound_while_the_database_is_frozen() {
    let full = |when_full| {
        let mut settings = example_settings();
        settings[1].write_back.max_dirty_bytes = Size(1_000);
        settings[1].write_back.when_full = when_full;
        World::with_keyspaces(1, Rules::default(), settings)
    };
    let world = full(WhenFull::Refuse);
    world.database.meet(&[Fate::NotDone; 60]);
    let value = "x".repeat(90);
    let fill = |world: &Rc<World>| {
        (0..40)
            .map(|n| world.ask(set(&format!("wb:{n:05}"), &value)))
            .collect::<Vec<_>>()
    };
    let replies = fill(&world);
    assert!(world.cache(A).dirty_bytes() <= 1_000);
    assert!(replies[0].is_ok() && is_store_error(replies.last().unwrap()));
    assert_eq!(
        world.ask(set("wb:00000", &value)),
        NOTHING,
        "what is dirty already goes on"
    );
    world.executor.run_for(millis(600_000));
    for (number, _) in replies
        .iter()
        .enumerate()
        .filter(|(_, reply)| reply.is_ok())
    {
        let row = world.database.value(format!("wb:{number:05}").as_bytes());
        assert_eq!(row, Some(key(&value)), "all arrives later");
    }
    let world = full(WhenFull::WriteThrough);
    world.database.meet(&[Fate::NotDone; 8]);
    assert!(fill(&world).iter().all(Result::is_ok));
    assert!(world.cache(A).dirty_bytes() <= 1_000);
}

/// The keys of one command count together, those of all keyspaces do at a node, and so do those
/// that are written beside a key whose database comes first.
#[test]
fn the_bound_is_for_all_that_a_command_adds_and_for_all_keyspaces() {
    let mut settings = example_settings();
    settings[1].write_back.max_dirty_bytes = Size(1_000);
    let mut other = settings[1].clone();
    (other.name, other.prefix) = ("wb2".into(), "wb2:*".into());
    settings.push(other);
    let world = World::with_keyspaces(1, Rules::default(), settings);
    world.database.meet(&[Fate::NotDone; 400]);
    let value = key(&"x".repeat(90));
    let pair = |name: String| (key(&name), value.clone());
    let some = |prefix: &str, count: usize| {
        let pairs = (0..count).map(|n| pair(format!("{prefix}:{{k}}{n:05}")));
        Command::Set(pairs.collect())
    };
    let refused = world.ask(some("wb", 11));
    assert!(is_store_error(&refused), "{refused:?}");
    let mut beside = some("wb", 11);
    if let Command::Set(pairs) = &mut beside {
        pairs.push(pair("wt:{k}".into()));
    }
    let refused = world.ask(beside);
    assert!(is_store_error(&refused), "{refused:?}");
    assert_eq!(world.cache(A).dirty_bytes(), 0);

    world.dirty_bytes_max.set(1_200);
    assert_eq!(world.ask(some("wb", 8)), NOTHING);
    let refused = world.ask(some("wb2", 8));
    assert!(is_store_error(&refused), "{refused:?}");
    assert_eq!(world.ask(some("wb2", 2)), NOTHING);
    assert!(world.cache(A).dirty_bytes() <= 1_200);
}

fn departing(members: u8) -> BTreeSet<Member> {
    let member = |number| Member {
        node: NodeId::from_bytes([number; 20]),
        incarnation: Incarnation(1),
    };
    (0..members).map(member).collect()
}

/// Members that will not come back stop: what is acknowledged afterwards is in the database, if
/// too few stay.
#[test]
fn what_too_few_would_outlast_is_in_the_database_at_its_acknowledgement() {
    schedule(|world| {
        assert_eq!(world.ask(set("wb:1", "v")), NOTHING);
        assert_eq!(world.database.value(b"wb:1"), None);
        world.cache(A).on_departing(departing(1));
        assert_eq!(world.ask(set("wb:1", "w")), NOTHING);
        assert_eq!(world.database.value(b"wb:1"), None, "two of three stay");
        world.cache(A).on_departing(departing(2));
        assert_eq!(world.ask(set("wb:1", "x")), NOTHING);
        assert_eq!(world.database.value(b"wb:1"), Some(key("x")));
        let both = Command::Set(vec![(key("{wb:1}"), key("plain")), (key("wb:1"), key("y"))]);
        assert_eq!(world.ask(both), NOTHING);
        assert_eq!(world.database.value(b"wb:1"), Some(key("y")));
        assert_eq!(world.cache(A).dirty_bytes(), 0);
        // A database that is away takes nothing, and so nothing is acknowledged.
        world.database.meet(&[Fate::NotDone; 200]);
        let reply = world.ask(set("wb:1", "z"));
        assert!(reply.is_err(), "{reply:?}");
        // Somebody is back after all.
        world.cache(A).on_departing(departing(1));
        assert_eq!(world.ask(set("wb:2", "v")), NOTHING);
    });
}

/// What was dirty before is flushed; together nothing is lost with the members' memory.
#[test]
fn all_members_stop_one_after_the_other() {
    let acknowledged_is_there = |rules| {
        let world = World::new(1, rules);
        let mut acknowledged = 0;
        for members in 0..=3 {
            world.cache(A).on_departing(departing(members));
            let cache = world.cache(A);
            let flush = world.send(A, set("wb:k", &format!("{members}")));
            if world.executor.block_on(flush) == Some(NOTHING) {
                acknowledged = members;
            }
            // Only who stops when too few stay has everything flushed.
            if members == 2 {
                world
                    .executor
                    .block_on(async move { cache.flush(None, &slots(), millis(1_000)).await });
            }
        }
        world.kill(A);
        world.database.value(b"wb:k") == Some(key(&format!("{acknowledged}")))
    };
    assert!(acknowledged_is_there(Rules::default()));
    assert!(!acknowledged_is_there(Rules::without(
        Rule::DepartingWriteThrough
    )));
}

#[test]
fn those_who_stand_in_line_hear_that_the_slot_has_moved() {
    schedule(|world| {
        world.database.meet(&[Fate::SlowAnswer(240)]);
        let first = world.send(A, set("wt:k", "first"));
        world.executor.run_for(millis(30));
        let second = world.send(A, set("wt:k", "second"));
        world.executor.run_for(millis(10));
        world.take_over(B, false);
        let second = world.executor.block_on(second).unwrap();
        assert_eq!(
            second,
            Err(Error::Refused(Refusal::NotPrimary)),
            "not applied"
        );
        // The statement of the first is out: the database has it, and that is what it says.
        assert_eq!(world.executor.block_on(first), Some(NOTHING));
        assert_eq!(world.ask(get("wt:k")), shows("first"));
    });
}

#[test]
fn a_read_only_keyspace_reads_and_refuses() {
    schedule(|world| {
        assert_eq!(world.ask(get("ro:k")), absent());
        let refused = world.ask(set("ro:k", "v")).unwrap_err();
        assert_eq!(refused.to_string(), "READONLY keyspace ro takes no writes");
    });
}

#[test]
fn a_key_past_its_time_is_gone_from_the_cache_and_from_the_database() {
    // By virtual time, of which a real database knows nothing.
    let world = World::new(1, Rules::default());
    for name in ["wt:k", "wb:k", "wa:k"] {
        let ends = world.unix_ms() + 300;
        let command = Command::SetUntil(key(name), key("session"), ends);
        assert_eq!(world.ask(command), NOTHING);
        assert_eq!(world.ask(get(name)), shows("session"));
        world.executor.run_for(millis(400));
        assert_eq!(world.ask(get(name)), absent());
        world.executor.run_for(millis(500));
        assert_eq!(
            world.database.value(name.as_bytes()),
            None,
            "{name}: a tombstone"
        );
        world.kill(world.primary());
        world.take_over(world.primary() + 1, false);
        assert_eq!(world.ask(get(name)), absent());
    }
}
