//! How slots move so that every node has its share; the same on all nodes, for any may come to lead
//! the metadata.

use cluster::replication::FailoverSettings;
use routing::quantity::{Size, Span};
use serde::{Deserialize, Serialize};

/// How fast slots move.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Balance {
    /// How long all nodes must have been well before slots begin to move.
    pub delay: Span,
    /// How many slots are given a new copy at once, in the whole cluster.
    pub moves_max: usize,
    /// How many slots change their primary by plan at once, in the whole cluster.
    pub transfers_max: usize,
    /// How long a primary that hands a slot over may take to finish what it has begun.
    pub hand_over_timeout: Span,
    /// Bytes of copies that a node sends in a second; 0 for no bound.
    pub copy_bytes_per_second: Size,
}

impl Default for Balance {
    fn default() -> Balance {
        let settings = FailoverSettings::default();
        Balance {
            delay: Span(settings.balance_delay),
            moves_max: settings.moves_max,
            transfers_max: settings.transfers_max,
            hand_over_timeout: Span(settings.yield_timeout),
            copy_bytes_per_second: Size(64 << 20),
        }
    }
}
