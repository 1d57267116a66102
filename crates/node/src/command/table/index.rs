//! From the words of a request to its row: any case, no allocation, one probe of a hash table that
//! is built once.

use std::sync::LazyLock;

use hashbrown::HashTable;

use super::Command;

/// The number of a row, for tables that hold something about each command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandId(u16);

impl CommandId {
    /// An index below [`Table::len`].
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// All rows, and the way to find one.
pub struct Table {
    rows: Vec<(&'static str, &'static Command)>,
    /// By number: whether there are subcommands.
    parents: Vec<bool>,
    by_name: HashTable<u16>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    Table::new(&[
        ("cluster", super::cluster::ROWS),
        ("connection", super::connection::ROWS),
        ("database", super::database::ROWS),
        ("generic", super::generic::ROWS),
        ("hash", super::hash::ROWS),
        ("server", super::server::ROWS),
        ("string", super::string::ROWS),
        ("transactions", super::transactions::ROWS),
    ])
});

/// The table of this process.
pub fn table() -> &'static Table {
    &TABLE
}

impl Table {
    fn new(groups: &[(&'static str, &'static [Command])]) -> Table {
        let mut rows: Vec<(&'static str, &'static Command)> = Vec::new();
        for (group, commands) in groups {
            rows.extend(commands.iter().map(|command| (*group, command)));
        }
        let mut by_name = HashTable::new();
        let hash = |id: &u16| hash(rows[usize::from(*id)].1.name.as_bytes(), b"");
        for id in 0..u16::try_from(rows.len()).expect("a table of commands is small") {
            by_name.insert_unique(hash(&id), id, hash);
        }
        let is_parent = |parent: &str| {
            let prefix = format!("{parent}|");
            rows.iter()
                .any(|(_, command)| command.name.starts_with(&prefix))
        };
        let parents = rows
            .iter()
            .map(|(_, command)| is_parent(command.name))
            .collect();
        Table {
            rows,
            parents,
            by_name,
        }
    }

    /// Whether the command with this number has subcommands.
    #[must_use]
    pub fn has_subcommands(&self, id: CommandId) -> bool {
        self.parents[id.index()]
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Every row, in the order of their numbers.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = CommandId> {
        (0..self.rows.len()).map(|index| CommandId(index as u16))
    }

    /// The row with this number.
    #[must_use]
    pub fn row(&self, id: CommandId) -> &'static Command {
        self.rows[id.index()].1
    }

    /// The group of the row with this number.
    #[must_use]
    pub fn group(&self, id: CommandId) -> &'static str {
        self.rows[id.index()].0
    }

    /// The row of the command that the first word of a request names; never a subcommand's.
    #[must_use]
    pub fn find(&self, word: &[u8]) -> Option<CommandId> {
        self.find_full(word)
            .filter(|id| !self.row(*id).is_subcommand())
    }

    /// The row with this name, `get` or `client|list`.
    #[must_use]
    pub fn find_full(&self, name: &[u8]) -> Option<CommandId> {
        let is_it = |id: &u16| self.name(*id).eq_ignore_ascii_case(name);
        self.by_name
            .find(hash(name, b""), is_it)
            .copied()
            .map(CommandId)
    }

    /// The row of a subcommand of a command.
    #[must_use]
    pub fn find_sub(&self, parent: &Command, name: &[u8]) -> Option<CommandId> {
        let parent = parent.name.as_bytes();
        let is_it = |id: &u16| {
            let rest = self
                .name(*id)
                .strip_prefix(parent)
                .and_then(|rest| rest.strip_prefix(b"|"));
            rest.is_some_and(|rest| rest.eq_ignore_ascii_case(name))
        };
        self.by_name
            .find(hash(parent, name), is_it)
            .copied()
            .map(CommandId)
    }

    fn name(&self, id: u16) -> &'static [u8] {
        self.rows[usize::from(id)].1.name.as_bytes()
    }
}

/// FNV-1a over the lower case of `first`, and of `|second` if there is one. The table holds a few
/// hundred names of our own, so nobody can make it slow from outside.
fn hash(first: &[u8], second: &[u8]) -> u64 {
    let bar: &[u8] = if second.is_empty() { b"" } else { b"|" };
    [first, bar, second]
        .into_iter()
        .flatten()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            let mixed =
                (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3);
            mixed ^ (mixed >> 29) // hashbrown takes its tags from the highest bits
        })
}
