//! Schedules of what is in doubt, or refused, and of what that holds up.

use cluster::Slot;

use super::schedules::{A, NOTHING, get, is_uncertain, key, millis, schedule, set, shows};
use super::{Fate, World};
use crate::host::Mark;
use crate::rule::Rules;

/// The numbers of the keyspaces' definitions, as the example has them.
const WRITE_THROUGH: u32 = 1;
const WRITE_BACK: u32 = 2;

fn is_in_doubt(world: &World, name: &str) -> bool {
    matches!(world.entry(name.as_bytes()), Some((_, Mark::Doubt { .. })))
}

#[test]
fn a_doubt_left_without_a_lease_is_settled_when_there_is_one() {
    schedule(|world| {
        world.database.meet(&[Fate::Never, Fate::Never]);
        let write = world.send(A, set("wt:k", "lost"));
        world.executor.run_for(millis(100));
        world.no_lease.set(true);
        let reply = world.executor.block_on(write).expect("A lives");
        assert!(is_uncertain(&reply), "{reply:?}");
        world.executor.run_for(millis(200));
        assert!(is_in_doubt(world, "wt:k"));
        world.no_lease.set(false);
        world.executor.run_for(millis(6_000));
        assert!(!is_in_doubt(world, "wt:k"), "nobody has asked for the key");
    });
}

#[test]
fn a_doubt_is_not_settled_before_a_record_says_so() {
    schedule(|world| {
        world.database.meet(&[Fate::Never, Fate::Never]);
        let write = world.send(A, set("wt:k", "lost"));
        world.executor.run_for(millis(100));
        world.no_memory.set(true);
        let reply = world.executor.block_on(write).expect("A lives");
        assert!(is_uncertain(&reply), "{reply:?}");
        world.executor.run_for(millis(2_000));
        assert!(is_in_doubt(world, "wt:k"));
        world.no_memory.set(false);
        world.executor.run_for(millis(6_000));
        assert!(!is_in_doubt(world, "wt:k"));
    });
}

#[test]
fn a_doubt_that_cannot_be_settled_holds_up_no_other() {
    let world = World::new(1, Rules::default());
    let database = &world.database;
    database.raise_from_outside(WRITE_THROUGH, &key("wt:{k}1"));
    database.meet(&[Fate::Never; 4]);
    let writes = ["wt:{k}1", "wt:{k}2"].map(|name| world.send(A, set(name, "lost")));
    for write in writes {
        let reply = world.executor.block_on(write).expect("A lives");
        assert!(is_uncertain(&reply), "{reply:?}");
    }
    assert!(is_in_doubt(&world, "wt:{k}1") && is_in_doubt(&world, "wt:{k}2"));
    world.executor.run_for(millis(10_000));
    assert!(is_in_doubt(&world, "wt:{k}1"));
    assert!(!is_in_doubt(&world, "wt:{k}2"), "of the same slot");
    // What comes later, too.
    database.meet(&[Fate::Never; 5]);
    assert!(is_uncertain(&world.ask(set("wt:{k}3", "lost"))));
    assert!(is_in_doubt(&world, "wt:{k}3"));
    world.executor.run_for(millis(20_000));
    assert!(is_in_doubt(&world, "wt:{k}1"));
    assert!(!is_in_doubt(&world, "wt:{k}3"));
}

#[test]
fn a_row_raised_from_outside_is_refused_for_itself() {
    let world = World::new(1, Rules::default());
    world.database.raise_from_outside(WRITE_BACK, &key("wb:1"));
    assert_eq!(world.ask(set("wb:1", "never")), NOTHING);
    for number in 2..10 {
        assert_eq!(world.ask(set(&format!("wb:{number}"), "v")), NOTHING);
    }
    let cache = world.cache(A);
    let flush = async move {
        let slots: Vec<_> = Slot::all().collect();
        cache.flush(None, &slots, millis(60_000)).await
    };
    let started = world.executor.now();
    let flushed = world.executor.block_on(flush);
    let took = world.executor.now().since(started);
    assert!(took < millis(2_000), "it took {took:?}");
    for one in flushed {
        assert_eq!(one.end, Ok(()));
        let refused = one.slot == Slot::of(b"wb:1");
        assert_eq!(one.rejected.is_some(), refused, "{:?}", one.rejected);
    }
    // The others go on at their pace.
    assert_eq!(world.ask(set("wb:2", "w")), NOTHING);
    world.executor.run_for(millis(500));
    assert_eq!(world.database.value(b"wb:2"), Some(key("w")));
    assert_eq!(world.ask(get("wb:1")), shows("never"));
}
