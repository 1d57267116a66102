//! Hashes in a slot and its copies.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use proptest::prelude::*;

use super::*;
use crate::store::value::items;

fn pairs(numbers: impl Iterator<Item = u32>, value: &[u8]) -> Vec<([u8; 4], Vec<u8>)> {
    numbers
        .map(|number| (number.to_be_bytes(), value.to_vec()))
        .collect()
}

fn set(tx: &mut Tx<'_>, key: &[u8], pairs: &[([u8; 4], Vec<u8>)]) -> Option<usize> {
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(field, value)| (&field[..], &value[..]))
        .collect();
    tx.set_fields(key, &pairs).expect("it is a hash")
}

fn remove(tx: &mut Tx<'_>, key: &[u8], numbers: impl Iterator<Item = u32>) -> usize {
    let fields: Vec<[u8; 4]> = numbers.map(u32::to_be_bytes).collect();
    tx.remove_fields(key, fields.iter().map(|field| &field[..]))
        .expect("it is a hash")
}

fn is_packed(table: &SlotTable, key: &[u8]) -> bool {
    table.find(key).unwrap().hash().unwrap().is_packed()
}

/// What a hash takes, counted anew from an equal one that has only grown.
fn fields_of(table: &SlotTable, key: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let hash = table.find(key).unwrap().hash().unwrap();
    hash.iter()
        .map(|(field, value)| (field.to_vec(), value.to_vec()))
        .collect()
}

#[test]
fn a_hash_is_packed_up_to_its_limits() {
    let store = store();
    let mut table = store.table();
    set(&mut tx(&mut table, 1), b"h", &pairs(0..512, b"v"));
    set(&mut tx(&mut table, 2), b"long", &pairs(0..1, &[b'v'; 64]));
    assert!(is_packed(&table, b"h") && is_packed(&table, b"long"));
    // 12 bytes of header, 4 of key, 6 of lengths and 68 of field and value: the class of 96.
    assert_eq!(table.find(b"long").unwrap().allocated(), 96);
    assert_eq!(
        set(&mut tx(&mut table, 3), b"h", &pairs(0..513, b"w")),
        Some(1)
    );
    assert_eq!(
        set(&mut tx(&mut table, 4), b"long", &pairs(0..1, &[b'v'; 65])),
        Some(0)
    );
    assert!(!is_packed(&table, b"h") && !is_packed(&table, b"long"));
    assert_eq!(remove(&mut tx(&mut table, 5), b"h", 0..100), 100);
    assert!(!is_packed(&table, b"h"), "it does not go back and forth");
    store.limits().hash_fields.store(1_000, Relaxed);
    set(&mut tx(&mut table, 6), b"more", &pairs(0..1_000, b"v"));
    assert!(is_packed(&table, b"more"));
}

#[test]
fn the_bytes_of_a_hash_come_and_go_with_its_fields() {
    let store = store();
    let mut table = store.table();
    for number in 1..=10 {
        let fields = (number as u32 - 1) * 1_000..number as u32 * 1_000;
        set(
            &mut tx(&mut table, number),
            b"h",
            &pairs(fields, &[b'v'; 100]),
        );
    }
    // A field of 4 with its length and a value of 100: the class of 112.
    let taken = table.tally().entry_bytes;
    assert!(
        (10_000 * (112 + 17)..10_000 * (112 + 60)).contains(&taken),
        "{taken}"
    );
    let mut copy = table.empty();
    let mut chunk = Vec::new();
    assert_eq!(table.copy_out(0, usize::MAX, &mut chunk), None);
    copy.copy_in(&chunk).unwrap();
    assert_eq!(copy.digest(), table.digest());
    drop(copy);
    while store.sweep(1_000) {}
    assert_eq!(store.used_bytes(), table.bytes());
    assert_eq!(remove(&mut tx(&mut table, 11), b"h", 10..10_000), 9_990);
    let left = table.tally().entry_bytes;
    assert!(left < 10 * 112 + 3_000, "{left} bytes for 10 fields");
    assert_eq!(remove(&mut tx(&mut table, 12), b"h", 0..10), 10);
    table.committed(version(12));
    assert_eq!((table.bytes(), store.used_bytes()), (0, 0));
}

#[test]
fn a_large_hash_is_given_back_in_steps() {
    let store = store();
    let (mut one, mut two) = (store.table(), store.table());
    let fields = pairs(0..20_000, b"value");
    set(&mut tx(&mut one, 1), b"a", &fields);
    set(&mut tx(&mut one, 1), b"b", &fields);
    set(&mut tx(&mut two, 1), b"c", &fields);
    fill(&mut two, 2_000, b"x");
    let whole = store.used_bytes();
    tx(&mut one, 3_000).remove(b"a");
    tx(&mut one, 3_001).set(b"b", b"a string", Expiry::Never);
    drop(two);
    one.committed(version(3_001));
    assert!(one.bytes() < 1_000 && store.used_bytes() > whole / 10 * 9);
    let mut steps = 0;
    let mut before = store.used_bytes();
    while store.sweep(1_000) {
        let now = store.used_bytes();
        assert!(
            before - now < whole / 20,
            "{} bytes in one step",
            before - now
        );
        before = now;
        steps += 1;
    }
    assert!(steps >= 50, "{steps} steps for 62,000 fields and entries");
    assert_eq!(store.used_bytes(), one.bytes());
}

#[test]
fn a_large_hash_is_copied_in_parts_while_it_changes() {
    let (source, target) = (store(), store());
    let (mut from, mut to) = (source.table(), target.table());
    fill(&mut from, 50, b"value");
    set(&mut tx(&mut from, 100), b"h", &pairs(0..20_000, b"value"));
    set(&mut tx(&mut from, 101), b"small", &pairs(0..20, b"value"));
    let (mut next, mut number, mut longest) = (Some(0), 1_000, 0);
    while let Some(cursor) = next {
        let mut chunk = Vec::new();
        next = from.copy_out(cursor, 1_000, &mut chunk);
        longest = longest.max(chunk.len());
        to.copy_in(&chunk).unwrap();
        number += 1;
        let at = number as u32 * 37 % 20_000;
        let mut write = tx(&mut from, number);
        match number % 100 {
            // All of it goes, and it begins anew.
            17 if number < 1_030 => {
                write.remove(b"h");
                set(&mut write, b"h", &pairs(0..20_000, b"again"));
            }
            // Of the fields that the target may have, none is left for a while.
            70 => _ = remove(&mut write, b"h", 0..at),
            40 => _ = write.expire(b"h", Some(5_000)),
            _ => {
                set(&mut write, b"h", &pairs(at..at + 9, &number.to_be_bytes()));
                set(
                    &mut write,
                    b"small",
                    &pairs(number as u32..number as u32 + 1, b"x"),
                );
                remove(&mut write, b"small", 0..number as u32 - 10);
                remove(&mut write, b"h", at + 20..at + 25);
            }
        }
        let effects = write.finish().effects;
        let mut touched = Vec::new();
        from.copy_touched(effects.as_bytes(), &mut touched);
        assert!(
            matches!(number % 100, 17 | 70) || touched.len() < 1_000,
            "what was touched alone is sent"
        );
        to.copy_in(&touched).unwrap();
    }
    assert!(
        number > 1_070 && longest < 3_000,
        "{number} chunks of {longest} bytes"
    );
    assert_eq!(fields_of(&from, b"h"), fields_of(&to, b"h"));
    assert_eq!(from.digest(), to.digest());
    assert_eq!(from.tally().expiring, to.tally().expiring);
}

#[test]
fn copies_are_equal_whatever_their_forms() {
    let (left, right) = (store(), store());
    right.limits().hash_fields.store(2, Relaxed);
    let (mut one, mut two) = (left.table(), right.table());
    set(&mut tx(&mut one, 1), b"h", &pairs(0..3, b"v"));
    set(&mut tx(&mut two, 1), b"h", &pairs((0..3).rev(), b"v"));
    assert!(is_packed(&one, b"h") && !is_packed(&two, b"h"));
    assert_eq!(one.digest(), two.digest());
    set(&mut tx(&mut one, 2), b"h", &pairs(0..1, b"w"));
    set(&mut tx(&mut two, 2), b"h", &pairs(1..2, b"w"));
    assert_ne!(one.digest(), two.digest());
}

#[test]
fn a_hash_has_a_greatest_size() {
    let store = store();
    let mut table = store.table();
    let half = effect::VALUE_BYTES_MAX / 2;
    let value = vec![0; half];
    assert_eq!(
        set(&mut tx(&mut table, 1), b"h", &[([0; 4], value.clone())]),
        Some(1)
    );
    let digest = table.digest();
    let mut refused = tx(&mut table, 2);
    assert_eq!(set(&mut refused, b"h", &[([1; 4], value.clone())]), None);
    assert!(refused.finish().effects.is_empty() && table.digest() == digest);
    // What is replaced does not count.
    assert_eq!(
        set(&mut tx(&mut table, 3), b"h", &[([0; 4], value)]),
        Some(0)
    );
    assert!(table.find(b"h").unwrap().encoded_bytes() < half + 16);
}

#[test]
fn effects_on_fields_of_what_is_no_hash_are_refused() {
    let store = store();
    let mut table = store.table();
    tx(&mut table, 1).set(b"s", b"v", Expiry::Never);
    set(&mut tx(&mut table, 2), b"h", &pairs(0..2, b"v"));
    let mut one = Vec::new();
    items::push_pair(&mut one, b"f", b"v");
    let one = items::Items::read_pairs(&one).unwrap();
    let (none, expires_at, mark) = (items::Items::NONE, None, Mark::None);
    let fields = |key| Effect::Fields {
        key,
        set: one,
        removed: none,
    };
    let (offset, bytes) = (0, &b"x"[..]);
    let (kind, removed) = (Kind::Hash, none);
    for refused in [
        fields(b"s"),
        fields(b"missing"),
        Effect::Splice {
            key: b"h",
            offset,
            bytes,
        },
        Effect::Part {
            key: b"h",
            kind,
            set: one,
            removed,
            expires_at,
            mark,
        },
        Effect::Put {
            key: b"n",
            kind,
            value: b"",
            expires_at,
            mark,
        },
        Effect::Put {
            key: b"n",
            kind,
            value: b"\x01f",
            expires_at,
            mark,
        },
    ] {
        let mut effects = Effects::new();
        effects.push(&refused);
        let digest = table.digest();
        assert!(
            table.apply(version(9), effects.as_bytes()).is_err(),
            "{refused:?}"
        );
        assert_eq!(table.digest(), digest);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_slot_counts_what_its_hashes_take(
            limit in 0_usize..40,
            steps in proptest::collection::vec(
                (0_u8..8, 0_u8..3, 0_u32..400, 1_u32..150, 0_usize..100), 1..40)) {
        let store = store();
        store.limits().hash_fields.store(limit, Relaxed);
        let mut table = store.table();
        let mut model: BTreeMap<[u8; 1], BTreeMap<Vec<u8>, Vec<u8>>> = BTreeMap::new();
        let mut number = 0;
        for (what, key, first, count, length) in steps {
            number += 1;
            let key = [key];
            let fields = first..first + count;
            let mut write = tx(&mut table, number);
            match what {
                0 => {
                    prop_assert_eq!(write.remove(&key), model.remove(&key).is_some());
                }
                1..4 => {
                    let there = remove(&mut write, &key, fields.clone());
                    let known = model.entry(key).or_default();
                    let before = known.len();
                    fields.for_each(|field| _ = known.remove(&field.to_be_bytes()[..]));
                    prop_assert_eq!(there, before - known.len());
                    model.retain(|_, fields| !fields.is_empty());
                }
                _ => {
                    let value = vec![b'v'; length];
                    let new = set(&mut write, &key, &pairs(fields.clone(), &value));
                    let known = model.entry(key).or_default();
                    let before = known.len();
                    for field in fields {
                        known.insert(field.to_be_bytes().to_vec(), value.clone());
                    }
                    prop_assert_eq!(new, Some(known.len() - before));
                }
            }
            prop_assert_eq!(table.tally().keys, model.len());
            let mut entry_bytes = 0;
            table.scan(0, |entry| {
                entry_bytes += entry.allocated();
                ControlFlow::Continue(())
            });
            prop_assert_eq!(table.tally().entry_bytes, entry_bytes);
            table.committed(version(number));
            for (key, fields) in &model {
                prop_assert_eq!(&fields_of(&table, key), fields);
                let hash = table.find(key).unwrap().hash().unwrap();
                prop_assert_eq!(hash.len(), fields.len());
                let packed = fields.iter().map(|(field, value)| items::pair_bytes(field, value));
                prop_assert_eq!(hash.packed_bytes(), packed.sum::<usize>());
            }
        }
        table.committed(version(number));
        let keys: Vec<_> = model.into_keys().collect();
        for key in keys {
            number += 1;
            tx(&mut table, number).remove(&key);
        }
        table.committed(version(number));
        while store.sweep(100) {}
        prop_assert_eq!((table.bytes(), store.used_bytes()), (0, 0));
    }
}
