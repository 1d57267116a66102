//! Whether a command needs the cache modes, or its slot can answer it at once.

use cluster::Slot;
use routing::{host, serves};

use crate::command::Args;
use crate::command::table::{Command, flag};
use crate::modes::Modes;
use crate::store::{Entry, Kind, Mark, SlotTable};

/// Whether the command must be handed to the cache modes: it writes a key that has a database or
/// for which others stand in line, or it reads a key of which the cache does not know enough.
/// Called under the slot's lock: what it says holds as long as the lock is held.
pub(crate) fn needs_modes(
    modes: &Modes,
    table: &SlotTable,
    slot: Slot,
    command: &Command,
    args: &Args<'_>,
    now_unix_ms: u64,
) -> bool {
    if !modes.has_databases() {
        return false;
    }
    let keyspaces = modes.keyspaces.load();
    let (buffer, spans) = args.words();
    let mut keys = command.keys.of(buffer, spans);
    if command.has(flag::WRITE) {
        return modes.held.any(slot) || keys.any(|key| keyspaces.with_database(key).is_some());
    }
    command.loads
        && keys.any(|key| {
            keyspaces.with_database(key).is_some_and(|keyspace| {
                let entry = table.find(key).map(as_seen);
                !serves(entry.as_ref(), keyspace, now_unix_ms)
            })
        })
}

/// How many keys of a read the cache could have shown, and how many not: of several keys, one that
/// is missing hands them all to the cache modes.
pub(crate) fn looks(
    modes: &Modes,
    table: &SlotTable,
    command: &Command,
    args: &Args<'_>,
    now_unix_ms: u64,
) -> (u32, u32) {
    let keyspaces = modes.keyspaces.load();
    let (buffer, spans) = args.words();
    let (mut found, mut missed) = (0, 0);
    for key in command.keys.of(buffer, spans) {
        let entry = table.find(key).map(as_seen);
        let serves = keyspaces
            .with_database(key)
            .is_none_or(|keyspace| serves(entry.as_ref(), keyspace, now_unix_ms));
        let lives = entry.is_some_and(|entry| {
            entry.has_value && entry.expires_at.is_none_or(|at| at > now_unix_ms)
        });
        if serves && lives {
            found += 1;
        } else {
            missed += 1;
        }
    }
    (found, missed)
}

/// An entry of the store, as the cache modes see it.
pub(super) fn as_seen(entry: &Entry) -> host::Entry {
    host::Entry {
        has_value: entry.kind() != Kind::Absent,
        expires_at: entry.expires_at(),
        mark: mark_seen(entry.mark()),
        version: entry.version(),
        bytes: (entry.key().len() + entry.encoded_bytes()) as u64,
    }
}

fn mark_seen(mark: Mark) -> host::Mark {
    match mark {
        Mark::None => host::Mark::None,
        Mark::Clean {
            definition,
            fresh_until,
        } => host::Mark::Clean {
            definition,
            fresh_until,
        },
        Mark::Dirty { definition } => host::Mark::Dirty { definition },
        Mark::InDoubt { definition, stamp } => host::Mark::Doubt { definition, stamp },
    }
}

/// The way back.
pub(super) fn mark_kept(mark: host::Mark) -> Mark {
    match mark {
        host::Mark::None => Mark::None,
        host::Mark::Clean {
            definition,
            fresh_until,
        } => Mark::Clean {
            definition,
            fresh_until,
        },
        host::Mark::Dirty { definition } => Mark::Dirty { definition },
        host::Mark::Doubt { definition, stamp } => Mark::InDoubt { definition, stamp },
    }
}
