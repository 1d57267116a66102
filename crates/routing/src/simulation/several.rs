//! Schedules of commands on several keys, as a transaction is one.

use std::rc::Rc;

use super::schedules::{A, B, NOTHING, get, key, millis, schedule};
use super::{Command, Fate, World};
use crate::rule::Rules;

const BOTH: [&str; 2] = ["wt:{k}1", "wt:{k}2"];

fn set_both(keys: [&str; 2], value: &str) -> Command {
    Command::Set(keys.iter().map(|name| (key(name), key(value))).collect())
}

/// What both keys have, which is the same.
fn value_of_both(world: &Rc<World>) -> String {
    let both = Command::Get(BOTH.map(key).into());
    let values = world.ask(both).expect("they are served");
    assert_eq!(values[0], values[1], "one of them alone");
    let rows = BOTH.map(|name| world.database.value(name.as_bytes()));
    assert_eq!(rows[0], values[0], "the database has another");
    assert_eq!(rows[0], rows[1]);
    let value = values[0].as_deref().expect("they were written");
    String::from_utf8(value.to_vec()).expect("text was written")
}

/// A dies at each moment of a write of two keys; its statement takes a while.
#[test]
fn both_or_neither_whenever_the_primary_dies() {
    let mut seen = Vec::new();
    for moment in (0..=120).step_by(3) {
        for slow in [Fate::SlowStart(40), Fate::SlowAnswer(40)] {
            let world = World::new(1, Rules::default());
            assert_eq!(world.ask(set_both(BOTH, "old")), NOTHING);
            world.executor.run_for(millis(50));
            world.database.meet(&[slow]);
            let write = world.send(A, set_both(BOTH, "new"));
            world.executor.run_for(millis(moment));
            world.kill(A);
            world.take_over(B, false);
            let value = value_of_both(&world);
            let acknowledged = world.executor.block_on(write).is_some();
            assert!(
                value == "new" || !acknowledged,
                "an acknowledged write is gone"
            );
            world.executor.run_for(millis(5_000));
            assert_eq!(value_of_both(&world), value, "it came late");
            seen.push(value);
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen, ["new", "old"], "A died too early and too late");
}

#[test]
fn opposite_orders_do_not_wait_for_each_other() {
    schedule(|world| {
        let [first, second] = BOTH;
        let one = world.send(A, set_both([first, second], "one"));
        let other = world.send(A, set_both([second, first], "other"));
        let plain = world.send(A, set_both(["{k}plain", first], "third"));
        for write in [one, other, plain] {
            assert_eq!(world.executor.block_on(write), Some(NOTHING));
        }
        // Whatever came last wrote both of its keys.
        let [of_first, of_second, of_plain] =
            [first, second, "{k}plain"].map(|name| world.ask(get(name)).unwrap());
        let third = vec![Some(key("third"))];
        assert_eq!(of_plain, third);
        assert!(
            of_first == third || of_first == of_second,
            "{of_first:?} {of_second:?}"
        );
        assert!(
            [key("one"), key("other")]
                .map(|value| vec![Some(value)])
                .contains(&of_second)
        );
    });
}

#[test]
fn a_refused_row_takes_the_others_with_it() {
    schedule(|world| {
        assert_eq!(world.ask(set_both(BOTH, "old")), NOTHING);
        world.database.meet(&[Fate::Rejected]);
        let refused = world.ask(set_both(BOTH, "bad"));
        assert!(refused.unwrap_err().to_string().starts_with("STORE main: "));
        assert_eq!(value_of_both(world), "old");
    });
}
