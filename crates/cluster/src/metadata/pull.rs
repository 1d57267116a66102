//! How a node that is not in the group, or behind it, gets to know what was decided.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::group::Inner;
use super::request::{PullAnswer, PullRequest, encode};
use crate::NodeId;
use crate::transport::CallKind;

/// The pause after a vain try.
const PAUSE: Duration = Duration::from_millis(100);

/// Pulls as long as the node lives; rests while the node hears the leader itself.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut leadership = inner.leadership.subscribe();
    let mut ahead = inner.ahead.subscribe();
    let mut turn = 0;
    loop {
        let voter = inner.voters().contains(&inner.me.node);
        let led = leadership.borrow_and_update().leader.is_some();
        if voter && led {
            if leadership.changed().await.is_err() {
                return;
            }
            continue;
        }
        let others = inner.others();
        let told = *ahead.borrow_and_update();
        let since = inner.feed.state().applied();
        let better = told
            .filter(|(_, index)| *index > since)
            .map(|(node, _)| node);
        let from = better.or_else(|| others.get(turn % others.len().max(1)).copied());
        let done = match from {
            // Who waits at a node that falls behind must be able to leave it.
            Some(from) if better.is_none() => tokio::select! {
                done = pull(&inner, from, since) => done,
                _ = ahead.changed() => true,
            },
            Some(from) => pull(&inner, from, since).await,
            None => false,
        };
        if !done {
            inner.ahead.send_if_modified(|told| {
                // A node that cannot help is not asked first again.
                let useless = told.is_some_and(|(node, _)| Some(node) == from);
                if useless {
                    *told = None;
                }
                false
            });
            turn += 1;
            // Whoever becomes a voter or hears of somebody meanwhile need not wait.
            let _ = timeout(PAUSE, leadership.changed()).await;
        }
    }
}

/// Asks one node, and takes what it gives. Says whether it was of use, so that it is asked again.
async fn pull(inner: &Inner, from: NodeId, since: u64) -> bool {
    let wait_ms = u32::try_from(inner.settings.pull_wait.as_millis()).unwrap_or(u32::MAX);
    let request = encode(&PullRequest { since, wait_ms });
    let time = inner.settings.pull_wait + inner.settings.call_timeout;
    let call = inner
        .calls
        .call(from, CallKind::MetadataPull, request, time);
    let Ok(answer) = call.await else { return false };
    let Ok(answer) = postcard::from_bytes::<PullAnswer>(&answer) else {
        return false;
    };
    let lineage = match &answer {
        PullAnswer::Unformed => {
            sleep(PAUSE).await;
            return false;
        }
        PullAnswer::Nothing(lineage)
        | PullAnswer::Entries(lineage, _)
        | PullAnswer::Whole(lineage, _) => *lineage,
    };
    match inner.adopt(lineage).await {
        Ok(true) => {}
        Ok(false) => {
            tracing::warn!(node = %from, %lineage, "a node of another cluster answers here");
            return false;
        }
        Err(error) => {
            tracing::error!(%error, "the lineage cannot be kept");
            return false;
        }
    }
    match answer {
        PullAnswer::Unformed | PullAnswer::Nothing(_) => {}
        PullAnswer::Entries(_, entries) => inner.feed.pulled(since, entries),
        PullAnswer::Whole(_, state) => {
            if state.placements().len() != inner.feed.state().placements().len() {
                tracing::warn!(node = %from, "a state with another number of slots");
                return false;
            }
            inner.feed.replaced(Arc::from(state));
        }
    }
    true
}
