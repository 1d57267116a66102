//! How nodes speak to each other: links that carry what has gathered, calls that ask and answer.
//!
//! Every ordered pair of nodes has one stream of each kind. A *link* carries replication and
//! gossip: the initiator's records, heartbeats and seals go forward, acknowledgements and reports
//! come back. A *call* is a request with one answer; requests go forward, answers come back, many
//! at a time. Both take what they send from a [`Source`] when the network has room, so that a batch
//! is what has gathered since the last one, and back-pressure leaves the data where it was made.
//!
//! Payloads are opaque here. Who belongs to the cluster is settled when a stream opens, by a
//! [`Secret`] that both sides know. What carries the streams is gRPC ([`grpc`]) or, in tests, the
//! process itself ([`memory`]); everything else is the same code for both.

mod call;
mod call_frame;
mod caller;
mod frame;
pub mod grpc;
mod handshake;
mod hub;
mod link;
pub mod memory;
mod metrics;
mod outgoing;
mod peer;
mod responder;
mod seeds;
mod session;
mod settings;
#[cfg(test)]
mod suite;
mod supervisor;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use call::{BoxFuture, CallError, CallKind, Calls, Handler, Lost, NotSent};
pub use handshake::{Secret, SecretTooShort};
pub use link::{Channel, Direction, Flow, Link, LinkDriver, Links, Opened, Source, Wake};
pub use metrics::describe;
pub use settings::{Limits, Settings};

use crate::{Lineage, NodeId, NodeInfo};
use hub::Hub;

/// A node's streams with all others. Everything ends with [`Links::stop`], or when this is
/// dropped.
pub struct Transport {
    hub: Arc<Hub>,
}

impl Transport {
    /// Within a tokio runtime, on which all streams live from then on.
    fn new(settings: Settings, wire: Box<dyn wire::Wire>) -> Transport {
        Transport {
            hub: Arc::new(Hub::new(settings, wire)),
        }
    }

    /// For each address that the seeds name, the node that has answered there, if one has; this
    /// node itself, where a seed names it.
    #[must_use]
    pub fn seeds(&self) -> Vec<Option<NodeId>> {
        self.hub.seeds.answered()
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.hub.stop();
    }
}

impl Links for Transport {
    fn drive(&self, driver: Arc<dyn LinkDriver>) {
        self.hub.set_driver(driver);
        for seed in &self.hub.settings.seeds {
            self.hub
                .spawn(seeds::find_peers(Arc::clone(&self.hub), seed.clone()));
        }
    }

    fn connect(&self, node: NodeId, address: &str) {
        self.hub.learn(node, address);
    }

    fn forget(&self, node: NodeId) {
        self.hub.forget(node);
    }

    fn set_lineage(&self, lineage: Lineage) {
        self.hub.set_lineage(lineage);
    }

    fn set_info(&self, info: NodeInfo) {
        self.hub.set_info(info);
    }

    fn gossip(&self, to: NodeId, packet: Bytes) {
        let sent = self.hub.peer(to).is_some_and(|peer| peer.gossip(&packet));
        if !sent {
            self.hub.metrics.gossip_dropped.increment(1);
        }
    }

    fn open(&self) -> Vec<Link> {
        self.hub
            .peers()
            .iter()
            .flat_map(|peer| peer.open_links())
            .collect()
    }

    fn stop(&self) {
        self.hub.stop();
    }
}

impl Calls for Transport {
    fn call(
        &self,
        to: NodeId,
        kind: CallKind,
        request: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let peer = self.hub.peer(to);
        Box::pin(async move {
            match peer {
                Some(peer) => Arc::clone(&peer.caller).call(kind, request, timeout).await,
                None => Err(CallError::NotSent(NotSent::NoLink)),
            }
        })
    }

    fn serve(&self, kind: CallKind, handler: Arc<dyn Handler>) {
        self.hub.set_handler(kind, handler);
    }
}
