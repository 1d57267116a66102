//! Schedules of reads: of several keys, and of several clients at once.

use super::schedules::{A, NOTHING, get, key, millis, set, shows};
use super::{Command, Fate, World};
use crate::keyspace::example_settings;
use crate::quantity::Span;
use crate::rule::Rules;

/// A load whose answer could not be left in the cache is void from the moment that its key is
/// written, also when it has ended and its reader waits for another key.
#[test]
fn what_one_reply_shows_was_true_together() {
    let mut settings = example_settings();
    settings[0].negative_ttl = Span::from_millis(0);
    let world = World::with_keyspaces(1, Rules::default(), settings);
    let both = Command::Get(vec![key("wt:{k}"), key("wb:{k}")]);
    // The second key's load is another client's, and slow.
    world.database.meet(&[Fate::SlowAnswer(300)]);
    let other = world.send(A, get("wb:{k}"));
    world.executor.run_for(millis(10));
    let both = world.send(A, both);
    world.executor.run_for(millis(30));
    assert_eq!(world.ask(set("wt:{k}", "first")), NOTHING);
    assert_eq!(world.ask(set("wb:{k}", "second")), NOTHING);
    let reply = world.executor.block_on(both).expect("A lives");
    assert_eq!(reply, Ok(vec![Some(key("first")), Some(key("second"))]));
    assert_eq!(world.executor.block_on(other), Some(shows("second")));
}

/// Who joins a load gets its outcome, and not that of another key of the client that began it.
#[test]
fn each_load_has_its_own_outcome() {
    let world = World::new(1, Rules::default());
    assert_eq!(world.ask(set("wa:{k}1", "v")), NOTHING);
    // The line of the other key is held for longer than anybody waits.
    world.cut_off.set(true);
    let held = world.send(A, set("wa:{k}2", "v"));
    world.executor.run_for(millis(10));
    let both = world.send(A, Command::Get(vec![key("wa:{k}1"), key("wa:{k}2")]));
    let joined = world.send(A, get("wa:{k}1"));
    assert_eq!(world.executor.block_on(joined), Some(shows("v")));
    let both = world.executor.block_on(both).expect("A lives");
    let error = both.unwrap_err().to_string();
    assert!(error.starts_with("TRYAGAIN other commands"), "{error}");
    assert!(world.executor.block_on(held).expect("A lives").is_err());
}
