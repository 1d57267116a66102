//! Approximated LRU: the entry that was not used for longest, of those that were sampled.

use super::{CLOCK_MASK, Policy};
use crate::store::entry::Entry;

/// Any entry may go; its bits are the moment of its last use.
#[derive(Debug)]
pub(super) struct AllKeysLru;

impl Policy for AllKeysLru {
    fn name(&self) -> &'static str {
        "allkeys-lru"
    }

    fn on_insert(&self, clock: u32) -> u32 {
        clock
    }

    fn on_access(&self, _access: u32, clock: u32) -> u32 {
        clock
    }

    fn rank(&self, entry: &Entry, clock: u32) -> u32 {
        clock.wrapping_sub(entry.access()) & CLOCK_MASK
    }
}
