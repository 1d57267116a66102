//! What a node wants of the leader, wherever that is.

use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};

use super::group::{Group, Inner};
use super::request::{WriteAnswer, WriteRequest, encode};
use super::{Applied, Entry, Refusal, answer};
use crate::transport::{CallError, CallKind};
use crate::{Member, NodeId, NodeInfo};

/// The pause before the next try, where no leader was found.
const PAUSE: Duration = Duration::from_millis(50);

/// Why a proposal has no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProposeError {
    /// The entry was not proposed, and will not be applied.
    #[error("the metadata group has no leader that can be reached")]
    NotProposed,
    /// The entry may be applied once, now or later, or never. What the proposer then sees in the
    /// state decides; to propose the same again is safe where the entry says what it was judged by
    /// (a `rev`, an epoch, a revision), since then one of the two is refused.
    #[error("whether the metadata group has taken the entry is not known")]
    Unknown,
}

/// Why a member has no lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LeaseError {
    /// The group could not be asked in time.
    #[error("the metadata group has no leader that can be reached")]
    NoLeader,
    /// This start of the node is over for the group.
    #[error("the metadata group knows a newer start of this node, or was told that it has stopped")]
    Dead,
}

/// Why a start of a node cannot be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RegisterError {
    /// The group refuses it, and will go on doing so.
    #[error("the metadata group does not take this node: {0}")]
    Refused(Refusal),
}

impl Group {
    /// Has the entry applied by the group, and says what it did.
    ///
    /// The entry is proposed once: where the answer is lost, the error is
    /// [`ProposeError::Unknown`], and it is the caller who may repeat it.
    ///
    /// # Errors
    /// If there is no leader for the time of `propose_timeout`, or its answer did not come.
    pub async fn propose(&self, entry: Entry) -> Result<Applied, ProposeError> {
        let Some(lineage) = self.inner().lineage() else {
            return Err(ProposeError::NotProposed);
        };
        match ask_leader(self.inner(), &WriteRequest::Propose(lineage, entry)).await? {
            WriteAnswer::Applied(applied) => Ok(applied),
            _ => Err(ProposeError::Unknown),
        }
    }

    /// The same, and when it returns this node's own state has it, unless that takes too long.
    ///
    /// # Errors
    /// As [`Group::propose`].
    pub async fn decide(&self, entry: Entry) -> Result<Applied, ProposeError> {
        let applied = self.propose(entry).await?;
        self.knows(applied.index).await;
        Ok(applied)
    }

    /// Waits until this node's state has the entry at an index, and says whether it has.
    async fn knows(&self, index: u64) -> bool {
        let mut state = self.watch_state();
        let known = state.wait_for(|state| state.applied() >= index);
        let known = timeout(self.inner().settings.propose_timeout, known).await;
        matches!(known, Ok(Ok(_)))
    }

    /// Asks for a lease of the member's node: from the moment at which this was *called*, the
    /// member may for `L_meta` act as primary where its own word is the only lease, once it has
    /// applied the log up to the index that this returns. A fence from before is known then.
    ///
    /// # Errors
    /// If the group cannot be asked, or does not know this member any more.
    pub async fn lease(&self, member: Member) -> Result<u64, LeaseError> {
        let inner = self.inner();
        let lineage = inner.lineage().ok_or(LeaseError::NoLeader)?;
        let answer = ask_leader(inner, &WriteRequest::Lease(lineage, member)).await;
        match answer.map_err(|_| LeaseError::NoLeader)? {
            WriteAnswer::Leased(index) => Ok(index),
            WriteAnswer::Dead => Err(LeaseError::Dead),
            _ => Err(LeaseError::NoLeader),
        }
    }

    /// Registers this start of the node, and returns when this node's own state has it: only then
    /// may the node serve. Waits for a leader as long as it takes.
    ///
    /// # Errors
    /// If the group refuses: a newer start of the node is known, or the cluster is full.
    pub async fn register(&self, info: NodeInfo) -> Result<(), RegisterError> {
        let me = self.me();
        let mut state = self.watch_state();
        loop {
            let entry = Entry::Register {
                member: me,
                info: info.clone(),
            };
            match self.propose(entry).await {
                Ok(Applied {
                    refused: Some(refusal),
                    ..
                }) => {
                    // Before its first entry the cluster takes nothing else.
                    if refusal != Refusal::NotInOrder {
                        return Err(RegisterError::Refused(refusal));
                    }
                }
                Ok(applied) => {
                    let wait = state.wait_for(|state| state.applied() >= applied.index);
                    // The state ends with the process alone.
                    let _ = wait.await;
                    return Ok(());
                }
                Err(error) => tracing::debug!(%error, "registering this node again"),
            }
            sleep(PAUSE).await;
        }
    }
}

/// Finds the leader and has it answer. Everything that it may have carried out ends the search.
async fn ask_leader(inner: &Inner, request: &WriteRequest) -> Result<WriteAnswer, ProposeError> {
    let deadline = Instant::now() + inner.settings.propose_timeout;
    let encoded = encode(request);
    let mut next = 0;
    loop {
        let answer = if inner.is_leader() {
            answer_self(inner, request).await
        } else {
            let others = inner.others();
            let Some(to) = others.get(next % others.len().max(1)) else {
                pause(deadline).await?;
                continue;
            };
            ask(inner, *to, encoded.clone(), deadline).await?
        };
        match answer {
            WriteAnswer::NotLeader(hint) => {
                // A hint is tried at once, and first; after a vain round, a little later.
                next = if hint.is_some() && *inner.hint.lock() != hint {
                    0
                } else {
                    next + 1
                };
                *inner.hint.lock() = hint;
                if next > 0 {
                    pause(deadline).await?;
                }
            }
            WriteAnswer::Unknown => return Err(ProposeError::Unknown),
            done => return Ok(done),
        }
    }
}

async fn pause(deadline: Instant) -> Result<(), ProposeError> {
    sleep(PAUSE).await;
    if Instant::now() < deadline {
        Ok(())
    } else {
        Err(ProposeError::NotProposed)
    }
}

async fn answer_self(inner: &Inner, request: &WriteRequest) -> WriteAnswer {
    match request {
        WriteRequest::Propose(_, entry) => answer::propose(inner, entry.clone()).await,
        WriteRequest::Lease(_, member) => answer::lease(inner, *member).await,
    }
}

async fn ask(
    inner: &Inner,
    to: NodeId,
    request: Bytes,
    deadline: Instant,
) -> Result<WriteAnswer, ProposeError> {
    let left = deadline.saturating_duration_since(Instant::now());
    match inner
        .calls
        .call(to, CallKind::MetadataWrite, request, left)
        .await
    {
        Ok(answer) => postcard::from_bytes(&answer).map_err(|_| ProposeError::Unknown),
        Err(CallError::NotSent(_)) => Ok(WriteAnswer::NotLeader(None)),
        Err(CallError::Unknown(_)) => Err(ProposeError::Unknown),
    }
}
