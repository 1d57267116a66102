//! How nodes find out who is alive; the same on all nodes.

use cluster::membership;
use routing::quantity::{Size, Span};
use serde::{Deserialize, Serialize};

/// How nodes find out who is alive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gossip {
    /// How often a node probes another one, and how long that one has to answer.
    pub probe_period: Span,
    /// How long a direct answer may take before others are asked to probe.
    pub probe_timeout: Span,
    /// How many others are asked.
    pub indirect_probes: usize,
    /// How long a suspect has to say that it is alive.
    pub suspicion: Span,
    /// How often news is passed on beside the probes.
    pub interval: Span,
    /// How often a node looks for those that it does not know or that are down.
    pub rejoin_interval: Span,
    /// How long a node that is down is remembered.
    pub remember_down: Span,
    /// A timer that is later than this means that this process did not run.
    pub pause_tolerance: Span,
    /// The longest packet.
    pub packet_bytes_max: Size,
}

impl Default for Gossip {
    fn default() -> Gossip {
        let settings = membership::Settings::default();
        Gossip {
            probe_period: Span(settings.probe_period),
            probe_timeout: Span(settings.probe_rtt),
            indirect_probes: settings.indirect_probes,
            suspicion: Span(settings.suspicion),
            interval: Span(settings.gossip_interval),
            rejoin_interval: Span(settings.rejoin_interval),
            remember_down: Span(settings.remember_down),
            pause_tolerance: Span(settings.pause_tolerance),
            packet_bytes_max: Size(settings.packet_bytes_max as u64),
        }
    }
}

impl Gossip {
    /// In the form of the gossip itself, with what is not set but tuned.
    #[must_use]
    pub fn settings(&self) -> membership::Settings {
        membership::Settings {
            probe_period: self.probe_period.0,
            probe_rtt: self.probe_timeout.0,
            indirect_probes: self.indirect_probes,
            suspicion: self.suspicion.0,
            gossip_interval: self.interval.0,
            rejoin_interval: self.rejoin_interval.0,
            remember_down: self.remember_down.0,
            pause_tolerance: self.pause_tolerance.0,
            packet_bytes_max: self.packet_bytes_max.as_usize(),
            ..membership::Settings::default()
        }
    }
}
