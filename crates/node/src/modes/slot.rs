//! One slot under its lock, as the cache modes see it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

use bytes::{Bytes, BytesMut};
use cluster::replication::{Out, Refusal as Refused};
use cluster::{Epoch, Member, Version, clock};
use routing::Refusal;
use routing::database::Value;
use routing::host::{Change, Effect, Entry, Given, Locked, Mark, Ran};

use super::errand::{Reply, Task};
use super::gate::{as_seen, mark_kept};
use super::host::NodeHost;
use crate::command::args::TOO_MUCH;
use crate::error::CommandError;
use crate::gather::Token;
use crate::node::Node;
use crate::store::tx::Role;
use crate::store::value::dump::{dump, load};
use crate::store::{self, Kind, SlotTable, Tx};

/// A slot of this node, locked for one step.
pub(super) struct LockedSlot<'a> {
    pub(super) node: &'a Node,
    pub(super) replica: cluster::replication::Locked<'a, SlotTable, Token>,
    pub(super) out: Out<Token>,
}

impl LockedSlot<'_> {
    fn may_write(&self) -> Result<(), Refusal> {
        let context = self.node.slots.context();
        let writable = self.replica.check_write(context, clock::now());
        writable.map_err(refusal)
    }

    /// Where memory is full, nothing new is kept for the sake of reading it again. What ends a
    /// doubt or a write is not new.
    fn has_room(&self, effects: &[Effect]) -> bool {
        let is_new = |effect: &Effect| {
            let loaded = matches!(effect.change, Change::Put(_, Mark::Clean { .. }));
            let entry = self.replica.table.find(&effect.key);
            let held = entry.is_some_and(|entry| entry.mark().is_held());
            loaded && !held
        };
        !self.node.is_out_of_memory() || !effects.iter().any(is_new)
    }
}

impl Locked<NodeHost> for LockedSlot<'_> {
    fn lead(&mut self) -> Result<Epoch, Refusal> {
        let context = self.node.slots.context();
        self.replica
            .check_read(context, clock::now())
            .map_err(refusal)?;
        self.replica.active_epoch().ok_or(Refusal::NotPrimary)
    }

    fn outlasts(&self, departing: &BTreeSet<Member>) -> bool {
        self.replica.placement().outlasts(departing)
    }

    fn committed(&self) -> Version {
        self.replica.committed()
    }

    fn entry(&mut self, key: &[u8]) -> Option<Entry> {
        self.replica.table.find(key).map(as_seen)
    }

    fn value(&mut self, key: &[u8]) -> Option<Value> {
        value_of(self.replica.table.find(key)?)
    }

    fn marked(&mut self) -> Vec<(Bytes, Entry)> {
        let table = &self.replica.table;
        let tally = table.tally();
        let held = tally.dirty + tally.in_doubt;
        let mut found = Vec::with_capacity(held);
        let mut position = (held > 0).then_some(0);
        while let Some(from) = position {
            position = table.scan(from, |entry| {
                if entry.mark().is_held() {
                    found.push((Bytes::copy_from_slice(entry.key()), as_seen(entry)));
                }
                if found.len() == held {
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            });
            if found.len() == held {
                break;
            }
        }
        found
    }

    fn run(&mut self, task: &Task, given: &Given, now_unix_ms: u64) -> Ran<Reply> {
        let mut laid = Vec::with_capacity(given.len());
        for (key, value) in given {
            let Some(value) = value else {
                laid.push((&key[..], None));
                continue;
            };
            match kept(value) {
                Ok((kind, bytes)) => laid.push((&key[..], Some((kind, bytes, value.expires_at)))),
                Err(error) => return not_run(error),
            }
        }
        let mut tx = Tx::new(
            &mut self.replica.table,
            Role::Primary,
            now_unix_ms,
            Version::ZERO,
        )
        .on_overlay();
        for (key, value) in laid {
            let value = value.as_ref();
            tx.lay(key, value.map(|(kind, bytes, at)| (*kind, &bytes[..], *at)));
        }
        let mut out = BytesMut::new();
        let mut args = task.request.args(task.command.name);
        let result = (task.handler)(&mut tx, &mut args);
        let reply = result.map(|reply| reply.encode(task.version, &mut out));
        let outcome = tx.finish();
        let values = outcome.written.values().flatten();
        let bytes: usize = values.map(|entry| entry.encoded_bytes()).sum();
        if outcome.written.len() > 1 && bytes > self.replica.table.record_bytes_max() {
            return not_run(CommandError::from(TOO_MUCH));
        }
        let written = outcome.written.into_iter().map(|(key, entry)| {
            let value = entry.as_ref().and_then(value_of);
            (Bytes::from(key), value)
        });
        Ran {
            reply: reply.map(|()| out.freeze()),
            written: written.collect(),
            met: outcome.met,
        }
    }

    fn next_version(&mut self) -> Result<Version, Refusal> {
        self.may_write()?;
        Ok(self.replica.next_version())
    }

    fn fresh_stamp(&mut self) -> Result<Version, Refusal> {
        self.may_write()?;
        Ok(self.replica.take_stamp())
    }

    fn append(&mut self, effects: Vec<Effect>) -> Result<Version, Refusal> {
        self.may_write()?;
        if !self.has_room(&effects) {
            return Err(Refusal::OutOfMemory);
        }
        let mut values = Vec::new();
        for effect in &effects {
            if let Change::Put(Some(value), _) = &effect.change {
                values.push(kept(value).map_err(|_| Refusal::TryAgain)?);
            }
        }
        let mut values = values.into_iter();
        let version = self.replica.next_version();
        let now = clock::unix_ms();
        let mut tx = Tx::new(&mut self.replica.table, Role::Primary, now, version);
        for Effect { key, change } in &effects {
            match change {
                Change::Put(Some(value), mark) => {
                    let (kind, bytes) = values.next().expect("one for each, see above");
                    tx.put(key, kind, &bytes, value.expires_at, mark_kept(*mark));
                }
                // Nothing is kept of a plain key that is not there.
                Change::Put(None, Mark::None) | Change::Remove => tx.forget(key),
                Change::Put(None, mark) => {
                    tx.put(key, Kind::Absent, b"", None, mark_kept(*mark));
                }
                Change::Mark(mark) => tx.set_mark(key, mark_kept(*mark)),
            }
        }
        let effects = tx.finish().effects;
        if effects.is_empty() {
            return Ok(self.replica.last());
        }
        let effects = Bytes::from(effects.into_bytes());
        let context = self.node.slots.context();
        Ok(self.replica.append(context, effects, &mut self.out))
    }
}

/// The value of an entry as a database takes it: a string as it is, others as by `DUMP`.
fn value_of(entry: &store::Entry) -> Option<Value> {
    let kind = entry.kind();
    let bytes = match kind {
        Kind::Absent => return None,
        Kind::String => Bytes::copy_from_slice(entry.value()),
        Kind::Hash => dump(entry).into(),
    };
    Some(Value {
        kind: kind.name().into(),
        bytes,
        expires_at: entry.expires_at(),
    })
}

/// The value of a row as an entry keeps it. A newer version of the node may have written it, or
/// anybody at all.
fn kept(value: &Value) -> Result<(Kind, Cow<'_, [u8]>), CommandError> {
    if value.kind == Kind::String.name() {
        return Ok((Kind::String, Cow::Borrowed(&value.bytes)));
    }
    if value.kind != Kind::Hash.name() {
        let kind = &value.kind;
        let error = format!("WRONGTYPE The database has a {kind}, which this node does not know");
        return Err(error.into());
    }
    match load(&value.bytes) {
        Ok((Kind::Hash, bytes)) => Ok((Kind::Hash, bytes.into())),
        Ok(_) => {
            Err("ERR The database has a hash that is none: the value is of another type".into())
        }
        Err(error) => {
            Err(format!("ERR The database has a hash that cannot be read: {error}").into())
        }
    }
}

/// What could not run: a row can be neither kept nor shown, or there is too much of it.
fn not_run(error: CommandError) -> Ran<Reply> {
    Ran {
        reply: Err(error),
        written: Vec::new(),
        met: Version::ZERO,
    }
}

fn refusal(refused: Refused) -> Refusal {
    match refused {
        Refused::NotPrimary => Refusal::NotPrimary,
        Refused::NoLease => Refusal::ClusterDown,
        Refused::TooFewCopies => Refusal::NoReplicas,
        Refused::Busy => Refusal::TryAgain,
    }
}
