//! Runs a key command on one slot of this node, and leaves its reply.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use cluster::replication::{Locked, Need, Out, Refusal};
use cluster::{Slot, Time, Version, clock};
use routing::keyspace::Ack;
use routing::route::{Route, Way, route};

use crate::client_state::{ClientCard, Written};
use crate::command::table::{Command, KeyHandler, flag};
use crate::command::{Args, Session};
use crate::dispatch::Replies;
use crate::error::CommandError;
use crate::gather::Token;
use crate::memory::{admits, room_for, take_room};
use crate::modes::{Deferred, Pending, defer, looks, needs_modes};
use crate::node::Node;
use crate::resp::{Reply, RespVersion, Span};
use crate::stats::{Limit, ThreadStats};
use crate::store::tx::Role;
use crate::store::{Entry, Kind, Reserved, SlotTable, Tx};

/// For whom a key command runs: a client of this node, or another node that has such a client.
pub(crate) struct Asker<'a> {
    pub(crate) node: &'a Arc<Node>,
    pub(crate) version: RespVersion,
    pub(crate) way: Way,
    /// Another node sent the request here.
    pub(crate) forwarded: bool,
    /// What is remembered for `WAIT`.
    pub(crate) written: &'a mut Written,
    /// The client's commands that the cache modes run.
    pub(crate) pending: &'a mut Pending,
    /// The counters of the thread that serves the client; none for another node's client.
    pub(crate) stats: Option<&'a ThreadStats>,
    /// The client, if it is one of this node's.
    pub(crate) card: Option<&'a ClientCard>,
}

impl<'a> Asker<'a> {
    pub(crate) fn of(session: &'a mut Session<'_>) -> Asker<'a> {
        Asker {
            node: session.node,
            version: session.client.version,
            way: Way {
                any_port: session.any_port(),
                read_only: session.client.readonly,
            },
            forwarded: false,
            written: &mut session.client.written,
            pending: &mut session.client.pending,
            stats: Some(session.stats),
            card: Some(&session.client.card),
        }
    }
}

impl Asker<'_> {
    /// Leaves a reply, unless the buffers of clients have no room for it: then its client is to go.
    /// What has happened is answered, however long the answer is.
    fn answer(
        &self,
        reply: &Reply<'_>,
        wrote: bool,
        out: &mut BytesMut,
    ) -> Result<(), CommandError> {
        let bytes = reply.value_bytes();
        if !wrote
            && self
                .card
                .is_some_and(|card| !admits(self.node, card, bytes))
        {
            return Err("ERR the reply does not fit in maxmemory-clients".into());
        }
        reply.encode(self.version, out);
        Ok(())
    }

    fn count(&self, found: u32, missed: u32) {
        match self.stats {
            Some(stats) => {
                stats.hits.add(found.into());
                stats.misses.add(missed.into());
            }
            None => self.node.stats.looked_for_others(found, missed),
        }
    }
}

/// Where a request went.
#[derive(Debug)]
pub(crate) enum Ran {
    /// It ran, and its reply is there or gathered.
    Here,
    /// The cache modes run it.
    Deferred(Deferred),
    /// Nothing happened: it belongs elsewhere.
    Not(Route),
}

/// Locks the slot, runs the handler, makes its effects a record, and encodes the reply. A reply
/// that shows what is not committed is gathered. A request that belongs elsewhere does not run, and
/// one that needs a database is handed to the cache modes.
pub(crate) fn execute(
    asker: &mut Asker<'_>,
    slot: Slot,
    command: &'static Command,
    handler: KeyHandler,
    args: &mut Args<'_>,
    replies: &mut Replies<'_>,
) -> Result<Ran, CommandError> {
    let (node, write) = (asker.node, command.has(flag::WRITE));
    if asker.pending.holds(slot) {
        if command.has(flag::DENY_OOM) {
            take_room(node, words_growth(args))?;
        }
        if write && node.slots.lock(slot).yields(clock::now()) {
            return Ok(Ran::Not(Route::TryAgain));
        }
        // It follows the one before it, wherever that one goes.
        return hand_over(asker, slot, (command, handler), args);
    }
    let (locked, step, _room) = match lock_with_room(asker, slot, (command, handler), args)? {
        Ok(locked) => locked,
        Err(elsewhere) => return Ok(Ran::Not(elsewhere)),
    };
    let (leads, now_unix_ms) = (step.leads, step.now_unix_ms);
    if write {
        let message_bytes_max = node.settings.peers.message_bytes_max.as_usize();
        fits_in_message(args.words(), message_bytes_max)?;
    }
    let modes = needs_modes(&node.modes, &locked.table, slot, command, args, now_unix_ms);
    if leads && (write || modes) && locked.yields(step.now) {
        // Whoever leads the slot next takes it.
        return Ok(Ran::Not(Route::TryAgain));
    }
    if modes && !leads {
        // A copy does not ask databases.
        let way = Way {
            read_only: false,
            ..asker.way
        };
        return Ok(Ran::Not(route_here(asker, slot, &locked, way, write)));
    }
    if modes {
        if !write {
            let (found, missed) = looks(&node.modes, &locked.table, command, args, now_unix_ms);
            asker.count(found, missed);
        }
        drop(locked);
        return hand_over(asker, slot, (command, handler), args);
    }
    run(asker, &step, locked, args, replies)
}

/// How often a command makes room that somebody else takes.
const ROOM_ATTEMPTS_MAX: u32 = 8;

/// A slot under its lock, what a command is there, and the room that is set aside for it.
type Entered<'a> = (Locked<'a, SlotTable, Token>, Step, Option<Reserved<'a>>);

/// Locks the slot for a command that has room, or says where else it belongs.
fn lock_with_room<'a>(
    asker: &Asker<'a>,
    slot: Slot,
    (command, handler): (&'static Command, KeyHandler),
    args: &Args<'_>,
) -> Result<Result<Entered<'a>, Route>, CommandError> {
    let node: &'a Arc<Node> = asker.node;
    for attempt in 0..ROOM_ATTEMPTS_MAX {
        let locked = node.slots.lock(slot);
        // Read under the lock: a lease must not be judged by a moment before a wait for it.
        let (now, now_unix_ms) = (clock::now(), clock::unix_ms());
        let leads = match route_here(asker, slot, &locked, asker.way, command.has(flag::WRITE)) {
            Route::Local => true,
            Route::LocalReplica => false,
            elsewhere => return Ok(Err(elsewhere)),
        };
        let step = Step {
            slot,
            command,
            handler,
            leads,
            now,
            now_unix_ms,
        };
        if !leads || !command.has(flag::DENY_OOM) {
            return Ok(Ok((locked, step, None)));
        }
        let growth = words_growth(args) + rewritten(&locked.table, command, args);
        let lacking = match room_for(node, growth, locked.placement(), attempt > 0) {
            Ok(room) => return Ok(Ok((locked, step, room))),
            Err(lacking) => lacking,
        };
        // Entries go under the locks of their slots, one at a time.
        drop(locked);
        lacking.make_room(node)?;
    }
    Err(CommandError::OutOfMemory)
}

/// What the words of a command may add to the data, about.
fn words_growth(args: &Args<'_>) -> usize {
    let (buffer, _) = args.words();
    buffer.len() + buffer.len() / 4
}

/// What else it may: the tables grow, and values that are there may be written anew before the old
/// ones are gone.
fn rewritten(table: &SlotTable, command: &Command, args: &Args<'_>) -> usize {
    let (buffer, spans) = args.words();
    let keys = command.keys.of(buffer, spans);
    // A hash changes in place, but for a copy of it at another key.
    let several = keys.len() > 1;
    let anew = keys
        .filter_map(|key| table.find(key))
        .filter(|entry| several || entry.kind() == Kind::String);
    anew.map(Entry::allocated).sum::<usize>() + table.growth_bytes_max()
}

/// Lets the cache modes run the command.
fn hand_over(
    asker: &mut Asker<'_>,
    slot: Slot,
    row: (&'static Command, KeyHandler),
    args: &Args<'_>,
) -> Result<Ran, CommandError> {
    if row.0.has(flag::WRITE) {
        asker.written.note_elsewhere(slot);
    }
    let version = asker.version;
    defer(asker.node, asker.pending, slot, row, args, version).map(Ran::Deferred)
}

/// One command on one slot, under its lock.
struct Step {
    slot: Slot,
    command: &'static Command,
    handler: KeyHandler,
    /// This member is the slot's primary; otherwise its copy will do.
    leads: bool,
    now: Time,
    now_unix_ms: u64,
}

/// The replica's own placement decides, not the slot map: what it says goes with what the slot
/// does, under one lock.
fn route_here(
    asker: &Asker<'_>,
    slot: Slot,
    locked: &Locked<'_, SlotTable, Token>,
    way: Way,
    write: bool,
) -> Route {
    let me = asker.node.slots.replicas().me();
    let placement = locked.placement();
    let route = route([slot], |_| placement, way, write, asker.forwarded, &me);
    match route {
        // It has heard of a change of primary that its placement does not show yet: the one that it
        // would name might send the client back.
        Route::Moved(..) if locked.promised() > placement.epoch => Route::TryAgain,
        route => route,
    }
}

/// Where a request of the client for the slot would go now.
pub(crate) fn leads_to(session: &Session<'_>, slot: Slot, write: bool) -> Route {
    let slots = &session.node.slots;
    let way = Way {
        any_port: session.any_port(),
        read_only: session.client.readonly,
    };
    let (me, locked) = (slots.replicas().me(), slots.lock(slot));
    let placement = locked.placement();
    route([slot], |_| placement, way, write, false, &me)
}

fn run(
    asker: &mut Asker<'_>,
    step: &Step,
    mut locked: Locked<'_, SlotTable, Token>,
    args: &mut Args<'_>,
    replies: &mut Replies<'_>,
) -> Result<Ran, CommandError> {
    let slots = &asker.node.slots;
    let write = step.command.has(flag::WRITE);
    let mut role = if write { Role::Primary } else { Role::Replica };
    let at = replies.out.len();
    let (outcome, version, result) = loop {
        let version = match admit(asker.node, step, &locked, role) {
            Ok(version) => version,
            // It is about to lead the slot, or about to hear who does.
            Err(Refusal::NotPrimary) => return Ok(Ran::Not(Route::TryAgain)),
            Err(why) => {
                if why == Refusal::Busy {
                    asker.node.stats.reached(Limit::Uncommitted);
                }
                return Err(refused(why));
            }
        };
        let tells = |definition| asker.node.modes.tells(definition);
        let mut tx = Tx::new(&mut locked.table, role, step.now_unix_ms, version).telling(&tells);
        let result = (step.handler)(&mut tx, &mut args.clone());
        let result = result.and_then(|reply| asker.answer(&reply, write, replies.out));
        let outcome = tx.finish();
        if !(outcome.saw_ended && step.leads && role == Role::Replica) {
            break (outcome, version, result);
        }
        // A key is past its time. Its end is a record before anybody is told of it.
        replies.out.truncate(at);
        role = Role::Primary;
    };
    if !write {
        asker.count(outcome.found, outcome.missed);
    }
    let mut out = Out::default();
    let wrote = !outcome.effects.is_empty();
    if wrote {
        let effects = Bytes::from(outcome.effects.into_bytes());
        locked.append(slots.context(), effects, &mut out);
        asker.written.note(step.slot, version);
    }
    asker.node.modes.ended(step.slot, outcome.ended);
    // A record of a set that commits alone is committed as soon as it is made. A copy may show
    // what is undone later.
    let certain = outcome.met <= locked.committed() || !step.leads;
    if certain || acknowledged_alone(asker.node, step.command, args) {
        drop(locked);
        slots.perform(out);
        return result.map(|()| Ran::Here);
    }
    if let Err(error) = result {
        // An error of a handler shows the state as well, so it waits like any reply.
        asker.node.stats.error(&error);
        Reply::Error(error).encode(asker.version, replies.out);
    }
    let copies = Need::Copies(locked.placement().write_quorum);
    let need = if wrote { copies } else { Need::Committed };
    let token = replies.gather.wait_for_copies(at, replies.out.len(), wrote);
    let waits = locked.wait(slots.context(), outcome.met, need, token, &mut out);
    // Where too many wait, the token is dropped, and the reply counts as not known.
    waits.unwrap_or_else(|_| asker.node.stats.reached(Limit::Waiters));
    drop(locked);
    slots.perform(out);
    Ok(Ran::Here)
}

/// The last gates: lease, quorum. Which version the command's record would have.
fn admit(
    node: &Node,
    step: &Step,
    locked: &Locked<'_, SlotTable, Token>,
    role: Role,
) -> Result<Version, Refusal> {
    let context = node.slots.context();
    if role == Role::Primary {
        locked.check_write(context, step.now)?;
        return Ok(locked.next_version());
    }
    if step.leads {
        locked.check_read(context, step.now)?;
    }
    Ok(locked.committed())
}

/// Whether all keys of the command lie in keyspaces whose writes their primary acknowledges alone.
fn acknowledged_alone(node: &Node, command: &Command, args: &Args<'_>) -> bool {
    if !node.modes.acknowledges_alone() {
        return false;
    }
    let keyspaces = node.modes.keyspaces();
    let (buffer, spans) = args.words();
    let mut keys = command.keys.of(buffer, spans);
    let alone = |key| {
        keyspaces
            .of(key)
            .is_some_and(|found| found.ack == Ack::Primary)
    };
    keys.len() > 0 && keys.all(alone)
}

/// What goes along with a record's values in a message, at most: other messages of its batch.
pub(crate) const MESSAGE_MARGIN: usize = 1 << 20;
/// What a record says of each key beside its name and its value, at most.
const KEY_MARGIN: usize = 64;

/// A command's record goes to the copies as one message. It holds no more than the command's words,
/// or one value, for which there is always room.
fn fits_in_message(
    (buffer, words): (&[u8], &[Span]),
    message_bytes_max: usize,
) -> Result<(), CommandError> {
    let room = message_bytes_max.saturating_sub(MESSAGE_MARGIN + words.len() * KEY_MARGIN);
    if buffer.len() <= room {
        return Ok(());
    }
    let bytes: usize = words.iter().map(|word| word.of(buffer).len()).sum();
    if bytes <= room {
        return Ok(());
    }
    Err(format!(
        "ERR too much in one command: its {bytes} bytes do not fit in peers.message_bytes_max"
    )
    .into())
}

/// What a client is told when a slot does not serve. Nothing was applied.
pub(crate) fn refused(refusal: Refusal) -> CommandError {
    match refusal {
        Refusal::NotPrimary => crate::others::DOWN,
        Refusal::NoLease => "CLUSTERDOWN The slot's primary may be cut off from its copies",
        Refusal::TooFewCopies => "NOREPLICAS Not enough good replicas to write.",
        Refusal::Busy => "TRYAGAIN Too many writes of the slot wait for their copies",
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_makes_too_long_a_record_is_refused() {
        let buffer = vec![0; 3 << 20];
        let word = |from: usize, to: usize| Span::new(from << 20, to << 20);
        let fits = |words: &[Span], mib: usize| fits_in_message((&buffer, words), mib << 20);
        let two = [word(0, 1), word(1, 3)];
        assert!(fits(&two, 5).is_ok());
        assert!(
            fits(&two[1..], 4).is_ok(),
            "what follows is another command"
        );
        let error = fits(&two, 4).unwrap_err();
        assert!(
            error.to_string().contains("3145728 bytes do not fit"),
            "{error}"
        );
    }
}
