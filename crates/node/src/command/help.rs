//! The replies of the subcommand `HELP`, made from the table.

use std::fmt::Write as _;

use crate::command::table::table;
use crate::resp::Reply;

/// The help of the command that has this subcommand, `client|help` for example.
pub(crate) fn of(subcommand: &'static str) -> Reply<'static> {
    let parent = subcommand.split('|').next().unwrap_or(subcommand);
    let mut lines = vec![format!(
        "{} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        parent.to_uppercase()
    )];
    for id in table().ids() {
        let row = table().row(id);
        let word = row
            .name
            .strip_prefix(parent)
            .and_then(|rest| rest.strip_prefix('|'));
        if let Some(word) = word {
            lines.push(word.to_uppercase());
            lines.push(format!("    {}", row.summary));
        }
    }
    // Each line is a status, in both versions of the protocol.
    let mut encoded = format!("*{}\r\n", lines.len());
    for line in lines {
        // Writing to a string does not fail.
        let _ = write!(encoded, "+{line}\r\n");
    }
    Reply::Encoded(encoded.into())
}
