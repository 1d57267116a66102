//! The rows of the group `generic`.

use super::Command;

#[rustfmt::skip] // a command is a line, and its documentation another
pub(super) const ROWS: &[Command] = &[
];
