//! Fair shares: what each node would hold if slots could be cut at will.

use std::collections::BTreeMap;

use super::{RingNode, WEIGHT_MAX};

/// Shares are counted in parts of a slot, so that all machines round them alike.
pub(super) const PARTS: u128 = 1 << 16;

/// How far above its fair share a node may go: `1 + 1/20`.
const BOUND: (u128, u128) = (21, 20);

/// What each node should hold, in parts of a slot, and how the zones divide a slot.
pub(super) struct Shares {
    /// Of primaries, by node.
    pub(super) primaries: Vec<u128>,
    /// Of copies (primaries included), by node.
    pub(super) copies: Vec<u128>,
    /// The zone of each node, as a number.
    pub(super) zone_of: Vec<usize>,
    /// How many copies of one slot a zone may hold: the least number with which `copies` fit.
    pub(super) per_zone: usize,
}

impl Shares {
    pub(super) fn new(nodes: &[&RingNode], slots: u16, copies: usize) -> Shares {
        let zones = zones(nodes);
        let per_zone = per_zone(&zones, copies);
        let weights: Vec<u128> = nodes
            .iter()
            .map(|node| u128::from(node.weight.min(WEIGHT_MAX)))
            .collect();
        let slots = u128::from(slots) * PARTS;
        let zone_weights: Vec<u128> = zones
            .iter()
            .map(|zone| zone.iter().map(|&node| weights[node]).sum())
            .collect();
        let zone_limits: Vec<u128> = zones
            .iter()
            .map(|zone| slots * zone.len().min(per_zone) as u128)
            .collect();
        let zone_shares = fill(slots * copies as u128, &zone_weights, &zone_limits);
        let mut shares = vec![0; nodes.len()];
        let mut zone_of = vec![0; nodes.len()];
        for (number, (zone, share)) in zones.iter().zip(zone_shares).enumerate() {
            let weights: Vec<u128> = zone.iter().map(|&node| weights[node]).collect();
            let within = fill(share, &weights, &vec![slots; zone.len()]);
            for (&node, share) in zone.iter().zip(within) {
                shares[node] = share;
                zone_of[node] = number;
            }
        }
        Shares {
            primaries: fill(slots, &weights, &vec![slots; nodes.len()]),
            copies: shares,
            zone_of,
            per_zone,
        }
    }
}

/// What each node may hold, and how the zones divide a slot.
pub(super) struct Bounds {
    /// The greatest number of primaries, by node.
    pub(super) primaries: Vec<usize>,
    /// The greatest number of copies (primaries included), by node.
    pub(super) copies: Vec<usize>,
    /// The zone of each node, as a number.
    pub(super) zone_of: Vec<usize>,
    /// How many copies of one slot a zone may hold: the least number with which `copies` fit.
    pub(super) per_zone: usize,
}

impl Bounds {
    pub(super) fn new(nodes: &[&RingNode], slots: u16, copies: usize) -> Bounds {
        let shares = Shares::new(nodes, slots, copies);
        let bound = |share: &u128| bound(*share, u128::from(slots) * PARTS);
        Bounds {
            primaries: shares.primaries.iter().map(bound).collect(),
            copies: shares.copies.iter().map(bound).collect(),
            zone_of: shares.zone_of,
            per_zone: shares.per_zone,
        }
    }
}

/// The nodes of each zone, in the order of the zones' names.
fn zones(nodes: &[&RingNode]) -> Vec<Vec<usize>> {
    let mut zones: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, node) in nodes.iter().enumerate() {
        zones.entry(&node.zone).or_default().push(index);
    }
    zones.into_values().collect()
}

fn per_zone(zones: &[Vec<usize>], copies: usize) -> usize {
    let room = |each: usize| zones.iter().map(|zone| zone.len().min(each)).sum::<usize>();
    (1..=copies)
        .find(|&each| room(each) >= copies)
        .unwrap_or(copies)
}

/// Divides `total` by weight, where nobody gets more than its limit: what one cannot take is
/// divided among the others. Rounds up, so that the shares always suffice.
fn fill(total: u128, weights: &[u128], limits: &[u128]) -> Vec<u128> {
    let mut shares = vec![None; weights.len()];
    loop {
        let open = |index: &usize| shares[*index].is_none();
        let weight: u128 = (0..weights.len())
            .filter(open)
            .map(|index| weights[index])
            .sum();
        let left = total.saturating_sub(shares.iter().flatten().sum());
        let share = |index: usize| (left * weights[index]).div_ceil(weight.max(1));
        let full: Vec<usize> = (0..weights.len())
            .filter(open)
            .filter(|&i| share(i) >= limits[i])
            .collect();
        if full.is_empty() {
            return (0..weights.len())
                .map(|i| shares[i].unwrap_or_else(|| share(i)))
                .collect();
        }
        full.into_iter()
            .for_each(|index| shares[index] = Some(limits[index]));
    }
}

/// The whole number of slots that a node with this share may hold. Never less than its share
/// rounded up: otherwise a few slots on many nodes would have no place.
fn bound(share: u128, slots: u128) -> usize {
    let most = (share * BOUND.0 / BOUND.1 / PARTS)
        .max(share.div_ceil(PARTS))
        .min(slots / PARTS);
    usize::try_from(most).expect("there are fewer slots than addresses")
}
