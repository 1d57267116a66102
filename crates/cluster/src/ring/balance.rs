//! What nodes hold beside what they should: which copies and which primaries are to move so that
//! the two agree. As few as that takes: the ring says what a node's share is, not which slots
//! others must give away.

use std::collections::BTreeMap;

use super::RingNode;
use super::share::{PARTS, Shares};
use crate::NodeId;

/// Nothing moves for the sake of less than this part of a share.
const SLACK: i128 = 20;

/// The nodes with what they hold and what they should.
#[derive(Debug)]
pub struct Balance {
    nodes: BTreeMap<NodeId, Load>,
    per_zone: usize,
}

/// In parts of a slot; what a node that has no share holds is all too much.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    copies: i128,
    primaries: i128,
    copies_share: i128,
    primaries_share: i128,
    /// None: it is to hold nothing.
    zone: Option<usize>,
}

impl Load {
    fn too_many_copies(&self) -> i128 {
        self.copies - self.copies_share
    }

    fn too_many_primaries(&self) -> i128 {
        self.primaries - self.primaries_share
    }

    fn is_uneven(&self) -> bool {
        let is_far = |by: i128, share: i128| by.abs() > (share / SLACK).max(2 * PARTS as i128);
        is_far(self.too_many_copies(), self.copies_share)
            || is_far(self.too_many_primaries(), self.primaries_share)
            || (self.zone.is_none() && self.copies > 0)
    }
}

impl Balance {
    /// These nodes, which are to hold `copies` copies of each of `slots` slots between them, and
    /// hold nothing yet. Those without weight are to hold nothing.
    #[must_use]
    pub fn new(nodes: &[RingNode], slots: u16, copies: usize) -> Balance {
        let mut weighty: Vec<&RingNode> = nodes.iter().filter(|node| node.weight > 0).collect();
        weighty.sort_by_key(|node| node.id);
        weighty.dedup_by_key(|node| node.id);
        let shares = Shares::new(&weighty, slots, copies.min(weighty.len()));
        let load = |(index, node): (usize, &&RingNode)| {
            let load = Load {
                copies_share: shares.copies[index] as i128,
                primaries_share: shares.primaries[index] as i128,
                zone: Some(shares.zone_of[index]),
                ..Load::default()
            };
            (node.id, load)
        };
        Balance {
            nodes: weighty.iter().enumerate().map(load).collect(),
            per_zone: shares.per_zone,
        }
    }

    /// The node holds one slot more.
    pub fn holds(&mut self, node: NodeId) {
        self.nodes.entry(node).or_default().copies += PARTS as i128;
    }

    /// The node leads one slot more.
    pub fn leads(&mut self, node: NodeId) {
        self.nodes.entry(node).or_default().primaries += PARTS as i128;
    }

    /// A copy goes from one node to another.
    pub fn copy_moves(&mut self, from: NodeId, to: NodeId) {
        self.nodes.entry(from).or_default().copies -= PARTS as i128;
        self.holds(to);
    }

    /// A primary goes from one node to another.
    pub fn primary_moves(&mut self, from: NodeId, to: NodeId) {
        self.nodes.entry(from).or_default().primaries -= PARTS as i128;
        self.leads(to);
    }

    /// Whether some node is further from its share than is borne, or holds what it must not.
    #[must_use]
    pub fn is_uneven(&self) -> bool {
        self.nodes.values().any(Load::is_uneven)
    }

    /// Whether [`Balance::replacement`] can name a copy of any slot at all: all slots need not be
    /// asked where it cannot.
    #[must_use]
    pub fn has_copies_to_move(&self) -> bool {
        let loads = self.nodes.values();
        let takers = loads.clone().filter(|load| load.zone.is_some());
        let least = takers.map(Load::too_many_copies).min();
        loads.clone().any(|load| {
            let gain = least.map(|least| load.too_many_copies() - least);
            (load.zone.is_none() && load.copies > 0) || gain > Some(PARTS as i128)
        })
    }

    /// The same of [`Balance::successor`], of primaries that may stay.
    #[must_use]
    pub fn has_primaries_to_move(&self) -> bool {
        let loads = self.nodes.values();
        let takers = loads.clone().filter(|load| load.zone.is_some());
        let least = takers.map(Load::too_many_primaries).min();
        loads.clone().any(|load| {
            let gain = least.map(|least| load.too_many_primaries() - least);
            gain > Some(PARTS as i128)
        })
    }

    /// Which copy of a slot with these holders is to go, and where to; `None` if it may stay as it
    /// is. `may_take` says who can take one at all.
    #[must_use]
    pub fn replacement(
        &self,
        holders: &[NodeId],
        may_take: impl Fn(&NodeId) -> bool,
    ) -> Option<(NodeId, NodeId)> {
        let givers = holders.iter().map(|node| (*node, self.load(node)));
        let (from, giver) =
            givers.max_by_key(|(_, load)| (load.zone.is_none(), load.too_many_copies()))?;
        let fits = |load: &Load| {
            let Some(zone) = load.zone else { return false };
            let staying = holders.iter().filter(|node| **node != from);
            let beside = staying.filter(|node| self.load(node).zone == Some(zone));
            beside.count() < self.per_zone
        };
        let takers = self
            .nodes
            .iter()
            .filter(|(node, load)| !holders.contains(node) && fits(load) && may_take(node));
        let (to, taker) = takers.min_by_key(|(_, load)| load.too_many_copies())?;
        let gain = giver.too_many_copies() - taker.too_many_copies();
        let moves = giver.zone.is_none() || gain > PARTS as i128;
        debug_assert!(
            !moves || self.has_copies_to_move(),
            "{from} holds what it gives"
        );
        moves.then_some((from, *to))
    }

    /// Who of these is to lead a slot that `primary` leads; `None` if that may stay as it is. Where
    /// the primary must not, one of them is named in any case.
    #[must_use]
    pub fn successor(
        &self,
        primary: &NodeId,
        must_go: bool,
        others: impl Iterator<Item = NodeId>,
    ) -> Option<NodeId> {
        let leads = self.load(primary);
        let others = others.filter(|node| node != primary);
        let others = others.map(|node| (node, self.load(&node)));
        let (to, takes) =
            others.min_by_key(|(_, load)| (load.zone.is_none(), load.too_many_primaries()))?;
        let gain = leads.too_many_primaries() - takes.too_many_primaries();
        let moves = gain > PARTS as i128 && takes.zone.is_some();
        debug_assert!(
            !moves || self.has_primaries_to_move(),
            "{primary} leads what it gives"
        );
        (must_go || moves).then_some(to)
    }

    fn load(&self, node: &NodeId) -> Load {
        self.nodes.get(node).copied().unwrap_or_default()
    }
}
