//! The replies of the subcommand `HELP`, made from the table.

use crate::command::table::table;
use crate::resp::Reply;

/// The help of the command that has this subcommand, `client|help` for example.
pub(crate) fn of(subcommand: &'static str) -> Reply<'static> {
    let parent = subcommand.split('|').next().unwrap_or(subcommand);
    let title = format!(
        "{} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        parent.to_uppercase()
    );
    let mut lines = vec![Reply::Bulk(title.into())];
    for id in table().ids() {
        let row = table().row(id);
        let word = row
            .name
            .strip_prefix(parent)
            .and_then(|rest| rest.strip_prefix('|'));
        if let Some(word) = word {
            lines.push(Reply::Bulk(word.to_uppercase().into()));
            lines.push(Reply::Bulk(format!("    {}", row.summary).into()));
        }
    }
    Reply::Array(lines)
}
