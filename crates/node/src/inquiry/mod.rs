//! Questions about many slots at once: how many keys, which ones, how many copies, or that they be
//! emptied.
//!
//! The asking node groups the slots by their primaries and asks each primary once, itself without a
//! call. The answer says of each slot how far it is done with it, so that nothing that was left out
//! can be taken for a part of the whole: the rest is asked again, of whoever leads it then.

mod asking;
mod form;
mod share;

use bytes::Bytes;
use cluster::Slot;
use cluster::replication::Refusal;

pub(crate) use asking::Asker;
pub(crate) use share::{answer, share};

use crate::command::glob;
use crate::store::{Entry, Kind};

/// What is asked of the slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// How many keys each has.
    Count,
    /// How many bytes each takes.
    Bytes,
    /// How many keys each has, and any key of any of them.
    Sample,
    /// That they be emptied.
    Empty,
    /// That the databases get what they lack of them: of one keyspace, or of all.
    Flush(Option<Bytes>),
    /// How many copies hold the record at a slot's position; without one, its newest. The end says
    /// which record was meant.
    Copies,
    /// Their keys in the order of their hashes.
    Walk(Walk),
}

impl Question {
    /// Whether it changes anything.
    pub(crate) fn writes(&self) -> bool {
        *self == Question::Empty
    }
}

/// Which keys a walk shows, and when it stops.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Walk {
    /// Keys that look like this.
    pub(crate) pattern: Option<Bytes>,
    /// Keys that hold this.
    pub(crate) kind: Option<Bytes>,
    /// After about so many entries, shown or not, it stops.
    pub(crate) count: u32,
}

impl Walk {
    /// Whether a client is to see this entry.
    pub(crate) fn shows(&self, entry: &Entry, now_unix_ms: u64) -> bool {
        let kind = self.kind.as_deref();
        let pattern = self.pattern.as_deref();
        is_there(entry, now_unix_ms)
            && kind.is_none_or(|kind| kind.eq_ignore_ascii_case(entry.kind().name().as_bytes()))
            && pattern.is_none_or(|pattern| pattern == b"*" || glob::matches(pattern, entry.key()))
    }
}

fn is_there(entry: &Entry, now_unix_ms: u64) -> bool {
    entry.kind() != Kind::Absent && !entry.is_expired(now_unix_ms)
}

/// A slot, and the position in it from which on it is asked.
pub(crate) type Wanted = (Slot, u64);

/// What is answered of one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) slot: Slot,
    pub(crate) end: End,
    /// The keys it has, or its bytes, or the entries that a walk has looked at, or the keys that
    /// were flushed, or the copies that hold a record.
    pub(crate) count: u64,
    /// Keys; of a flush: why a database refuses one, if it does.
    pub(crate) keys: Vec<Bytes>,
}

/// How far a slot is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// To its end.
    Done,
    /// Up to this position.
    At(u64),
    /// Not at all.
    Refused(Refusal),
    /// Nobody knows: the copies have not confirmed it in time.
    Unconfirmed,
}

impl Part {
    pub(crate) fn new(slot: Slot, end: End) -> Part {
        Part {
            slot,
            end,
            count: 0,
            keys: Vec::new(),
        }
    }

    /// Whether it says something of the slot.
    pub(crate) fn is_good(&self) -> bool {
        matches!(self.end, End::Done | End::At(_))
    }
}
