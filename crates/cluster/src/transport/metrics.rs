//! What the transport counts.

use metrics::{Counter, Gauge, Histogram, Unit};

use super::call::CallKind;
use super::handshake::Refusal;
use super::link::Direction;

/// Registers the help texts of the transport's metrics with the recorder.
pub fn describe() {
    metrics::describe_counter!(
        "quorate_peer_bytes_total",
        Unit::Bytes,
        "Payload bytes exchanged with other nodes."
    );
    metrics::describe_counter!(
        "quorate_peer_batches_total",
        "Batches exchanged with other nodes."
    );
    metrics::describe_gauge!("quorate_peer_links", "Streams open with other nodes.");
    metrics::describe_counter!(
        "quorate_peer_connects_total",
        "Attempts to open the streams to another node, by outcome."
    );
    metrics::describe_counter!(
        "quorate_peer_refusals_total",
        "Greetings refused, by this node or by the other one."
    );
    metrics::describe_counter!(
        "quorate_peer_gossip_dropped_total",
        "Gossip packets without a stream to go on."
    );
    metrics::describe_gauge!(
        "quorate_calls_in_flight",
        "Calls that wait for their answer."
    );
    metrics::describe_counter!("quorate_calls_failed_total", "Calls that got no answer.");
    metrics::describe_histogram!(
        "quorate_call_seconds",
        Unit::Seconds,
        "From a call to its answer, by what it asks for."
    );
}

/// The bytes and batches of one kind of stream in one direction.
#[derive(Clone)]
pub(crate) struct Traffic {
    bytes: Counter,
    batches: Counter,
}

impl Traffic {
    pub(crate) fn named(stream: &'static str, way: &'static str) -> Traffic {
        Traffic {
            bytes: metrics::counter!("quorate_peer_bytes_total", "stream" => stream, "way" => way),
            batches: metrics::counter!(
                "quorate_peer_batches_total", "stream" => stream, "way" => way
            ),
        }
    }

    #[cfg(test)]
    pub(crate) fn unnamed() -> Traffic {
        Traffic {
            bytes: Counter::noop(),
            batches: Counter::noop(),
        }
    }

    pub(crate) fn count(&self, bytes: usize) {
        self.bytes.increment(bytes as u64);
        self.batches.increment(1);
    }
}

/// Handles looked up once, so that counting costs an atomic addition.
pub(crate) struct Metrics {
    pub(crate) link_sent: Traffic,
    pub(crate) link_received: Traffic,
    pub(crate) call_sent: Traffic,
    pub(crate) call_received: Traffic,
    pub(crate) connects: Counter,
    pub(crate) connects_failed: Counter,
    pub(crate) gossip_dropped: Counter,
    pub(crate) calls: CallMetrics,
    links: [Gauge; 2],
}

/// What a node's calls count.
#[derive(Clone)]
pub(crate) struct CallMetrics {
    pub(crate) in_flight: Gauge,
    pub(crate) not_sent: Counter,
    pub(crate) unknown: Counter,
    seconds: [Histogram; CallKind::ALL.len()],
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        let connects = |outcome: &'static str| -> Counter {
            metrics::counter!("quorate_peer_connects_total", "outcome" => outcome)
        };
        Metrics {
            link_sent: Traffic::named("link", "sent"),
            link_received: Traffic::named("link", "received"),
            call_sent: Traffic::named("call", "sent"),
            call_received: Traffic::named("call", "received"),
            connects: connects("opened"),
            connects_failed: connects("failed"),
            gossip_dropped: metrics::counter!("quorate_peer_gossip_dropped_total"),
            calls: CallMetrics::new(),
            links: [Direction::Initiated, Direction::Accepted].map(
                |direction| metrics::gauge!("quorate_peer_links", "direction" => direction.name()),
            ),
        }
    }

    pub(crate) fn links(&self, direction: Direction) -> &Gauge {
        &self.links[direction as usize]
    }

    /// A setting of `[peers]` has turned something away. Rare, so it is looked up each time.
    pub(crate) fn limit_reached(setting: &'static str) {
        metrics::counter!("quorate_limits_total", "limit" => setting).increment(1);
    }

    /// Refusals are rare, so they are looked up each time.
    pub(crate) fn refused(by: &'static str, refusal: Refusal) {
        let reason = refusal.name();
        metrics::counter!("quorate_peer_refusals_total", "by" => by, "reason" => reason)
            .increment(1);
    }
}

impl CallMetrics {
    pub(crate) fn new() -> CallMetrics {
        let failed = |outcome: &'static str| -> Counter {
            metrics::counter!("quorate_calls_failed_total", "outcome" => outcome)
        };
        CallMetrics {
            in_flight: metrics::gauge!("quorate_calls_in_flight"),
            not_sent: failed("not_sent"),
            unknown: failed("unknown"),
            seconds: CallKind::ALL
                .map(|kind| metrics::histogram!("quorate_call_seconds", "kind" => kind.name())),
        }
    }

    pub(crate) fn seconds(&self, kind: CallKind) -> &Histogram {
        &self.seconds[kind as usize]
    }
}
