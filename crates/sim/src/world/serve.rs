//! A node serves a client's operation: check, run under the slot's lock, wait for what it met.

use bytes::Bytes;
use cluster::replication::{Need, Out, Outcome, Refusal, Table};
use cluster::{Slot, Version};

use super::World;
use crate::table::{Key, KvTable, Value};
use crate::workload::{Answer, Kind, OpId};

/// What running an operation on a table came to.
struct Ran {
    answer: Answer,
    /// The new value to be written, if it is one.
    write: Option<Option<Value>>,
}

fn run(kind: Kind, old: Option<Value>) -> Ran {
    let (answer, write) = match kind {
        Kind::Get => (Answer::Value(old), None),
        Kind::Set(value) => (Answer::Done, Some(Some(value))),
        Kind::SetIfAbsent(_) if old.is_some() => (Answer::Flag(false), None),
        Kind::SetIfAbsent(value) => (Answer::Flag(true), Some(Some(value))),
        Kind::Delete if old.is_none() => (Answer::Flag(false), None),
        Kind::Delete => (Answer::Flag(true), Some(None)),
        Kind::Increment => {
            let new = old.unwrap_or_default() + 1;
            (Answer::Value(Some(new)), Some(Some(new)))
        }
    };
    Ran { answer, write }
}

/// What an operation does to a value, and what it answers; for who judges histories.
#[must_use]
pub fn effect(kind: Kind, old: Option<Value>) -> (Option<Value>, Answer) {
    let ran = run(kind, old);
    (ran.write.unwrap_or(old), ran.answer)
}

impl World {
    /// A client asks a node to do something. The answer comes through [`World::history`], at once
    /// or later.
    ///
    /// # Errors
    /// If the node refuses: then nothing was applied.
    pub fn execute(
        &mut self,
        number: usize,
        slot: Slot,
        key: Key,
        kind: Kind,
    ) -> Result<OpId, Refusal> {
        let now = self.time_at(number);
        self.check_leaders(slot);
        let write_quorum = self.config.write_quorum;
        let process = self.nodes[number].awake().ok_or(Refusal::NotPrimary)?;
        let mut replica = process.replicas.lock(slot);
        let context = process.replicas.context();
        if kind.is_write() {
            replica.check_write(context, now)?;
            if replica.yields(now) {
                // It waits for whoever leads next.
                return Err(Refusal::NotPrimary);
            }
        } else {
            replica.check_read(context, now)?;
        }
        let table: &KvTable = &replica.table;
        let ran = run(kind, table.get(key));
        let met = table.met(key);
        let mut out = Out::default();
        let op = self.history.call(number, (slot, key), kind, ran.answer);
        let (version, need) = match ran.write {
            Some(value) => {
                let version = replica.next_version();
                let effects = replica.table.write(key, value, version);
                let prev = replica.last();
                self.invariants
                    .wrote(slot, prev, version, replica.table.digest());
                replica.append(context, Bytes::from(effects), &mut out);
                (version, Need::Copies(write_quorum))
            }
            None => (met, Need::Committed),
        };
        self.history.waits(op, version, need);
        let reply = self.history.reply(op);
        let waits = replica.wait(context, version, need, reply, &mut out);
        drop(replica);
        if waits.is_err() {
            self.history.unknown(op);
        }
        self.say(|| {
            format!(
                "n{number} {slot:?} k{key} {kind:?} is op {} at {version:?}",
                op.0
            )
        });
        self.perform(number, out);
        Ok(op)
    }

    /// A reply need not wait any longer.
    pub(super) fn release(&mut self, op: OpId, outcome: Outcome) {
        if !self.history.is_waiting(op) {
            // Its client has given up.
            return;
        }
        self.say(|| format!("op {} {outcome:?}", op.0));
        match outcome {
            Outcome::Done => {
                let (slot, version, need) = self.history.awaited(op);
                self.history.returned(op);
                if matches!(need, Need::Copies(_)) && version > Version::ZERO {
                    self.invariants.acknowledged(slot, version);
                }
            }
            Outcome::Uncertain | Outcome::TryAgain => self.history.unknown(op),
        }
    }

    /// A client has waited long enough: its node answers `UNCERTAIN` or `TRYAGAIN`.
    pub fn time_out(&mut self, op: OpId) {
        if self.history.is_waiting(op) {
            self.history.unknown(op);
        }
    }

    /// At most one member may serve reads of the slot at this moment.
    pub fn check_leaders(&mut self, slot: Slot) {
        let mut leaders = Vec::new();
        for node in &self.nodes {
            let Some(process) = &node.process else {
                continue;
            };
            let now = node.time(self.now);
            let replica = process.replicas.lock(slot);
            if replica.check_read(process.replicas.context(), now).is_ok() {
                leaders.push(process.member);
            }
        }
        if leaders.len() > 1 {
            self.fail(format!("{slot:?} is led by {leaders:?} at one moment"));
        }
    }
}
