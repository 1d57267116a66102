//! What this node answers the others: to those who want something of the leader, and to those who
//! are behind.

use std::time::Duration;

use bytes::Bytes;
use openraft::error::{ClientWriteError, RaftError};
use tokio::time::timeout;

use super::group::Inner;
use super::request::{PullAnswer, PullRequest, WriteAnswer, WriteRequest, encode};
use super::{Entry, State};
use crate::transport::CallKind;
use crate::{Lineage, Member};

/// The calls that the metadata group answers.
pub(super) const KINDS: [CallKind; 5] = [
    CallKind::RaftAppend,
    CallKind::RaftVote,
    CallKind::RaftSnapshot,
    CallKind::MetadataWrite,
    CallKind::MetadataPull,
];

/// About how much an answer to a pull may hold. One entry always fits.
const PULL_BYTES_MAX: usize = 1 << 20;

pub(super) async fn write(inner: &Inner, request: &[u8]) -> Bytes {
    let answer = match postcard::from_bytes::<WriteRequest>(request) {
        Ok(WriteRequest::Propose(lineage, entry)) if is_ours(inner, lineage) => {
            propose(inner, entry).await
        }
        Ok(WriteRequest::Lease(lineage, member)) if is_ours(inner, lineage) => {
            lease(inner, member).await
        }
        Ok(_) | Err(_) => WriteAnswer::NotLeader(None),
    };
    encode(&answer)
}

fn is_ours(inner: &Inner, lineage: Lineage) -> bool {
    inner.lineage() == Some(lineage)
}

fn not_leader(inner: &Inner) -> WriteAnswer {
    let leader = inner.leadership.borrow().leader;
    WriteAnswer::NotLeader(leader.filter(|leader| *leader != inner.me.node))
}

/// Appends an entry, if this node leads, and waits until it is applied.
pub(super) async fn propose(inner: &Inner, entry: Entry) -> WriteAnswer {
    if !inner.is_leader() {
        return not_leader(inner);
    }
    let written = timeout(
        inner.settings.propose_timeout,
        inner.raft.client_write(entry),
    );
    match Box::pin(written).await {
        Ok(Ok(answer)) => WriteAnswer::Applied(answer.data),
        // The library says "forward" both for what it never took and for what it took and another
        // leader overwrote here; a third one may still hold that and commit it.
        Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))))
        | Ok(Err(RaftError::Fatal(_)))
        | Err(_) => WriteAnswer::Unknown,
        Ok(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(_)))) => {
            WriteAnswer::NotLeader(None)
        }
    }
}

/// Promises a member that until `L_meta` after it asked nobody passes it over in a slot whose
/// fences it knows.
///
/// A quorum has confirmed, after the request came, that no newer leader exists; so a newer one
/// begins, and waits its full length, after the member asked. Fences of this leader itself come
/// with the index: the member takes the lease only when it has applied the log up to there.
pub(super) async fn lease(inner: &Inner, member: Member) -> WriteAnswer {
    if !inner.is_leader() {
        return not_leader(inner);
    }
    let confirmed = timeout(
        inner.settings.call_timeout,
        inner.raft.ensure_linearizable(),
    );
    if !matches!(Box::pin(confirmed).await, Ok(Ok(_))) {
        return not_leader(inner);
    }
    let state = inner.feed.state();
    if state.member(&member.node) == Some(member) && !state.is_known_dead(&member) {
        WriteAnswer::Leased(state.applied())
    } else {
        WriteAnswer::Dead
    }
}

/// Waits until this node knows more than the one that asks, and gives it that.
pub(super) async fn pull(inner: &Inner, request: &[u8]) -> Bytes {
    let Ok(PullRequest { since, wait_ms }) = postcard::from_bytes(request) else {
        return encode(&PullAnswer::Unformed);
    };
    let wait = Duration::from_millis(wait_ms.into()).min(inner.settings.pull_wait);
    let mut state = inner.feed.watch();
    // That nothing came within the time is an answer too.
    let _ = timeout(wait, state.wait_for(|state| state.applied() > since)).await;
    let state = inner.feed.state();
    let Some(lineage) = state.lineage() else {
        return encode(&PullAnswer::Unformed);
    };
    encode(&match inner.feed.since(since) {
        Some(entries) if entries.is_empty() => PullAnswer::Nothing(lineage),
        Some(entries) => PullAnswer::Entries(lineage, within_bounds(entries)),
        None if state.applied() <= since => PullAnswer::Nothing(lineage),
        None => PullAnswer::Whole(lineage, Box::new(State::clone(&state))),
    })
}

fn within_bounds(mut entries: Vec<(u64, Entry)>) -> Vec<(u64, Entry)> {
    let mut bytes = 0;
    let fit = entries.iter().take_while(|entry| {
        let fits = bytes == 0 || bytes < PULL_BYTES_MAX;
        bytes += postcard::experimental::serialized_size(entry).unwrap_or(PULL_BYTES_MAX);
        fits
    });
    let count = fit.count();
    entries.truncate(count);
    entries
}
