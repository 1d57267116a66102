//! Who is to be brought up to date: the learners that a slot should have.

use super::{Coordinator, Look};
use crate::metadata::entry::LearnersSlot;
use crate::{Member, NodeId, Placement, Slot};

impl Coordinator {
    /// The learners that the slot should have, if they are others than it has: together with the
    /// in-sync members that are not dead they make up `N`.
    pub(super) fn learners(
        &self,
        slot: Slot,
        placement: &Placement,
        look: &Look<'_>,
    ) -> Option<LearnersSlot> {
        let asked = self.taught.get(&slot).is_some_and(|(rev, at)| {
            *rev == placement.rev && look.now.since(*at) < self.settings.outcome
        });
        if asked {
            return None;
        }
        if look.is_complete(placement) {
            return None;
        }
        let copies = usize::from(look.state.replication_factor());
        let is_held = |node: &NodeId| {
            // A node that is away for a moment keeps its place.
            let back_soon = self
                .away
                .get(node)
                .is_none_or(|since| look.now.since(*since) < self.settings.replace_after);
            placement
                .in_sync
                .iter()
                .any(|m| m.node == *node && !look.is_dead(m))
                && back_soon
        };
        let wanted = (look.ring)(slot);
        let held = wanted.iter().filter(|node| is_held(node)).count();
        let preferred = wanted.iter().take(copies);
        let missing_for_good = preferred.clone().any(|node| {
            let since = self.away.get(node);
            since.is_some_and(|since| look.now.since(*since) >= self.settings.replace_after)
        });
        let candidates = if missing_for_good {
            &wanted[..]
        } else {
            &wanted[..copies.min(wanted.len())]
        };
        let learners: Vec<Member> = placement
            .learners
            .iter()
            .filter(|member| look.is_up(member))
            .copied()
            .chain(candidates.iter().filter_map(|node| look.state.member(node)))
            .filter(|member| look.is_up(member) && !is_held(&member.node))
            .filter(|member| !placement.in_sync.contains(member))
            .fold(Vec::new(), |mut learners, member| {
                if !learners.contains(&member) && held + learners.len() < copies {
                    learners.push(member);
                }
                learners
            });
        let rev = placement.rev;
        (learners != placement.learners).then_some(LearnersSlot {
            slot,
            rev,
            learners,
        })
    }
}
