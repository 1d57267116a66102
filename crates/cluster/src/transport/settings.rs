//! What a transport is told at its start.

use std::time::Duration;

use super::caller::CallLimits;
use super::handshake::Secret;
use super::outgoing::Sizes;
use crate::{Lineage, Member, NodeInfo};

/// Who this node is, whom it trusts and whom it looks for.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This start of this node.
    pub member: Member,
    /// The cluster's secret. Without one, everybody who reaches the port belongs to the cluster.
    pub secret: Option<Secret>,
    /// The lineage that the node belonged to when it was last running.
    pub lineage: Option<Lineage>,
    /// What the other nodes are told about this one.
    pub info: NodeInfo,
    /// `host:port` of nodes to begin with. They are resolved again and again, every address behind
    /// a name counts, and this node may be among them.
    pub seeds: Vec<String>,
    /// Bounds in time and size.
    pub limits: Limits,
}

/// The bounds of everything that the transport does.
#[derive(Clone, Debug)]
pub struct Limits {
    /// A link on which nothing has arrived for so long is closed. The driver's heartbeats have to
    /// come several times as often.
    pub silence: Duration,
    /// A connection on which nothing has arrived for so long is probed, and closed if as much again
    /// goes by without an answer.
    pub keepalive: Duration,
    /// Resolving a name, or connecting to one address.
    pub connect_timeout: Duration,
    /// The greeting, from the first frame to the consent.
    pub greeting_timeout: Duration,
    /// The first pause before another attempt; doubled with each one.
    pub reconnect_min: Duration,
    /// The longest pause before another attempt.
    pub reconnect_max: Duration,
    /// How often the seeds are looked up when the node already has a link.
    pub seed_interval: Duration,
    /// A source is asked for about so much at once.
    pub batch_bytes: usize,
    /// The longest frame; longer payloads are cut.
    pub frame_bytes_max: usize,
    /// The longest payload.
    pub message_bytes_max: usize,
    /// The longest request or answer of a call.
    pub call_bytes_max: usize,
    /// Calls that may wait for an answer from one node, and that one node may have running here.
    pub calls_in_flight_max: usize,
    /// Bytes of requests that may wait to be sent to one node, and of answers.
    pub calls_queued_bytes_max: usize,
    /// Gossip packets that may wait on one link.
    pub gossip_packets_max: usize,
    /// Other nodes that may be known at a time.
    pub peers_max: usize,
    /// Streams that may be in their greeting at a time.
    pub greetings_max: usize,
    /// Connections that others may have open to this node.
    pub connections_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            silence: Duration::from_secs(2),
            keepalive: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(1),
            greeting_timeout: Duration::from_secs(2),
            reconnect_min: Duration::from_millis(20),
            reconnect_max: Duration::from_secs(1),
            seed_interval: Duration::from_secs(5),
            batch_bytes: 256 << 10,
            frame_bytes_max: 1 << 20,
            message_bytes_max: 576 << 20, // a value may have 512 MiB, and a record is a bit more
            call_bytes_max: 544 << 20,
            calls_in_flight_max: 16 << 10,
            calls_queued_bytes_max: 1 << 30,
            gossip_packets_max: 256,
            peers_max: 1024,
            greetings_max: 256,
            connections_max: 4096,
        }
    }
}

impl Limits {
    pub(crate) fn sizes(&self) -> Sizes {
        Sizes {
            batch_bytes: self.batch_bytes,
            frame_bytes_max: self.frame_bytes_max,
            gossip_packets_max: self.gossip_packets_max,
        }
    }

    pub(crate) fn calls(&self) -> CallLimits {
        CallLimits {
            in_flight_max: self.calls_in_flight_max,
            request_bytes_max: self.call_bytes_max,
            queued_bytes_max: self.calls_queued_bytes_max,
        }
    }
}
