//! Slots move so that every node has its share: copies by learners that take the place of others,
//! primaries by planned changes. A few at a time, and only while all is well otherwise.
//!
//! Nothing is remembered of what is to move: it is found anew from what the placements say, so
//! that whoever leads the metadata group next goes on with it.

use super::work::Work;
use super::{Coordinator, Look};
use crate::metadata::entry::LearnersSlot;
use crate::ring::Balance;
use crate::{Member, NodeId, Placement, Slot, Time};

/// What a node leads that is about to stop goes so many times as fast as what only moves: nobody
/// knows how long it will still be there.
const HAND_OVER: usize = 8;

/// What the balancer knows from one look to the next.
#[derive(Debug, Default)]
pub(super) struct Balancer {
    /// Since when nothing else was to be done.
    calm_since: Option<Time>,
    /// Slots move until the shares are even, not only until they are even enough.
    is_at_work: bool,
    /// The state in which the shares were found to be even, and how many nodes were counted on.
    even: Option<(u64, usize)>,
}

impl Coordinator {
    /// What is to move now. Returns whether nothing is left to move.
    pub(super) fn balance(&mut self, look: &Look<'_>, learners: &mut Vec<LearnersSlot>) -> bool {
        let is_planned = |work: &Work| work.to.is_some();
        let is_calm = self.work.values().all(is_planned)
            && learners.is_empty()
            && self.are_nodes_settled(look);
        let wished = self.wished(look, learners);
        let departing = self.hand_over(look);
        if !look.state.balances() {
            self.stay(look, learners);
            return wished && departing;
        }
        if !is_calm {
            self.balancer.calm_since = None;
            return false;
        }
        let since = *self.balancer.calm_since.get_or_insert(look.now);
        if look.now.since(since) < self.settings.balance_delay {
            return false;
        }
        let found = (look.state.applied(), self.counted_on(look));
        if self.balancer.even == Some(found) {
            return wished && departing;
        }
        let mut balance = self.loads(look);
        self.balancer.is_at_work |= balance.is_uneven() || self.is_moving(look);
        if !self.balancer.is_at_work {
            self.balancer.even = Some(found);
            return wished && departing;
        }
        let moved = self.move_copies(look, &mut balance, learners);
        let led = self.move_primaries(look, &mut balance);
        self.balancer.is_at_work = moved || led || self.is_moving(look);
        false
    }

    /// Operators' words on who is to lead: one that does not hold the slot takes the place of the
    /// one that leads it. Returns whether there is none left.
    fn wished(&mut self, look: &Look<'_>, learners: &mut Vec<LearnersSlot>) -> bool {
        for (&slot, node) in look.state.transfers() {
            let placement = look.state.placement(slot);
            let Some(to) = look.state.member(node).filter(|to| look.is_up(to)) else {
                continue;
            };
            if placement.in_sync.contains(&to) {
                if self.has_room_for_transfers() {
                    self.begin_transfer(slot, placement, to, look);
                }
            } else if look.is_complete(placement)
                && !look.drains(node)
                && !self.was_just_asked(slot, placement, look)
            {
                let leaving = placement.primary.into_iter().collect();
                self.replace(slot, placement, to, leaving, look, learners);
            }
        }
        look.state.transfers().is_empty()
    }

    /// A member is to learn the slot, in the place of others.
    fn replace(
        &mut self,
        slot: Slot,
        placement: &Placement,
        to: Member,
        leaving: Vec<Member>,
        look: &Look<'_>,
        learners: &mut Vec<LearnersSlot>,
    ) {
        self.taught.insert(slot, (placement.rev, look.now));
        learners.push(LearnersSlot {
            slot,
            rev: placement.rev,
            learners: vec![to],
            leaving,
        });
    }

    /// What a node leads that is about to stop goes to others at once. Returns whether there is
    /// nothing of that kind.
    fn hand_over(&mut self, look: &Look<'_>) -> bool {
        let members = look
            .state
            .nodes()
            .keys()
            .filter_map(|node| look.state.member(node));
        if !members.into_iter().any(|member| look.departs(&member)) {
            return true;
        }
        let mut balance = None;
        for (slot, placement) in look.state.placements() {
            let Some(primary) = placement.primary.filter(|primary| look.departs(primary)) else {
                continue;
            };
            if self.transfers.len() + self.work.len() >= HAND_OVER * self.settings.transfers_max {
                return false;
            }
            let balance = balance.get_or_insert_with(|| self.loads(look));
            if let Some(to) = successor(balance, placement, &primary, true, look) {
                balance.primary_moves(primary.node, to.node);
                self.begin_transfer(slot, placement, to, look);
            }
        }
        balance.is_none()
    }

    /// Nothing is to move: who was to go stays.
    fn stay(&mut self, look: &Look<'_>, learners: &mut Vec<LearnersSlot>) {
        self.balancer = Balancer::default();
        for (slot, placement) in look.state.placements() {
            let is_whole = placement.in_sync.len() >= look.copies();
            if !placement.leaving.is_empty()
                && is_whole
                && !look.state.transfers().contains_key(&slot)
                && !self.was_just_asked(slot, placement, look)
            {
                self.taught.insert(slot, (placement.rev, look.now));
                learners.push(LearnersSlot {
                    slot,
                    rev: placement.rev,
                    learners: Vec::new(),
                    leaving: Vec::new(),
                });
            }
        }
    }

    /// Whether every node is there, or gone for so long that nobody counts on it.
    fn are_nodes_settled(&self, look: &Look<'_>) -> bool {
        self.away.iter().all(|(node, since)| {
            look.now.since(*since) >= self.settings.replace_after
                || look
                    .state
                    .nodes()
                    .get(node)
                    .is_none_or(|known| known.stopped)
        })
    }

    /// How many nodes are not gone for long.
    fn counted_on(&self, look: &Look<'_>) -> usize {
        let members = look
            .state
            .nodes()
            .keys()
            .filter_map(|node| look.state.member(node));
        members
            .filter(|member| !self.is_away_for_long(member, look))
            .count()
    }

    /// What the nodes hold, as it will be when what is under way has come about.
    fn loads(&self, look: &Look<'_>) -> Balance {
        let mut nodes = look.state.ring_nodes();
        nodes.retain(|node| {
            let member = look.state.member(&node.id);
            !member.is_some_and(|member| self.is_away_for_long(&member, look))
        });
        let slots = look.state.placements().len();
        let slots = u16::try_from(slots).expect("there are at most 16384 slots");
        let mut balance = Balance::new(&nodes, slots, look.copies());
        for (slot, placement) in look.state.placements() {
            holders(placement).for_each(|node| balance.holds(node));
            let primary = placement.primary;
            let led = match self.transfers.get(&slot) {
                Some(transfer) => Some(transfer.to()),
                // It goes to whoever takes the copy, most likely.
                None if primary.is_some_and(|one| placement.leaving.contains(&one)) => {
                    let taken = placement.learners.last();
                    taken.or(placement.staying().last()).copied()
                }
                None => primary,
            };
            led.iter().for_each(|member| balance.leads(member.node));
        }
        balance
    }

    /// Whether a slot is on its way.
    fn is_moving(&self, look: &Look<'_>) -> bool {
        let moves = |placement: &Placement| !placement.leaving.is_empty();
        !self.transfers.is_empty()
            || look
                .state
                .placements()
                .any(|(_, placement)| moves(placement))
    }

    fn move_copies(
        &mut self,
        look: &Look<'_>,
        balance: &mut Balance,
        learners: &mut Vec<LearnersSlot>,
    ) -> bool {
        let moving = look.state.placements();
        let moving = moving.filter(|(_, of)| !of.leaving.is_empty() || !of.learners.is_empty());
        let mut room = self.settings.moves_max.saturating_sub(moving.count());
        let before = learners.len();
        // First those that the ring would have there as well.
        for by_ring in [true, false] {
            for (slot, placement) in look.state.placements() {
                if room == 0 || !balance.has_copies_to_move() {
                    break;
                }
                if !look.is_complete(placement) || self.was_just_asked(slot, placement, look) {
                    continue;
                }
                let nodes: Vec<NodeId> = holders(placement).collect();
                let wanted = if by_ring {
                    (look.ring)(slot)
                } else {
                    Vec::new()
                };
                let wanted = &wanted[..wanted.len().min(look.copies())];
                let may_take = |node: &NodeId| {
                    (!by_ring || wanted.contains(node))
                        && look
                            .state
                            .member(node)
                            .is_some_and(|member| look.is_up(&member))
                };
                let Some((from, to)) = balance.replacement(&nodes, may_take) else {
                    continue;
                };
                let to = look.state.member(&to).expect("it was found by its member");
                let leaving = placement.in_sync.iter();
                let leaving = leaving.filter(|member| member.node == from).copied();
                balance.copy_moves(from, to.node);
                self.replace(slot, placement, to, leaving.collect(), look, learners);
                room -= 1;
            }
        }
        learners.len() > before
    }

    /// Primaries go where there are too few of them, and away from those that are to leave.
    fn move_primaries(&mut self, look: &Look<'_>, balance: &mut Balance) -> bool {
        let before = self.transfers.len();
        let slots = look.state.placements();
        let leaves = |of: &Placement| of.primary.is_some_and(|one| of.leaving.contains(&one));
        // First those that cannot stay where they are: what they fill up others leave alone.
        let (first, then): (Vec<_>, Vec<_>) = slots.partition(|(_, placement)| leaves(placement));
        for (slot, placement) in first.into_iter().chain(then) {
            if !self.has_room_for_transfers() {
                break;
            }
            let Some(primary) = placement.primary else {
                continue;
            };
            let leaves = leaves(placement);
            if !leaves && !balance.has_primaries_to_move() {
                break;
            }
            let is_ready = placement.staying().count() >= look.copies();
            let wished = look.state.transfers().get(&slot);
            let is_wished = |member: &Member| Some(&member.node) == wished;
            if (leaves && !is_ready)
                || self.transfers.contains_key(&slot)
                || placement.in_sync.iter().any(is_wished)
                || placement.learners.iter().any(is_wished)
            {
                continue;
            }
            if let Some(to) = successor(balance, placement, &primary, leaves, look) {
                balance.primary_moves(primary.node, to.node);
                self.begin_transfer(slot, placement, to, look);
            }
        }
        self.transfers.len() > before
    }

    fn has_room_for_transfers(&self) -> bool {
        self.transfers.len() + self.work.len() < self.settings.transfers_max
    }

    pub(super) fn was_just_asked(
        &self,
        slot: Slot,
        placement: &Placement,
        look: &Look<'_>,
    ) -> bool {
        self.taught.get(&slot).is_some_and(|(rev, at)| {
            *rev == placement.rev && look.now.since(*at) < self.settings.outcome
        })
    }
}

/// The nodes that hold the slot, or will when what is under way has come about.
fn holders(placement: &Placement) -> impl Iterator<Item = NodeId> {
    let members = placement.staying().chain(&placement.learners);
    members.map(|member| member.node)
}

/// Who is to lead the slot instead of its primary.
fn successor(
    balance: &Balance,
    placement: &Placement,
    primary: &Member,
    must_go: bool,
    look: &Look<'_>,
) -> Option<Member> {
    let able = placement.staying().filter(|member| look.is_up(member));
    let to = balance.successor(&primary.node, must_go, able.map(|member| member.node))?;
    placement
        .staying()
        .find(|member| member.node == to)
        .copied()
}
