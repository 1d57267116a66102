//! The statement of a write-through or write-around: sent under the lease, and the same again while
//! no answer comes.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::Plan;
use super::write_through::{Intent, Row};
use crate::cache::Cache;
use crate::database::{Failure, Outcome, Stamp, Together, Write};
use crate::error::{Error, Refusal};
use crate::host::{Host, Locked};
use crate::rule::Rule;

/// A database ends each call soon after its deadline; so much later it is not waited for any more.
const GRACE: Duration = Duration::from_millis(50);

/// How the statement ended.
pub(super) enum Sent {
    Landed,
    /// Certainly not applied.
    Refused {
        error: Error,
        doubt_ends: bool,
    },
    Unknown(Error),
}

/// Looks at the lease, then sends the statement, and the same again while no answer comes. The
/// deadline is that of the one look at the lease.
pub(super) async fn send<H: Host, R>(
    cache: &Rc<Cache<H>>,
    plan: &Plan<H::Command>,
    intent: &Intent<R>,
) -> Result<Sent, Error> {
    let store = plan.store.as_deref().expect("a statement has a store");
    let started = cache.host.now();
    let started_unix_ms = cache.host.unix_ms();
    let lead = cache.host.lock(intent.slot, |locked| locked.lead())?;
    if lead != intent.epoch {
        return Err(Error::Refused(Refusal::NotPrimary));
    }
    let until = started + plan.timeout;
    let mut unanswered = false;
    let mut last = String::new();
    let mut attempt_until = started + plan.timeout / 2;
    while cache.host.now() < until {
        let outcome = match cache.host.database(store) {
            Err(reason) => Err(Failure::NotDone(reason)),
            Ok(database) => {
                let writes = statement(intent, database.generation());
                // Each attempt has its own deadline, so that the database itself says in time
                // whether it has begun: only what is sent and not answered is unknown.
                let span = attempt_until.since(started).as_millis() as u64;
                let called = cache.host.now();
                let call = database.store(&writes, Together::All, started_unix_ms + span);
                let outcome = cache.ask(attempt_until + GRACE, call).await;
                let took = cache.host.now().since(called);
                cache.metrics.store_took(store, took);
                outcome.inspect_err(|_| cache.metrics.store_error(store))
            }
        };
        match outcome {
            Ok(outcomes) if outcomes.iter().all(Outcome::is_there) => return Ok(Sent::Landed),
            Ok(outcomes) => return Ok(refused(cache, store, intent, &outcomes, unanswered)),
            Err(Failure::NotDone(reason)) => last = reason,
            Err(Failure::Unanswered(reason)) => {
                unanswered = cache.rules.keeps(Rule::UnansweredIsUncertain);
                last = reason;
            }
        }
        attempt_until = until;
        cache.host.sleep(plan.timeout / 50).await;
    }
    Ok(if unanswered {
        Sent::Unknown(Error::UncertainStore {
            store: store.to_owned(),
            reason: last,
        })
    } else {
        Sent::Refused {
            error: Error::store(store, last),
            doubt_ends: true,
        }
    })
}

fn statement<R>(intent: &Intent<R>, generation: u32) -> Vec<Write> {
    let stamp = Stamp {
        generation,
        version: intent.stamp,
    };
    let row = |row: &Row| Write {
        definition: Arc::clone(&row.definition),
        key: row.key.clone(),
        stamp,
        value: row.value.clone(),
    };
    intent.rows.iter().map(row).collect()
}

/// The database answered, and did not take it.
fn refused<H: Host, R>(
    cache: &Cache<H>,
    store: &str,
    intent: &Intent<R>,
    outcomes: &[Outcome],
    unanswered: bool,
) -> Sent {
    let mut error = Error::store(store, "the row was written by another");
    let mut doubt_ends = true;
    for (row, outcome) in intent.rows.iter().zip(outcomes) {
        match outcome {
            Outcome::Landed | Outcome::AlreadyExactly => {}
            Outcome::Rejected(reason) => error = Error::store(store, reason.as_str()),
            Outcome::Refused(stamp) => {
                doubt_ends = false;
                let lead = cache.host.lock(intent.slot, |locked| locked.lead());
                if lead == Ok(intent.epoch) {
                    let reason = cache.foreign(&row.definition, &row.key, *stamp);
                    error = Error::store(store, reason);
                }
            }
        }
    }
    if unanswered {
        let reason = "one attempt is unanswered, a later one was refused".to_owned();
        return Sent::Unknown(Error::UncertainStore {
            store: store.to_owned(),
            reason,
        });
    }
    Sent::Refused { error, doubt_ends }
}
