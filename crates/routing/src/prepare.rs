//! What happens before a command can run: in the key's line, flush what is dirty elsewhere, settle
//! what is in doubt, load what is missing.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cluster::{Epoch, Slot, Version};

use crate::cache::Cache;
use crate::database::{Failure, Settled, Stamp, Value};
use crate::error::{Error, Refusal};
use crate::host::{Change, Effect, Given, Host, Locked, Mark, Ran, Wait};
use crate::keyspace::Definition;
use crate::mode::standing::{Standing, standing};
use crate::mode::write_through::check_size;
use crate::mode::{Plan, Planned, Ruled};
use crate::rule::Rule;

/// What the database is asked about one key, and what the cache had when it was asked.
struct Question {
    key: Bytes,
    rule: Ruled,
    definition: Arc<Definition>,
    /// The fresh number under which a doubt is settled; none for a plain load.
    barrier: Option<Version>,
    /// The version of the entry that was there.
    seen: Option<Version>,
}

/// What came of asking the database about keys.
pub(crate) struct Prepared {
    /// In which the answers were taken.
    pub(crate) epoch: Epoch,
    /// What came back and could not be left in the cache.
    pub(crate) given: Given,
    /// The keys of which no more is known than before, each with its own reason.
    pub(crate) failed: Failed,
}

type Failed = BTreeMap<Bytes, Error>;

/// What is to be done for the keys, as one locked step found it.
struct Sighted {
    epoch: Epoch,
    questions: Vec<Question>,
    dirty: Vec<(Bytes, Arc<Definition>, Version)>,
}

/// How often a key is flushed and looked at again before the command gives up.
const ROUNDS_MAX: usize = 3;

impl<H: Host> Cache<H> {
    /// Runs a writing command as soon as all that it needs is there, and gives what it did to
    /// `record`, in the same locked step. The caller holds the turns of all its keys.
    pub(crate) async fn when_ready<T>(
        self: &Rc<Self>,
        plan: &Plan<H::Command>,
        dirty_first: impl Fn(&Planned) -> bool,
        mut record: impl FnMut(&mut H::Locked<'_>, Epoch, Ran<H::Reply>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let until = self.host.now() + plan.timeout * 2;
        let mut given = Given::new();
        let mut given_in: Option<Epoch> = None;
        loop {
            let step = self.host.lock(plan.slot, |locked| {
                let epoch = locked.lead()?;
                if given_in.is_some_and(|earlier| earlier != epoch) {
                    return Err(Error::Refused(Refusal::NotPrimary));
                }
                let now = self.host.unix_ms();
                let needs = self.needs(locked, plan, &given, now, &dirty_first);
                if !needs.is_empty() {
                    return Ok(Err(needs));
                }
                let mut ran = locked.run(&plan.command, &given, now);
                ran.written
                    .retain(|(key, value)| given.get(key) != Some(value));
                record(locked, epoch, ran).map(Ok)
            })?;
            let needs = match step {
                Ok(recorded) => return Ok(recorded),
                Err(needs) => needs,
            };
            if self.host.now() >= until {
                return Err(Error::NoTurn);
            }
            let keys: Vec<_> = needs
                .into_iter()
                .filter_map(|key| plan.rule(&key).cloned().map(|rule| (key, rule)))
                .collect();
            let flush = |key: &Bytes| plan.planned(key).is_some_and(&dirty_first);
            let prepared = self
                .prepare(plan.slot, &keys, plan.timeout, flush, |_| false)
                .await?;
            if let Some(error) = prepared.failed.into_values().next() {
                return Err(error);
            }
            given_in = Some(prepared.epoch);
            given.extend(prepared.given);
        }
    }

    /// Asks the database about the keys, whose turns the caller holds. What comes back is in the
    /// cache afterwards; what could not be left there is in the answer. Of what fails for one key,
    /// the others know nothing.
    ///
    /// # Errors
    /// What concerns the slot, and so all keys.
    pub(crate) async fn prepare(
        self: &Rc<Self>,
        slot: Slot,
        keys: &[(Bytes, Ruled)],
        timeout: Duration,
        flush: impl Fn(&Bytes) -> bool,
        is_void: impl Fn(&Bytes) -> bool,
    ) -> Result<Prepared, Error> {
        let mut failed = Failed::new();
        for _ in 0..ROUNDS_MAX {
            let sighted = self.sight(slot, keys, &flush, &mut failed)?;
            let epoch = sighted.epoch;
            if !sighted.dirty.is_empty() {
                self.flush_first(slot, epoch, sighted.dirty, timeout, &mut failed)
                    .await?;
                continue;
            }
            let mut given = Given::new();
            if !sighted.questions.is_empty() {
                let answers = self.question(&sighted.questions, timeout).await;
                let rule_kept = self.rules.keeps(Rule::VoidLoads);
                let is_void = |key: &Bytes| rule_kept && is_void(key);
                given = self.host.lock(slot, |locked| {
                    self.take_answers(locked, slot, &sighted, answers, &is_void, &mut failed)
                })?;
            }
            return Ok(Prepared {
                epoch,
                given,
                failed,
            });
        }
        Err(Error::NoTurn)
    }

    fn sight(
        &self,
        slot: Slot,
        keys: &[(Bytes, Ruled)],
        flush: &impl Fn(&Bytes) -> bool,
        failed: &mut Failed,
    ) -> Result<Sighted, Error> {
        let keyspaces = self.host.keyspaces();
        let now = self.host.unix_ms();
        let gone = |id| {
            let reason = format!("an entry carries definition {id}, which is gone");
            Error::store("unknown", reason)
        };
        self.host.lock(slot, |locked| {
            let epoch = locked.lead()?;
            let mut sighted = Sighted {
                epoch,
                questions: Vec::new(),
                dirty: Vec::new(),
            };
            for (key, rule) in keys {
                if failed.contains_key(key) {
                    continue;
                }
                let entry = locked.entry(key);
                let seen = entry.map(|entry| entry.version);
                let found = standing(entry.as_ref(), &rule.keyspace, &rule.definition, None, now);
                let mut ask = |definition: Arc<Definition>, barrier| {
                    let (key, rule) = (key.clone(), rule.clone());
                    sighted.questions.push(Question {
                        key,
                        rule,
                        definition,
                        barrier,
                        seen,
                    });
                };
                let carried = match entry.map(|entry| entry.mark) {
                    Some(Mark::Dirty { definition })
                        if flush(key) || found == Standing::DirtyElsewhere =>
                    {
                        Some((definition, None))
                    }
                    Some(Mark::Doubt { definition, stamp }) => Some((definition, Some(stamp))),
                    _ if found == Standing::Missing => {
                        ask(Arc::clone(&rule.definition), None);
                        None
                    }
                    _ => None,
                };
                let Some((number, doubt)) = carried else {
                    continue;
                };
                let Some(definition) = keyspaces.definition(number).cloned() else {
                    failed.insert(key.clone(), gone(number));
                    continue;
                };
                if let Some(stamp) = doubt {
                    let fresh = self.rules.keeps(Rule::FreshStamp);
                    let barrier = if fresh { locked.fresh_stamp()? } else { stamp };
                    ask(definition, Some(barrier));
                } else {
                    let version = seen.expect("a dirty entry has a version");
                    sighted.dirty.push((key.clone(), definition, version));
                }
            }
            Ok(sighted)
        })
    }

    /// What the database says of each question.
    async fn question(
        &self,
        questions: &[Question],
        timeout: Duration,
    ) -> Vec<Result<Option<Value>, Error>> {
        let until_unix_ms = self.host.unix_ms() + timeout.as_millis() as u64;
        let until = self.host.now() + timeout;
        let mut groups: BTreeMap<(u32, bool), Vec<usize>> = BTreeMap::new();
        for (at, question) in questions.iter().enumerate() {
            groups
                .entry((question.definition.id, question.barrier.is_some()))
                .or_default()
                .push(at);
        }
        let mut answers = vec![Ok(None); questions.len()];
        for members in groups.into_values() {
            let definition = &questions[members[0]].definition;
            let found = self
                .ask_group(definition, questions, &members, until, until_unix_ms)
                .await;
            match found {
                Err(failure) => {
                    let error = Error::store(&definition.store, failure.to_string());
                    members
                        .into_iter()
                        .for_each(|at| answers[at] = Err(error.clone()));
                }
                Ok(found) => {
                    for (at, settled) in members.into_iter().zip(found) {
                        let key = &questions[at].key;
                        answers[at] = settled.map_err(|stamp| {
                            let reason = self.foreign(definition, key, stamp);
                            Error::store(&definition.store, reason)
                        });
                    }
                }
            }
        }
        answers
    }

    async fn ask_group(
        &self,
        definition: &Arc<Definition>,
        questions: &[Question],
        members: &[usize],
        until: cluster::Time,
        until_unix_ms: u64,
    ) -> Result<Vec<Settled>, Failure> {
        let database = self
            .host
            .database(&definition.store)
            .map_err(Failure::NotDone)?;
        let generation = database.generation();
        let started = self.host.now();
        let asked = members.iter().map(|&at| &questions[at]);
        let found = if questions[members[0]].barrier.is_some() {
            let keys: Vec<_> = asked
                .map(|question| {
                    let version = question.barrier.expect("the group is of barriers");
                    (
                        question.key.clone(),
                        Stamp {
                            generation,
                            version,
                        },
                    )
                })
                .collect();
            self.metrics.settled(&definition.store, keys.len());
            self.ask(until, database.settle(definition, &keys, until_unix_ms))
                .await
        } else {
            let keys: Vec<_> = asked.map(|question| question.key.clone()).collect();
            self.metrics.loaded(&definition.store, keys.len());
            let rows = self
                .ask(until, database.load(definition, &keys, until_unix_ms))
                .await;
            rows.map(|rows| rows.into_iter().map(Ok).collect())
        };
        self.metrics
            .store_took(&definition.store, self.host.now().since(started));
        found.inspect_err(|_| self.metrics.store_error(&definition.store))
    }

    /// The lease is checked here, when the answers are taken, and nothing of what was seen may
    /// have changed. What cannot be installed is still an answer.
    fn take_answers(
        self: &Rc<Self>,
        locked: &mut H::Locked<'_>,
        slot: Slot,
        sighted: &Sighted,
        answers: Vec<Result<Option<Value>, Error>>,
        is_void: &impl Fn(&Bytes) -> bool,
        failed: &mut Failed,
    ) -> Result<Given, Error> {
        if self.rules.keeps(Rule::LeaseAtAnswer) && locked.lead()? != sighted.epoch {
            return Err(Error::Refused(Refusal::NotPrimary));
        }
        let now = self.host.unix_ms();
        let mut taken = Given::new();
        let mut kept = Given::new();
        let mut effects = Vec::new();
        for (question, answer) in sighted.questions.iter().zip(answers) {
            let now_there = locked.entry(&question.key).map(|entry| entry.version);
            let changed = now_there != question.seen && self.rules.keeps(Rule::VoidLoads);
            if changed || is_void(&question.key) {
                continue;
            }
            let rule = &question.rule;
            let fits = |value: Option<Value>| {
                check_size(&rule.keyspace.max_value, &rule.definition, value.as_ref())?;
                Ok(value)
            };
            let value = match answer.and_then(fits) {
                Ok(value) => value,
                Err(error) => {
                    failed.insert(question.key.clone(), error);
                    continue;
                }
            };
            let past = value
                .as_ref()
                .and_then(|it| it.expires_at)
                .is_some_and(|at| at <= now);
            let value = value.filter(|_| !past);
            let negative = &question.rule.keyspace.negative_ttl;
            let change = if past && question.rule.mode.is_some() {
                Change::Put(
                    None,
                    Mark::Dirty {
                        definition: question.definition.id,
                    },
                )
            } else if value.is_none() && negative.0.is_zero() {
                kept.insert(question.key.clone(), None);
                if question.seen.is_none() {
                    continue;
                }
                Change::Remove
            } else {
                let rule = &question.rule;
                let mark = self.clean(&rule.keyspace, question.definition.id, value.is_some());
                Change::Put(value.clone(), mark)
            };
            taken.insert(question.key.clone(), value);
            effects.push(Effect {
                key: question.key.clone(),
                change,
            });
        }
        if !effects.is_empty() && self.append(locked, slot, effects).is_err() {
            kept.extend(taken);
        }
        Ok(kept)
    }

    /// A row has a greater stamp than the slot's own primary can have: an alarm. Gives the words.
    pub(crate) fn foreign(&self, definition: &Definition, key: &[u8], stamp: Stamp) -> String {
        let Definition { store, table, .. } = definition;
        self.metrics.foreign_stamp(store);
        self.host.met_foreign(store);
        let key = key.escape_ascii();
        if let Some(silent) = self.notices.due("foreign", definition.id, self.host.now()) {
            tracing::error!(
                store,
                table,
                %key,
                ?stamp,
                silent,
                "a row of the store is written by another cluster"
            );
        }
        format!("row \"{key}\" of {table} is written by another cluster")
    }

    /// Flushes dirty keys now, whose turns the caller holds.
    async fn flush_first(
        self: &Rc<Self>,
        slot: Slot,
        epoch: Epoch,
        dirty: Vec<(Bytes, Arc<Definition>, Version)>,
        timeout: Duration,
        failed: &mut Failed,
    ) -> Result<(), Error> {
        let newest = dirty.iter().map(|(_, _, version)| *version).max();
        let newest = newest.expect("there is something to flush");
        // Only what is committed is flushed.
        let committed = self.host.held(slot, epoch, newest, Wait::Read).await;
        committed.map_err(crate::cache::unread)?;
        for (key, definition, _) in dirty {
            let flushed = self
                .flush_keys(&definition, vec![key.clone()], timeout)
                .await;
            let rejected = self.dirty.borrow().rejection(&key);
            if let Some(reason) = flushed.err().or(rejected) {
                failed.insert(key, Error::store(&definition.store, reason));
            }
        }
        Ok(())
    }
}
