//! Makes a cluster or joins one: the part of [`super::founding`] that has a clock, a disk and a
//! network.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use openraft::EmptyNode;
use openraft::error::{InitializeError, RaftError};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::disk::{DiskError, Fact, Write};
use super::founding::{Ask, Bootstrap, Founding, Reply, Stage, Step};
use super::group::{Group, GroupError, Inner};
use super::raft::Voter;
use super::request::encode;
use super::{Form, OnLoss, voters};
use crate::transport::{BoxFuture, CallKind, Handler};
use crate::{Lineage, Member, NodeId, NodeInfo};

/// How often a node that belongs to no cluster tries to change that.
const TICK: Duration = Duration::from_millis(200);

/// What a node brings to the making of a cluster. Of several nodes' settings those of the smallest
/// founder count.
#[derive(Clone, Debug, Default)]
pub struct BootstrapSettings {
    /// How many nodes found the cluster. `None`: this node makes none, it only joins one.
    pub expect: Option<usize>,
    /// `N`, where it is set.
    pub replication_factor: Option<u8>,
    /// `W`, where it is set.
    pub write_quorum: Option<u8>,
    /// `R`, where it is set.
    pub read_quorum: Option<u8>,
    /// What becomes of slots of which something may be missing, where it is set.
    pub on_loss: Option<OnLoss>,
    /// The documents that the cluster begins with, by name.
    pub documents: Vec<(String, Bytes)>,
}

/// Returns when this node belongs to a cluster and knows its state: one that it has joined, or one
/// that it has made together with others. From then on it answers for that cluster. The state may
/// be an old one of before a restart; [`Group::register`] brings it up to date.
///
/// Never two clusters are made, whatever the order and the timing of the starts, as long as the
/// nodes' seeds overlap or more than half of the nodes found (`docs/metadata.md`).
///
/// # Errors
/// If the node cannot keep on disk what it promises.
pub async fn bootstrap(
    group: &Group,
    info: NodeInfo,
    settings: BootstrapSettings,
) -> Result<(), GroupError> {
    let inner = group.inner();
    let kept: Stage = inner.disk.read(Fact::Founding)?.unwrap_or_default();
    let part = Bootstrap::new(inner.me.node, settings.expect, kept, inner.lineage());
    let part = Arc::new(Mutex::new(part));
    let server = Server {
        inner: Arc::downgrade(inner),
        part: Arc::clone(&part),
    };
    inner.calls.serve(CallKind::Pledge, Arc::new(server));
    let mut neighbours = inner.neighbours.clone();
    let mut state = group.watch_state();
    while state.borrow_and_update().lineage().is_none() {
        let asks = tick(inner, &part, &info, &settings).await?;
        let asked = join_all(asks.into_iter().map(|(to, ask)| call(inner, to, ask))).await;
        for (to, ask, reply) in asked.into_iter().flatten() {
            let take = |part: &mut Bootstrap, steps: &mut _| part.answered(to, &ask, reply, steps);
            advance(inner, &part, take).await?;
        }
        let news = async {
            tokio::select! {
                _ = neighbours.changed() => {}
                _ = state.changed() => {}
            }
        };
        // The next try does not depend on news.
        let _ = timeout(TICK, news).await;
    }
    Ok(())
}

async fn tick(
    inner: &Arc<Inner>,
    part: &Mutex<Bootstrap>,
    info: &NodeInfo,
    settings: &BootstrapSettings,
) -> Result<Vec<(NodeId, Ask)>, GroupError> {
    let neighbours = inner.neighbours.borrow().clone();
    let form = |founders: &[NodeId]| {
        let me = (inner.me, info.clone());
        let known = |node: &NodeId| match neighbours.alive.get(node) {
            Some(known) => known.clone(),
            None => me.clone(),
        };
        Form {
            lineage: Lineage(rand::random()),
            hash_seed: rand::random(),
            nodes: founders.iter().map(known).collect(),
            replication_factor: settings.replication_factor,
            write_quorum: settings.write_quorum,
            read_quorum: settings.read_quorum,
            on_loss: settings.on_loss,
            documents: settings.documents.clone(),
        }
    };
    let tick = |part: &mut Bootstrap, steps: &mut _| part.tick(&neighbours, form, steps);
    advance(inner, part, tick).await.map(|(_, asks)| asks)
}

/// Lets the node's part decide, and performs what it decides. Where that fails the part is what it
/// was: what is not on disk is not decided.
async fn advance<T>(
    inner: &Arc<Inner>,
    part: &Mutex<Bootstrap>,
    decide: impl FnOnce(&mut Bootstrap, &mut Vec<Step>) -> T,
) -> Result<(T, Vec<(NodeId, Ask)>), GroupError> {
    let mut part = part.lock().await;
    let mut next = part.clone();
    if let Some(lineage) = inner.lineage() {
        next.joined(lineage);
    }
    let mut steps = Vec::new();
    let decided = decide(&mut next, &mut steps);
    let asks = perform(inner, &mut next, steps).await?;
    *part = next;
    Ok((decided, asks))
}

/// Performs the steps in their order, and gives back what is to be asked.
async fn perform(
    inner: &Arc<Inner>,
    part: &mut Bootstrap,
    steps: Vec<Step>,
) -> Result<Vec<(NodeId, Ask)>, GroupError> {
    let mut asks = Vec::new();
    for step in steps {
        match step {
            Step::Keep(stage) => keep(inner, &stage).await?,
            Step::Send(to, ask) => asks.push((to, ask)),
            Step::Found(founding) => {
                if inner.adopt(founding.lineage()).await? {
                    part.joined(founding.lineage());
                    found(inner, &founding).await?;
                }
            }
            Step::Join(lineage) => {
                if inner.adopt(lineage).await? {
                    part.joined(lineage);
                }
            }
        }
    }
    Ok(asks)
}

async fn keep(inner: &Inner, stage: &Stage) -> Result<(), DiskError> {
    inner
        .disk
        .save(vec![Write::fact(Fact::Founding, stage)?])
        .await?;
    inner.form.send_replace(stage.form().cloned());
    Ok(())
}

/// Begins the Raft group. Only the proposer of a decided founding ever does.
async fn found(inner: &Inner, founding: &Founding) -> Result<(), GroupError> {
    let zones = founding
        .form
        .nodes
        .iter()
        .map(|(member, info)| (member.node, info.zone.clone()));
    let voters = voters::first(&zones.collect());
    tracing::info!(lineage = %founding.lineage(), ?voters, "making a cluster");
    let voters = voters
        .into_iter()
        .map(|node| (Voter(node), EmptyNode::default()));
    let voters: BTreeMap<Voter, EmptyNode> = voters.collect();
    match inner.raft.initialize(voters).await {
        // Not allowed: it was begun before this start.
        Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
        Err(error) => Err(GroupError::Log(error.to_string())),
    }
}

async fn call(inner: &Inner, to: NodeId, ask: Ask) -> Option<(NodeId, Ask, Reply)> {
    let time = inner.settings.call_timeout;
    let answer = inner
        .calls
        .call(to, CallKind::Pledge, encode(&ask), time)
        .await
        .ok()?;
    let reply = postcard::from_bytes(&answer).ok()?;
    Some((to, ask, reply))
}

/// Answers those who want to make a cluster.
struct Server {
    inner: Weak<Inner>,
    part: Arc<Mutex<Bootstrap>>,
}

impl Handler for Server {
    fn handle(&self, from: Member, _: CallKind, request: Bytes) -> BoxFuture<'static, Bytes> {
        let (inner, part) = (self.inner.upgrade(), Arc::clone(&self.part));
        Box::pin(async move {
            let Some(inner) = inner else {
                return Bytes::new();
            };
            let Ok(ask) = postcard::from_bytes::<Ask>(&request) else {
                return Bytes::new();
            };
            let neighbours = inner.neighbours.borrow().clone();
            let answer = |part: &mut Bootstrap, steps: &mut _| {
                part.asked(from.node, &ask, &neighbours, steps)
            };
            match advance(&inner, &part, answer).await {
                Ok((reply, _)) => encode(&reply),
                Err(error) => {
                    tracing::error!(%error, "a pledge cannot be kept");
                    Bytes::new()
                }
            }
        })
    }
}
