//! How short of memory a member is: it cannot evict from a slot that another one leads, so it says
//! so with its acknowledgements, and the slot's primary evicts.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// How short of memory a member is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortage {
    /// How many bytes of the data that it holds should go.
    pub lacking_bytes: u64,
    /// It has no room for anything more: who writes to it makes room first.
    pub full: bool,
}

/// The newest word about it.
#[derive(Debug, Default)]
pub(crate) struct Word(AtomicU64);

impl Word {
    pub(crate) fn set(&self, shortage: Shortage) {
        let lacking = shortage.lacking_bytes.min(u64::MAX >> 1);
        let word = lacking << 1 | u64::from(shortage.full);
        self.0.store(word, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Shortage {
        let word = self.0.load(Ordering::Relaxed);
        Shortage {
            lacking_bytes: word >> 1,
            full: word & 1 == 1,
        }
    }
}
