use std::collections::BTreeSet;

use cluster::Version;
use proptest::prelude::*;

use super::*;
use crate::store::entry::{Entry, Header, Kind, Mark};

/// A hash that spreads well enough and needs no seed.
fn hash_of(key: &[u8]) -> u64 {
    key.iter().fold(0x9E37_79B9_7F4A_7C15, |hash: u64, &byte| {
        (hash ^ u64::from(byte))
            .wrapping_mul(0xD6E8_FEB8_6659_FD93)
            .rotate_left(29)
    })
}

fn entry(key: &[u8], expires_at: Option<u64>) -> Entry {
    let header = Header {
        version: Version::ZERO,
        expires_at,
        access: 0,
        kind: Kind::String,
        mark: Mark::None,
    };
    Entry::new(key, b"", &header)
}

fn insert(segments: &mut Segments<Entry>, key: &[u8]) {
    segments.insert(hash_of(key), entry(key, None), &hash_of);
}

fn remove(segments: &mut Segments<Entry>, key: &[u8]) {
    let place = segments.locate(hash_of(key), key).expect("it was inserted");
    assert_eq!(segments.remove(place, &hash_of).key(), key);
}

fn number(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

/// What [`Segments::bytes`] keeps up to date, counted anew.
fn tables_bytes(segments: &Segments<Entry>) -> usize {
    match &segments.form {
        Form::One(segment) => segment.bytes(),
        Form::Many(directory) => directory.segments.iter().map(Segment::bytes).sum(),
    }
}

#[test]
fn it_grows_by_splits_and_shrinks_to_nothing() {
    let mut segments = Segments::new();
    for key in 0..20_000 {
        insert(&mut segments, &number(key));
    }
    let Form::Many(directory) = &segments.form else {
        panic!("20,000 entries in one segment")
    };
    let largest = directory
        .segments
        .iter()
        .map(|segment| segment.table.len())
        .max();
    assert!(largest <= Some(SEGMENT_ENTRIES_MAX));
    assert_eq!(tables_bytes(&segments), segments.tables_bytes);
    for key in 0..20_000 {
        assert!(
            segments
                .locate(hash_of(&number(key)), &number(key))
                .is_some()
        );
    }
    for key in 0..20_000 {
        remove(&mut segments, &number(key));
        if key % 997 == 0 {
            assert_eq!(tables_bytes(&segments), segments.tables_bytes);
        }
    }
    assert!(matches!(segments.form, Form::One(_)));
    assert_eq!((segments.bytes(), segments.iter().count()), (0, 0));
}

#[test]
fn a_walk_is_in_the_order_of_hashes() {
    let mut segments = Segments::new();
    for key in 0..5_000 {
        insert(&mut segments, &number(key));
    }
    let mut hashes = Vec::new();
    let mut next = Some(0);
    while let Some(position) = next {
        next = segments.walk(position, &hash_of, |entry| {
            hashes.push(hash_of(entry.key()));
            if hashes.len() % 7 == 0 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
    }
    assert_eq!(hashes.len(), 5_000);
    assert!(hashes.is_sorted());
}

#[test]
fn what_is_due_is_shown_once_and_only_then() {
    let mut segments = Segments::new();
    for key in 0..3_000_u32 {
        let due = entry(&number(key), Some(u64::from(key)));
        segments.insert(hash_of(&number(key)), due, &hash_of);
    }
    let mut shown = BTreeSet::new();
    let mut next = Some(0);
    while let Some(position) = next {
        next = segments.take_due(position, 1_000, &mut 100, |entry| {
            assert!(shown.insert(entry.key().to_vec()));
        });
    }
    assert_eq!(shown, (0..1_000).map(|key| number(key).to_vec()).collect());
    for key in &shown {
        remove(&mut segments, key);
    }
    let mut budget = 1_000_000;
    assert_eq!(
        segments.take_due(0, 1_000, &mut budget, |_| panic!("nothing is due")),
        None
    );
    assert!(budget > 999_000, "nothing was looked at");
    segments.take_due(0, 1_001, &mut budget, |entry| {
        assert_eq!(entry.key(), number(1_000));
    });
}

#[test]
fn a_sample_finds_the_only_entry() {
    let mut segments = Segments::new();
    for key in 0..1_000 {
        insert(&mut segments, &number(key));
    }
    for key in 1..1_000 {
        remove(&mut segments, &number(key));
    }
    for random in (0..u64::MAX).step_by(usize::MAX / 5) {
        let mut seen = 0;
        segments.sample(random, 5, |entry| {
            seen += usize::from(entry.key() == number(0));
        });
        assert_eq!(seen, 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    /// A walk in steps, with others inserted and removed between them, shows each entry that is
    /// there all the while exactly once.
    #[test]
    fn a_walk_misses_nothing_that_stays(
        step in 1_usize..50,
        changes in proptest::collection::vec((any::<bool>(), 0_u32..3_000), 0..3_000),
    ) {
        let mut segments = Segments::new();
        let mut passing: BTreeSet<u32> = (0..1_500).collect();
        for key in passing.iter().copied().chain(10_000..11_000) {
            insert(&mut segments, &number(key));
        }
        let mut changes = changes.into_iter();
        let mut seen = Vec::new();
        let mut next = Some(0);
        while let Some(position) = next {
            let mut left = step;
            next = segments.walk(position, &hash_of, |entry| {
                seen.push(u32::from_be_bytes(entry.key().try_into().expect("4 bytes")));
                left -= 1;
                if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            for (add, key) in changes.by_ref().take(40) {
                if add && passing.insert(key) {
                    insert(&mut segments, &number(key));
                } else if !add && passing.remove(&key) {
                    remove(&mut segments, &number(key));
                }
            }
        }
        seen.retain(|&key| key >= 10_000);
        seen.sort_unstable();
        prop_assert_eq!(seen, (10_000..11_000).collect::<Vec<u32>>());
        prop_assert_eq!(tables_bytes(&segments), segments.tables_bytes);
    }
}
