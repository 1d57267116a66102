use super::*;
use crate::metadata::{ActivateSlot, ChangeSlot, FenceSlot, LearnersSlot};

fn member(node: u8, incarnation: u64) -> Member {
    Member {
        node: NodeId::from_bytes([node; 20]),
        incarnation: Incarnation(incarnation),
    }
}

fn info(weight: u32) -> NodeInfo {
    NodeInfo {
        weight,
        ..NodeInfo::default()
    }
}

fn form(nodes: u8) -> Form {
    Form {
        lineage: Lineage(7),
        hash_seed: [1, 2, 3, 4],
        nodes: (1..=nodes)
            .map(|node| (member(node, 1), info(100)))
            .collect(),
        replication_factor: None,
        write_quorum: None,
        read_quorum: None,
        on_loss: None,
        documents: vec![("keyspaces".to_owned(), Bytes::from_static(b"none"))],
    }
}

/// A cluster under test, with the index of the next entry.
struct Log {
    state: State,
    next: u64,
}

impl Log {
    fn of(form: Form) -> Log {
        let mut log = Log {
            state: State::new(16),
            next: 1,
        };
        assert_eq!(log.apply(&Entry::Form(form)).refused, None);
        log
    }

    fn apply(&mut self, entry: &Entry) -> Applied {
        self.next += 1;
        self.state.apply(self.next - 1, entry)
    }

    /// Applies an entry for one slot, and says why it was refused, if it was.
    fn one(&mut self, entry: &Entry) -> Option<Refusal> {
        let before = self.state.clone();
        let applied = self.apply(entry);
        assert_eq!(applied.slots.len() + applied.refused_slots.len(), 1);
        if let Some(&(slot, refusal)) = applied.refused_slots.first() {
            assert_eq!(
                self.state.placement(slot),
                before.placement(slot),
                "refused, so unchanged"
            );
            return Some(refusal);
        }
        let slot = applied.slots[0];
        assert_eq!(
            self.state.placement(slot).rev,
            before.placement(slot).rev + 1
        );
        None
    }

    fn placement(&self) -> Placement {
        Placement::clone(self.state.placement(slot()))
    }
}

fn slot() -> Slot {
    Slot::new(5).unwrap()
}

fn fence_at(rev: u64) -> Entry {
    Entry::Fence(vec![FenceSlot { slot: slot(), rev }])
}

fn activate_in(epoch: u32, primary: Member, in_sync: &[Member], learners: &[Member]) -> Entry {
    let (in_sync, learners) = (in_sync.to_vec(), learners.to_vec());
    Entry::Activate(vec![ActivateSlot {
        slot: slot(),
        epoch: Epoch(epoch),
        primary,
        in_sync,
        learners,
        may_lose: false,
    }])
}

fn change_to(epoch: u32, rev: u64, in_sync: &[Member], write_quorum: u8) -> Entry {
    let in_sync = in_sync.to_vec();
    let epoch = Epoch(epoch);
    Entry::Change(vec![ChangeSlot {
        slot: slot(),
        epoch,
        rev,
        in_sync,
        write_quorum,
    }])
}

fn learners_of(rev: u64, learners: &[Member]) -> Entry {
    Entry::Learners(vec![LearnersSlot {
        slot: slot(),
        rev,
        learners: learners.to_vec(),
        leaving: Vec::new(),
    }])
}

#[test]
fn a_cluster_begins_with_the_placements_of_the_ring() {
    let log = Log::of(form(3));
    for (_, placement) in log.state.placements() {
        assert_eq!((placement.epoch, placement.rev), (Epoch(1), 1));
        assert_eq!(placement.primary, Some(placement.in_sync[0]));
        assert_eq!(
            placement.last_primary,
            Some((placement.in_sync[0], Epoch(1)))
        );
        assert_eq!((placement.in_sync.len(), placement.write_quorum), (3, 2));
        assert!(placement.learners.is_empty());
    }
    assert_eq!(log.state.document("keyspaces").unwrap().rev, 1);
}

#[test]
fn what_is_not_set_follows_from_the_number_of_nodes() {
    let quorums = |form: Form| {
        let state = Log::of(form).state;
        (
            state.replication_factor(),
            state.write_quorum(),
            state.read_quorum(),
        )
    };
    assert_eq!(quorums(form(1)), (1, 1, 1));
    assert_eq!(quorums(form(2)), (2, 2, 1));
    assert_eq!(quorums(form(5)), (3, 2, 1));
    let set = Form {
        replication_factor: Some(3),
        write_quorum: Some(3),
        ..form(2)
    };
    assert_eq!(quorums(set.clone()), (3, 3, 1));
    // What is set stays, though there are not enough nodes yet.
    assert_eq!(Log::of(set).placement().in_sync.len(), 2);
}

#[test]
fn a_cluster_is_made_by_the_first_entry_and_once() {
    let mut log = Log {
        state: State::new(16),
        next: 1,
    };
    assert_eq!(log.apply(&fence_at(0)).refused, Some(Refusal::NotInOrder));
    assert_eq!(log.apply(&Entry::Form(form(3))).refused, None);
    let before = log.state.placements.clone();
    assert_eq!(
        log.apply(&Entry::Form(form(2))).refused,
        Some(Refusal::NotInOrder)
    );
    assert_eq!(log.state.placements, before);
}

#[test]
fn a_fence_is_refused_unless_it_judged_the_present_placement() {
    let mut log = Log::of(form(3));
    let before = log.placement();
    assert_eq!(log.one(&fence_at(2)), Some(Refusal::OtherRev));
    assert_eq!(log.one(&fence_at(1)), None);
    let fenced = log.placement();
    assert_eq!(
        (fenced.epoch, fenced.rev, fenced.primary),
        (Epoch(2), 2, None)
    );
    assert_eq!(
        (&fenced.in_sync, fenced.write_quorum),
        (&before.in_sync, before.write_quorum)
    );
    assert_eq!(fenced.last_primary, before.last_primary);
    assert_eq!(log.one(&fence_at(1)), Some(Refusal::OtherRev));
    // A coordinator that finds a fence not its own fences again.
    assert_eq!(log.one(&fence_at(2)), None);
    assert_eq!(log.placement().epoch, Epoch(3));
}

#[test]
fn a_slot_without_epochs_is_not_fenced() {
    let mut log = Log::of(form(3));
    let last = Placement {
        epoch: Epoch(Epoch::LIMIT.0 - 1),
        ..log.placement()
    };
    log.state.placements[slot().index()] = Arc::new(last);
    assert_eq!(log.one(&fence_at(1)), Some(Refusal::NoEpochLeft));
}

#[test]
fn an_activation_is_refused_unless_its_own_fence_is_the_last() {
    let mut log = Log::of(form(3));
    let [a, b, c] = [member(1, 1), member(2, 1), member(3, 1)];
    assert_eq!(
        log.one(&activate_in(1, b, &[b], &[])),
        Some(Refusal::HasPrimary)
    );
    log.one(&fence_at(1));
    assert_eq!(
        log.one(&activate_in(1, b, &[b], &[])),
        Some(Refusal::OtherEpoch)
    );
    for set in [&[] as &[Member], &[a, c], &[b, c, b]] {
        assert_eq!(log.one(&activate_in(2, b, set, &[])), Some(Refusal::BadSet));
    }
    assert_eq!(log.one(&activate_in(2, b, &[b, c], &[a, c])), None);
    let active = log.placement();
    assert_eq!(
        (active.primary, active.last_primary),
        (Some(b), Some((b, Epoch(2))))
    );
    assert_eq!((active.in_sync, active.learners), (vec![b, c], vec![a]));
    assert_eq!(active.write_quorum, 2);
}

#[test]
fn two_coordinators_a_second_activation_changes_nothing() {
    let mut log = Log::of(form(3));
    let [b, c] = [member(2, 1), member(3, 1)];
    // One leader fences 2, seals, pauses; the next one fences 3.
    log.one(&fence_at(1));
    log.one(&fence_at(2));
    assert_eq!(
        log.one(&activate_in(2, b, &[b, c], &[])),
        Some(Refusal::OtherEpoch)
    );
    assert_eq!(log.one(&activate_in(3, c, &[b, c], &[])), None);
    // The same activation again, and another of the same epoch.
    assert_eq!(
        log.one(&activate_in(3, c, &[b, c], &[])),
        Some(Refusal::HasPrimary)
    );
    assert_eq!(
        log.one(&activate_in(3, b, &[b], &[])),
        Some(Refusal::HasPrimary)
    );
    assert_eq!(log.placement().primary, Some(c));
}

#[test]
fn late_proposal_is_refused_by_its_rev() {
    let mut log = Log::of(form(3));
    let a = log.placement().primary.unwrap();
    let all = log.placement().in_sync;
    let less: Vec<Member> = all
        .iter()
        .copied()
        .filter(|member| *member != all[2])
        .collect();
    let sent_twice = change_to(1, 1, &less, 2);
    assert_eq!(log.one(&sent_twice), None);
    assert_eq!(log.one(&change_to(1, 2, &all, 2)), None);
    // The set is what the second one was judged by, and yet it must not remove the member again.
    assert_eq!(log.placement().in_sync, all);
    assert_eq!(log.one(&sent_twice), Some(Refusal::OtherRev));
    // Also after a fence, with and without a new primary.
    log.one(&fence_at(3));
    assert_eq!(log.one(&sent_twice), Some(Refusal::OtherEpoch));
    assert_eq!(
        log.one(&change_to(2, 4, &less, 2)),
        Some(Refusal::NoPrimary)
    );
    assert_eq!(log.one(&activate_in(2, a, &all, &[])), None);
    assert_eq!(log.one(&sent_twice), Some(Refusal::OtherEpoch));
}

#[test]
fn a_change_holds_its_primary_and_takes_learners_in() {
    let mut log = Log::of(form(3));
    let (set, d) = (log.placement().in_sync, member(4, 1));
    let a = log.placement().primary.unwrap();
    assert_eq!(log.one(&learners_of(1, &[d, set[1]])), None);
    assert_eq!(
        log.placement().learners,
        [d],
        "who is in sync does not learn"
    );
    for bad in [&set[1..], &[], &[a, a]] {
        assert_eq!(log.one(&change_to(1, 2, bad, 2)), Some(Refusal::BadSet));
    }
    assert_eq!(log.one(&change_to(1, 2, &set, 0)), Some(Refusal::BadSet));
    assert_eq!(log.one(&change_to(1, 2, &[a, d], 1)), None);
    let changed = log.placement();
    assert_eq!((changed.in_sync, changed.write_quorum), (vec![a, d], 1));
    assert_eq!(
        changed.learners,
        [set[1]],
        "who goes keeps its place as far as copies lack"
    );
    assert_eq!((changed.epoch, changed.primary), (Epoch(1), Some(a)));
}

#[test]
fn learners_are_refused_unless_the_present_placement_was_judged() {
    let mut log = Log::of(form(3));
    assert_eq!(
        log.one(&learners_of(3, &[member(4, 1)])),
        Some(Refusal::OtherRev)
    );
    let crowd: Vec<Member> = (10..10 + COPIES_MAX as u8 + 1)
        .map(|node| member(node, 1))
        .collect();
    assert_eq!(log.one(&learners_of(1, &crowd)), Some(Refusal::BadSet));
    assert_eq!(log.one(&learners_of(1, &crowd[1..])), None);
}

#[test]
fn each_slot_of_a_list_is_judged_on_its_own() {
    let mut log = Log::of(form(3));
    let fences = [(5, 1), (6, 9), (5, 1), (400, 1)];
    let fence = |(slot, rev)| FenceSlot {
        slot: Slot::new(slot).unwrap(),
        rev,
    };
    let applied = log.apply(&Entry::Fence(fences.map(fence).to_vec()));
    let slot = |number| Slot::new(number).unwrap();
    assert_eq!(applied.slots, [slot(5)]);
    let refused = [
        (slot(6), Refusal::OtherRev),
        (slot(5), Refusal::OtherRev),
        (slot(400), Refusal::NoSuchSlot),
    ];
    assert_eq!(applied.refused_slots, refused);
}

#[test]
fn a_node_never_goes_back_to_an_older_incarnation() {
    let mut log = Log::of(form(3));
    let register = |member, weight| Entry::Register {
        member,
        info: info(weight),
    };
    assert_eq!(
        log.apply(&register(member(1, 3), 100)).nodes,
        [member(1, 3).node]
    );
    assert!(log.state.is_known_dead(&member(1, 1)));
    assert!(
        log.state.is_known_dead(&member(1, 2)),
        "also one that never registered"
    );
    assert!(!log.state.is_known_dead(&member(1, 3)));
    assert!(
        log.state.is_known_dead(&member(9, 1)),
        "it is not of the cluster, or not any more"
    );
    let refused = log.apply(&register(member(1, 2), 100)).refused;
    assert_eq!(refused, Some(Refusal::OldIncarnation));
    assert_eq!(log.state.member(&member(1, 0).node), Some(member(1, 3)));
    // The same incarnation may say where it is now; saying it again changes nothing.
    assert_eq!(log.apply(&register(member(1, 3), 50)).nodes.len(), 1);
    assert_eq!(log.apply(&register(member(1, 3), 50)).nodes, []);
    let long = NodeInfo {
        zone: "z".repeat(300),
        ..info(100)
    };
    let entry = Entry::Register {
        member: member(1, 4),
        info: long,
    };
    assert_eq!(log.apply(&entry).refused, Some(Refusal::Limit));
}

#[test]
fn a_stopped_member_is_dead_until_its_node_starts_again() {
    let mut log = Log::of(form(3));
    let stopped = |member| Entry::Stopped { member };
    assert_eq!(
        log.apply(&stopped(member(9, 1))).refused,
        Some(Refusal::UnknownNode)
    );
    assert_eq!(
        log.apply(&stopped(member(1, 2))).refused,
        Some(Refusal::OldIncarnation)
    );
    assert_eq!(log.apply(&stopped(member(1, 1))).nodes.len(), 1);
    assert!(log.state.is_known_dead(&member(1, 1)));
    assert_eq!(log.state.ring_nodes().len(), 2);
    // An address does not bring it back, a start does.
    log.apply(&Entry::Register {
        member: member(1, 1),
        info: info(50),
    });
    assert!(log.state.is_known_dead(&member(1, 1)));
    log.apply(&Entry::Register {
        member: member(1, 2),
        info: info(50),
    });
    assert!(!log.state.is_known_dead(&member(1, 2)));
}

#[test]
fn a_document_is_set_only_over_the_revision_that_was_read() {
    let mut log = Log::of(form(3));
    let mut set = |expect, size| {
        let (name, value) = ("k".to_owned(), Bytes::from(vec![0; size]));
        log.apply(&Entry::Document(Document {
            name,
            value,
            expect,
        }))
        .refused
    };
    assert_eq!(set(Some(1), 1), Some(Refusal::OtherRevision));
    assert_eq!(set(Some(0), 1), None);
    assert_eq!(set(Some(0), 1), Some(Refusal::OtherRevision));
    assert_eq!(set(Some(1), 1), None);
    assert_eq!(set(None, 1), None);
    assert_eq!(set(None, DOCUMENT_BYTES_MAX + 1), Some(Refusal::Limit));
    assert_eq!(log.state.document("k").unwrap().rev, 3);
}

#[test]
fn all_documents_together_have_a_limit() {
    let mut log = Log::of(form(3));
    let mut set = |name: &str| {
        let (name, value) = (
            name.to_owned(),
            Bytes::from(vec![0; DOCUMENT_BYTES_MAX - 8]),
        );
        log.apply(&Entry::Document(Document {
            name,
            value,
            expect: None,
        }))
        .refused
    };
    assert_eq!([set("a"), set("b"), set("a")], [None; 3]);
    assert_eq!(set("c"), Some(Refusal::Limit));
}

#[test]
fn a_state_survives_its_encoding_which_is_short() {
    let mut state = State::default();
    state.apply(1, &Entry::Form(form(5)));
    let learners = vec![member(9, 9)];
    let entry = Entry::Learners(vec![LearnersSlot {
        slot: slot(),
        rev: 1,
        learners,
        leaving: state.placement(slot()).in_sync[1..2].to_vec(),
    }]);
    state.apply(2, &entry);
    state.apply(3, &fence_at(2));
    let bytes = postcard::to_stdvec(&state).unwrap();
    assert!(bytes.len() < 300_000, "{} bytes", bytes.len());
    assert_eq!(postcard::from_bytes::<State>(&bytes).unwrap(), state);
}

#[test]
fn a_state_that_names_members_it_does_not_have_is_refused() {
    let bytes = postcard::to_stdvec(&Log::of(form(3)).state).unwrap();
    for cut in 0..bytes.len() {
        assert!(postcard::from_bytes::<State>(&bytes[..cut]).is_err());
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] = damaged[at].wrapping_add(100);
        // Whatever it reads as, it reads without a panic, and only with all its members.
        if let Ok(state) = postcard::from_bytes::<State>(&damaged) {
            assert!(!state.placements.is_empty());
        }
    }
}

#[test]
fn an_incarnation_has_one_before_it_and_one_after_it() {
    let mut state = State::new(1);
    state.apply(1, &Entry::Form(form(3)));
    for (index, incarnation) in [(2, 0), (3, u64::MAX)] {
        let register = Entry::Register {
            member: member(99, incarnation),
            info: info(100),
        };
        let applied = state.apply(index, &register);
        assert_eq!(applied.refused, Some(Refusal::Limit));
    }
}
