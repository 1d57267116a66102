//! A node's handle on the metadata group, whether the node is a voter or not.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use openraft::ServerState;
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::disk::{Disk, DiskError, Fact, Write};
use super::feed::Feed;
use super::founding::Stage;
use super::log_store::LogStore;
use super::network::{self, Network};
use super::raft::{Raft, Voter};
use super::settings::GroupSettings;
use super::state_machine::Machine;
use super::{Form, Neighbours, State, answer, lead, pull};
use crate::transport::{BoxFuture, CallKind, Calls, Handler};
use crate::{Lineage, Member, NodeId, SharedSlotMap, Time, clock};

/// The handle. Clones are the same one. [`Group::stop`] ends this node's part.
#[derive(Clone)]
pub struct Group {
    inner: Arc<Inner>,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

/// Who leads the group, as far as this node knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The leader.
    pub leader: Option<NodeId>,
    /// This node's own leadership, where it leads.
    pub leading: Option<Leading>,
}

/// A leadership without interruption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leading {
    /// Every leader's is greater than those of all before it.
    pub term: u64,
    /// When it began, or a little later.
    ///
    /// A lease of `L_meta` that an older leader has granted is over a full length after this.
    pub since: Time,
}

/// Why the metadata group cannot start.
#[derive(Debug, Error)]
pub enum GroupError {
    /// The file cannot be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The times do not fit together.
    #[error("the metadata group's settings: {0}")]
    Settings(String),
    /// The log cannot go on.
    #[error("the metadata group's log: {0}")]
    Log(String),
}

/// What the tasks and the handlers share.
pub(super) struct Inner {
    pub(super) me: Member,
    pub(super) raft: Raft,
    pub(super) feed: Arc<Feed>,
    pub(super) disk: Arc<Disk>,
    pub(super) calls: Arc<dyn Calls>,
    pub(super) lineage: watch::Sender<Option<Lineage>>,
    /// Held by the task that finds this node's lineage.
    pub(super) adopting: tokio::sync::Mutex<()>,
    pub(super) neighbours: watch::Receiver<Neighbours>,
    pub(super) settings: GroupSettings,
    pub(super) leadership: watch::Sender<Leadership>,
    /// Who said last that it leads, or was said to: where to try first.
    pub(super) hint: Mutex<Option<NodeId>>,
    /// What a cluster begins with to whose founding this node is bound.
    pub(super) form: watch::Sender<Option<Form>>,
    /// A node that is said to know more than this one, up to this index.
    pub(super) ahead: watch::Sender<Option<(NodeId, u64)>>,
}

impl Group {
    /// Takes up this node's part where its log ends, and answers the other nodes from now on.
    ///
    /// `me` carries the incarnation of this start. Must be called in a tokio runtime, on which the
    /// group's tasks then run.
    ///
    /// # Errors
    /// If the log cannot be read, or the settings are impossible.
    pub async fn start(
        me: Member,
        disk: Arc<Disk>,
        calls: Arc<dyn Calls>,
        neighbours: watch::Receiver<Neighbours>,
        slots: u16,
        settings: GroupSettings,
    ) -> Result<Group, GroupError> {
        let feed = Feed::new(slots);
        let known: Option<Lineage> = disk.read(Fact::Lineage)?;
        let kept: Stage = disk.read(Fact::Founding)?.unwrap_or_default();
        let lineage = watch::Sender::new(known);
        let config = settings.raft_config()?;
        let network = Network {
            calls: Arc::clone(&calls),
            lineage: lineage.subscribe(),
        };
        let machine = Machine::restore(Arc::clone(&disk), Arc::clone(&feed), slots)?;
        let log = LogStore::new(Arc::clone(&disk));
        let raft = Raft::new(Voter(me.node), Arc::new(config), network, log, machine);
        let raft = Box::pin(raft)
            .await
            .map_err(|error| GroupError::Log(error.to_string()))?;
        let inner = Arc::new(Inner {
            me,
            raft,
            feed,
            disk,
            calls,
            adopting: tokio::sync::Mutex::new(()),
            lineage,
            neighbours,
            settings,
            leadership: watch::Sender::default(),
            hint: Mutex::default(),
            form: watch::Sender::new(kept.form().cloned()),
            ahead: watch::Sender::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(follow_leadership(Arc::clone(&inner)));
        tasks.spawn(pull::run(Arc::clone(&inner)));
        tasks.spawn(lead::run(Arc::clone(&inner)));
        for kind in answer::KINDS {
            inner
                .calls
                .serve(kind, Arc::new(Server(Arc::downgrade(&inner))));
        }
        Ok(Group {
            inner,
            tasks: Arc::new(Mutex::new(tasks)),
        })
    }

    /// This start of this node.
    #[must_use]
    pub fn me(&self) -> Member {
        self.inner.me
    }

    /// What this node knows now. It may be behind, but what it says was decided.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.inner.feed.state()
    }

    /// The state, and each that follows; a slow reader sees the latest.
    #[must_use]
    pub fn watch_state(&self) -> watch::Receiver<Arc<State>> {
        self.inner.feed.watch()
    }

    /// The slot map, always as new as the state.
    #[must_use]
    pub fn slot_map(&self) -> Arc<SharedSlotMap> {
        Arc::clone(self.inner.feed.slot_map())
    }

    /// The lineage that this node belongs to, once it belongs to one. It never changes after that.
    #[must_use]
    pub fn watch_lineage(&self) -> watch::Receiver<Option<Lineage>> {
        self.inner.lineage.subscribe()
    }

    /// Who leads the group.
    #[must_use]
    pub fn watch_leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.subscribe()
    }

    /// The voters, as far as this node's log says; none where it is not in the group.
    #[must_use]
    pub fn voters(&self) -> BTreeSet<NodeId> {
        self.inner.voters()
    }

    /// Another node, as its gossip says, knows the log up to this index.
    pub fn heard(&self, node: NodeId, index: u64) {
        if index > self.inner.feed.state().applied() {
            self.inner.ahead.send_replace(Some((node, index)));
        }
    }

    /// Ends this node's part, the last write included. Nothing is answered any more.
    pub async fn stop(&self) {
        // It fails only if it has ended before, by a panic that was logged.
        if let Err(error) = self.inner.raft.shutdown().await {
            tracing::error!(%error, "the metadata group's log did not end well");
        }
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        tasks.shutdown().await;
    }

    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }
}

impl Inner {
    pub(super) fn voters(&self) -> BTreeSet<NodeId> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        metrics
            .membership_config
            .membership()
            .voter_ids()
            .map(|voter| voter.0)
            .collect()
    }

    pub(super) fn lineage(&self) -> Option<Lineage> {
        *self.lineage.borrow()
    }

    pub(super) fn is_leader(&self) -> bool {
        self.leadership.borrow().leading.is_some()
    }

    /// Makes the lineage this node's own, for good. Says whether it is.
    pub(super) async fn adopt(&self, lineage: Lineage) -> Result<bool, DiskError> {
        // One at a time, on disk and in memory: a node has one lineage, the first.
        let _turn = self.adopting.lock().await;
        if let Some(own) = self.lineage() {
            return Ok(own == lineage);
        }
        self.disk
            .save(vec![Write::fact(Fact::Lineage, &lineage)?])
            .await?;
        self.lineage.send_replace(Some(lineage));
        Ok(true)
    }

    /// Whether the logs of this lineage are this node's.
    ///
    /// That a voter speaks of the founding to which this node is bound proves that it was decided.
    async fn accepts(&self, lineage: Lineage) -> bool {
        if self.lineage() == Some(lineage) {
            return true;
        }
        let bound = self
            .form
            .borrow()
            .as_ref()
            .is_some_and(|form| form.lineage == lineage);
        bound && self.adopt(lineage).await.unwrap_or(false)
    }

    /// The nodes that may know something, the likeliest leader first.
    pub(super) fn others(&self) -> Vec<NodeId> {
        let mut others: Vec<NodeId> = Vec::new();
        let led = self.leadership.borrow().leader;
        others.extend(led);
        others.extend(*self.hint.lock());
        others.extend(self.voters());
        others.extend(self.neighbours.borrow().alive.keys());
        others.extend(self.feed.state().nodes().keys());
        let mut seen = BTreeSet::from([self.me.node]);
        others.retain(|node| seen.insert(*node));
        others
    }
}

/// Says who leads, from what the Raft library reports.
async fn follow_leadership(inner: Arc<Inner>) {
    let mut metrics = inner.raft.metrics();
    loop {
        let now = {
            let seen = metrics.borrow_and_update();
            let leads = seen.state == ServerState::Leader
                && seen.current_leader == Some(Voter(inner.me.node));
            // A new term is a new leadership, even if nobody else led in between.
            let before = inner.leadership.borrow().leading;
            let before = before.filter(|leading| leading.term == seen.current_term);
            let new = || Leading {
                term: seen.current_term,
                since: clock::now(),
            };
            Leadership {
                leader: seen.current_leader.map(|voter| voter.0),
                leading: leads.then(|| before.unwrap_or_else(new)),
            }
        };
        inner
            .leadership
            .send_if_modified(|known| std::mem::replace(known, now) != now);
        if metrics.changed().await.is_err() {
            inner.leadership.send_replace(Leadership::default());
            return;
        }
    }
}

/// Answers the other nodes.
struct Server(Weak<Inner>);

impl Handler for Server {
    fn handle(&self, _from: Member, kind: CallKind, request: Bytes) -> BoxFuture<'static, Bytes> {
        let inner = self.0.upgrade();
        Box::pin(async move {
            // An empty answer does not read as one: to the asking node the outcome is unknown.
            let Some(inner) = inner else {
                return Bytes::new();
            };
            match kind {
                CallKind::MetadataWrite => answer::write(&inner, &request).await,
                CallKind::MetadataPull => answer::pull(&inner, &request).await,
                _ => match network::lineage(&request) {
                    Some(lineage) if inner.accepts(lineage).await => {
                        network::answer(&inner.raft, kind, &request).await
                    }
                    _ => network::refusal(),
                },
            }
        })
    }
}

#[cfg(test)]
mod tests;
