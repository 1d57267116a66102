//! The spans and bounds of the gossip.

use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use foca::{Config, PeriodicParams};

/// The spans and bounds of the gossip; the same on all nodes of a cluster.
///
/// A node that is killed is found out by the next probe of it, of which there is one in each
/// `probe_period` on average; it is suspected when that has no answer within the period, and down
/// after `suspicion`. With the defaults that takes 1.0 s to 1.8 s. A node that does not run for
/// 300 ms may be suspected, and has the rest of the suspicion to say that it is alive.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often one other node is probed, and how long it has to answer, the detour through
    /// others included.
    pub probe_period: Duration,
    /// How long a direct answer may take before others are asked to probe.
    pub probe_rtt: Duration,
    /// How many others are asked.
    pub indirect_probes: usize,
    /// How long a suspect has to say that it is alive.
    pub suspicion: Duration,
    /// How often news is passed on beside the probes.
    pub gossip_interval: Duration,
    /// How often a node that is alone looks for others among those with a link.
    pub join_interval: Duration,
    /// How often one that is not alone does, and asks a node that is down whether it is back.
    pub rejoin_interval: Duration,
    /// How long a node that is down is remembered.
    pub remember_down: Duration,
    /// A timer that is later than this means that this process did not run: the others get as much
    /// longer to answer.
    pub pause_tolerance: Duration,
    /// How often this node's own bulletins are sent again, so that none is missed for long.
    pub bulletin_interval: Duration,
    /// The longest packet.
    pub packet_bytes_max: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            probe_period: Duration::from_millis(250),
            probe_rtt: Duration::from_millis(100),
            indirect_probes: 3,
            suspicion: Duration::from_millis(750),
            gossip_interval: Duration::from_millis(100),
            join_interval: Duration::from_millis(100),
            rejoin_interval: Duration::from_secs(2),
            remember_down: Duration::from_secs(60 * 60),
            pause_tolerance: Duration::from_millis(100),
            bulletin_interval: Duration::from_secs(20),
            packet_bytes_max: 16 << 10,
        }
    }
}

/// A piece of news goes with so many messages of each node that has it. Chosen for 500 nodes; in a
/// small cluster it costs a few bytes more than needed.
const TRANSMISSIONS: u8 = 12;
/// So many nodes at a time are told the news.
const GOSSIP_FANOUT: usize = 3;

impl Settings {
    pub(super) fn foca(&self) -> Config {
        let at_least_one = |number: usize| NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN);
        let every = |frequency, members| {
            Some(PeriodicParams {
                frequency,
                num_members: at_least_one(members),
            })
        };
        Config {
            probe_period: self.probe_period,
            probe_rtt: self.probe_rtt,
            num_indirect_probes: at_least_one(self.indirect_probes),
            max_transmissions: NonZeroU8::new(TRANSMISSIONS).unwrap_or(NonZeroU8::MIN),
            suspect_to_down_after: self.suspicion,
            remove_down_after: Some(self.remember_down),
            max_packet_size: at_least_one(self.packet_bytes_max),
            notify_down_members: true,
            periodic_announce: every(self.rejoin_interval, 1),
            periodic_announce_to_down_members: every(self.rejoin_interval, 2),
            periodic_gossip: every(self.gossip_interval, GOSSIP_FANOUT),
        }
    }
}
