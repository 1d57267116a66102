//! The named schedules, each on the simulated database and on an SQLite file. A is primary in
//! epoch 1, then B in 2.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::{Command, Fate, World};
use crate::error::Error;
use crate::host::Mark;
use crate::rule::{Rule, Rules};

pub(super) const A: usize = 0;
pub(super) const B: usize = 1;

pub(super) fn key(name: &str) -> Bytes {
    Bytes::copy_from_slice(name.as_bytes())
}

pub(super) fn get(name: &str) -> Command {
    Command::Get(vec![key(name)])
}

pub(super) fn set(name: &str, value: &str) -> Command {
    Command::Set(vec![(key(name), key(value))])
}

pub(super) fn shows(value: &str) -> Result<Vec<Option<Bytes>>, Error> {
    Ok(vec![Some(key(value))])
}

pub(super) const NOTHING: Result<Vec<Option<Bytes>>, Error> = Ok(Vec::new());

pub(super) fn absent() -> Result<Vec<Option<Bytes>>, Error> {
    Ok(vec![None])
}

pub(super) fn is_uncertain(reply: &Result<Vec<Option<Bytes>>, Error>) -> bool {
    reply
        .as_ref()
        .is_err_and(|error| error.to_string().starts_with("UNCERTAIN store main: "))
}

pub(super) fn is_store_error(reply: &Result<Vec<Option<Bytes>>, Error>) -> bool {
    reply
        .as_ref()
        .is_err_and(|error| error.to_string().starts_with("STORE main: "))
}

pub(super) fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// The values that the key's row has had, in order; a removal is "-".
pub(super) fn had(world: &World, name: &str) -> Vec<String> {
    let value = |value: Option<Bytes>| {
        value.map_or("-".to_owned(), |bytes| {
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    world
        .database
        .had(name.as_bytes())
        .into_iter()
        .map(value)
        .collect()
}

pub(super) fn schedule(run: impl Fn(&Rc<World>)) {
    run(&World::new(1, Rules::default()));
    run(&World::on_sqlite(1));
}

#[test]
fn late_update() {
    schedule(|world| {
        assert_eq!(world.ask(set("wt:k", "old")), NOTHING);
        // A's statement hangs, and so does the same sent again; A gives up.
        world.database.meet(&[Fate::Late(3_000), Fate::Late(3_500)]);
        let reply = world.ask(set("wt:k", "late"));
        assert!(is_uncertain(&reply), "{reply:?}");
        // B takes over, and a newer write is acknowledged.
        world.take_over(B, false);
        assert_eq!(world.ask(set("wt:k", "new")), NOTHING);
        assert_eq!(world.database.value(b"wt:k"), Some(key("new")));
        world.executor.run_for(millis(5_000));
        assert_eq!(world.ask(get("wt:k")), shows("new"));
        let rows: Vec<_> = had(world, "wt:k")
            .into_iter()
            .filter(|row| row != "-")
            .collect();
        assert_eq!(rows, ["old", "new"], "no step back");
    });
}

#[test]
fn late_update_at_the_same_primary() {
    schedule(|world| {
        world.database.meet(&[Fate::Late(2_000), Fate::Never]);
        assert!(is_uncertain(&world.ask(set("wt:k", "late"))));
        assert_eq!(world.ask(set("wt:k", "new")), NOTHING);
        world.executor.run_for(millis(5_000));
        assert_eq!(world.database.value(b"wt:k"), Some(key("new")));
        assert!(!had(world, "wt:k").contains(&"late".to_owned()));
        assert_eq!(world.ask(get("wt:k")), shows("new"));
    });
}

#[test]
fn dies_after_commit() {
    schedule(|world| {
        assert_eq!(world.ask(set("wt:k", "old")), NOTHING);
        world.executor.run_for(millis(50));
        // The database commits; A dies before it hears of it. B has the intent, for W copies do.
        world.database.meet(&[Fate::SlowAnswer(100)]);
        let write = world.send(A, set("wt:k", "new"));
        world.executor.run_for(millis(50));
        assert_eq!(
            world.database.value(b"wt:k"),
            Some(key("new")),
            "it has committed"
        );
        assert!(matches!(
            world.entry(b"wt:k"),
            Some((Some(_), Mark::Doubt { .. }))
        ));
        world.kill(A);
        world.take_over(B, false);
        assert_eq!(world.ask(get("wt:k")), shows("new"), "B asks the database");
        assert!(matches!(
            world.entry(b"wt:k"),
            Some((Some(_), Mark::Clean { .. }))
        ));
        assert_eq!(
            world.executor.block_on(write),
            None,
            "A's client lost its connection"
        );
    });
}

#[test]
fn an_acknowledged_write_is_shown_by_the_next_primary() {
    schedule(|world| {
        assert_eq!(world.ask(set("wt:k", "old")), NOTHING);
        world.executor.run_for(millis(50));
        // A dies right after the acknowledgement, before the record that ends the doubt is
        // anywhere else.
        assert_eq!(world.ask(set("wt:k", "new")), NOTHING);
        world.kill(A);
        world.take_over(B, false);
        assert_eq!(world.ask(get("wt:k")), shows("new"));
    });
}

#[test]
fn doubt_on_doubt() {
    schedule(|world| {
        assert_eq!(world.ask(set("wt:k", "old")), NOTHING);
        world.executor.run_for(millis(50));
        assert_eq!(world.ask(set("wt:k", "acknowledged")), NOTHING);
        world.kill(A);
        // B's settling in the background gets no answer, and its own write is slow.
        world.database.meet(&[Fate::Never, Fate::SlowAnswer(200)]);
        world.take_over(B, false);
        let write = world.send(B, set("wt:k", "newer"));
        world.executor.run_for(millis(20));
        let read = world.send(B, get("wt:k"));
        let seen = world.executor.block_on(read).unwrap();
        assert_ne!(seen, shows("old"), "nothing from before A's write");
        assert!(
            seen == shows("newer") || seen == shows("acknowledged"),
            "{seen:?}"
        );
        assert_eq!(world.executor.block_on(write), Some(NOTHING));
        assert_eq!(world.ask(get("wt:k")), shows("newer"));
    });
}

#[test]
fn load_during_write() {
    schedule(|world| {
        assert_eq!(world.ask(set("wb:k", "old")), NOTHING);
        world.executor.run_for(millis(500));
        world.evict(|_| true);
        world.executor.run_for(millis(20));
        // The query sees the old value, and its answer comes after the write.
        world.database.meet(&[Fate::SlowAnswer(200)]);
        let read = world.send(A, get("wb:k"));
        world.executor.run_for(millis(50));
        assert_eq!(
            world.ask(set("wb:k", "new")),
            NOTHING,
            "it waits for no load"
        );
        assert_eq!(world.ask(get("wb:k")), shows("new"));
        assert_eq!(
            world.executor.block_on(read),
            Some(shows("new")),
            "it started over"
        );
        world.executor.run_for(millis(1_000));
        assert_eq!(world.ask(get("wb:k")), shows("new"));
        assert_eq!(world.database.value(b"wb:k"), Some(key("new")));
    });
}

#[test]
fn a_write_through_waits_for_a_load_and_gives_nobody_what_a_dead_one_brings() {
    schedule(|world| {
        assert_eq!(world.ask(set("wt:k", "old")), NOTHING);
        world.evict(|_| true);
        world.executor.run_for(millis(20));
        world.database.meet(&[Fate::SlowAnswer(900)]);
        let read = world.send(A, get("wt:k"));
        world.executor.run_for(millis(400));
        // Its turn comes when the load has given up; the query still runs.
        assert_eq!(world.ask(set("wt:k", "new")), NOTHING);
        assert!(is_store_error(&world.executor.block_on(read).unwrap()));
        world.executor.run_for(millis(1_000));
        assert_eq!(
            world.ask(get("wt:k")),
            shows("new"),
            "the old answer installed nothing"
        );
    });
}

#[test]
fn join_after_ack() {
    schedule(|world| {
        assert_eq!(world.ask(set("wa:k", "old")), NOTHING);
        world.executor.run_for(millis(20));
        world.database.meet(&[Fate::SlowAnswer(900)]);
        let early = world.send(A, get("wa:k"));
        world.executor.run_for(millis(400));
        assert_eq!(world.ask(set("wa:k", "new")), NOTHING);
        let queries = world.database.loads.get();
        assert_eq!(world.ask(get("wa:k")), shows("new"));
        assert_eq!(
            world.database.loads.get(),
            queries + 1,
            "a query of its own"
        );
        assert_ne!(world.executor.block_on(early), Some(shows("new")));
    });
}

#[test]
fn deposed_load() {
    schedule(|world| {
        assert_eq!(world.ask(set("wt:k", "old")), NOTHING);
        world.evict(|_| true);
        world.executor.run_for(millis(20));
        world.database.meet(&[Fate::SlowAnswer(300)]);
        let read = world.send(A, get("wt:k"));
        world.executor.run_for(millis(50));
        world.take_over(B, false);
        assert_eq!(world.ask(set("wt:k", "new")), NOTHING);
        let reply = world.executor.block_on(read).unwrap();
        assert!(
            matches!(reply, Err(Error::Refused(_))),
            "no answer from A: {reply:?}"
        );
        assert_eq!(world.ask(get("wt:k")), shows("new"));
    });
}

/// A's query runs when B's write has reached the database, and B still shows the old value. What A
/// says.
fn deposed_load_ahead_of_the_cache(world: &Rc<World>) -> Result<Vec<Option<Bytes>>, Error> {
    assert_eq!(world.ask(set("wt:k", "old")), NOTHING);
    world.evict(|_| true);
    world.executor.run_for(millis(20));
    world.database.meet(&[Fate::SlowStart(150)]);
    let read = world.send(A, get("wt:k"));
    world.executor.run_for(millis(20));
    world.take_over(B, false);
    assert_eq!(world.ask(get("wt:k")), shows("old"));
    world.database.meet(&[Fate::SlowAnswer(220)]);
    let write = world.send(B, set("wt:k", "new"));
    let reply = world.executor.block_on(read).unwrap();
    assert_eq!(world.database.value(b"wt:k"), Some(key("new")));
    assert_eq!(world.ask(get("wt:k")), shows("old"), "after A's answer");
    assert_eq!(world.executor.block_on(write), Some(NOTHING));
    assert_eq!(world.ask(get("wt:k")), shows("new"));
    reply
}

#[test]
fn deposed_load_of_what_the_next_primary_does_not_show_yet() {
    schedule(|world| {
        let reply = deposed_load_ahead_of_the_cache(world);
        assert!(
            matches!(reply, Err(Error::Refused(_))),
            "no answer from A: {reply:?}"
        );
    });
}

#[test]
fn without_the_lease_at_the_answer_a_deposed_load_shows_what_is_taken_back() {
    let rules = Rules::without(Rule::LeaseAtAnswer);
    let shown = (0..20)
        .any(|seed| deposed_load_ahead_of_the_cache(&World::new(seed, rules)) == shows("new"));
    assert!(shown, "A shows the new value, and B the old one after it");
}

#[test]
fn flush_uncommitted() {
    schedule(|world| {
        assert_eq!(world.ask(set("wb:k", "old")), NOTHING);
        world.executor.run_for(millis(500));
        // A is cut off, takes a write that no copy has, and dies: the database never sees it.
        world.cut_off.set(true);
        let write = world.send(A, set("wb:k", "uncommitted"));
        world.executor.run_for(millis(900));
        world.kill(A);
        world.take_over(B, false);
        world.cut_off.set(false);
        assert_eq!(world.executor.block_on(write), None);
        world.executor.run_for(millis(1_000));
        assert_eq!(had(world, "wb:k"), ["old"]);
        assert_eq!(world.ask(get("wb:k")), shows("old"));
        // A write during its key's flush stays dirty, and is flushed in its turn.
        assert_eq!(world.ask(set("wb:k", "one")), NOTHING);
        world.database.meet(&[Fate::SlowAnswer(200)]);
        world.executor.run_for(millis(150));
        assert_eq!(had(world, "wb:k"), ["old", "one"]);
        assert_eq!(world.ask(set("wb:k", "two")), NOTHING);
        world.executor.run_for(millis(80));
        assert!(matches!(
            world.entry(b"wb:k"),
            Some((_, Mark::Dirty { .. }))
        ));
        world.executor.run_for(millis(500));
        assert_eq!(had(world, "wb:k"), ["old", "one", "two"]);
        assert!(matches!(
            world.entry(b"wb:k"),
            Some((_, Mark::Clean { .. }))
        ));
    });
}

#[test]
fn no_resurrection() {
    schedule(|world| {
        // The first flush is unanswered, and runs much later; the one that tries again lands.
        world.database.meet(&[Fate::Late(5_000)]);
        assert_eq!(world.ask(set("wb:k", "value")), NOTHING);
        world.executor.run_for(millis(2_000));
        assert_eq!(world.database.value(b"wb:k"), Some(key("value")));
        let deleted = world.ask(Command::Delete(vec![key("wb:k")]));
        assert_eq!(deleted, shows("value"));
        world.executor.run_for(millis(500));
        assert_eq!(had(world, "wb:k"), ["value", "-"]);
        world.executor.run_for(millis(6_000));
        assert_eq!(
            had(world, "wb:k"),
            ["value", "-"],
            "the late one is refused"
        );
        world.evict(|_| true);
        assert_eq!(world.ask(get("wb:k")), absent());
    });
}

#[test]
fn herd() {
    schedule(|world| {
        assert_eq!(world.ask(set("wt:k", "value")), NOTHING);
        world.evict(|_| true);
        world.executor.run_for(millis(20));
        let queries = world.database.loads.get();
        let readers: Vec<_> = (0..1_000).map(|_| world.send(A, get("wt:k"))).collect();
        for reader in readers {
            assert_eq!(world.executor.block_on(reader), Some(shows("value")));
        }
        assert_eq!(world.database.loads.get(), queries + 1, "one query");
    });
}

#[test]
fn a_herd_on_an_absent_key_is_one_query_and_negative_entries_end() {
    schedule(|world| {
        let readers: Vec<_> = (0..1_000).map(|_| world.send(A, get("wt:none"))).collect();
        for reader in readers {
            assert_eq!(world.executor.block_on(reader), Some(absent()));
        }
        assert_eq!(world.database.loads.get(), 1);
        assert_eq!(world.ask(get("wt:none")), absent());
        assert_eq!(
            world.database.loads.get(),
            1,
            "that there is none is known for a while"
        );
        world.executor.run_for(millis(5_000));
        assert_eq!(world.ask(get("wt:none")), absent());
        assert_eq!(world.database.loads.get(), 2);
    });
}

#[test]
fn several_keys_are_loaded_by_one_query_and_written_by_one_statement() {
    schedule(|world| {
        let pairs = [
            ("wt:{t}1", "a"),
            ("wa:{t}2", "b"),
            ("wb:{t}3", "c"),
            ("{t}plain", "d"),
        ];
        let command = Command::Set(pairs.iter().map(|(k, v)| (key(k), key(v))).collect());
        assert_eq!(world.ask(command), NOTHING);
        assert_eq!(
            world.database.batches.borrow().as_slice(),
            [2],
            "the two that come first"
        );
        world.executor.run_for(millis(500));
        world.evict(|found| found.starts_with(b"w"));
        let queries = world.database.loads.get();
        let all = Command::Get(pairs.iter().map(|(name, _)| key(name)).collect());
        let expected: Vec<_> = pairs.iter().map(|(_, value)| Some(key(value))).collect();
        assert_eq!(world.ask(all), Ok(expected));
        assert_eq!(
            world.database.loads.get(),
            queries + 3,
            "one for each table"
        );
    });
}

#[test]
fn a_refused_row_leaves_the_old_value_and_an_unanswered_attempt_does_not() {
    schedule(|world| {
        assert_eq!(world.ask(set("wt:k", "old")), NOTHING);
        world.database.meet(&[Fate::Rejected]);
        let reply = world.ask(set("wt:k", "bad"));
        assert_eq!(reply.unwrap_err().to_string(), "STORE main: constraint");
        let queries = world.database.loads.get();
        assert_eq!(world.ask(get("wt:k")), shows("old"));
        assert_eq!(world.database.loads.get(), queries, "the doubt has ended");
        // The first attempt is unanswered, the second violates the constraint.
        world.database.meet(&[Fate::Late(2_000), Fate::Rejected]);
        assert!(is_uncertain(&world.ask(set("wt:k", "bad"))));
        assert_eq!(
            world.ask(get("wt:k")),
            shows("old"),
            "settled: the first cannot land any more"
        );
        world.executor.run_for(millis(4_000));
        assert_eq!(world.database.value(b"wt:k"), Some(key("old")));
    });
}

#[test]
fn an_answer_lost_counts_once() {
    schedule(|world| {
        // The load, then the statement.
        world.database.meet(&[Fate::Good, Fate::AnswerLost]);
        assert_eq!(world.ask(Command::Swap(key("wt:k"), key("one"))), absent());
        assert_eq!(had(world, "wt:k"), ["one"]);
        assert_eq!(
            world.ask(Command::Swap(key("wt:k"), key("two"))),
            shows("one")
        );
    });
}

#[test]
fn without_copies_nothing_is_sent() {
    schedule(|world| {
        assert_eq!(world.ask(set("wt:k", "old")), NOTHING);
        world.executor.run_for(millis(50));
        world.cut_off.set(true);
        let reply = world.ask(set("wt:k", "new"));
        assert!(reply.unwrap_err().to_string().starts_with("NOREPLICAS"));
        assert_eq!(had(world, "wt:k"), ["old"]);
        world.cut_off.set(false);
        world.executor.run_for(millis(500));
        assert_eq!(world.ask(get("wt:k")), shows("old"));
    });
}
