//! How much memory, and what gives way.

use routing::quantity::Size;
use serde::{Deserialize, Serialize};

use crate::config::values::{ClientShare, EvictionPolicy};

/// How much memory, and what gives way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Bytes that the process may use; 0 is no limit.
    pub maxmemory: Size,
    /// What happens when they are used up.
    pub policy: EvictionPolicy,
    /// Bytes of the buffers of all clients together.
    pub maxmemory_clients: ClientShare,
    /// Entries of a slot that are compared when one is to be evicted.
    pub maxmemory_samples: u32,
    /// How much rarer each further step of an entry's counter of uses is.
    pub lfu_log_factor: u32,
    /// After how many minutes without use that counter loses one; 0 is never.
    pub lfu_decay_time: u32,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory {
            maxmemory: Size(0),
            policy: EvictionPolicy::default(),
            maxmemory_clients: ClientShare::Percent(5),
            maxmemory_samples: 5,
            lfu_log_factor: 10,
            lfu_decay_time: 1,
        }
    }
}
