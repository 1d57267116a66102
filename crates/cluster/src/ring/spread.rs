//! Slots given to nodes one by one, within bounds.

use std::collections::VecDeque;

use super::RingNode;
use super::share::Bounds;

/// A placement in the making.
pub(super) struct Spread {
    bounds: Bounds,
    /// By slot, the nodes that hold it; the primary first.
    slots: Vec<Vec<usize>>,
    /// By node, how many primaries and how many copies it holds.
    primaries: Vec<usize>,
    copies: Vec<usize>,
}

/// A copy that goes to another node, to make room for one that has no place: `slot` gives up
/// `from`. Steps form a chain through `before`.
struct Step {
    slot: usize,
    from: usize,
    to: usize,
    before: Option<usize>,
}

impl Spread {
    pub(super) fn new(nodes: &[&RingNode], slots: u16, copies: usize) -> Spread {
        Spread {
            bounds: Bounds::new(nodes, slots, copies),
            slots: vec![Vec::with_capacity(copies); usize::from(slots)],
            primaries: vec![0; nodes.len()],
            copies: vec![0; nodes.len()],
        }
    }

    pub(super) fn into_slots(self) -> Vec<Vec<usize>> {
        self.slots
    }

    /// Gives each slot the first node of its preference that may lead another slot.
    pub(super) fn place_primaries(&mut self, preferences: &[Vec<usize>]) {
        for (slot, order) in preferences.iter().enumerate() {
            let free = |node: &&usize| self.primaries[**node] < self.bounds.primaries[**node];
            let Some(&node) = order.iter().find(free) else {
                continue;
            };
            self.primaries[node] += 1;
            self.hold(slot, node);
        }
    }

    /// Gives each slot one copy more.
    pub(super) fn place_copies(&mut self, preferences: &[Vec<usize>]) {
        for (slot, order) in preferences.iter().enumerate() {
            let fits = |node: &&usize| self.has_room(**node) && self.may_hold(slot, **node, None);
            if let Some(&node) = order.iter().find(fits) {
                self.hold(slot, node);
            } else if !self.make_room(slot, order) {
                // Better a copy above the bound, or in a zone of another, than one too few.
                let outside = |node: &&usize| !self.slots[slot].contains(node);
                let least = order
                    .iter()
                    .filter(outside)
                    .min_by_key(|&&node| (!self.may_hold(slot, node, None), self.copies[node]));
                least
                    .copied()
                    .into_iter()
                    .for_each(|node| self.hold(slot, node));
            }
        }
    }

    fn hold(&mut self, slot: usize, node: usize) {
        self.copies[node] += 1;
        self.slots[slot].push(node);
    }

    fn has_room(&self, node: usize) -> bool {
        self.copies[node] < self.bounds.copies[node]
    }

    /// Whether the slot, without its copy on `given_up`, may have one on `node`.
    fn may_hold(&self, slot: usize, node: usize, given_up: Option<usize>) -> bool {
        let held = &self.slots[slot];
        let zone = self.bounds.zone_of[node];
        let same_zone =
            |other: &&usize| Some(**other) != given_up && self.bounds.zone_of[**other] == zone;
        !held.contains(&node) && held.iter().filter(same_zone).count() < self.bounds.per_zone
    }

    /// Finds the shortest chain of copies to move so that the slot gets a node within all bounds,
    /// and moves them.
    fn make_room(&mut self, slot: usize, order: &[usize]) -> bool {
        let mut steps: Vec<Step> = Vec::new();
        let mut reached = vec![false; self.copies.len()];
        let mut queue: VecDeque<(usize, Option<usize>)> = VecDeque::new();
        for &node in order
            .iter()
            .filter(|&&node| self.may_hold(slot, node, None))
        {
            reached[node] = true;
            queue.push_back((node, None));
        }
        while let Some((from, before)) = queue.pop_front() {
            for giver in 0..self.slots.len() {
                let gives = self.slots[giver].iter().skip(1).any(|&node| node == from);
                if !gives || giver == slot || moves(&steps, before, giver) {
                    continue;
                }
                for &to in order {
                    if reached[to] || !self.may_hold(giver, to, Some(from)) {
                        continue;
                    }
                    reached[to] = true;
                    steps.push(Step {
                        slot: giver,
                        from,
                        to,
                        before,
                    });
                    if self.has_room(to) {
                        self.take(slot, &steps, steps.len() - 1);
                        return true;
                    }
                    queue.push_back((to, Some(steps.len() - 1)));
                }
            }
        }
        false
    }

    /// Performs the chain that ends with `last`, and gives the slot the node that it freed.
    fn take(&mut self, slot: usize, steps: &[Step], last: usize) {
        let mut next = Some(last);
        let mut freed = steps[last].from;
        while let Some(index) = next {
            let Step {
                slot: giver,
                from,
                to,
                before,
            } = steps[index];
            let held = self.slots[giver].iter_mut().find(|node| **node == from);
            *held.expect("the step was made from what the slot holds") = to;
            self.copies[from] -= 1;
            self.copies[to] += 1;
            freed = from;
            next = before;
        }
        self.hold(slot, freed);
    }
}

/// Whether the chain that ends with `last` already moves a copy of the slot.
fn moves(steps: &[Step], last: Option<usize>, slot: usize) -> bool {
    std::iter::successors(last, |&index| steps[index].before).any(|index| steps[index].slot == slot)
}
