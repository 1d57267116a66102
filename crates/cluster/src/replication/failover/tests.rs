use super::*;
use crate::metadata::Form;
use crate::{Incarnation, Lineage, NodeInfo};

fn state_of(nodes: u8) -> State {
    let member = |number| Member {
        node: NodeId::from_bytes([number; 20]),
        incarnation: Incarnation(1),
    };
    let info = NodeInfo {
        weight: crate::ring::WEIGHT,
        ..NodeInfo::default()
    };
    let mut state = State::new(1);
    let form = Form {
        lineage: Lineage(1),
        hash_seed: [1, 2, 3, 4],
        nodes: (0..nodes).map(|n| (member(n), info.clone())).collect(),
        replication_factor: Some(3),
        write_quorum: Some(2),
        read_quorum: None,
        on_loss: None,
        documents: Vec::new(),
    };
    state.apply(1, &Entry::Form(form));
    state
}

#[test]
fn a_member_that_the_ring_would_have_elsewhere_is_a_copy_all_the_same() {
    let state = state_of(8);
    let in_sync = &state.placement(Slot::new(0).unwrap()).in_sync;
    let others = state.nodes().keys().copied();
    let others = others.filter(|node| in_sync.iter().all(|member| member.node != *node));
    let wanted: Vec<NodeId> = others.chain([in_sync[0].node]).collect();
    // Not everybody answers, so the slot is looked at; nobody is away for long.
    let liveness = |member: &Member| {
        if *member == in_sync[1] {
            Liveness::Unknown
        } else {
            Liveness::Up
        }
    };
    let mut coordinator = Coordinator::new(FailoverSettings::default());
    let mut orders = Orders::default();
    let ring = |_| wanted.clone();
    coordinator.tick(Time::ZERO, &state, &liveness, &ring, &mut orders);
    assert_eq!(orders.entries, []);
}

#[test]
fn the_outcome_of_an_older_fence_says_nothing_of_a_newer_one() {
    let mut state = state_of(3);
    let primary = state.placement(Slot::new(0).unwrap()).primary.unwrap();
    let liveness = |member: &Member| {
        if *member == primary {
            Liveness::Down
        } else {
            Liveness::Up
        }
    };
    let ring = |_| Vec::new();
    let mut coordinator = Coordinator::new(FailoverSettings::default());
    let fences_at = |coordinator: &mut Coordinator, state: &State, millis: u64| {
        let now = Time::from_nanos(millis * 1_000_000);
        let mut orders = Orders::default();
        coordinator.tick(now, state, &liveness, &ring, &mut orders);
        orders.entries
    };
    let first = fences_at(&mut coordinator, &state, 0);
    // It is applied, but nobody hears of it for so long that the slot is fenced again.
    let applied = state.apply(2, &first[0]);
    assert_eq!(fences_at(&mut coordinator, &state, 2_100), []);
    let second = fences_at(&mut coordinator, &state, 2_200);
    assert!(second.len() == 1 && second != first);
    let now = Time::from_nanos(2_300 * 1_000_000);
    coordinator.outcome(now, &first[0], Some(&applied));
    // The second is lost, and so the third is due.
    coordinator.outcome(now, &second[0], None);
    assert_eq!(fences_at(&mut coordinator, &state, 2_400), second);
}
