//! Which history of epochs and versions a node takes part in.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An id that the metadata group draws when it is made, and anew whenever it is made from less than
/// its own complete log. Within a lineage no epoch and no version goes back; between two they say
/// nothing, so nodes of different lineages do not speak to each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lineage(pub u128);

impl fmt::Display for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "L{:08x}", self.0 >> 96)
    }
}
