//! The slot map put together as it is shown: ranges of slots with their nodes, and counts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use bytes::Bytes;
use cluster::{Epoch, Member, NodeId, Placement, SlotMap};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::resp::RespVersion;

/// Neighbouring slots that the same nodes hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first slot.
    pub first: u16,
    /// The last slot.
    pub last: u16,
    /// The node that leads them.
    pub primary: NodeId,
    /// The nodes that hold copies in sync, in the order of their ids.
    pub replicas: Vec<NodeId>,
}

impl Range {
    fn holders(&self) -> (NodeId, &[NodeId]) {
        (self.primary, &self.replicas)
    }
}

/// A set of nodes that hold the same slots in the same roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// The node that leads them.
    pub primary: NodeId,
    /// The nodes that hold copies in sync.
    pub replicas: Vec<NodeId>,
    /// First and last slot of each stretch.
    pub ranges: Vec<(u16, u16)>,
}

/// What one node has of the slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// First and last slot of each stretch that it leads.
    pub ranges: Vec<(u16, u16)>,
    /// Slots that it leads.
    pub led: u16,
    /// Slots of which it holds a copy in sync.
    pub copies: u16,
    /// Slots of which it is being given a copy.
    pub learning: u16,
    /// Slots of which it is being given the copy of another node, which is in sync until then.
    pub moving: u16,
    /// Slots that name an earlier start of it, whose data is gone.
    pub lost: u16,
    /// The greatest epoch in which it leads a slot.
    pub epoch: Epoch,
}

/// How many slots are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotCounts {
    /// Those that some node has been given.
    pub assigned: u16,
    /// Those with a primary.
    pub covered: u16,
    /// Those with a primary whose in-sync set is smaller than `W`: they take no writes.
    pub below_w: u16,
    /// Those with fewer copies in sync than `N`.
    pub short: u16,
    /// Those that some node is being given a copy of.
    pub learning: u16,
}

/// One version of the slot map, put together.
#[derive(Debug, Default)]
pub struct Layout {
    version: u64,
    ranges: Vec<Range>,
    shares: BTreeMap<NodeId, Share>,
    counts: SlotCounts,
    epoch: Epoch,
    replies: Replies,
}

/// Replies that follow from a layout, as they were encoded for clients before.
#[derive(Debug, Default)]
pub struct Replies(Mutex<Vec<(Of, Bytes)>>);

/// What such a reply depends on besides: the protocol, where the client reached the node, and
/// whether it is told of replicas.
type Of = (RespVersion, SocketAddr, bool);

/// More than the addresses by which the clients of a node reach it; beyond, the oldest goes.
const REPLIES_MAX: usize = 16;

impl Replies {
    /// What was made for such a client before, or else what `make` makes.
    pub fn get_or_make(&self, of: Of, make: impl FnOnce() -> Bytes) -> Bytes {
        let find = |known: &[(Of, Bytes)]| {
            known
                .iter()
                .find(|(key, _)| *key == of)
                .map(|(_, reply)| reply.clone())
        };
        if let Some(reply) = find(&self.0.lock()) {
            return reply;
        }
        // Not under the lock: it takes milliseconds. Two at once make the same.
        let reply = make();
        let mut known = self.0.lock();
        if known.len() >= REPLIES_MAX {
            known.remove(0);
        }
        known.push((of, reply.clone()));
        reply
    }
}

impl Layout {
    pub(super) fn of(map: &SlotMap) -> Layout {
        let shares = map
            .nodes()
            .map(|(node, _)| (*node, Share::default()))
            .collect();
        let mut layout = Layout {
            version: map.version(),
            shares,
            ..Layout::default()
        };
        for (slot, placement) in map.placements() {
            layout.count(map, placement);
            layout.epoch = layout.epoch.max(placement.epoch);
            if let Some(primary) = current(map, placement.primary) {
                layout.add(map, slot.number(), primary, placement);
            }
        }
        layout
    }

    fn count(&mut self, map: &SlotMap, placement: &Placement) {
        let in_sync = placement
            .in_sync
            .iter()
            .filter(|member| map.info(member).is_some())
            .count();
        let has_primary = current(map, placement.primary).is_some();
        let counts = &mut self.counts;
        counts.assigned += u16::from(!placement.in_sync.is_empty());
        counts.covered += u16::from(has_primary);
        let below_w = has_primary && in_sync < usize::from(placement.write_quorum);
        counts.below_w += u16::from(below_w);
        counts.short += u16::from(in_sync < usize::from(map.state().replication_factor()));
        counts.learning += u16::from(!placement.learners.is_empty());
        let primary = placement.primary;
        for member in placement
            .in_sync
            .iter()
            .filter(|member| Some(**member) != primary)
        {
            self.share(map, member, |share| share.copies += 1);
        }
        for member in &placement.learners {
            self.share(map, member, |share| {
                if placement.leaving.is_empty() {
                    share.learning += 1;
                } else {
                    share.moving += 1;
                }
            });
        }
        if let Some(member) = primary {
            self.share(map, &member, |share| share.led += 1);
        }
    }

    /// Counts a slot of a member; one of an earlier start of its node is lost.
    fn share(&mut self, map: &SlotMap, member: &Member, count: impl FnOnce(&mut Share)) {
        let Some(share) = self.shares.get_mut(&member.node) else {
            return;
        };
        if map.info(member).is_some() {
            count(share);
        } else {
            share.lost += 1;
        }
    }

    fn add(&mut self, map: &SlotMap, slot: u16, primary: Member, placement: &Placement) {
        let others = placement
            .in_sync
            .iter()
            .filter(|member| member.node != primary.node);
        let mut replicas: Vec<NodeId> = others
            .filter(|member| map.info(member).is_some())
            .map(|member| member.node)
            .collect();
        replicas.sort_unstable();
        if let Some(share) = self.shares.get_mut(&primary.node) {
            share.epoch = share.epoch.max(placement.epoch);
            match share.ranges.last_mut() {
                Some((_, last)) if *last + 1 == slot => *last = slot,
                _ => share.ranges.push((slot, slot)),
            }
        }
        let range = Range {
            first: slot,
            last: slot,
            primary: primary.node,
            replicas,
        };
        match self.ranges.last_mut() {
            Some(before) if before.last + 1 == slot && before.holders() == range.holders() => {
                before.last = slot;
            }
            _ => self.ranges.push(range),
        }
    }

    /// The version of the slot map that it was made from.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The slots that have a primary, in order.
    #[must_use]
    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// What each node has.
    #[must_use]
    pub fn shares(&self) -> &BTreeMap<NodeId, Share> {
        &self.shares
    }

    /// How many slots are in which state.
    #[must_use]
    pub fn counts(&self) -> SlotCounts {
        self.counts
    }

    /// The greatest epoch of any slot.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Replies made from it.
    #[must_use]
    pub fn replies(&self) -> &Replies {
        &self.replies
    }

    /// The slots that have a primary, by the nodes that hold them.
    #[must_use]
    pub fn shards(&self) -> Vec<Shard> {
        let mut by_holders: BTreeMap<(NodeId, &[NodeId]), Shard> = BTreeMap::new();
        for range in &self.ranges {
            let shard = by_holders.entry(range.holders()).or_insert_with(|| Shard {
                primary: range.primary,
                replicas: range.replicas.clone(),
                ranges: Vec::new(),
            });
            shard.ranges.push((range.first, range.last));
        }
        by_holders.into_values().collect()
    }

    /// The ranges with their primaries alone.
    #[must_use]
    pub fn primaries(&self) -> Vec<Range> {
        let mut ranges: Vec<Range> = Vec::new();
        for range in &self.ranges {
            match ranges.last_mut() {
                Some(before)
                    if before.last + 1 == range.first && before.primary == range.primary =>
                {
                    before.last = range.last;
                }
                _ => ranges.push(Range {
                    replicas: Vec::new(),
                    ..range.clone()
                }),
            }
        }
        ranges
    }

    /// The ranges in an order in which every node that leads slots is met as a primary before it
    /// is met as a replica.
    ///
    /// redis-py gives each node one role, the first in which it meets it, and sends what concerns
    /// all primaries (`DBSIZE`, `KEYS`, `FLUSHALL`) to those nodes alone. Here a node leads some
    /// slots and holds copies of others, so in the plain order two nodes of three would be taken
    /// for replicas. So one slot of each primary is cut off and goes first, without those replicas
    /// that have not been met yet. It is the last slot that the node leads, so that clients which
    /// sort what they get, and take a node's first range for all of them, see a whole one.
    #[must_use]
    pub fn introduced(&self) -> Vec<Range> {
        let primaries: BTreeSet<NodeId> = self.ranges.iter().map(|range| range.primary).collect();
        let is_plain = |range: &Range| range.replicas.iter().all(|node| !primaries.contains(node));
        if self.ranges.iter().all(is_plain) {
            return self.ranges.clone();
        }
        let mut rest = self.ranges.clone();
        let mut first = Vec::with_capacity(primaries.len());
        let mut met = BTreeSet::new();
        for primary in &primaries {
            let last = rest.iter_mut().rfind(|range| range.primary == *primary);
            let last = last.expect("each primary is that of some range");
            let mut replicas = last.replicas.clone();
            replicas.retain(|node| met.contains(node) || !primaries.contains(node));
            let (slot, primary) = (last.last, last.primary);
            first.push(Range {
                first: slot,
                last: slot,
                primary,
                replicas,
            });
            met.insert(primary);
            if last.first == last.last {
                rest.retain(|range| range.first != slot);
            } else {
                last.last -= 1;
            }
        }
        first.extend(rest);
        first
    }
}

/// The member, unless its node has started anew since: a message for it would reach somebody else.
fn current(map: &SlotMap, member: Option<Member>) -> Option<Member> {
    member.filter(|member| map.info(member).is_some())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{formed, info, member};
    use super::*;
    use cluster::metadata::{Entry, FenceSlot, State};
    use cluster::{Incarnation, SLOTS, Slot};
    use std::sync::Arc;

    fn layout(state: State) -> Layout {
        Layout::of(&SlotMap::from(Arc::new(state)))
    }

    #[test]
    fn every_slot_is_in_one_range_with_its_nodes() {
        let state = formed(3);
        let layout = layout(state.clone());
        let mut next = 0;
        for range in layout.ranges() {
            assert_eq!(range.first, next);
            assert_eq!(range.replicas.len(), 2);
            next = range.last + 1;
        }
        assert_eq!(next, SLOTS);
        for (slot, placement) in state.placements() {
            let is_in = |range: &&Range| (range.first..=range.last).contains(&slot.number());
            let range = layout.ranges().iter().find(is_in).unwrap();
            assert_eq!(
                Some(range.primary),
                placement.primary.map(|member| member.node)
            );
        }
        assert_eq!(layout.shards().len(), 3);
        let shares: Vec<&Share> = layout.shares().values().collect();
        assert_eq!(shares.iter().map(|share| share.led).sum::<u16>(), SLOTS);
        assert!(shares.iter().all(|share| share.led + share.copies == SLOTS));
        let neighbours = |pair: &[Range]| pair[0].holders() != pair[1].holders();
        assert!(layout.ranges().windows(2).all(neighbours));
    }

    #[test]
    fn a_primary_is_met_as_one_before_it_is_met_as_a_replica() {
        let layout = layout(formed(3));
        let mut met = BTreeSet::new();
        let mut slots = vec![0; usize::from(SLOTS)];
        for range in layout.introduced() {
            met.insert(range.primary);
            assert!(
                range.replicas.iter().all(|node| met.contains(node)),
                "{range:?}"
            );
            (range.first..=range.last).for_each(|slot| slots[usize::from(slot)] += 1);
        }
        assert!(slots.iter().all(|times| *times == 1));
    }

    #[test]
    fn primaries_alone_have_the_same_slots() {
        let layout = layout(formed(3));
        let primaries = layout.primaries();
        assert!(primaries.iter().all(|range| range.replicas.is_empty()));
        for (id, share) in layout.shares() {
            let mine = primaries.iter().filter(|range| range.primary == *id);
            let mine: Vec<_> = mine.map(|range| (range.first, range.last)).collect();
            assert_eq!(mine, share.ranges);
        }
    }

    #[test]
    fn without_other_copies_the_ranges_stay_as_they_are() {
        let layout = layout(formed(1));
        assert_eq!(layout.introduced(), layout.ranges());
        assert_eq!(layout.ranges().len(), 1);
    }

    #[test]
    fn a_slot_without_a_primary_is_in_no_range() {
        let mut state = formed(3);
        let slot = Slot::new(100).unwrap();
        let rev = state.placement(slot).rev;
        state.apply(2, &Entry::Fence(vec![FenceSlot { slot, rev }]));
        let layout = layout(state);
        let is_in = |range: &Range| (range.first..=range.last).contains(&100);
        assert!(!layout.ranges().iter().any(is_in));
        let counts = layout.counts();
        assert_eq!(
            (counts.assigned, counts.covered, counts.short),
            (SLOTS, SLOTS - 1, 0)
        );
        assert_eq!(layout.epoch(), Epoch(2));
    }

    #[test]
    fn what_an_earlier_start_of_a_node_held_is_lost() {
        let mut state = formed(3);
        let restarted = Member {
            incarnation: Incarnation(2),
            ..member(2)
        };
        state.apply(
            2,
            &Entry::Register {
                member: restarted,
                info: info(2),
            },
        );
        let layout = layout(state);
        let share = &layout.shares()[&member(2).node];
        assert_eq!((share.led, share.copies, share.lost), (0, 0, SLOTS));
        assert!(
            layout
                .ranges()
                .iter()
                .all(|range| range.primary != member(2).node)
        );
        let counts = layout.counts();
        assert_eq!((counts.short, counts.below_w), (SLOTS, 0));
        assert!(counts.covered < SLOTS && counts.covered > SLOTS / 2);
    }

    #[test]
    fn before_the_cluster_is_made_there_is_nothing() {
        let layout = layout(State::default());
        assert_eq!(layout.counts().assigned, 0);
        assert!(layout.introduced().is_empty());
    }
}
