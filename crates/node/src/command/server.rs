//! Commands about the node and its data as a whole.

use std::time::Duration;

use bytes::Bytes;
use cluster::clock;
use cluster::replication::{Need, Out, Refusal};

use crate::command::{Answer, Args, Later, Session};
use crate::error::CommandError;
use crate::execute::refused;
use crate::gather::Waits;
use crate::resp::Reply;
use crate::store::Tx;
use crate::store::tx::Role;

type Answered<'a> = Result<Answer<'a>, CommandError>;

pub(crate) fn time<'a>(_: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    let now = clock::unix_micros();
    let parts = [now / 1_000_000, now % 1_000_000];
    Ok(Reply::Array(
        parts
            .map(|part| Reply::Bulk(part.to_string().into()))
            .into(),
    )
    .into())
}

pub(crate) fn dbsize<'a>(session: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    let keys = session.node.slots.tally().keys;
    Ok(Reply::Int(i64::try_from(keys).unwrap_or(i64::MAX)).into())
}

/// Empties the slots that this node leads. It gives the memory back in the background in any case,
/// so `SYNC` and `ASYNC` mean the same.
pub(crate) fn flush<'a>(session: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    if !args.is_empty() && !args.option("async") && !args.option("sync") {
        return Err(CommandError::Syntax);
    }
    args.finish()?;
    let slots = &session.node.slots;
    let mut waits = Waits::default();
    let mut refusal = None;
    for slot in slots.replicas().slots() {
        let mut out = Out::default();
        let mut locked = slots.lock(slot);
        match locked.check_write(slots.context(), clock::now()) {
            Ok(()) => {}
            // Another node leads it, and empties it if it is asked to.
            Err(Refusal::NotPrimary) => continue,
            Err(why) => {
                refusal = Some(why);
                continue;
            }
        }
        let version = locked.next_version();
        let mut tx = Tx::new(&mut locked.table, Role::Primary, clock::unix_ms(), version);
        tx.clear();
        let outcome = tx.finish();
        if !outcome.effects.is_empty() {
            let effects = Bytes::from(outcome.effects.into_bytes());
            let version = locked.append(slots.context(), effects, &mut out);
            if version > locked.committed() {
                let need = Need::Copies(locked.placement().write_quorum);
                let waiting = locked.wait(slots.context(), version, need, waits.token(), &mut out);
                refusal = refusal.or(waiting.err());
            }
        }
        drop(locked);
        slots.perform(out);
    }
    if let Some(refusal) = refusal {
        return Err(refused(refusal));
    }
    if waits.is_empty() {
        return Ok(Reply::Ok.into());
    }
    let timeout = session.node.settings.timings.write_timeout.0;
    Ok(
        Later::holding_back(async move { waits.all(timeout, true).await.map(|()| Reply::Ok) })
            .into(),
    )
}

/// The writes of the client so far are on this many replicas.
pub(crate) fn wait<'a>(session: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    let wanted = args.int()?;
    let timeout = args
        .int()
        .map_err(|_| "ERR timeout is not an integer or out of range")?;
    let timeout = u64::try_from(timeout).map_err(|_| "ERR timeout is negative")?;
    let node = std::sync::Arc::clone(session.node);
    let written = std::mem::take(&mut session.client.written);
    let replicas = node.slots.replicas_of(&written);
    if replicas >= wanted {
        return Ok(Reply::Int(replicas).into());
    }
    let reply = async move {
        let forever = timeout == 0;
        let until = clock::now() + Duration::from_millis(timeout);
        loop {
            let replicas = node.slots.replicas_of(&written);
            if replicas >= wanted || (!forever && clock::now() >= until) {
                return Ok(Reply::Int(replicas));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    Ok(Later::holding_back(reply).into())
}
