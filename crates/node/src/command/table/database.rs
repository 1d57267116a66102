//! The rows of the group `database`, which is Quorate's own.

use super::Arity::{AtLeast, Exactly};
use super::flag::{ADMIN, LOADING, STALE};
use super::{Command, parent, plain};
use crate::command::database;

const SHOWN: u32 = LOADING | STALE;

#[rustfmt::skip] // a command is a line, and its documentation another
pub(super) const ROWS: &[Command] = &[
    parent("keyspace", 0, 0)
        .doc("7.0.0", "Depends on subcommand.", "Shows the rules for keys and their databases."),
    plain("keyspace|flush", AtLeast(2), ADMIN, 0, database::flush).all_slots()
        .doc("7.0.0", "O(N) for N dirty keys",
            "Waits until the databases have what they lack, and returns how many keys that were."),
    plain("keyspace|get", Exactly(3), SHOWN, 0, database::get)
        .doc("7.0.0", "O(1)", "Returns the settings of a keyspace."),
    plain("keyspace|help", Exactly(2), SHOWN, 0, database::help)
        .doc("7.0.0", "O(1)", "Lists the subcommands."),
    plain("keyspace|list", Exactly(2), SHOWN, 0, database::list)
        .doc("7.0.0", "O(N) for N keyspaces", "Returns the names of all keyspaces."),
];
