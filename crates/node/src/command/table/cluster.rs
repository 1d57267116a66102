//! The rows of the group `cluster`.

use super::Arity::Exactly;
use super::flag::{FAST, LOADING, STALE};
use super::{Command, acl, plain};
use crate::command::connection;

#[rustfmt::skip] // a command is a line, and its documentation another
pub(super) const ROWS: &[Command] = &[
    plain("asking", Exactly(1), FAST, acl::CONNECTION, connection::asking)
        .doc("3.0.0", "O(1)", "Lets the next command use a slot that is being imported."),
    plain("readonly", Exactly(1), LOADING | STALE | FAST, acl::CONNECTION, connection::readonly)
        .doc("3.0.0", "O(1)", "Lets reads be served by the copy of the node that is asked."),
    plain("readwrite", Exactly(1), LOADING | STALE | FAST, acl::CONNECTION, connection::readwrite)
        .doc("3.0.0", "O(1)", "Ends READONLY."),
];
