//! THE table: one row a command. Lookup, arity, the slots of the keys, rights, `COMMAND`'s replies
//! and the labels of metrics follow from the row; nothing else matches on a name.
//!
//! A subcommand is a row too, named `client|list`; the row of its first word holds no handler.
//! The rows lie in one file for each of Redis's groups, the lookup in `index`.

mod cluster;
mod connection;
mod database;
mod generic;
mod hash;
mod index;
mod keys;
mod server;
mod string;
mod transactions;

pub use index::{CommandId, Table, table};
pub use keys::Keys;

use crate::command::Args;
use crate::command::session::SessionHandler;
use crate::error::CommandError;
use crate::resp::Reply;
use crate::store::Tx;

/// Runs a command on the keys of one slot, under the slot's lock: no clock, no I/O, no wait.
pub type KeyHandler = for<'t> fn(&'t mut Tx<'_>, &mut Args<'_>) -> Result<Reply<'t>, CommandError>;

/// One command or subcommand.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// In lower case; a subcommand's begins with its parent's and a bar.
    pub name: &'static str,
    /// How many words a request of it has, its own included.
    pub arity: Arity,
    /// Bits of [`flag`].
    pub flags: u32,
    /// Where its keys are.
    pub keys: Keys,
    /// What it does with its keys: bits of [`access`].
    pub access: u32,
    /// What it does with the second of two keys, where that is something else.
    pub target: Option<u32>,
    /// Bits of [`acl`]; those that follow from the flags are not repeated here.
    pub acl: u32,
    /// What runs it.
    pub run: Run,
    /// Since which version of Redis clients know it.
    pub since: &'static str,
    /// What it costs.
    pub complexity: &'static str,
    /// What it does, in a line.
    pub summary: &'static str,
    /// Hints for clients that spread commands over nodes.
    pub tips: &'static [&'static str],
    /// Whether a key that the cache lacks is looked for in its database.
    pub loads: bool,
    /// Whether it runs as soon as it comes, also where others are queued.
    pub at_once: bool,
    /// Whether it is about keys of all slots, and answers when they have.
    pub all_slots: bool,
}

/// How many words a request has, the command's name (and a subcommand's) included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// This many.
    Exactly(u16),
    /// This many or more.
    AtLeast(u16),
}

impl Arity {
    /// Whether a request of so many words is one of the command.
    #[must_use]
    pub fn allows(self, words: usize) -> bool {
        match self {
            Arity::Exactly(count) => words == usize::from(count),
            Arity::AtLeast(count) => words >= usize::from(count),
        }
    }

    /// The number that `COMMAND` shows: negative where it is a minimum.
    #[must_use]
    pub fn number(self) -> i64 {
        match self {
            Arity::Exactly(count) => i64::from(count),
            Arity::AtLeast(count) => -i64::from(count),
        }
    }
}

/// What runs a command.
#[derive(Clone, Copy, Debug)]
pub enum Run {
    /// A handler over the keys of one slot.
    Keys(KeyHandler),
    /// A handler that is about the connection, the node or the data as a whole.
    Session(SessionHandler),
    /// Asks the slot of the keys how they are, for a transaction.
    Watch,
    /// Runs what the client has queued.
    Exec,
    /// None: the row is the first word of subcommands.
    Subcommands,
}

/// A row of a command about the connection, the node or the data as a whole.
const fn plain(
    name: &'static str,
    arity: Arity,
    flags: u32,
    acl: u32,
    handler: SessionHandler,
) -> Command {
    row(
        name,
        arity,
        flags,
        Keys::Keyless,
        acl,
        Run::Session(handler),
    )
}

/// A row that is the first word of subcommands.
const fn parent(name: &'static str, flags: u32, acl: u32) -> Command {
    row(
        name,
        Arity::AtLeast(2),
        flags,
        Keys::Keyless,
        acl,
        Run::Subcommands,
    )
}

/// A row of a command over keys.
pub(crate) const fn keyed(
    name: &'static str,
    arity: Arity,
    flags: u32,
    keys: Keys,
    acl: u32,
    handler: KeyHandler,
) -> Command {
    row(name, arity, flags, keys, acl, Run::Keys(handler))
}

const fn row(
    name: &'static str,
    arity: Arity,
    flags: u32,
    keys: Keys,
    acl: u32,
    run: Run,
) -> Command {
    let access = if flags & flag::WRITE == 0 {
        access::RO | access::ACCESS
    } else {
        access::RW | access::UPDATE
    };
    let (since, complexity, summary, tips) = ("", "", "", [].as_slice());
    Command {
        name,
        arity,
        flags,
        keys,
        access,
        target: None,
        acl,
        run,
        since,
        complexity,
        summary,
        tips,
        loads: true,
        at_once: false,
        all_slots: false,
    }
}

impl Command {
    /// Whether all of these bits of [`flag`] are set.
    #[must_use]
    pub fn has(&self, flags: u32) -> bool {
        self.flags & flags == flags
    }

    /// All categories of rights, with those that follow from the flags.
    #[must_use]
    pub fn categories(&self) -> u32 {
        let follows = [
            (flag::WRITE, acl::WRITE),
            (flag::READ, acl::READ),
            (flag::ADMIN, acl::ADMIN | acl::DANGEROUS),
            (flag::PUBSUB, acl::PUBSUB),
            (flag::FAST, acl::FAST),
            (flag::BLOCKING, acl::BLOCKING),
        ];
        let slow = if self.has(flag::FAST) { 0 } else { acl::SLOW };
        let of_flags = follows.iter().filter(|(flag, _)| self.has(*flag));
        of_flags.fold(self.acl | slow, |all, (_, category)| all | category)
    }

    /// Whether clients are given this hint.
    #[must_use]
    pub fn has_tip(&self, tip: &str) -> bool {
        self.tips.contains(&tip)
    }

    /// What it does with the key at this place of its keys.
    #[must_use]
    pub fn access_of(&self, index: usize) -> u32 {
        self.target.filter(|_| index > 0).unwrap_or(self.access)
    }

    /// Whether the row is one of a subcommand.
    #[must_use]
    pub fn is_subcommand(&self) -> bool {
        self.name.contains('|')
    }

    /// Says what `COMMAND DOCS` shows.
    const fn doc(
        mut self,
        since: &'static str,
        complexity: &'static str,
        summary: &'static str,
    ) -> Command {
        self.since = since;
        self.complexity = complexity;
        self.summary = summary;
        self
    }

    /// Says what it does with its keys, where that is not what its flags let expect.
    const fn access(mut self, access: u32) -> Command {
        self.access = access;
        self
    }

    /// Says what it does with the second of its two keys.
    const fn target(mut self, access: u32) -> Command {
        self.target = Some(access);
        self
    }

    /// It is about what the cache has, whatever a database has.
    const fn cached(mut self) -> Command {
        self.loads = false;
        self
    }

    /// It is not queued by `MULTI`.
    const fn at_once(mut self) -> Command {
        self.at_once = true;
        self
    }

    /// It asks all slots.
    const fn all_slots(mut self) -> Command {
        self.all_slots = true;
        self
    }

    /// Says the hints that `COMMAND` shows.
    const fn tips(mut self, tips: &'static [&'static str]) -> Command {
        self.tips = tips;
        self
    }
}

/// What is particular about a command. Plain bits, because `|` of a type of our own does not work
/// in a constant.
pub mod flag {
    /// Changes data.
    pub const WRITE: u32 = 1;
    /// Reads data and changes none.
    pub const READ: u32 = 1 << 1;
    /// Is refused while memory is full.
    pub const DENY_OOM: u32 = 1 << 2;
    /// For operators.
    pub const ADMIN: u32 = 1 << 3;
    /// Belongs to publish/subscribe.
    pub const PUBSUB: u32 = 1 << 4;
    /// Not from scripts.
    pub const NO_SCRIPT: u32 = 1 << 5;
    /// May wait for another client.
    pub const BLOCKING: u32 = 1 << 6;
    /// Is served while data is loaded.
    pub const LOADING: u32 = 1 << 7;
    /// Is served by a copy that may be stale.
    pub const STALE: u32 = 1 << 8;
    /// Not shown to monitoring clients.
    pub const SKIP_MONITOR: u32 = 1 << 9;
    /// Not noted when slow.
    pub const SKIP_SLOWLOG: u32 = 1 << 10;
    /// Counts as `ASKING` for itself.
    pub const ASKING: u32 = 1 << 11;
    /// Takes constant or logarithmic time.
    pub const FAST: u32 = 1 << 12;
    /// Is served before authentication.
    pub const NO_AUTH: u32 = 1 << 13;
    /// May be replicated though it does not write itself.
    pub const MAY_REPLICATE: u32 = 1 << 14;
    /// Is valid without any key too.
    pub const NO_MANDATORY_KEYS: u32 = 1 << 15;
    /// Not within `MULTI`.
    pub const NO_MULTI: u32 = 1 << 16;
    /// Where its keys are depends on the other arguments.
    pub const MOVABLE_KEYS: u32 = 1 << 17;
    /// Is served while a script runs too long.
    pub const ALLOW_BUSY: u32 = 1 << 18;

    /// The names that `COMMAND` shows, in Redis's order.
    pub const NAMES: [(u32, &str); 19] = [
        (WRITE, "write"),
        (READ, "readonly"),
        (DENY_OOM, "denyoom"),
        (ADMIN, "admin"),
        (PUBSUB, "pubsub"),
        (NO_SCRIPT, "noscript"),
        (BLOCKING, "blocking"),
        (LOADING, "loading"),
        (STALE, "stale"),
        (SKIP_MONITOR, "skip_monitor"),
        (SKIP_SLOWLOG, "skip_slowlog"),
        (ASKING, "asking"),
        (FAST, "fast"),
        (NO_AUTH, "no_auth"),
        (MAY_REPLICATE, "may_replicate"),
        (NO_MANDATORY_KEYS, "no_mandatory_keys"),
        (NO_MULTI, "no_multi"),
        (MOVABLE_KEYS, "movablekeys"),
        (ALLOW_BUSY, "allow_busy"),
    ];
}

/// What a command does with its keys, as the key specifications of `COMMAND` say it.
pub mod access {
    /// Reads and does not write.
    pub const RO: u32 = 1;
    /// Reads and writes.
    pub const RW: u32 = 1 << 1;
    /// Overwrites whatever is there.
    pub const OW: u32 = 1 << 2;
    /// Removes without looking.
    pub const RM: u32 = 1 << 3;
    /// Returns or uses the user's data.
    pub const ACCESS: u32 = 1 << 4;
    /// Changes the user's data.
    pub const UPDATE: u32 = 1 << 5;
    /// Adds data.
    pub const INSERT: u32 = 1 << 6;
    /// Removes data.
    pub const DELETE: u32 = 1 << 7;
    /// What it does depends on its options.
    pub const VARIABLE_FLAGS: u32 = 1 << 8;

    /// The names that `COMMAND` shows, in Redis's order.
    pub const NAMES: [(u32, &str); 9] = [
        (RO, "RO"),
        (RW, "RW"),
        (OW, "OW"),
        (RM, "RM"),
        (ACCESS, "access"),
        (UPDATE, "update"),
        (INSERT, "insert"),
        (DELETE, "delete"),
        (VARIABLE_FLAGS, "variable_flags"),
    ];
}

/// Categories of rights. `@read`, `@write`, `@admin`, `@dangerous` of an admin command, `@pubsub`,
/// `@blocking`, `@fast` and `@slow` follow from the flags.
pub mod acl {
    /// Keys as such, whatever their type.
    pub const KEYSPACE: u32 = 1;
    /// Reads.
    pub const READ: u32 = 1 << 1;
    /// Writes.
    pub const WRITE: u32 = 1 << 2;
    /// Strings.
    pub const STRING: u32 = 1 << 6;
    /// Hashes.
    pub const HASH: u32 = 1 << 7;
    /// Publish/subscribe.
    pub const PUBSUB: u32 = 1 << 12;
    /// For operators.
    pub const ADMIN: u32 = 1 << 13;
    /// Takes constant or logarithmic time.
    pub const FAST: u32 = 1 << 14;
    /// Not [`FAST`].
    pub const SLOW: u32 = 1 << 15;
    /// May wait for another client.
    pub const BLOCKING: u32 = 1 << 16;
    /// Best kept from most users.
    pub const DANGEROUS: u32 = 1 << 17;
    /// Transactions.
    pub const TRANSACTION: u32 = 1 << 19;
    /// The connection itself.
    pub const CONNECTION: u32 = 1 << 18;

    /// The names that `COMMAND` shows, in Redis's order.
    pub const NAMES: [(u32, &str); 13] = [
        (KEYSPACE, "@keyspace"),
        (READ, "@read"),
        (WRITE, "@write"),
        (HASH, "@hash"),
        (STRING, "@string"),
        (PUBSUB, "@pubsub"),
        (ADMIN, "@admin"),
        (FAST, "@fast"),
        (SLOW, "@slow"),
        (BLOCKING, "@blocking"),
        (DANGEROUS, "@dangerous"),
        (CONNECTION, "@connection"),
        (TRANSACTION, "@transaction"),
    ];
}
