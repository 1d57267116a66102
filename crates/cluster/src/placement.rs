//! What the metadata group says of one slot: who leads it, who holds it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{Epoch, Member};

/// One slot's entry of the slot map. Every slot has one linear history of placements.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Orders the primaries of the slot.
    pub epoch: Epoch,
    /// Grows by one with every change of the placement; nodes never go back.
    pub rev: u64,
    /// The member that orders the slot's writes, or none between a fence and an activation.
    pub primary: Option<Member>,
    /// The primary activated last, with its epoch. A fence leaves it.
    pub last_primary: Option<(Member, Epoch)>,
    /// The members of which each is known to hold everything committed before it was listed.
    pub in_sync: Vec<Member>,
    /// `W`: how many members hold a write before it is acknowledged.
    pub write_quorum: u8,
    /// Members that are being brought up to date, and do not count.
    pub learners: Vec<Member>,
    /// In-sync members that go as soon as others have taken their place.
    pub leaving: Vec<Member>,
}

impl Placement {
    /// Whether the member holds the slot, in sync or learning.
    #[must_use]
    pub fn holds(&self, member: &Member) -> bool {
        self.in_sync.contains(member) || self.learners.contains(member)
    }

    /// The in-sync members that are to stay.
    pub fn staying(&self) -> impl Iterator<Item = &Member> {
        let stays = |member: &&Member| !self.leaving.contains(member);
        self.in_sync.iter().filter(stays)
    }

    /// Whether `W` in-sync members stay when these go. A set that is smaller than `W` anyway takes
    /// no writes; it loses nothing by those who are not in it.
    #[must_use]
    pub fn outlasts(&self, departing: &BTreeSet<Member>) -> bool {
        let staying = self.in_sync.iter().filter(|one| !departing.contains(one));
        let staying = staying.count();
        staying == self.in_sync.len() || staying >= usize::from(self.write_quorum)
    }
}
