//! The flush: what is dirty goes to the database, oldest first, each key's latest value.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cluster::{Epoch, Slot, Time, Version};
use futures_util::future::select;

use crate::cache::Cache;
use crate::database::{Outcome, Stamp, Together, Write};
use crate::dirty::{Owed, Owing};
use crate::error::Refusal;
use crate::host::{Change, Effect, Host, Locked, Mark};
use crate::keyspace::{Definition, DefinitionId, Keyspace, WriteBackSettings};
use crate::rule::Rule;

const BACK_OFF_MIN: Duration = Duration::from_millis(50);
/// What a batch comes to at most, unless one row alone is more: so much is copied out of the slots
/// at once, and a disk takes it well within any `flush_timeout` that makes sense.
const BATCH_BYTES_MAX: u64 = 4 << 20;
/// A batch is halved so often at most while the database does not take it in time.
const HALVINGS_MAX: u32 = 14;
const UNCOMMITTED_WAIT: Duration = Duration::from_millis(5);

/// One row of a batch: where it came from, so that its mark can be cleared.
struct Source {
    slot: Slot,
    epoch: Epoch,
    version: Version,
}

/// How a flush of one slot went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flushed {
    /// The slot.
    pub slot: Slot,
    /// Whether nothing is left of what was dirty; otherwise who or when to ask.
    pub end: Result<(), Refusal>,
    /// How many keys the database got.
    pub keys: u64,
    /// Why the database refuses a row for itself, if it refuses one.
    pub rejected: Option<String>,
}

impl Flushed {
    fn new(slot: Slot, end: Result<(), Refusal>) -> Flushed {
        let (keys, rejected) = (0, None);
        Flushed {
            slot,
            end,
            keys,
            rejected,
        }
    }
}

impl<H: Host> Cache<H> {
    /// Takes note of a dirty entry that is to be flushed when `due`.
    pub(crate) fn note_dirty(
        self: &Rc<Self>,
        slot: Slot,
        key: &Bytes,
        definition: DefinitionId,
        version: Version,
        bytes: u64,
        due: Time,
    ) {
        let start = self
            .dirty
            .borrow_mut()
            .note(slot, key, definition, version, bytes, due);
        self.metrics.dirty_bytes(self.dirty_bytes());
        if start {
            let this = Rc::clone(self);
            self.host.spawn(Box::pin(
                async move { this.keep_flushing(definition).await },
            ));
        }
    }

    pub(crate) fn flush_interval(&self, definition: DefinitionId) -> Duration {
        let keyspaces = self.host.keyspaces();
        let rule = keyspaces.definition(definition);
        let settings =
            rule.map(|rule| settings_of(keyspaces.with_database(rule.prefix.as_bytes()), rule));
        settings.unwrap_or_default().flush_interval.0
    }

    /// Returns when all that was dirty at the call in these slots, of one keyspace or of all, is in
    /// the database or refused by it for itself, or when the time is over. Says of each slot how
    /// it went; who wants the rest asks again, the slot's primary of then.
    pub async fn flush(
        self: &Rc<Self>,
        name: Option<&str>,
        slots: &[Slot],
        patience: Duration,
    ) -> Vec<Flushed> {
        let until = self.host.now() + patience;
        let mut flushed = Vec::with_capacity(slots.len());
        let mut owed = Vec::new();
        for &slot in slots {
            let (end, owes) = match self.owed_in(slot, name) {
                Ok(owes) => (Ok(()), owes),
                Err(refusal) => (Err(refusal), Vec::new()),
            };
            flushed.push(Flushed::new(slot, end));
            owed.extend(owes.into_iter().map(|one| (flushed.len() - 1, one)));
        }
        self.pay(&mut flushed, owed, until).await;
        flushed
    }

    /// What is dirty in a slot that this member leads. The slot itself is asked, so that nothing
    /// is missing that an earlier primary left and the queue has not heard of yet.
    fn owed_in(self: &Rc<Self>, slot: Slot, name: Option<&str>) -> Result<Vec<Owed>, Refusal> {
        let keyspaces = self.host.keyspaces();
        let of_name = name.and_then(|name| keyspaces.named(name)?.database().map(|it| it.id));
        let marked = self.host.lock(slot, |locked| {
            locked.lead()?;
            Ok::<_, Refusal>(locked.marked())
        })?;
        let now = self.host.now();
        let mut owed = Vec::new();
        for (key, entry) in marked {
            let Mark::Dirty { definition } = entry.mark else {
                continue;
            };
            if name.is_some() && of_name != Some(definition) {
                continue;
            }
            self.note_dirty(slot, &key, definition, entry.version, entry.bytes, now);
            owed.extend(self.dirty.borrow().owed(&key));
        }
        Ok(owed)
    }

    /// Waits for what is owed; each is noted where its index says.
    async fn pay(&self, flushed: &mut [Flushed], mut owed: Vec<(usize, Owed)>, until: Time) {
        let mut out_of_time = false;
        loop {
            let changed = self.dirty.borrow().changed();
            // From the end, as far as it is paid: each is looked at about once.
            while let Some((at, one)) = owed.last() {
                let flushed = &mut flushed[*at];
                match self.dirty.borrow().owing(one) {
                    Owing::Still => break,
                    Owing::Paid => flushed.keys += 1,
                    Owing::Rejected(reason) => {
                        let keyspaces = self.host.keyspaces();
                        let definition = keyspaces.definition(one.definition());
                        flushed.rejected = definition.map(|definition| {
                            let Definition { store, table, .. } = &**definition;
                            let key = one.key().escape_ascii();
                            format!("{store}: row \"{key}\" of {table} is refused: {reason}")
                        });
                    }
                    Owing::SlotLost => flushed.end = Err(Refusal::NotPrimary),
                }
                owed.pop();
            }
            let definitions: BTreeSet<_> = owed.iter().map(|(_, one)| one.definition()).collect();
            for definition in definitions {
                self.dirty.borrow_mut().hurry(definition).fire();
            }
            if owed.is_empty() || out_of_time {
                break;
            }
            out_of_time = self.within(until, changed.wait()).await.is_none();
        }
        for (at, one) in owed {
            match self.dirty.borrow().owing(&one) {
                Owing::Paid => flushed[at].keys += 1,
                _ => flushed[at].end = Err(Refusal::TryAgain),
            }
        }
    }

    /// Runs while something of the definition is dirty.
    async fn keep_flushing(self: &Rc<Self>, definition: DefinitionId) {
        let (mut failures, mut halvings) = (0, 0_u32);
        loop {
            let Some(due) = self.dirty.borrow_mut().next_due(definition) else {
                break;
            };
            let hurry = self.dirty.borrow_mut().hurry(definition);
            let now = self.host.now();
            if due > now && !hurry.happened() {
                let sooner = self.dirty.borrow_mut().sooner(definition);
                let woken = select(Box::pin(hurry.wait()), Box::pin(sooner.wait()));
                select(woken, self.host.sleep(due.since(now))).await;
                continue;
            }
            let keyspaces = self.host.keyspaces();
            let Some(rule) = keyspaces.definition(definition).cloned() else {
                tracing::error!(definition, "dirty keys carry a definition that is gone");
                break;
            };
            let settings = settings_of(keyspaces.with_database(rule.prefix.as_bytes()), &rule);
            let keys_max = (settings.batch >> halvings).max(1);
            let bytes_max = BATCH_BYTES_MAX >> halvings;
            let batch = self
                .dirty
                .borrow_mut()
                .take_due(definition, now, keys_max, bytes_max);
            self.dirty.borrow_mut().calm_if_drained(definition);
            let flushed = self
                .flush_keys(&rule, batch.clone(), settings.flush_timeout.0)
                .await;
            let wait = match flushed {
                Ok(sent) => {
                    failures = 0;
                    halvings = halvings.saturating_sub(1);
                    if sent == 0 {
                        // What is not committed yet: in a hurry, too, it is not asked without end.
                        self.host.sleep(UNCOMMITTED_WAIT).await;
                    }
                    settings.flush_interval.0
                }
                Err(error) => {
                    failures += 1;
                    halvings = (halvings + 1).min(HALVINGS_MAX);
                    tracing::warn!(store = rule.store, failures, error, "flush failed");
                    let wait = self.back_off(failures, BACK_OFF_MIN);
                    self.host.sleep(wait).await;
                    Duration::ZERO
                }
            };
            self.dirty
                .borrow_mut()
                .put_back(&batch, self.host.now() + wait);
            self.metrics.dirty_bytes(self.dirty_bytes());
        }
    }

    /// Flushes these keys of one definition, as far as they are dirty and committed, in one
    /// transaction. Says how many were sent.
    pub(crate) async fn flush_keys(
        self: &Rc<Self>,
        definition: &Arc<Definition>,
        mut keys: Vec<Bytes>,
        timeout: Duration,
    ) -> Result<usize, String> {
        keys.sort();
        let database = self.host.database(&definition.store)?;
        let started = self.host.now();
        // The deadline counts from before the leases are checked.
        let until_unix_ms = self.host.unix_ms() + timeout.as_millis() as u64;
        let (sources, writes) = self.gather(definition, &keys, database.generation());
        if writes.is_empty() {
            return Ok(0);
        }
        let call = database.store(&writes, Together::Each, until_unix_ms);
        let answer = self.ask(started + timeout, call).await;
        self.metrics.flushed(
            &definition.store,
            writes.len(),
            self.host.now().since(started),
        );
        let outcomes = answer.map_err(|failure| {
            self.metrics.store_error(&definition.store);
            failure.to_string()
        })?;
        self.take_outcomes(definition, &sources, &writes, outcomes);
        Ok(writes.len())
    }

    fn gather(
        &self,
        definition: &Arc<Definition>,
        keys: &[Bytes],
        generation: u32,
    ) -> (Vec<Source>, Vec<Write>) {
        let mut sources = Vec::new();
        let mut writes = Vec::new();
        for key in keys {
            let slot = Slot::of(key);
            self.host.lock(slot, |locked| {
                let Ok(epoch) = locked.lead() else { return };
                let entry = locked.entry(key);
                let mark = Mark::Dirty {
                    definition: definition.id,
                };
                let dirty = entry.filter(|entry| entry.mark == mark);
                let Some(entry) = dirty else {
                    self.dirty.borrow_mut().clear(key);
                    return;
                };
                if entry.version > locked.committed() && self.rules.keeps(Rule::FlushCommitted) {
                    return;
                }
                let version = entry.version;
                sources.push(Source {
                    slot,
                    epoch,
                    version,
                });
                writes.push(Write {
                    definition: Arc::clone(definition),
                    key: key.clone(),
                    stamp: Stamp {
                        generation,
                        version,
                    },
                    value: locked.value(key),
                });
            });
        }
        (sources, writes)
    }

    /// Clears the marks of what the database has, of each key only if it is still the flushed
    /// version. The records are not awaited: what they say, the database knows.
    fn take_outcomes(
        self: &Rc<Self>,
        definition: &Definition,
        sources: &[Source],
        writes: &[Write],
        outcomes: Vec<Outcome>,
    ) {
        let mut by_slot: BTreeMap<Slot, Vec<(Epoch, Version, Bytes)>> = BTreeMap::new();
        for ((source, write), outcome) in sources.iter().zip(writes).zip(outcomes) {
            match outcome {
                Outcome::Landed | Outcome::AlreadyExactly => {
                    self.dirty.borrow_mut().landed(&write.key, source.version);
                    let cleared = (source.epoch, source.version, write.key.clone());
                    by_slot.entry(source.slot).or_default().push(cleared);
                }
                Outcome::Rejected(reason) => self.reject(definition, &write.key, reason),
                Outcome::Refused(stamp) => {
                    let still = self.host.lock(source.slot, |locked| locked.lead());
                    if still == Ok(source.epoch) {
                        // Raised from outside: this row alone is not ours to write any more.
                        let reason = self.foreign(definition, &write.key, stamp);
                        self.dirty.borrow_mut().rejected(&write.key, reason);
                    }
                }
            }
        }
        for (slot, landed) in by_slot {
            self.clear_marks(slot, definition, landed);
        }
    }

    /// The database refuses the row for itself.
    fn reject(&self, definition: &Definition, key: &Bytes, reason: String) {
        if let Some(silent) = self.notices.due("rejected", definition.id, self.host.now()) {
            let Definition { store, table, .. } = definition;
            let key = key.escape_ascii();
            tracing::warn!(store, table, %key, reason, silent, "a row is refused");
        }
        self.dirty.borrow_mut().rejected(key, reason);
    }

    fn clear_marks(
        self: &Rc<Self>,
        slot: Slot,
        definition: &Definition,
        landed: Vec<(Epoch, Version, Bytes)>,
    ) {
        let keyspaces = self.host.keyspaces();
        let Some(keyspace) = keyspaces.with_database(definition.prefix.as_bytes()) else {
            return;
        };
        let cleared: Vec<Bytes> = self.host.lock(slot, |locked| {
            let Ok(lead) = locked.lead() else {
                return Vec::new();
            };
            let mut effects = Vec::new();
            for (epoch, version, key) in landed {
                let Some(entry) = locked.entry(&key) else {
                    continue;
                };
                let same = entry.version == version || !self.rules.keeps(Rule::CleanIfSame);
                if lead == epoch && same && matches!(entry.mark, Mark::Dirty { .. }) {
                    let mark = self.clean(keyspace, definition.id, entry.has_value);
                    effects.push(Effect {
                        key,
                        change: Change::Mark(mark),
                    });
                }
            }
            let keys: Vec<_> = effects.iter().map(|effect| effect.key.clone()).collect();
            let recorded = !keys.is_empty() && self.append(locked, slot, effects).is_ok();
            if recorded { keys } else { Vec::new() }
        });
        for key in &cleared {
            self.dirty.borrow_mut().clear(key);
        }
    }
}

/// The flush settings of a definition; those that are not in force any more get the usual ones.
fn settings_of(keyspace: Option<&Arc<Keyspace>>, definition: &Definition) -> WriteBackSettings {
    let found = keyspace.filter(|found| {
        found
            .database()
            .is_some_and(|current| current.id == definition.id)
    });
    found
        .map(|found| found.write_back.clone())
        .unwrap_or_default()
}
