//! `EXEC`: commands without keys run here and now, the others as one request in their slot.

use bytes::BytesMut;

use super::envelope::{Envelope, Item, is_row};
use super::queue::Queue;
use crate::command::table::{Command, CommandId, Run, table};
use crate::command::{Answer, Args, Session};
use crate::dispatch::{Next, Replies, Request, run_keyed};
use crate::error::CommandError;
use crate::others::CROSS_SLOT;
use crate::resp::Reply;

const ABORTED: &str = "EXECABORT Transaction discarded because of previous errors.";
const NOT_AWAITED: &str = "ERR its answer takes time, which a transaction does not";

/// `EXEC`. Whatever comes of it, the transaction is over and nothing is watched.
///
/// # Errors
/// Why nothing was applied, or that it is not known.
pub(crate) fn exec(
    session: &mut Session<'_>,
    replies: &mut Replies<'_>,
) -> Result<Next, CommandError> {
    let transaction = &mut session.client.transaction;
    let Some(mut queue) = transaction.close(&session.client.card) else {
        return Err("ERR EXEC without MULTI".into());
    };
    let watched = session.client.transaction.unwatch();
    let watched_slot = watched.slot();
    let slot = queue.slot.or(watched_slot);
    if queue.crosses || watched_slot.is_some_and(|watched| slot != Some(watched)) {
        return Err(CROSS_SLOT.into());
    }
    if queue.spoiled {
        return Err(ABORTED.into());
    }
    let items = run_here(session, &mut queue);
    let Some(slot) = slot else {
        replies
            .out
            .extend_from_slice(format!("*{}\r\n", items.len()).as_bytes());
        for item in items {
            if let Item::Ready(reply) = item {
                replies.out.extend_from_slice(&reply);
            }
        }
        return Ok(Next::Go);
    };
    let Envelope {
        command,
        handler,
        spans,
    } = Envelope::of(&mut queue, items, &watched);
    let request = Request {
        buffer: &queue.buffer,
        spans: &spans,
    };
    let ran = run_keyed(session, slot, (command, handler), request, replies);
    ran.map_err(|error| told(command, error))
}

/// Runs the commands without keys, in their order, and counts all.
fn run_here(session: &mut Session<'_>, queue: &mut Queue) -> Vec<Item> {
    session.client.transaction.runs = true;
    let items = queue.commands.iter().map(|queued| {
        session.stats.command(queued.id).calls.add(1);
        match table().row(queued.id).run {
            Run::Keys(_) => Item::Command(session.client.version),
            _ => Item::Ready(reply_of(session, queued.id, queue.request(&queued.words))),
        }
    });
    let items = items.collect();
    session.client.transaction.runs = false;
    items
}

fn reply_of(session: &mut Session<'_>, id: CommandId, request: Request<'_>) -> BytesMut {
    let command = table().row(id);
    let mut args = Args::new(request.buffer, request.spans, command.name);
    let answer = match command.run {
        Run::Session(handler) => handler(session, &mut args),
        _ => Err(args.wrong_arity()),
    };
    let answer = answer.and_then(|answer| match answer {
        Answer::Now(reply) => Ok(reply),
        Answer::Later(_) => Err(NOT_AWAITED.into()),
    });
    let reply = answer.unwrap_or_else(|error| {
        session.stats.command(id).failed.add(1);
        session.node.stats.error(&error);
        Reply::Error(error)
    });
    let mut out = BytesMut::new();
    reply.encode(session.client.version, &mut out);
    out
}

/// What is said of an error for which a command did not run: of a transaction, that it is aborted.
pub(crate) fn told(command: &Command, error: CommandError) -> CommandError {
    match error.code() {
        "OOM" | "NOREPLICAS" if is_row(command) => {
            format!("EXECABORT Transaction discarded because of: {error}").into()
        }
        _ => error,
    }
}
