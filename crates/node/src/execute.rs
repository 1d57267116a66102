//! Runs a key command on one slot of this node, and leaves its reply.

use bytes::Bytes;
use cluster::Slot;
use cluster::replication::{Need, Out, Refusal};

use crate::command::table::{Command, KeyHandler, flag};
use crate::command::{Args, Session};
use crate::dispatch::Replies;
use crate::error::CommandError;
use crate::resp::Reply;
use crate::store::Tx;
use crate::store::tx::Role;
use cluster::clock;

/// Locks the slot, runs the handler, makes its effects a record, and encodes the reply. A reply
/// that shows what is not committed is gathered.
pub(crate) fn execute(
    session: &mut Session<'_>,
    slot: Slot,
    command: &Command,
    handler: KeyHandler,
    args: &mut Args<'_>,
    replies: &mut Replies<'_>,
) -> Result<(), CommandError> {
    let slots = &session.node.slots;
    let write = command.has(flag::WRITE);
    let mut out = Out::default();
    let mut locked = slots.lock(slot);
    // Read under the lock: a lease must not be judged by a moment before a wait for it.
    let now = clock::now();
    if !write {
        locked.check_read(slots.context(), now).map_err(refused)?;
    }
    let writable = locked.check_write(slots.context(), now);
    if write {
        writable.map_err(refused)?;
    }
    // A read removes what it finds past its time, if this node may write.
    let (role, version) = match writable {
        Ok(()) => (Role::Primary, locked.next_version()),
        Err(_) => (Role::Replica, locked.committed()),
    };
    let mut tx = Tx::new(&mut locked.table, role, clock::unix_ms(), version);
    let at = replies.out.len();
    let result = handler(&mut tx, args);
    let result = result.map(|reply| reply.encode(session.client.version, replies.out));
    let outcome = tx.finish();
    let wrote = !outcome.effects.is_empty();
    if wrote {
        let effects = Bytes::from(outcome.effects.into_bytes());
        locked.append(slots.context(), effects, &mut out);
        session.client.written.note(slot, version);
    }
    // A record of a set that commits alone is committed as soon as it is made.
    if outcome.met <= locked.committed() {
        drop(locked);
        slots.perform(out);
        return result;
    }
    if let Err(error) = result {
        // An error of a handler shows the state as well, so it waits like any reply.
        session.node.stats.error(&error);
        Reply::Error(error).encode(session.client.version, replies.out);
    }
    let copies = Need::Copies(locked.placement().write_quorum);
    let need = if wrote { copies } else { Need::Committed };
    let token = replies.gather.wait_for_copies(at, replies.out.len(), wrote);
    let waits = locked.wait(slots.context(), outcome.met, need, token, &mut out);
    // Where too many wait, the token is dropped, and the reply counts as not known.
    waits.unwrap_or_else(|refusal| tracing::debug!(%slot, "a reply cannot wait: {refusal}"));
    drop(locked);
    slots.perform(out);
    Ok(())
}

/// What a client is told when a slot does not serve. Nothing was applied.
pub(crate) fn refused(refusal: Refusal) -> CommandError {
    match refusal {
        Refusal::NotPrimary => "CLUSTERDOWN Hash slot not served",
        Refusal::NoLease => "CLUSTERDOWN The slot's primary may be cut off from its copies",
        Refusal::TooFewCopies => "NOREPLICAS Not enough good replicas to write.",
        Refusal::Busy => "TRYAGAIN Too many writes of the slot wait for their copies",
    }
    .into()
}
