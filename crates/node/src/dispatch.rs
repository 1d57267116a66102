//! The life of a request: a list of gates, the route, the handler.

use std::sync::Arc;

use bytes::BytesMut;
use cluster::{Slot, Time};
use routing::route::Route;

use crate::command::table::{Command, CommandId, KeyHandler, Run, flag, table};
use crate::command::{Answer, Args, Later, Session};
use crate::error::CommandError;
use crate::execute::{Asker, Ran, execute};
use crate::gather::{Gather, Timeouts};
use crate::others::redirected;
use crate::outbox::carried;
use crate::resp::{Reply, Span};
use crate::stats::ThreadStats;
use crate::transaction;
use cluster::clock;

/// The words of one request: the command's name first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) buffer: &'a [u8],
    pub(crate) spans: &'a [Span],
}

impl<'a> Request<'a> {
    pub(crate) fn word(&self, index: usize) -> Option<&'a [u8]> {
        self.spans.get(index).map(|span| span.of(self.buffer))
    }
}

/// Where the reply of a request goes: into the output, or to what is awaited before it is written.
pub(crate) struct Replies<'a> {
    pub(crate) out: &'a mut BytesMut,
    pub(crate) gather: &'a mut Gather,
}

/// What a request leaves for the connection to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Run the next one.
    Go,
    /// Wait for what is gathered first.
    Settle,
}

/// Runs one request and leaves its reply.
pub(crate) fn dispatch(
    session: &mut Session<'_>,
    request: Request<'_>,
    replies: &mut Replies<'_>,
    stats: &ThreadStats,
    started: &mut Time,
) -> Next {
    let version = session.client.version;
    let (id, command) = match admit(session, request) {
        Ok(admitted) => admitted,
        Err((id, error)) => {
            let error = transaction::refused(session, id, error);
            id.map_or(&stats.unknown, |id| &stats.command(id).rejected)
                .add(1);
            session.node.stats.error(&error);
            Reply::Error(error).encode(version, replies.out);
            return Next::Go;
        }
    };
    session.client.card.runs(id);
    replies.gather.command = Some(id);
    if session.client.transaction.queues(command) {
        return queue(session, (id, command), request, replies, stats);
    }
    let result = run(session, command, request, replies);
    let now = clock::now();
    let count = stats.command(id);
    count.calls.add(1);
    count
        .nanos
        .add(now.as_nanos().saturating_sub(started.as_nanos()));
    *started = now;
    match result {
        Ok(next) => next,
        Err(error) => {
            count.failed.add(1);
            session.node.stats.error(&error);
            Reply::Error(error).encode(session.client.version, replies.out);
            Next::Go
        }
    }
}

/// Puts the request behind those that the client has queued.
fn queue(
    session: &mut Session<'_>,
    (id, command): (CommandId, &'static Command),
    request: Request<'_>,
    replies: &mut Replies<'_>,
    stats: &ThreadStats,
) -> Next {
    let reply = match transaction::queue(session, id, command, request) {
        Ok(()) => Reply::Simple("QUEUED"),
        Err(error) => {
            stats.command(id).rejected.add(1);
            session.node.stats.error(&error);
            Reply::Error(error)
        }
    };
    reply.encode(session.client.version, replies.out);
    Next::Go
}

/// The gates, in order. Who is turned away learns why; the command is known unless that is why.
fn admit(
    session: &Session<'_>,
    request: Request<'_>,
) -> Result<(CommandId, &'static Command), (Option<CommandId>, CommandError)> {
    let id = known(request).map_err(|error| (None, error))?;
    let command = table().row(id);
    let gates = [arity, authenticated];
    for gate in gates {
        gate(session, command, request).map_err(|error| (Some(id), error))?;
    }
    Ok((id, command))
}

pub(crate) fn known(request: Request<'_>) -> Result<CommandId, CommandError> {
    let name = request.word(0).unwrap_or_default();
    let Some(id) = table().find(name) else {
        return Err(unknown_command(request));
    };
    let Some(word) = request.word(1).filter(|_| table().has_subcommands(id)) else {
        return Ok(id);
    };
    let parent = table().row(id);
    table()
        .find_sub(parent, word)
        .ok_or_else(|| unknown_subcommand(parent, word))
}

fn arity(_: &Session<'_>, command: &'static Command, request: Request<'_>) -> Gate {
    if command.arity.allows(request.spans.len()) {
        Ok(())
    } else {
        Err(CommandError::WrongArity(command.name))
    }
}

fn authenticated(session: &Session<'_>, command: &'static Command, _: Request<'_>) -> Gate {
    let open = || session.node.parameters.requirepass.load().is_none();
    if session.client.authenticated || command.has(flag::NO_AUTH) || open() {
        Ok(())
    } else {
        Err("NOAUTH Authentication required.".into())
    }
}

type Gate = Result<(), CommandError>;

/// The text of Redis 7.0: up to 128 bytes of the name, and of the arguments until they are 128.
fn unknown_command(request: Request<'_>) -> CommandError {
    let mut arguments = String::new();
    for index in 1..request.spans.len() {
        let Some(room) = 128_usize
            .checked_sub(arguments.len())
            .filter(|room| *room > 0)
        else {
            break;
        };
        let word = request.word(index).unwrap_or_default();
        arguments += &format!("'{}' ", shown(word, room));
    }
    let name = shown(request.word(0).unwrap_or_default(), 128);
    format!("ERR unknown command '{name}', with args beginning with: {arguments}").into()
}

fn unknown_subcommand(parent: &Command, word: &[u8]) -> CommandError {
    let (word, parent) = (shown(word, 128), parent.name.to_uppercase());
    format!("ERR unknown subcommand '{word}'. Try {parent} HELP.").into()
}

/// What of a word is shown in an error: up to `most` bytes of it, and none after a NUL.
fn shown(word: &[u8], most: usize) -> String {
    let word = &word[..word.len().min(most)];
    let word = word.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(word).into_owned()
}

/// Which slots a request is about.
pub(crate) enum Reach {
    /// None in particular.
    Node,
    /// This one.
    Slot(Slot),
    /// Several, and the client does not care.
    Split,
}

pub(crate) fn reach(
    session: &Session<'_>,
    command: &Command,
    request: Request<'_>,
) -> Result<Reach, CommandError> {
    let mut keys = command.keys.of(request.buffer, request.spans);
    let Some(first) = keys.next() else {
        return Ok(Reach::Node);
    };
    let slot = Slot::of(first);
    if keys.all(|key| Slot::of(key) == slot) {
        Ok(Reach::Slot(slot))
    } else if session.any_port() && command.has_tip(crate::split::TIP) {
        Ok(Reach::Split)
    } else {
        Err(elsewhere(session, Route::CrossSlot))
    }
}

fn run(
    session: &mut Session<'_>,
    command: &'static Command,
    request: Request<'_>,
    replies: &mut Replies<'_>,
) -> Result<Next, CommandError> {
    let reach = reach(session, command, request)?;
    let mut args = Args::new(request.buffer, request.spans, command.name);
    match command.run {
        Run::Session(handler) => match handler(session, &mut args)? {
            Answer::Now(reply) => {
                reply.encode(session.client.version, replies.out);
                Ok(Next::Go)
            }
            Answer::Later(later) => {
                let next = if later.holds_back {
                    Next::Settle
                } else {
                    Next::Go
                };
                replies.gather.wait_for(replies.out.len(), later);
                Ok(next)
            }
        },
        Run::Keys(handler) => {
            let slot = match reach {
                Reach::Slot(slot) => slot,
                Reach::Node => Slot::of(b""),
                Reach::Split => {
                    return crate::split::split(session, command, handler, request, replies);
                }
            };
            run_keyed(session, slot, (command, handler), request, replies)
        }
        Run::Watch => transaction::watch(session, command, request, replies),
        Run::Exec => transaction::exec(session, replies),
        Run::Subcommands => Err(args.wrong_arity()),
    }
}

/// Runs a request on its slot, here or where its primary is.
pub(crate) fn run_keyed(
    session: &mut Session<'_>,
    slot: Slot,
    (command, handler): (&'static Command, KeyHandler),
    request: Request<'_>,
    replies: &mut Replies<'_>,
) -> Result<Next, CommandError> {
    if replies.gather.outbox.holds(slot) {
        return Ok(post(session, slot, command, request, replies));
    }
    let mut args = Args::new(request.buffer, request.spans, command.name);
    let mut asker = Asker::of(session);
    match execute(&mut asker, slot, command, handler, &mut args, replies)? {
        Ran::Here => Ok(Next::Go),
        Ran::Deferred(deferred) => {
            let reply = deferred.reply(Arc::clone(session.node), session.into());
            let (at, later) = (replies.out.len(), Later::beside(reply));
            let full = replies.gather.wait_for_modes(at, later);
            Ok(if full { Next::Settle } else { Next::Go })
        }
        // A slot gets a primary again soon, and its clients wait for that on both ports.
        Ran::Not(Route::Forward(_) | Route::TryAgain) => {
            Ok(post(session, slot, command, request, replies))
        }
        Ran::Not(route) => Err(elsewhere(session, route)),
    }
}

/// Lets another node answer.
fn post(
    session: &mut Session<'_>,
    slot: Slot,
    command: &Command,
    request: Request<'_>,
    replies: &mut Replies<'_>,
) -> Next {
    let write = command.has(flag::WRITE);
    if write {
        session.client.written.note_elsewhere(slot);
    }
    let words = (request.buffer, request.spans);
    let outbox = &mut replies.gather.outbox;
    let reply = outbox.post(session.node, slot, command, session.client.version, words);
    let later = Later::beside(carried(reply, write, Timeouts::of(session.node)));
    replies.gather.wait_for(replies.out.len(), later);
    go_on(replies)
}

/// Whether there is room for more requests to be carried elsewhere.
fn go_on(replies: &Replies<'_>) -> Next {
    if replies.gather.outbox.is_full() {
        Next::Settle
    } else {
        Next::Go
    }
}

pub(crate) fn elsewhere(session: &Session<'_>, route: Route) -> CommandError {
    redirected(&session.node.topology, route, session.client.card.local)
}
