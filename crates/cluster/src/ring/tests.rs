use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::SLOTS;

fn node(seed: u64, number: u64, weight: u32, zone: u64) -> RingNode {
    let mut bytes = [0; 20];
    for (part, chunk) in bytes.chunks_mut(8).enumerate() {
        let drawn = mix(seed ^ mix(number * 3 + part as u64)).to_le_bytes();
        chunk.copy_from_slice(&drawn[..chunk.len()]);
    }
    RingNode {
        id: NodeId::from_bytes(bytes),
        weight,
        zone: format!("zone-{zone}"),
    }
}

fn equal_nodes(seed: u64, count: u64) -> Vec<RingNode> {
    (0..count)
        .map(|number| node(seed, number, WEIGHT, 0))
        .collect()
}

/// How many primaries and how many copies each node has.
fn loads(placed: &[Vec<NodeId>]) -> BTreeMap<NodeId, (usize, usize)> {
    let mut loads: BTreeMap<NodeId, (usize, usize)> = BTreeMap::new();
    for held in placed {
        loads.entry(held[0]).or_default().0 += 1;
        held.iter()
            .for_each(|id| loads.entry(*id).or_default().1 += 1);
    }
    loads
}

/// Copies on a node that did not hold the slot, and slots with another primary.
fn moved(before: &[Vec<NodeId>], after: &[Vec<NodeId>]) -> (usize, usize) {
    let new = |(old, new): (&Vec<NodeId>, &Vec<NodeId>)| {
        new.iter().filter(|id| !old.contains(id)).count()
    };
    let led = before
        .iter()
        .zip(after)
        .filter(|(old, new)| old[0] != new[0])
        .count();
    (before.iter().zip(after).map(new).sum(), led)
}

fn most(share: f64) -> f64 {
    (share * 1.05).max(share.ceil())
}

/// The nodes' fair shares of `total`, none above `limit`.
fn shares(nodes: &[RingNode], total: f64, limit: f64) -> Vec<f64> {
    let mut shares: Vec<Option<f64>> = vec![None; nodes.len()];
    loop {
        let weight: f64 = nodes
            .iter()
            .zip(&shares)
            .filter(|(_, share)| share.is_none())
            .map(|(node, _)| f64::from(node.weight))
            .sum();
        let left = total - shares.iter().flatten().sum::<f64>();
        let share = |node: &RingNode| left * f64::from(node.weight) / weight;
        let full = (0..nodes.len()).find(|&i| shares[i].is_none() && share(&nodes[i]) > limit);
        match full {
            Some(index) => shares[index] = Some(limit),
            None => {
                return nodes
                    .iter()
                    .zip(&shares)
                    .map(|(n, s)| s.unwrap_or_else(|| share(n)))
                    .collect();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn each_slot_has_distinct_nodes_and_no_node_more_than_its_bound(
        seed: u64, weights in prop::collection::vec(25_u32..400, 3..50), copies in 1_usize..5,
    ) {
        let nodes: Vec<RingNode> =
            weights.iter().zip(0..).map(|(&weight, i)| node(seed, i, weight, 0)).collect();
        let placed = place(&nodes, SLOTS, copies);
        let copies = copies.min(nodes.len());
        prop_assert_eq!(placed.len(), usize::from(SLOTS));
        for held in &placed {
            prop_assert_eq!(held.iter().collect::<BTreeSet<_>>().len(), copies);
        }
        let slots = f64::from(SLOTS);
        let loads = loads(&placed);
        let primaries = shares(&nodes, slots, slots);
        let all = shares(&nodes, slots * copies as f64, slots);
        for ((node, primaries), all) in nodes.iter().zip(primaries).zip(all) {
            let (led, held) = loads.get(&node.id).copied().unwrap_or_default();
            prop_assert!(led as f64 <= most(primaries), "{led} primaries, share {primaries}");
            prop_assert!(held as f64 <= most(all) + 1e-6, "{held} copies, share {all}");
        }
    }

    #[test]
    fn copies_lie_in_distinct_zones_where_there_are_enough(
        seed: u64, zones in prop::collection::vec(0_u64..5, 3..50), copies in 2_usize..4,
    ) {
        let nodes: Vec<RingNode> =
            zones.iter().zip(0..).map(|(&zone, i)| node(seed, i, WEIGHT, zone)).collect();
        let zone: BTreeMap<NodeId, &str> =
            nodes.iter().map(|node| (node.id, node.zone.as_str())).collect();
        let zones: BTreeSet<&str> = zone.values().copied().collect();
        for held in place(&nodes, SLOTS, copies) {
            let met: BTreeSet<&str> = held.iter().map(|id| zone[id]).collect();
            prop_assert!(met.len() >= copies.min(zones.len()).min(2), "{held:?}");
            prop_assert!(zones.len() < copies || met.len() == copies, "{held:?}");
        }
    }

    #[test]
    fn zones_of_one_size_do_not_bend_the_bounds(
        seed: u64, zones in 3_u64..6, each in 1_u64..10,
    ) {
        let count = zones * each;
        let nodes: Vec<RingNode> =
            (0..count).map(|i| node(seed, i, WEIGHT, i % zones)).collect();
        let share = f64::from(SLOTS) / count as f64;
        for (led, held) in loads(&place(&nodes, SLOTS, 3)).into_values() {
            prop_assert!(led as f64 <= most(share), "{led} primaries, share {share}");
            prop_assert!(held as f64 <= most(share * 3.0), "{held} copies, share {}", share * 3.0);
        }
    }

    #[test]
    fn a_join_and_a_leave_move_about_the_fair_share_of_one_node(
        seed: u64, count in 3_u64..50,
    ) {
        let larger = equal_nodes(seed, count + 1);
        let smaller = &larger[..count as usize];
        let (small, large) = (place(smaller, SLOTS, 3), place(&larger, SLOTS, 3));
        let share = f64::from(SLOTS) / (count + 1) as f64;
        for (copies, primaries) in [moved(&small, &large), moved(&large, &small)] {
            prop_assert!(copies as f64 <= share * 3.0 * 1.3, "{copies} of {}", share * 3.0);
            prop_assert!(primaries as f64 <= share * 1.75, "{primaries} of {share}");
        }
    }

    #[test]
    fn the_order_of_the_nodes_does_not_matter(seed: u64, count in 3_u64..20) {
        let nodes = equal_nodes(seed, count);
        let mut turned = nodes.clone();
        turned.reverse();
        prop_assert_eq!(place(&nodes, 512, 3), place(&turned, 512, 3));
    }
}

#[test]
fn a_few_slots_find_their_place_too() {
    for slots in 1..40 {
        for count in 1..9 {
            let placed = place(&equal_nodes(7, count), slots, 3);
            let most = (usize::from(slots) * 3.min(count as usize)).div_ceil(count as usize);
            assert!(
                placed
                    .iter()
                    .all(|held| held.len() == 3.min(count as usize))
            );
            let highest = loads(&placed).values().map(|load| load.1).max().unwrap();
            assert!(
                highest <= most.max(most * 21 / 20),
                "{highest} of {slots} on {count}"
            );
        }
    }
}

#[test]
fn a_node_without_weight_holds_nothing() {
    let mut nodes = equal_nodes(1, 4);
    nodes[2].weight = 0;
    let placed = place(&nodes, 64, 3);
    assert!(placed.iter().flatten().all(|id| *id != nodes[2].id));
    assert!(place(&nodes[2..3], 64, 3).iter().all(Vec::is_empty));
}

#[test]
fn every_machine_computes_the_same() {
    // A change of these numbers means that two releases disagree on the ring: a rolling upgrade
    // would move slots to and fro.
    let placed = place(&equal_nodes(42, 5), SLOTS, 3);
    let digest = placed
        .iter()
        .flatten()
        .fold(0, |digest, id| mix(digest ^ hash(id.as_bytes())));
    assert_eq!(digest, 10_745_003_076_820_979_967);
}
