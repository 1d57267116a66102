//! What a call on a slot leaves to be done by whoever made it.

use super::message::Back;
use super::waiters::Outcome;
use crate::metadata::entry::ChangeSlot;
use crate::{Member, Slot};

/// What a call leaves to be done once the slot's lock is released.
#[derive(Debug)]
pub struct Out<K> {
    /// Replies that need wait no longer.
    pub released: Vec<(K, Outcome)>,
    /// Changes of in-sync sets, for the metadata group.
    pub proposals: Vec<ChangeSlot>,
    /// What members report to the coordinator of a change of primary.
    pub reports: Vec<(Member, Back)>,
    /// Slots of which this member has become the active primary, or is it no longer; in the order
    /// in which that happened.
    pub turns: Vec<Turn>,
}

/// This member begins or ceases to be the active primary of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The slot.
    pub slot: Slot,
    /// Whether it leads the slot from now on.
    pub leads: bool,
}

impl<K> Default for Out<K> {
    fn default() -> Out<K> {
        Out {
            released: Vec::new(),
            proposals: Vec::new(),
            reports: Vec::new(),
            turns: Vec::new(),
        }
    }
}
