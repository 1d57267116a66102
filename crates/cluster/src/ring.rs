//! The consistent-hash ring: which nodes should hold each slot.
//!
//! A pure function of the nodes, so that every machine computes the same placement. Each node owns
//! many points of the ring (virtual nodes, as many as its weight says); a slot belongs to the nodes
//! that follow its own position. Two bounds bend that rule: no node gets more than `1 + 1/20` of
//! its fair share of the primaries or of the copies, and a slot's copies lie in distinct zones
//! where there are enough. The ring only proposes; the metadata group decides.
//!
//! A fair share follows the weights as far as the slots allow: a node holds a slot once at most,
//! and a zone at most its part of each slot's copies, so what a heavy node or zone cannot take is
//! the others' share.

mod balance;
mod order;
mod share;
mod spread;

pub use self::balance::Balance;
pub use self::order::Order;
use crate::NodeId;
use spread::Spread;

/// The weight of an ordinary node. One of weight 200 gets twice its share, one of weight 0 nothing.
pub const WEIGHT: u32 = 100;

/// The greatest weight; more is taken as this.
pub const WEIGHT_MAX: u32 = 100 * WEIGHT;

/// Points on the ring of a node of ordinary weight. More points make the shares more even before
/// the bounds are applied, so that fewer slots move; fewer points keep neighbouring slots together,
/// so that a client's slot map has fewer ranges.
const POINTS: u64 = 128; // three nodes: some 400 ranges, and a join moves 1.0 to 1.2 fair shares

/// A node, as far as the ring is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingNode {
    /// Its identity, which decides where its points lie.
    pub id: NodeId,
    /// Its weight, in hundredths of an ordinary node's.
    pub weight: u32,
    /// The zone that it fails together with.
    pub zone: String,
}

/// For each of `slots` slots the nodes that should hold it, its primary first: `copies` of them, or
/// as many as there are nodes with a weight.
///
/// The order of `nodes` does not matter.
#[must_use]
pub fn place(nodes: &[RingNode], slots: u16, copies: usize) -> Vec<Vec<NodeId>> {
    let mut nodes: Vec<&RingNode> = nodes.iter().filter(|node| node.weight > 0).collect();
    nodes.sort_by_key(|node| node.id);
    nodes.dedup_by_key(|node| node.id);
    let copies = copies.min(nodes.len());
    let mut spread = Spread::new(&nodes, slots, copies);
    let preferences = preferences(&nodes, slots);
    spread.place_primaries(&preferences);
    for _ in 1..copies {
        spread.place_copies(&preferences);
    }
    let ids = |held: &Vec<usize>| held.iter().map(|&node| nodes[node].id).collect();
    spread.into_slots().iter().map(ids).collect()
}

/// For each slot all nodes, in the order in which their points follow the slot's position.
fn preferences(nodes: &[&RingNode], slots: u16) -> Vec<Vec<usize>> {
    let points = points(nodes);
    let mut seen = vec![0_u32; nodes.len()];
    let mut all = Vec::with_capacity(usize::from(slots));
    for slot in 0..slots {
        let position = ((u128::from(slot) << 64) / u128::from(slots)) as u64;
        let start = points.partition_point(|&(point, _)| point < position);
        let mut order = Vec::with_capacity(nodes.len());
        for (_, node) in points[start..].iter().chain(&points[..start]) {
            if seen[*node] != u32::from(slot) + 1 {
                seen[*node] = u32::from(slot) + 1;
                order.push(*node);
                if order.len() == nodes.len() {
                    break;
                }
            }
        }
        all.push(order);
    }
    all
}

/// The ring: every node's points, in order.
fn points(nodes: &[&RingNode]) -> Vec<(u64, usize)> {
    let mut points = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let weight = u64::from(node.weight.min(WEIGHT_MAX));
        let count = (weight * POINTS).div_ceil(u64::from(WEIGHT));
        let seed = hash(node.id.as_bytes());
        points.extend((0..count).map(|number| (mix(seed ^ mix(number)), index)));
    }
    // A collision of two points, however unlikely, must fall out the same everywhere: the tuple's
    // order settles it, since the nodes are in the order of their ids.
    points.sort_unstable();
    points
}

/// FNV-1a with a finisher. Not for what an adversary chooses; node ids are drawn at random.
fn hash(bytes: &[u8]) -> u64 {
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, fnv))
}

/// A bijection that spreads each bit over all (the finisher of SplitMix64).
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests;
