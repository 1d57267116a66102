//! What this member has granted others: the right to lead until a moment, but not in the slots
//! where it has promised a newer epoch.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{Epoch, Member, Slot, Time};

/// Clocks of two machines may run at rates that differ by up to one part in this many; what was
/// granted is over by our clock only after so much more.
const DRIFT: u32 = 64;

/// The leases that a member has granted, and to whom it owes the word that they are over.
#[derive(Debug)]
pub(crate) struct Grants {
    lease: Duration,
    granted: BTreeMap<Member, Time>,
    excluded: BTreeMap<Member, Exclusions>,
    /// What is owed of a slot to a coordinator: the newest epoch alone.
    owed: BTreeMap<(Slot, Member), Owed>,
}

/// The slots in which a member gets no lease, until it has said that it knows.
#[derive(Debug, Default)]
struct Exclusions {
    list: u64,
    slots: BTreeMap<Slot, Excluded>,
}

#[derive(Debug)]
struct Excluded {
    epoch: Epoch,
    /// The first list that named it, once one has.
    first_list: Option<u64>,
}

/// A coordinator is to be told at `at` that the leases of a slot are over.
#[derive(Clone, Debug)]
pub(crate) struct Owed {
    pub(crate) at: Time,
    pub(crate) slot: Slot,
    pub(crate) epoch: Epoch,
    pub(crate) coordinator: Member,
    pub(crate) stream: u64,
}

/// What goes out with a heartbeat's acknowledgement.
pub(crate) struct Grant {
    pub(crate) list: u64,
    pub(crate) excluded: Vec<(Slot, Epoch)>,
}

impl Grants {
    pub(crate) fn new(lease: Duration) -> Grants {
        Grants {
            lease: lease + lease / DRIFT,
            granted: BTreeMap::new(),
            excluded: BTreeMap::new(),
            owed: BTreeMap::new(),
        }
    }

    /// Answers a heartbeat of `to`, who has taken in the lists up to `confirmed`. The lease counts
    /// from when the other side sent it, which was before `now`.
    pub(crate) fn grant(&mut self, to: Member, now: Time, confirmed: u64) -> Grant {
        self.granted.insert(to, now + self.lease);
        let Some(exclusions) = self.excluded.get_mut(&to) else {
            return Grant {
                list: 0,
                excluded: Vec::new(),
            };
        };
        exclusions
            .slots
            .retain(|_, slot| slot.first_list.is_none_or(|list| list > confirmed));
        exclusions.list += 1;
        let list = exclusions.list;
        let excluded = exclusions
            .slots
            .iter_mut()
            .map(|(&slot, excluded)| {
                excluded.first_list.get_or_insert(list);
                (slot, excluded.epoch)
            })
            .collect();
        Grant { list, excluded }
    }

    /// From now on `member` gets no lease for the slot in an epoch before `epoch`.
    pub(crate) fn exclude(&mut self, member: Member, slot: Slot, epoch: Epoch) {
        let slots = &mut self.excluded.entry(member).or_default().slots;
        if slots.get(&slot).is_none_or(|known| known.epoch < epoch) {
            slots.insert(
                slot,
                Excluded {
                    epoch,
                    first_list: None,
                },
            );
        }
    }

    /// When everything that `member` was granted so far is over.
    pub(crate) fn over_at(&self, member: &Member) -> Time {
        self.granted.get(member).copied().unwrap_or(Time::ZERO)
    }

    pub(crate) fn owe(&mut self, owed: Owed) {
        self.owed.insert((owed.slot, owed.coordinator), owed);
    }

    /// Takes what is due by `now`.
    pub(crate) fn due(&mut self, now: Time) -> Vec<Owed> {
        let due = self.owed.extract_if(.., |_, owed| owed.at <= now);
        due.map(|(_, owed)| owed).collect()
    }

    /// A member whose node has started anew needs no lists any more. What it was granted stays
    /// known: the word of a restart may be wrong, the lease was real.
    pub(crate) fn forget(&mut self, member: &Member) {
        self.excluded.remove(member);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Incarnation, NodeId};

    #[test]
    fn an_exclusion_is_repeated_until_the_other_side_confirms_it() {
        let member = Member {
            node: NodeId::from_bytes([1; 20]),
            incarnation: Incarnation(1),
        };
        let slot = Slot::new(5).unwrap();
        let mut grants = Grants::new(Duration::from_secs(1));
        grants.exclude(member, slot, Epoch(2));
        let first = grants.grant(member, Time::ZERO, 0);
        assert_eq!((first.list, first.excluded), (1, vec![(slot, Epoch(2))]));
        assert_eq!(grants.grant(member, Time::ZERO, 0).excluded.len(), 1);
        // A newer epoch is news again, whatever was confirmed of the older one.
        grants.exclude(member, slot, Epoch(3));
        assert_eq!(
            grants.grant(member, Time::ZERO, 2).excluded,
            vec![(slot, Epoch(3))]
        );
        assert!(grants.grant(member, Time::ZERO, 3).excluded.is_empty());
        assert!(grants.over_at(&member) > Time::ZERO + Duration::from_secs(1));
    }
}
