//! Runs a key command on one slot of this node, and leaves its reply.

use bytes::Bytes;
use cluster::replication::{Locked, Need, Out, Refusal};
use cluster::{Slot, Time, Version, clock};
use routing::route::{Route, Way, route};

use crate::client_state::{Port, Written};
use crate::command::table::{Command, KeyHandler, flag};
use crate::command::{Args, Session};
use crate::dispatch::Replies;
use crate::error::CommandError;
use crate::gather::Token;
use crate::node::Node;
use crate::resp::{Reply, RespVersion};
use crate::stats::ThreadStats;
use crate::store::tx::Role;
use crate::store::{SlotTable, Tx};

/// For whom a key command runs: a client of this node, or another node that has such a client.
pub(crate) struct Asker<'a> {
    pub(crate) node: &'a Node,
    pub(crate) version: RespVersion,
    pub(crate) way: Way,
    /// Another node sent the request here.
    pub(crate) forwarded: bool,
    /// What is remembered for `WAIT`.
    pub(crate) written: &'a mut Written,
    /// The counters of the thread that serves the client; none for another node's client.
    pub(crate) stats: Option<&'a ThreadStats>,
}

impl<'a> Asker<'a> {
    pub(crate) fn of(session: &'a mut Session<'_>) -> Asker<'a> {
        Asker {
            node: session.node,
            version: session.client.version,
            way: Way {
                any_port: session.client.port == Port::Any,
                read_only: session.client.readonly,
            },
            forwarded: false,
            written: &mut session.client.written,
            stats: Some(session.stats),
        }
    }
}

impl Asker<'_> {
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ran {
    /// It ran, and its reply is there or gathered.
    Here,
    /// Nothing happened: it belongs elsewhere.
    Not(Route),
}

/// Locks the slot, runs the handler, makes its effects a record, and encodes the reply. A reply
/// that shows what is not committed is gathered. A request that belongs elsewhere does not run.
pub(crate) fn execute(
    asker: &mut Asker<'_>,
    slot: Slot,
    command: &Command,
    handler: KeyHandler,
    args: &mut Args<'_>,
    replies: &mut Replies<'_>,
) -> Result<Ran, CommandError> {
    let slots = &asker.node.slots;
    let write = command.has(flag::WRITE);
    let mut out = Out::default();
    let mut locked = slots.lock(slot);
    // Read under the lock: a lease must not be judged by a moment before a wait for it.
    let now = clock::now();
    // The replica's own placement decides, not the slot map: what it says goes with what the slot
    // does, under one lock.
    let (me, placement) = (slots.replicas().me(), locked.placement());
    let route = route(
        [slot],
        |_| placement,
        asker.way,
        write,
        asker.forwarded,
        &me,
    );
    let leads = match route {
        Route::Local => true,
        Route::LocalReplica => false,
        elsewhere => return Ok(Ran::Not(elsewhere)),
    };
    let Some((role, version)) = admit(asker, command, &locked, leads, now)? else {
        // It is about to lead the slot, or about to hear who does.
        return Ok(Ran::Not(Route::TryAgain));
    };
    let mut tx = Tx::new(&mut locked.table, role, clock::unix_ms(), version);
    let at = replies.out.len();
    let result = handler(&mut tx, args);
    let result = result.map(|reply| reply.encode(asker.version, replies.out));
    let outcome = tx.finish();
    if !write {
        asker.count(outcome.found, outcome.missed);
    }
    let wrote = !outcome.effects.is_empty();
    if wrote {
        let effects = Bytes::from(outcome.effects.into_bytes());
        locked.append(slots.context(), effects, &mut out);
        asker.written.note(slot, version);
    }
    // A record of a set that commits alone is committed as soon as it is made. A copy may show
    // what is undone later.
    if outcome.met <= locked.committed() || !leads {
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
    waits.unwrap_or_else(|refusal| tracing::debug!(%slot, "a reply cannot wait: {refusal}"));
    drop(locked);
    slots.perform(out);
    Ok(Ran::Here)
}

/// The last gates, under the slot's lock: memory, lease, quorum. In what part the command runs and
/// which version its record would have; `None` if this node does not lead the slot after all.
fn admit(
    asker: &Asker<'_>,
    command: &Command,
    locked: &Locked<'_, SlotTable, Token>,
    leads: bool,
    now: Time,
) -> Result<Option<(Role, Version)>, CommandError> {
    if leads && command.has(flag::DENY_OOM) && asker.node.is_out_of_memory() {
        return Err(CommandError::OutOfMemory);
    }
    let (context, write) = (asker.node.slots.context(), command.has(flag::WRITE));
    let writable = locked.check_write(context, now);
    let refusal = match writable {
        Err(why) if write => Some(why),
        _ if leads && !write => locked.check_read(context, now).err(),
        _ => None,
    };
    match refusal {
        None => {}
        Some(Refusal::NotPrimary) => return Ok(None),
        Some(why) => return Err(refused(why)),
    }
    // A read removes what it finds past its time, if this node may write.
    Ok(Some(match writable {
        Ok(()) => (Role::Primary, locked.next_version()),
        Err(_) => (Role::Replica, locked.committed()),
    }))
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
