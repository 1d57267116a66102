//! What all streams of a node share: who the node is, its peers, its driver, who serves calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ahash::AHashMap;
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::call::{CallKind, Handler};
use super::caller::Caller;
use super::handshake::{Greeting, PROTOCOL, Purpose, Refusal};
use super::link::LinkDriver;
use super::metrics::Metrics;
use super::outgoing::{Outgoing, OwnedOutlet, outgoing};
use super::peer::Peer;
use super::seeds::Seeds;
use super::settings::{Limits, Settings};
use super::supervisor;
use super::wire::{StreamKind, Wire};
use crate::{Lineage, NodeId, NodeInfo};

pub(crate) struct Hub {
    pub(crate) settings: Settings,
    pub(crate) wire: Box<dyn Wire>,
    pub(crate) metrics: Metrics,
    pub(crate) seeds: Seeds,
    /// One permit for each stream that is in its greeting.
    pub(crate) greetings: Arc<Semaphore>,
    said: RwLock<Said>,
    peers: RwLock<AHashMap<NodeId, Arc<Peer>>>,
    driver: RwLock<Option<Arc<dyn LinkDriver>>>,
    handlers: RwLock<[Option<Arc<dyn Handler>>; CallKind::ALL.len()]>,
    streams: AtomicU64,
    logged: Mutex<[Option<Instant>; Refusal::ALL.len() + 1]>,
    runtime: Handle,
    stopped: watch::Sender<bool>,
}

/// What this node says of itself, and may change.
struct Said {
    lineage: Option<Lineage>,
    info: NodeInfo,
}

/// A refusal repeats with every attempt; the log need not.
const LOG_INTERVAL: Duration = Duration::from_secs(30);

impl Hub {
    /// Must be called within a tokio runtime: all streams live on it.
    pub(crate) fn new(settings: Settings, wire: Box<dyn Wire>) -> Hub {
        Hub {
            metrics: Metrics::new(),
            seeds: Seeds::new(&settings.seeds),
            greetings: Arc::new(Semaphore::new(settings.limits.greetings_max)),
            said: RwLock::new(Said {
                lineage: settings.lineage,
                info: settings.info.clone(),
            }),
            peers: RwLock::default(),
            driver: RwLock::default(),
            handlers: RwLock::default(),
            streams: AtomicU64::new(1),
            logged: Mutex::default(),
            runtime: Handle::current(),
            stopped: watch::Sender::new(false),
            settings,
            wire,
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    /// Runs a task of this transport: it ends with the transport.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut stopped = self.stopped.subscribe();
        self.runtime.spawn(async move {
            tokio::select! {
                _ = stopped.wait_for(|&stopped| stopped) => (),
                () = task => (),
            }
        });
    }

    pub(crate) fn stop(&self) {
        self.stopped.send_replace(true);
        *self.driver.write() = None;
    }

    pub(crate) fn greeting(&self, purpose: Purpose) -> Greeting {
        let said = self.said.read();
        Greeting {
            protocol: PROTOCOL,
            purpose,
            member: self.settings.member,
            nonce: rand::random(),
            lineage: said.lineage,
            info: said.info.clone(),
        }
    }

    pub(crate) fn lineage(&self) -> Option<Lineage> {
        self.said.read().lineage
    }

    pub(crate) fn set_lineage(&self, lineage: Lineage) {
        self.said.write().lineage = Some(lineage);
        for peer in self.peers() {
            peer.set_lineage(lineage);
        }
    }

    pub(crate) fn set_info(&self, info: NodeInfo) {
        self.said.write().info = info;
    }

    pub(crate) fn driver(&self) -> Option<Arc<dyn LinkDriver>> {
        self.driver.read().clone()
    }

    pub(crate) fn set_driver(&self, driver: Arc<dyn LinkDriver>) {
        *self.driver.write() = Some(driver);
        for peer in self.peers() {
            peer.changed.notify_one(); // it waited for this
        }
    }

    pub(crate) fn handler(&self, kind: CallKind) -> Option<Arc<dyn Handler>> {
        self.handlers.read()[kind as usize].clone()
    }

    pub(crate) fn set_handler(&self, kind: CallKind, handler: Arc<dyn Handler>) {
        self.handlers.write()[kind as usize] = Some(handler);
    }

    pub(crate) fn next_stream(&self) -> u64 {
        self.streams.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn outgoing(&self, kind: StreamKind) -> (OwnedOutlet, Outgoing) {
        let traffic = match kind {
            StreamKind::Link => &self.metrics.link_sent,
            StreamKind::Call => &self.metrics.call_sent,
        };
        outgoing(self.limits().sizes(), traffic.clone())
    }

    pub(crate) fn peers(&self) -> Vec<Arc<Peer>> {
        self.peers.read().values().map(Arc::clone).collect()
    }

    pub(crate) fn peer(&self, node: NodeId) -> Option<Arc<Peer>> {
        self.peers.read().get(&node).map(Arc::clone)
    }

    /// The peer with this id, made known if it is not; none if too many are known.
    pub(crate) fn peer_or_new(&self, node: NodeId) -> Option<Arc<Peer>> {
        if let Some(peer) = self.peer(node) {
            return Some(peer);
        }
        let mut peers = self.peers.write();
        if !peers.contains_key(&node) && peers.len() >= self.limits().peers_max {
            Metrics::limit_reached("peers.nodes_max");
            return None;
        }
        let peer = peers.entry(node).or_insert_with(|| {
            let caller = Caller::new(self.limits().calls(), self.metrics.calls.clone());
            Arc::new(Peer::new(node, caller))
        });
        Some(Arc::clone(peer))
    }

    /// The peer is at this address: a connection is kept from now on.
    pub(crate) fn learn(self: &Arc<Hub>, node: NodeId, address: &str) {
        if node == self.settings.member.node || address.is_empty() {
            return;
        }
        let Some(peer) = self.peer_or_new(node) else {
            tracing::warn!(%node, address, "too many nodes are known; this one is left out");
            return;
        };
        if peer.set_address(address) {
            self.spawn(supervisor::keep_connected(Arc::clone(self), peer));
        }
    }

    pub(crate) fn forget(&self, node: NodeId) {
        let forgotten = self.peers.write().remove(&node);
        if let Some(peer) = forgotten {
            peer.forget();
        }
    }

    /// Counts a refusal, and logs it if none of its kind was logged lately.
    pub(crate) fn refused(&self, by: RefusedBy, refusal: Refusal, who: &str) {
        if matches!(refusal, Refusal::Ourselves | Refusal::NotReady) {
            tracing::debug!(who, by = by.name(), "greeting refused: {refusal}");
            return;
        }
        Metrics::refused(by.name(), refusal);
        let now = Instant::now();
        {
            let mut logged = self.logged.lock();
            let last = &mut logged[refusal as usize];
            if last.is_some_and(|last| now.duration_since(last) < LOG_INTERVAL) {
                return;
            }
            *last = Some(now);
        }
        match by {
            RefusedBy::Us => tracing::warn!(peer = who, "refused to speak with a node: {refusal}"),
            RefusedBy::Them => {
                tracing::warn!(
                    peer = who,
                    "a node refused to speak with this one: {refusal}"
                );
            }
        }
    }
}

/// Which end said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefusedBy {
    Us,
    Them,
}

impl RefusedBy {
    fn name(self) -> &'static str {
        match self {
            RefusedBy::Us => "us",
            RefusedBy::Them => "them",
        }
    }
}
