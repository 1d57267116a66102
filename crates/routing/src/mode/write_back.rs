//! Write-back: a write is acknowledged when W copies have it, dirty; the database gets it later.
//!
//! A write needs no database: it makes a load void instead of waiting for it, and takes the place
//! of a doubt, for its flush has the greater stamp. Commands whose keys are all plain come this
//! way too, when others stand in line for them.

use std::rc::Rc;

use bytes::Bytes;
use cluster::{Epoch, Version};

use super::bound::{Full, Then, over_bound};
use super::write_through::{all_through, check_size, own_mode, plain, write_in_turn};
use super::{CacheMode, Plan, Use};
use crate::cache::{Cache, unread};
use crate::database::Value;
use crate::error::Error;
use crate::host::{Change, Effect, Host, Mark, Ran, Wait};
use crate::keyspace::Definition;

pub(crate) struct WriteBack;

impl CacheMode for WriteBack {
    fn database_first(&self) -> bool {
        false
    }

    fn leaves(&self, value: Option<Value>, definition: &Definition, _clean: Mark) -> Change {
        Change::Put(
            value,
            Mark::Dirty {
                definition: definition.id,
            },
        )
    }
}

/// What a write comes to in its locked step.
enum Recorded<R> {
    Nothing {
        reply: R,
        epoch: Epoch,
        met: Version,
    },
    Dirty {
        reply: R,
        epoch: Epoch,
        version: Version,
    },
    /// It would exceed what the databases may lack.
    Full(Full),
    /// Too few copies of it would outlast the members that are about to stop.
    Departing,
}

/// Runs a writing command of which no key asks the database first.
pub(crate) async fn write<H: Host>(
    cache: &Rc<Cache<H>>,
    plan: &Plan<H::Command>,
) -> Result<H::Reply, Error> {
    if plan.keys.iter().all(|planned| planned.used == Use::Replace) {
        plan.keys
            .iter()
            .for_each(|planned| cache.void_load(&planned.key));
    }
    let until = cache.host.now() + plan.timeout;
    let turns = cache
        .turns(plan.slot, &plan.key_list(), plan.timeout)
        .await?;
    loop {
        let recorded = cache
            .when_ready(
                plan,
                |_| false,
                |locked, epoch, ran| record(cache, plan, locked, epoch, ran),
            )
            .await?;
        match recorded {
            Recorded::Nothing { reply, epoch, met } => {
                drop(turns);
                let held = cache.host.held(plan.slot, epoch, met, Wait::Read).await;
                return held.map(|()| reply).map_err(unread);
            }
            Recorded::Dirty {
                reply,
                epoch,
                version,
            } => {
                // Who comes next waits for this record by itself, as for anything that it meets.
                drop(turns);
                let held = cache
                    .host
                    .held(plan.slot, epoch, version, Wait::Write)
                    .await;
                return held.map(|()| reply).map_err(|_| Error::Unconfirmed);
            }
            Recorded::Departing => {
                return write_in_turn(cache, plan, turns, all_through).await;
            }
            Recorded::Full(full) => match full.wait(cache, until).await? {
                Then::Again => {}
                Then::Through => return write_in_turn(cache, plan, turns, all_through).await,
            },
        }
    }
}

fn record<H: Host>(
    cache: &Rc<Cache<H>>,
    plan: &Plan<H::Command>,
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
    let owes = |(key, _): &(Bytes, _)| {
        let mode = plan.rule(key).and_then(|rule| rule.mode);
        mode.is_some_and(|mode| !mode.database_first())
    };
    if written.iter().any(owes) && !cache.may_owe(locked) {
        return Ok(Recorded::Departing);
    }
    let mut effects = Vec::with_capacity(written.len());
    for (key, value) in written {
        let planned = plan.planned(&key);
        let rule = planned.and_then(|planned| planned.ruled.as_ref());
        effects.push(match rule.zip(planned.and_then(own_mode)) {
            None => plain(key, value),
            Some((rule, mode)) if mode.database_first() => {
                // A key that the command only reads, found past its time: a deletion.
                let change = WriteBack.leaves(value, &rule.definition, Mark::None);
                Effect { key, change }
            }
            Some((rule, mode)) => {
                check_size(&rule.keyspace.max_value, &rule.definition, value.as_ref())?;
                Effect {
                    key,
                    change: mode.leaves(value, &rule.definition, Mark::None),
                }
            }
        });
    }
    if let Some(full) = over_bound(cache, plan, &effects) {
        return Ok(Recorded::Full(full));
    }
    let version = cache.append(locked, plan.slot, effects)?;
    Ok(Recorded::Dirty {
        reply,
        epoch,
        version,
    })
}
