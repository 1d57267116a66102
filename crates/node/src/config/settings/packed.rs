//! Up to where values of several parts are kept in one allocation: less memory, more work a part.

use routing::quantity::Size;
use serde::{Deserialize, Serialize};

/// The bounds, under the names of `redis.conf`. Each node has its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Packed {
    /// Fields of a hash.
    pub hash_max_listpack_entries: usize,
    /// Bytes of each of its fields and values.
    pub hash_max_listpack_value: Size,
}

impl Default for Packed {
    fn default() -> Packed {
        Packed {
            hash_max_listpack_entries: 512,
            hash_max_listpack_value: Size(64),
        }
    }
}
