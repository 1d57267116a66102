//! The connections between nodes, and what may be on its way there.

use cluster::transport;
use routing::quantity::{Size, Span};
use serde::{Deserialize, Serialize};

/// The connections between nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Peers {
    /// A stream on which nothing has arrived for so long is closed.
    pub silence: Span,
    /// After so long in silence a connection is probed; after as much again, it is closed.
    pub keepalive: Span,
    /// Resolving a name, or connecting to one address.
    pub connect_timeout: Span,
    /// From the first frame to the consent.
    pub greeting_timeout: Span,
    /// The first pause before another attempt to connect; doubled with each one.
    pub reconnect_min: Span,
    /// The longest pause.
    pub reconnect_max: Span,
    /// How often the seeds are looked up by a node that has found others.
    pub seed_interval: Span,
    /// The longest frame.
    pub frame_bytes_max: Size,
    /// The longest message of replication.
    pub message_bytes_max: Size,
    /// The longest request or answer of a call.
    pub call_bytes_max: Size,
    /// Calls of one node to another that wait for an answer.
    pub calls_in_flight_max: usize,
    /// Bytes of requests, and of answers, that wait to be sent to one node.
    pub calls_queued_bytes_max: Size,
    /// Gossip packets that wait to be sent to one node.
    pub gossip_packets_max: usize,
    /// Other nodes that are known at a time.
    pub nodes_max: usize,
    /// Streams that are in their greeting at a time.
    pub greetings_max: usize,
    /// Connections that others have open to this node.
    pub connections_max: usize,
}

impl Default for Peers {
    fn default() -> Peers {
        let limits = transport::Limits::default();
        let size = |bytes: usize| Size(bytes as u64);
        Peers {
            silence: Span(limits.silence),
            keepalive: Span(limits.keepalive),
            connect_timeout: Span(limits.connect_timeout),
            greeting_timeout: Span(limits.greeting_timeout),
            reconnect_min: Span(limits.reconnect_min),
            reconnect_max: Span(limits.reconnect_max),
            seed_interval: Span(limits.seed_interval),
            frame_bytes_max: size(limits.frame_bytes_max),
            message_bytes_max: size(limits.message_bytes_max),
            call_bytes_max: size(limits.call_bytes_max),
            calls_in_flight_max: limits.calls_in_flight_max,
            calls_queued_bytes_max: size(limits.calls_queued_bytes_max),
            gossip_packets_max: limits.gossip_packets_max,
            nodes_max: limits.peers_max,
            greetings_max: limits.greetings_max,
            connections_max: limits.connections_max,
        }
    }
}

impl Peers {
    /// In the form of the transport itself, with what is not set but tuned.
    #[must_use]
    pub fn limits(&self) -> transport::Limits {
        transport::Limits {
            silence: self.silence.0,
            keepalive: self.keepalive.0,
            connect_timeout: self.connect_timeout.0,
            greeting_timeout: self.greeting_timeout.0,
            reconnect_min: self.reconnect_min.0,
            reconnect_max: self.reconnect_max.0,
            seed_interval: self.seed_interval.0,
            frame_bytes_max: self.frame_bytes_max.as_usize(),
            message_bytes_max: self.message_bytes_max.as_usize(),
            call_bytes_max: self.call_bytes_max.as_usize(),
            calls_in_flight_max: self.calls_in_flight_max,
            calls_queued_bytes_max: self.calls_queued_bytes_max.as_usize(),
            gossip_packets_max: self.gossip_packets_max,
            peers_max: self.nodes_max,
            greetings_max: self.greetings_max,
            connections_max: self.connections_max,
            ..transport::Limits::default()
        }
    }
}
