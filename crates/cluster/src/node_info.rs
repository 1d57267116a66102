//! What a node tells the others about itself: where it can be reached and where it stands.

use serde::{Deserialize, Serialize};

/// The ways to a node and the facts that placement goes by. Travels with the greeting of every
/// stream and with the node's identity in the gossip, so a change reaches everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// `host:port` under which the other nodes reach its peers' port; the host is a name or an
    /// address, resolved again at each attempt.
    pub peer_address: String,
    /// The host or address that clients are told.
    pub client_host: String,
    /// The port that speaks Redis Cluster.
    pub cluster_port: u16,
    /// The port for plain clients.
    pub any_port: u16,
    /// The port for metrics and health.
    pub admin_port: u16,
    /// The failure domain: copies of a slot go to distinct zones where there are enough.
    pub zone: String,
    /// The node's share of slots, relative to the other nodes' weights.
    pub weight: u32,
}

impl NodeInfo {
    /// The longest text in any field.
    pub const TEXT_BYTES_MAX: usize = 255;

    /// Whether every field is within its bounds. What comes from the network is checked with this.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        [&self.peer_address, &self.client_host, &self.zone]
            .iter()
            .all(|text| text.len() <= NodeInfo::TEXT_BYTES_MAX)
    }
}
