//! The Raft library's calls to other voters.
//!
//! Every request names the lineage, and a node refuses those of another one: whatever an address or
//! an old log says, the logs of two clusters never meet.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::error::{
    Fatal, InstallSnapshotError, RPCError, RaftError, RemoteError, SnapshotMismatch, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::{AnyError, EmptyNode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::raft::{Raft, Types, Voter};
use crate::transport::{CallKind, Calls};
use crate::{Lineage, NodeId};

/// How long the library waits before it tries an unreachable node again.
const RETRY: Duration = Duration::from_millis(100);

type Failed<E = openraft::error::Infallible> = RPCError<Voter, EmptyNode, RaftError<Voter, E>>;

/// What a voter answers.
#[derive(Debug, Serialize, Deserialize)]
enum Answer<T> {
    Done(T),
    SnapshotMismatch(SnapshotMismatch),
    /// Of another lineage, or not able to take part now.
    Refused,
}

/// Makes the connections to other voters.
#[derive(Clone)]
pub(super) struct Network {
    pub(super) calls: Arc<dyn Calls>,
    pub(super) lineage: watch::Receiver<Option<Lineage>>,
}

/// The way to one voter.
pub(super) struct Peer {
    network: Network,
    node: NodeId,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: Voter, _: &EmptyNode) -> Peer {
        Peer {
            network: self.clone(),
            node: target.0,
        }
    }
}

impl Peer {
    async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        kind: CallKind,
        request: &Q,
        option: &RPCOption,
    ) -> Result<Answer<A>, Unreachable> {
        let Some(lineage) = *self.network.lineage.borrow() else {
            return Err(Unreachable::from(AnyError::error(
                "this node has no lineage",
            )));
        };
        let request = postcard::to_stdvec(&(lineage, request)).map_err(|e| Unreachable::new(&e))?;
        let call = self
            .network
            .calls
            .call(self.node, kind, request.into(), option.hard_ttl());
        let answer = call.await.map_err(|error| Unreachable::new(&error))?;
        postcard::from_bytes(&answer).map_err(|error| Unreachable::new(&error))
    }
}

fn refused<E: std::error::Error>() -> Failed<E> {
    Unreachable::from(AnyError::error("the node refused")).into()
}

impl RaftNetwork<Types> for Peer {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Voter>, Failed> {
        match self.ask(CallKind::RaftAppend, &request, &option).await? {
            Answer::Done(answer) => Ok(answer),
            Answer::SnapshotMismatch(_) | Answer::Refused => Err(refused()),
        }
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<Types>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<Voter>, Failed<InstallSnapshotError>> {
        match self.ask(CallKind::RaftSnapshot, &request, &option).await? {
            Answer::Done(answer) => Ok(answer),
            Answer::SnapshotMismatch(mismatch) => {
                let error = RaftError::APIError(mismatch.into());
                Err(RemoteError::new(Voter(self.node), error).into())
            }
            Answer::Refused => Err(refused()),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Voter>,
        option: RPCOption,
    ) -> Result<VoteResponse<Voter>, Failed> {
        match self.ask(CallKind::RaftVote, &request, &option).await? {
            Answer::Done(answer) => Ok(answer),
            Answer::SnapshotMismatch(_) | Answer::Refused => Err(refused()),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(RETRY))
    }
}

/// The lineage that another voter's request names.
pub(super) fn lineage(request: &[u8]) -> Option<Lineage> {
    postcard::take_from_bytes(request)
        .ok()
        .map(|(lineage, _)| lineage)
}

/// Answers another voter's request, whose lineage was found to be this node's.
pub(super) async fn answer(raft: &Raft, kind: CallKind, request: &[u8]) -> Bytes {
    match kind {
        CallKind::RaftAppend => {
            let Some(request) = decode(request) else {
                return refusal();
            };
            encode(&done(raft.append_entries(request).await))
        }
        CallKind::RaftVote => {
            let Some(request) = decode(request) else {
                return refusal();
            };
            encode(&done(raft.vote(request).await))
        }
        CallKind::RaftSnapshot => {
            let Some(request) = decode(request) else {
                return refusal();
            };
            match Box::pin(raft.install_snapshot(request)).await {
                Err(RaftError::APIError(InstallSnapshotError::SnapshotMismatch(mismatch))) => {
                    encode(&Answer::<()>::SnapshotMismatch(mismatch))
                }
                Ok(answer) => encode(&Answer::Done(answer)),
                Err(RaftError::Fatal(error)) => encode(&stopped::<()>(&error)),
            }
        }
        _ => refusal(),
    }
}

fn done<T>(result: Result<T, RaftError<Voter>>) -> Answer<T> {
    match result {
        Ok(answer) => Answer::Done(answer),
        Err(RaftError::Fatal(error)) => stopped(&error),
        Err(RaftError::APIError(never)) => match never {},
    }
}

fn stopped<T>(error: &Fatal<Voter>) -> Answer<T> {
    tracing::error!(%error, "the metadata group's log has stopped");
    Answer::Refused
}

/// What a node answers that does not take part.
pub(super) fn refusal() -> Bytes {
    encode(&Answer::<()>::Refused)
}

fn decode<Q: DeserializeOwned>(request: &[u8]) -> Option<Q> {
    postcard::from_bytes::<(Lineage, Q)>(request)
        .ok()
        .map(|(_, request)| request)
}

fn encode<T: Serialize>(answer: &Answer<T>) -> Bytes {
    // An empty answer does not decode, and so is none; the library tries again.
    postcard::to_stdvec(answer)
        .map(Bytes::from)
        .unwrap_or_default()
}
