//! The data types beyond strings: how their values lie in an entry and travel in effects.
//!
//! A small value is *packed*: its parts lie one behind the other as [`Items`], in the one
//! allocation of its entry or in a buffer beside it. A large one has a table of its own. Which of
//! the two it is follows from [`Limits`] and is this node's own affair: copies of a value are
//! equal whatever forms they have.

pub mod dump;
mod fields;
pub mod hash;
pub mod items;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

pub(super) use fields::{Field, FieldTable};
pub use hash::Hash;
pub use items::Items;

/// Up to where values are packed.
#[derive(Debug)]
pub struct Limits {
    /// The most fields of a packed hash.
    pub hash_fields: AtomicUsize,
    /// The most bytes of each of its fields and values.
    pub hash_bytes: AtomicUsize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            hash_fields: AtomicUsize::new(512),
            hash_bytes: AtomicUsize::new(64),
        }
    }
}

impl Limits {
    /// Whether a packed hash stays so with these fields and values more, and so many fields.
    pub(super) fn still_pack(&self, set: Items<'_>, fields: usize) -> bool {
        let bytes = self.hash_bytes.load(Relaxed);
        fields <= self.hash_fields.load(Relaxed) && set.into_iter().all(|item| item.len() <= bytes)
    }

    /// Whether the packed form is right for a hash of these fields and values.
    pub(super) fn pack(&self, pairs: Items<'_>) -> bool {
        let (fields, bytes) = (
            self.hash_fields.load(Relaxed),
            self.hash_bytes.load(Relaxed),
        );
        let mut count = 0;
        pairs.into_iter().all(|item| {
            count += 1;
            item.len() <= bytes && count <= fields.saturating_mul(2)
        })
    }
}

/// How a value is made: what hashes its parts, and up to where it is packed.
#[derive(Clone, Copy)]
pub(super) struct Making<'a> {
    pub(super) hasher: &'a ahash::RandomState,
    pub(super) limits: &'a Limits,
}
