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
        if self.was_just_asked(slot, placement, look) || look.is_complete(placement) {
            return None;
        }
        // A node that is away for a moment keeps its place, and a learner what it has got so far.
        let stays = |member: &Member| !look.is_dead(member) && !self.is_away_for_long(member, look);
        let copies = look.copies();
        let held = placement.staying().filter(|member| stays(member)).count();
        let mut missing = copies.saturating_sub(held);
        let mut learners: Vec<Member> = Vec::new();
        let known = placement.learners.iter().filter(|member| stays(member));
        let returned = self.returned(placement, look);
        for member in known.copied().chain(returned) {
            let is_held = placement.in_sync.contains(&member) || learners.contains(&member);
            if missing > 0 && !is_held {
                missing -= 1;
                learners.push(member);
            }
        }
        if missing > 0 {
            let is_held = |member: &Member| {
                let all = placement.in_sync.iter().chain(&learners);
                all.filter(|one| stays(one))
                    .any(|one| one.node == member.node)
            };
            let others = self.candidates(slot, placement, look);
            let others = others.filter(|member| !is_held(member));
            let others: Vec<Member> = others.take(missing).collect();
            missing -= others.len();
            learners.extend(others);
        }
        // Nobody can take their place: they stay, unless they must not.
        let mut leaving = placement.leaving.clone();
        leaving.retain(|member| {
            let goes = missing == 0 || look.drains(&member.node);
            missing -= usize::from(!goes);
            goes
        });
        let rev = placement.rev;
        let is_news = learners != placement.learners || leaving != placement.leaving;
        is_news.then_some(LearnersSlot {
            slot,
            rev,
            learners,
            leaving,
        })
    }

    /// Whether another is to take this member's place, although it may come back.
    pub(super) fn is_away_for_long(&self, member: &Member, look: &Look<'_>) -> bool {
        let since = self.away.get(&member.node);
        since.is_some_and(|since| look.now.since(*since) >= self.settings.replace_after)
    }

    /// The nodes that held the slot and have started anew: what they had is gone, their place is
    /// not.
    fn returned(&self, placement: &Placement, look: &Look<'_>) -> impl Iterator<Item = Member> {
        let before = placement.staying().chain(&placement.learners);
        before
            .filter(|member| look.is_dead(member))
            .filter_map(|member| look.state.member(&member.node))
            .filter(|member| !look.is_dead(member) && !look.drains(&member.node))
            .filter(|member| !self.is_away_for_long(member, look))
    }

    /// Who may hold the slot beside those who do, the first choice first: those whom the ring
    /// names, and where one of them is gone for good or somebody is to go, all others.
    fn candidates(
        &self,
        slot: Slot,
        placement: &Placement,
        look: &Look<'_>,
    ) -> impl Iterator<Item = Member> {
        let mut wanted = (look.ring)(slot);
        let gone_for_good = |node: &NodeId| {
            let since = self.away.get(node);
            since.is_some_and(|since| look.now.since(*since) >= self.settings.replace_after)
        };
        let copies = look.copies();
        let are_few = wanted.len() < copies;
        if placement.leaving.is_empty() && !wanted.iter().take(copies).any(gone_for_good) {
            wanted.truncate(copies);
        }
        // Better a copy on a node that is to be empty than one too few.
        let draining = look.state.nodes().keys();
        let draining = draining
            .copied()
            .filter(move |node| are_few && look.drains(node));
        let members = wanted.into_iter().chain(draining);
        members
            .filter_map(|node| look.state.member(&node))
            .filter(|member| look.is_up(member))
    }
}
