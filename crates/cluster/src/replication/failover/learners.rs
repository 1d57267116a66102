//! Who is to be brought up to date: the learners that a slot should have.

use super::{Coordinator, Look};
use crate::metadata::entry::LearnersSlot;
use crate::{Member, NodeId, Placement, Slot, Time};

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
        // A node that is away for a moment keeps its place, and a learner what it has got so far.
        let stays = |member: &Member| {
            let away = self.away.get(&member.node);
            let for_long = |since: &Time| look.now.since(*since) >= self.settings.replace_after;
            !look.is_dead(member) && !away.is_some_and(for_long)
        };
        let is_held = |node: &NodeId| {
            let in_sync = placement.in_sync.iter();
            in_sync.filter(|m| m.node == *node).any(&stays)
        };
        let wanted = (look.ring)(slot);
        // Wherever they are: the ring may have come to prefer others since they joined.
        let in_sync = placement.in_sync.iter();
        let held = in_sync.filter(|member| stays(member)).count();
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
            .filter(|member| stays(member))
            .copied()
            .chain(
                candidates
                    .iter()
                    .filter_map(|node| look.state.member(node))
                    .filter(|member| look.is_up(member)),
            )
            .filter(|member| !is_held(&member.node))
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
