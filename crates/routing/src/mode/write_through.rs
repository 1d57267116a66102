//! Write-through, and the protocol that it shares with write-around: the database has the write
//! before it is acknowledged, and W copies knew that it was being written.
//!
//! The steps: take the line, run the command beside the table, record the *intent* (the keys are
//! in doubt, under the record's own version as the stamp), wait for W copies, look at the lease,
//! send the statement, end the doubt. Whatever is lost on the way, the doubt stands, and the next
//! one who needs the key asks the database.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use cluster::{Epoch, Slot, Version};

use super::bound::{Full, Then, over_bound};
use super::standing::UnderWay;
use super::statement::{Sent, send};
use super::{CacheMode, Plan, Planned, Use};
use crate::cache::{Cache, unread};
use crate::database::Value;
use crate::error::{Error, Lost, Refusal};
use crate::host::{Change, Effect, Host, Locked, Mark, Ran, Wait};
use crate::keyspace::Definition;
use crate::line::Turn;
use crate::rule::Rule;

pub(crate) struct WriteThrough;

impl CacheMode for WriteThrough {
    fn database_first(&self) -> bool {
        true
    }

    fn leaves(&self, value: Option<Value>, _definition: &Definition, clean: Mark) -> Change {
        Change::Put(value, clean)
    }
}

/// Runs a writing command of which at least one key asks the database first.
pub(crate) async fn write<H: Host>(
    cache: &Rc<Cache<H>>,
    plan: &Plan<H::Command>,
) -> Result<H::Reply, Error> {
    let turns = cache
        .turns(plan.slot, &plan.key_list(), plan.timeout)
        .await?;
    write_in_turn(cache, plan, turns, own_mode).await
}

/// The mode by which a key of this request is written; none where there is no database.
pub(crate) type ModeOf = fn(&Planned) -> Option<&'static dyn CacheMode>;

/// As its keyspace says.
pub(crate) fn own_mode(planned: &Planned) -> Option<&'static dyn CacheMode> {
    planned.ruled.as_ref()?.mode
}

/// The same, but what the database would get later goes the write-through way.
pub(crate) fn all_through(planned: &Planned) -> Option<&'static dyn CacheMode> {
    let own = own_mode(planned)?;
    Some(if own.database_first() {
        own
    } else {
        &WriteThrough
    })
}

/// What the command comes to, once it ran beside the table.
enum Recorded<R> {
    /// It changed nothing.
    Nothing {
        reply: R,
        epoch: Epoch,
        met: Version,
    },
    /// It changed nothing that the database must have first.
    Deferred {
        reply: R,
        epoch: Epoch,
        version: Version,
    },
    Intended(Intent<R>),
    /// Nothing is recorded: the database would get a part later, and too few copies of that would
    /// outlast the members that are about to stop.
    Departing,
    /// Nothing is recorded: the database would get a part later, and lacks enough.
    Full(Full),
}

/// A statement to send, once W copies know of it.
pub(super) struct Intent<R> {
    pub(super) reply: R,
    pub(super) slot: Slot,
    pub(super) epoch: Epoch,
    pub(super) stamp: Version,
    pub(super) rows: Vec<Row>,
    /// What the command changed beside: plain keys, and those that the database gets later.
    pub(super) others: Vec<Effect>,
}

pub(super) struct Row {
    pub(super) key: Bytes,
    pub(super) value: Option<Value>,
    pub(super) definition: Arc<Definition>,
    pub(super) mode: &'static dyn CacheMode,
    pub(super) before: Before,
}

/// What the entry goes back to if the database refuses the write.
#[derive(Clone, Copy)]
pub(super) enum Before {
    Nothing,
    Clean(Mark),
    /// It was in doubt already, which no refusal ends.
    Doubt,
}

/// Takes its keys out of those that may serve an old value, when the write is over.
struct Serving<'a, H: Host> {
    cache: &'a Cache<H>,
    keys: Vec<Bytes>,
}

impl<H: Host> Drop for Serving<'_, H> {
    fn drop(&mut self) {
        let mut under_way = self.cache.under_way.borrow_mut();
        for key in &self.keys {
            under_way.remove(key);
        }
    }
}

/// The protocol, by one who holds the turns of all keys.
pub(crate) async fn write_in_turn<H: Host>(
    cache: &Rc<Cache<H>>,
    plan: &Plan<H::Command>,
    turns: Vec<Turn>,
    mut mode_of: ModeOf,
) -> Result<H::Reply, Error> {
    let until = cache.host.now() + plan.timeout;
    let intent = loop {
        let database_first = |planned: &Planned| {
            planned.used != Use::Read && mode_of(planned).is_some_and(|mode| mode.database_first())
        };
        let ran = cache.when_ready(plan, database_first, |locked, epoch, ran| {
            intend(cache, plan, mode_of, locked, epoch, ran)
        });
        match ran.await? {
            Recorded::Nothing { reply, epoch, met } => {
                drop(turns);
                let held = cache.host.held(plan.slot, epoch, met, Wait::Read).await;
                return held.map(|()| reply).map_err(unread);
            }
            Recorded::Deferred {
                reply,
                epoch,
                version,
            } => {
                drop(turns);
                let held = cache
                    .host
                    .held(plan.slot, epoch, version, Wait::Write)
                    .await;
                return held.map(|()| reply).map_err(|_| Error::Unconfirmed);
            }
            Recorded::Departing => mode_of = all_through,
            Recorded::Full(full) => match full.wait(cache, until).await? {
                Then::Again => {}
                Then::Through => mode_of = all_through,
            },
            Recorded::Intended(intent) => break intent,
        }
    };
    let keys: Vec<_> = intent.rows.iter().map(|row| row.key.clone()).collect();
    let serving = Serving {
        cache,
        keys: keys.clone(),
    };
    let result = carry_out(cache, plan, intent).await;
    drop(serving);
    drop(turns);
    let in_doubt = cache.in_doubt(plan.slot, &keys);
    if !in_doubt.is_empty() {
        cache.settle_soon(plan.slot, in_doubt);
    }
    result
}

/// The intent: one record that puts the keys in doubt under its own version. The old value stays
/// where it was the database's; where the key was in doubt already, it goes.
fn intend<H: Host>(
    cache: &Rc<Cache<H>>,
    plan: &Plan<H::Command>,
    mode_of: ModeOf,
    locked: &mut H::Locked<'_>,
    epoch: Epoch,
    ran: Ran<H::Reply>,
) -> Result<Recorded<H::Reply>, Error> {
    let Ran {
        reply,
        written,
        met,
    } = ran;
    if written.is_empty() {
        return Ok(Recorded::Nothing { reply, epoch, met });
    }
    let (mut rows, others) = sort_out(plan, mode_of, written)?;
    if others.iter().any(is_owed) && !cache.may_owe(locked) {
        return Ok(Recorded::Departing);
    }
    if let Some(full) = over_bound(cache, plan, &others) {
        return Ok(Recorded::Full(full));
    }
    if rows.is_empty() {
        let version = cache.append(locked, plan.slot, others)?;
        return Ok(Recorded::Deferred {
            reply,
            epoch,
            version,
        });
    }
    let stamp = locked.next_version()?;
    let mut effects = Vec::with_capacity(rows.len());
    let mut serve_until = Vec::with_capacity(rows.len());
    for row in &mut rows {
        let (effect, until) = doubt(cache, locked, row, stamp);
        effects.push(effect);
        serve_until.push(until);
    }
    let version = cache.append(locked, plan.slot, effects)?;
    assert_eq!(version, stamp, "the intent's version is the stamp");
    let mut under_way = cache.under_way.borrow_mut();
    for (row, serve_until) in rows.iter().zip(serve_until) {
        under_way.insert(row.key.clone(), UnderWay { stamp, serve_until });
    }
    drop(under_way);
    Ok(Recorded::Intended(Intent {
        reply,
        slot: plan.slot,
        epoch,
        stamp,
        rows,
        others,
    }))
}

fn is_owed(effect: &Effect) -> bool {
    matches!(effect.change, Change::Put(_, Mark::Dirty { .. }))
}

/// What of a command's writes goes to the database first, and what does not.
fn sort_out<C>(
    plan: &Plan<C>,
    mode_of: ModeOf,
    written: Vec<(Bytes, Option<Value>)>,
) -> Result<(Vec<Row>, Vec<Effect>), Error> {
    let (mut rows, mut others) = (Vec::new(), Vec::new());
    for (key, value) in written {
        let planned = plan.planned(&key);
        let rule = planned.and_then(|planned| planned.ruled.as_ref());
        let mode = planned.and_then(mode_of);
        match (rule, mode) {
            (Some(rule), Some(mode)) if mode.database_first() => {
                check_size(&rule.keyspace.max_value, &rule.definition, value.as_ref())?;
                let definition = Arc::clone(&rule.definition);
                let before = Before::Nothing;
                rows.push(Row {
                    key,
                    value,
                    definition,
                    mode,
                    before,
                });
            }
            (Some(rule), Some(mode)) => {
                check_size(&rule.keyspace.max_value, &rule.definition, value.as_ref())?;
                let change = mode.leaves(value, &rule.definition, Mark::None);
                others.push(Effect { key, change });
            }
            _ => others.push(plain(key, value)),
        }
    }
    Ok((rows, others))
}

fn doubt<H: Host>(
    cache: &Cache<H>,
    locked: &mut H::Locked<'_>,
    row: &mut Row,
    stamp: Version,
) -> (Effect, Option<u64>) {
    let mark = Mark::Doubt {
        definition: row.definition.id,
        stamp,
    };
    let key = row.key.clone();
    let now = locked.entry(&row.key).map(|entry| entry.mark);
    let (change, serve_until) = match now {
        Some(
            before @ Mark::Clean {
                definition,
                fresh_until,
            },
        ) if definition == row.definition.id => {
            row.before = Before::Clean(before);
            (Change::Mark(mark), Some(fresh_until))
        }
        Some(Mark::Doubt { .. }) => {
            row.before = Before::Doubt;
            if cache.rules.keeps(Rule::DoubtDropsOldValue) {
                (Change::Put(None, mark), None)
            } else {
                (Change::Mark(mark), Some(u64::MAX))
            }
        }
        _ => (Change::Put(None, mark), None),
    };
    (Effect { key, change }, serve_until)
}

/// From the intent to the reply.
async fn carry_out<H: Host>(
    cache: &Rc<Cache<H>>,
    plan: &Plan<H::Command>,
    intent: Intent<H::Reply>,
) -> Result<H::Reply, Error> {
    if cache.rules.keeps(Rule::IntentWaits) {
        let held = cache
            .host
            .held(intent.slot, intent.epoch, intent.stamp, Wait::Write)
            .await;
        held.map_err(|lost| match lost {
            Lost::TimedOut => Refusal::NoReplicas,
            Lost::Deposed => Refusal::NotPrimary,
        })?;
    }
    match send(cache, plan, &intent).await? {
        Sent::Landed => {}
        Sent::Refused { error, doubt_ends } => {
            if doubt_ends {
                end_doubt(cache, &intent);
            }
            return Err(error);
        }
        Sent::Unknown(error) => return Err(error),
    }
    let (slot, epoch) = (intent.slot, intent.epoch);
    let awaited = !intent.others.is_empty();
    let (reply, installed) = install(cache, plan, intent);
    // The database has it: the record may be lost, for the doubt then stands. What else the
    // command changed is in no database, and is awaited.
    if awaited {
        let version = installed.map_err(|_| Error::Unconfirmed)?;
        let held = cache.host.held(slot, epoch, version, Wait::Write).await;
        held.map_err(|_| Error::Unconfirmed)?;
    }
    Ok(reply)
}

/// The database has it: ends the doubts, leaves what each key's mode leaves, and does what else
/// the command changed, in one record.
fn install<H: Host, R>(
    cache: &Rc<Cache<H>>,
    plan: &Plan<H::Command>,
    intent: Intent<R>,
) -> (R, Result<Version, Refusal>) {
    let Intent {
        reply,
        slot,
        epoch,
        stamp,
        rows,
        others,
    } = intent;
    let installed = cache.host.lock(slot, |locked| {
        if locked.lead()? != epoch {
            return Err(Refusal::NotPrimary);
        }
        let mut effects = others;
        for row in rows {
            if !is_ours::<H>(locked, &row.key, stamp) {
                continue;
            }
            let Some(rule) = plan.rule(&row.key) else {
                continue;
            };
            let clean = cache.clean(&rule.keyspace, row.definition.id, row.value.is_some());
            let change = row.mode.leaves(row.value, &row.definition, clean);
            let change = match change {
                // "No such key" is not kept where the keyspace keeps none.
                Change::Put(None, _) if rule.keyspace.negative_ttl.0.is_zero() => Change::Remove,
                change => change,
            };
            effects.push(Effect {
                key: row.key,
                change,
            });
        }
        cache.append(locked, slot, effects)
    });
    (reply, installed)
}

/// The database certainly does not have it: the old value stands.
fn end_doubt<H: Host, R>(cache: &Rc<Cache<H>>, intent: &Intent<R>) {
    let ended = cache.host.lock(intent.slot, |locked| {
        if locked.lead()? != intent.epoch {
            return Err(Refusal::NotPrimary);
        }
        let mut effects = Vec::new();
        for row in &intent.rows {
            let change = match row.before {
                Before::Nothing => Change::Remove,
                Before::Clean(mark) => Change::Mark(mark),
                Before::Doubt => continue,
            };
            if is_ours::<H>(locked, &row.key, intent.stamp) {
                effects.push(Effect {
                    key: row.key.clone(),
                    change,
                });
            }
        }
        if effects.is_empty() {
            Ok(())
        } else {
            cache.append(locked, intent.slot, effects).map(|_| ())
        }
    });
    if let Err(refusal) = ended {
        tracing::debug!(slot = %intent.slot, ?refusal, "a doubt stands, for no record ended it");
    }
}

fn is_ours<H: Host>(locked: &mut H::Locked<'_>, key: &Bytes, ours: Version) -> bool {
    locked
        .entry(key)
        .is_some_and(|entry| matches!(entry.mark, Mark::Doubt { stamp, .. } if stamp == ours))
}

/// What a command leaves of a key that has no database.
pub(crate) fn plain(key: Bytes, value: Option<Value>) -> Effect {
    let change = match value {
        Some(value) => Change::Put(Some(value), Mark::None),
        None => Change::Remove,
    };
    Effect { key, change }
}

pub(crate) fn check_size(
    max_value: &crate::quantity::Size,
    definition: &Definition,
    value: Option<&Value>,
) -> Result<(), Error> {
    if value.is_some_and(|value| value.bytes.len() as u64 > max_value.0) {
        let reason = format!("the value is over {max_value}, the keyspace's max_value");
        return Err(Error::store(&definition.store, reason));
    }
    Ok(())
}
