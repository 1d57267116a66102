//! Transactions: what a client queues after `MULTI`, and what it watches before.
//!
//! A transaction lies in one slot. `EXEC` makes one request of all that is queued, the *envelope*,
//! whose handler runs the queued commands one after the other under one hold of the slot's lock:
//! one record, one wait for its copies, one answer. Because it is a request like any other it goes
//! the ways of any other: to the slot's primary, to the cache modes. Commands without keys run at
//! the client's own node when `EXEC` begins.

mod envelope;
mod exec;
mod queue;
mod watch;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use cluster::Slot;
use parking_lot::Mutex;

use crate::client_state::ClientCard;
use crate::command::table::{Command, CommandId, KeyHandler, Run, flag, table};
use crate::command::{Answer, Args, Session};
use crate::dispatch::{Reach, Request, elsewhere, reach};
use crate::error::CommandError;
use crate::execute::leads_to;
use crate::memory::take_room;
use crate::resp::Reply;
use crate::stats::Limit;
use routing::route::Route;

pub(crate) use envelope::uses_in;
pub(crate) use exec::{exec, told};
pub(crate) use watch::watch;

use queue::Queue;
use watch::Watched;

const ALL_KEYS: &str = "is about more than one slot, and not allowed inside a transaction";
const TOO_MUCH: &str = "ERR the transaction is longer than limits.transaction_commands_max or \
                        limits.transaction_bytes_max";

/// The transaction of one client.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    queue: Option<Box<Queue>>,
    /// Shared with a `WATCH` that is on its way.
    watched: Arc<Mutex<Watched>>,
    /// Its commands run.
    runs: bool,
}

impl Transaction {
    /// Whether the command is to be queued instead of run.
    pub(crate) fn queues(&self, command: &Command) -> bool {
        self.queue.is_some() && !command.at_once
    }

    /// Whether the commands of an `EXEC` run: nothing may be awaited.
    pub(crate) fn runs(&self) -> bool {
        self.runs
    }

    /// A request was refused that should have been queued: `EXEC` will do nothing.
    fn spoil(&mut self, card: &ClientCard) {
        if let Some(queue) = &mut self.queue {
            queue.spoil();
            card.multi_bytes.store(0, Relaxed);
        }
    }

    /// Forgets what is queued and what is watched.
    pub(crate) fn discard(&mut self, card: &ClientCard) {
        self.close(card);
        self.unwatch();
    }

    /// Ends the queueing, and returns what is queued.
    fn close(&mut self, card: &ClientCard) -> Option<Box<Queue>> {
        card.multi.store(-1, Relaxed);
        card.multi_bytes.store(0, Relaxed);
        self.queue.take()
    }

    /// Returns what was watched until now.
    fn unwatch(&mut self) -> Watched {
        std::mem::take(&mut *self.watched.lock())
    }
}

type Answered<'a> = Result<Answer<'a>, CommandError>;

/// `MULTI`
pub(crate) fn multi<'a>(session: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    let transaction = &mut session.client.transaction;
    if transaction.queue.is_some() {
        return Err("ERR MULTI calls can not be nested".into());
    }
    transaction.queue = Some(Box::default());
    session.client.card.multi.store(0, Relaxed);
    Ok(Reply::Ok.into())
}

/// `DISCARD`
pub(crate) fn discard<'a>(session: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    if session.client.transaction.queue.is_none() {
        return Err("ERR DISCARD without MULTI".into());
    }
    session.client.transaction.discard(&session.client.card);
    Ok(Reply::Ok.into())
}

/// `UNWATCH`
pub(crate) fn unwatch<'a>(session: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    session.client.transaction.unwatch();
    Ok(Reply::Ok.into())
}

/// Queues a request, which has passed the gates of any other.
///
/// # Errors
/// Why it is not queued. The transaction is spoiled then.
pub(crate) fn queue(
    session: &mut Session<'_>,
    id: CommandId,
    command: &'static Command,
    request: Request<'_>,
) -> Result<(), CommandError> {
    let queued = admit(session, command, request).and_then(|slot| {
        let limits = &session.node.settings.limits;
        let bytes_max = limits.transaction_bytes_max.as_usize();
        let bounds = (limits.transaction_commands_max, bytes_max);
        let Some(queue) = &mut session.client.transaction.queue else {
            return Ok(());
        };
        if queue.push(id, slot, request, bounds) {
            session.client.card.multi.store(queue.len(), Relaxed);
            session
                .client
                .card
                .multi_bytes
                .store(queue.bytes() as u64, Relaxed);
            return Ok(());
        }
        session.node.stats.reached(Limit::Transaction);
        Err(TOO_MUCH.into())
    });
    queued.inspect_err(|_| session.client.transaction.spoil(&session.client.card))
}

/// What is said of a request that no gate has let through. If it was to be queued the transaction
/// is spoiled, and if it was the `EXEC` itself, over.
pub(crate) fn refused(
    session: &mut Session<'_>,
    id: Option<CommandId>,
    error: CommandError,
) -> CommandError {
    let is_exec = id.is_some_and(|id| matches!(table().row(id).run, Run::Exec));
    let (transaction, card) = (&mut session.client.transaction, &session.client.card);
    if is_exec {
        transaction.discard(card);
        let error = error.to_string();
        let why = error.strip_prefix("ERR ").unwrap_or(&error);
        return format!("EXECABORT Transaction discarded because of: {why}").into();
    }
    transaction.spoil(card);
    error
}

/// What a queued command must pass beyond the gates of any other.
fn admit(
    session: &Session<'_>,
    command: &'static Command,
    request: Request<'_>,
) -> Result<Option<Slot>, CommandError> {
    if command.has(flag::NO_MULTI) {
        return Err("ERR Command not allowed inside a transaction".into());
    }
    if command.all_slots {
        return Err(format!("ERR '{}' {ALL_KEYS}", command.name.replace('|', " ")).into());
    }
    let slot = match reach(session, command, request)? {
        Reach::Node => None,
        Reach::Slot(slot) => Some(slot),
        Reach::Split => return Err(elsewhere(session, Route::CrossSlot)),
    };
    let node = session.node;
    // What is queued takes memory, whatever it will do.
    if node.is_out_of_memory() {
        take_room(node, 0)?;
    }
    if let Some(slot) = slot {
        match leads_to(session, slot, command.has(flag::WRITE)) {
            Route::Local | Route::LocalReplica => {}
            // The transaction goes where its slot is, or will be soon, as a whole.
            Route::Forward(_) | Route::TryAgain => {}
            Route::Down if session.any_port() => {}
            route => return Err(elsewhere(session, route)),
        }
    }
    Ok(slot)
}

/// What runs a request of a transaction's that came from another node.
///
/// # Errors
/// If it is none.
pub(crate) fn of_carried(
    command: &'static Command,
    request: Request<'_>,
) -> Result<(&'static Command, KeyHandler), CommandError> {
    match command.run {
        Run::Keys(handler) => Ok((command, handler)),
        Run::Watch => Ok(watch::row()),
        Run::Exec => envelope::row_of_carried(request),
        Run::Session(_) | Run::Subcommands => {
            Err("ERR this command is not one to be passed on".into())
        }
    }
}
