//! All nodes are stopped while they acknowledge writes that the database gets later.

use rand::RngExt;
use rand::seq::SliceRandom;
use tests::trio::{NODES, Trio};

use super::Client;
use super::killed::{configuration, file_of};
use super::load::{Key, Load};
use super::sqlite::Sqlite;

const ROUNDS: usize = 6;
/// Between two stops so many writes are acknowledged at most.
const ACKNOWLEDGEMENTS_MAX: u64 = 300;

/// In each round all three are asked to stop, in the first ones at once, in the others with writes
/// in between. What they have acknowledged until their end is in the database.
#[test]
fn what_nodes_that_stop_together_have_acknowledged_is_in_the_database() {
    let mut trio = Trio::configured(configuration);
    let database = Sqlite::new(file_of(trio.folder()));
    for round in 0..ROUNDS {
        let mut load = Load::start(&trio, &format!("wb:{round}"));
        load.goes_on(ACKNOWLEDGEMENTS_MAX);
        let mut order = [0, 1, 2];
        order.shuffle(&mut rand::rng());
        for (at, node) in order.into_iter().enumerate() {
            // The last one alone takes no writes.
            if round >= ROUNDS / 2 && at == 1 {
                load.goes_on(rand::rng().random_range(1..=ACKNOWLEDGEMENTS_MAX));
            }
            trio.stop(node);
        }
        (0..NODES).for_each(|node| trio.ends(node));
        all_is_there(&database, &load.stop());
        (0..NODES).for_each(|node| trio.restart(node));
        trio.become_whole();
    }
    let mut client = Client::of(trio.any_port(0));
    assert_ne!(client.say("GET wb:0:0:0"), "nil", "it is loaded");
}

fn all_is_there(database: &Sqlite, keys: &[Key]) {
    for key in keys {
        let row = database.value("wb", &key.name);
        let row: u64 = row.map_or(0, |row| row.parse().unwrap());
        assert!(
            (key.acknowledged..=key.attempted).contains(&row),
            "{row}: {key:?}"
        );
    }
}
