//! One slot under its lock, as the cache modes see it.

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
use crate::error::CommandError;
use crate::gather::Token;
use crate::node::Node;
use crate::store::tx::Role;
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
            match value.as_ref().map(|value| (kind_of(value), value)) {
                None => laid.push((&key[..], None)),
                Some((Some(kind), value)) => laid.push((&key[..], Some((kind, value)))),
                Some((None, value)) => return unknown_kind(&value.kind),
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
            let value = value.map(|(kind, value)| (kind, &value.bytes[..], value.expires_at));
            tx.lay(key, value);
        }
        let mut out = BytesMut::new();
        let mut args = task.request.args(task.command.name);
        let result = (task.handler)(&mut tx, &mut args);
        let reply = result.map(|reply| reply.encode(task.version, &mut out));
        let outcome = tx.finish();
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
        let is_unknown = |effect: &Effect| match &effect.change {
            Change::Put(Some(value), _) => kind_of(value).is_none(),
            _ => false,
        };
        if effects.iter().any(is_unknown) {
            return Err(Refusal::TryAgain);
        }
        let version = self.replica.next_version();
        let now = clock::unix_ms();
        let mut tx = Tx::new(&mut self.replica.table, Role::Primary, now, version);
        for Effect { key, change } in &effects {
            match change {
                Change::Put(Some(value), mark) => {
                    let kind = kind_of(value).expect("checked above");
                    tx.put(key, kind, &value.bytes, value.expires_at, mark_kept(*mark));
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

/// The value of an entry as a database takes it.
fn value_of(entry: &store::Entry) -> Option<Value> {
    (entry.kind() != Kind::Absent).then(|| Value {
        kind: entry.kind().name().into(),
        bytes: Bytes::copy_from_slice(entry.value()),
        expires_at: entry.expires_at(),
    })
}

/// The data type of a value, if this version of the node knows it.
fn kind_of(value: &Value) -> Option<Kind> {
    (value.kind == Kind::String.name()).then_some(Kind::String)
}

/// A row that a newer version of the node has written: it can be neither kept nor read.
fn unknown_kind(kind: &str) -> Ran<Reply> {
    let error = format!("WRONGTYPE The database has a {kind}, which this node does not know");
    Ran {
        reply: Err(CommandError::from(error)),
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
