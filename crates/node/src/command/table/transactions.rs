//! The rows of the group `transactions`.

use super::Arity::{AtLeast, Exactly};
use super::access::RO;
use super::acl::TRANSACTION;
use super::flag::{ALLOW_BUSY, FAST, LOADING, NO_SCRIPT, SKIP_SLOWLOG, STALE};
use super::{Command, Keys, Run, plain, row};
use crate::transaction;

const SLOW: u32 = NO_SCRIPT | LOADING | STALE;
const QUICK: u32 = SLOW | FAST | ALLOW_BUSY;
const ALL: Keys = Keys::Every { first: 1, step: 1 };
const NONE: Keys = Keys::Keyless;

#[rustfmt::skip] // a command is a line, and its documentation another
pub(super) const ROWS: &[Command] = &[
    plain("discard", Exactly(1), QUICK, TRANSACTION, transaction::discard).at_once()
        .doc("2.0.0", "O(N) for N queued commands", "Forgets what was queued and is watched."),
    row("exec", Exactly(1), SLOW | SKIP_SLOWLOG, NONE, TRANSACTION, Run::Exec).at_once()
        .doc("1.2.0", "That of the queued commands", "Runs all that was queued, or nothing."),
    plain("multi", Exactly(1), QUICK, TRANSACTION, transaction::multi).at_once()
        .doc("1.2.0", "O(1)", "Begins a transaction: what follows is queued."),
    plain("unwatch", Exactly(1), QUICK, TRANSACTION, transaction::unwatch)
        .doc("2.2.0", "O(1)", "Watches no key any more."),
    row("watch", AtLeast(2), QUICK, ALL, TRANSACTION, Run::Watch).at_once()
        .access(RO)
        .doc("2.2.0", "O(1) for each key", "Lets the next EXEC do nothing if a key changes."),
];
