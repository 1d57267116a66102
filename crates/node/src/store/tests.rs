use std::collections::BTreeSet;
use std::ops::ControlFlow;

use cluster::replication::{BadEffects, Table};
use cluster::{Slot, Version};

use super::effect::{Effect, Effects};
use super::tx::{Expiry, Role};
use super::*;

mod hash;

fn store() -> Store {
    Store::new([1, 2, 3, 4])
}

fn version(number: u64) -> Version {
    Version::from_u64(number)
}

fn tx(table: &mut SlotTable, number: u64) -> Tx<'_> {
    Tx::new(table, Role::Primary, 1_000, version(number))
}

fn fill(table: &mut SlotTable, keys: u32, value: &[u8]) {
    for key in 0..keys {
        let mut tx = tx(table, u64::from(key) + 1);
        tx.set(&key.to_be_bytes(), value, Expiry::Never);
    }
}

#[test]
fn the_budget_is_the_sum_of_the_slots_and_returns_to_zero() {
    let store = store();
    let mut tables = [store.table(), store.table()];
    assert_eq!(store.used_bytes(), 0, "an empty slot takes nothing");
    fill(&mut tables[0], 2_000, b"value");
    fill(&mut tables[1], 10, &[0; 10_000]);
    let sum = |tables: &[SlotTable; 2]| tables.iter().map(SlotTable::bytes).sum::<usize>();
    assert_eq!(store.used_bytes(), sum(&tables));
    tx(&mut tables[0], 9_000).remove(&7_u32.to_be_bytes());
    assert_eq!(store.used_bytes(), sum(&tables), "an absence counts");
    tables[0].committed(version(9_000));
    assert_eq!(store.used_bytes(), sum(&tables));

    let [mut cleared, dropped] = tables;
    tx(&mut cleared, 9_001).clear();
    cleared.committed(version(9_001));
    assert_eq!((cleared.bytes(), cleared.tally()), (0, Tally::default()));
    drop(dropped);
    assert!(
        store.used_bytes() > 100_000,
        "it still has to be given back"
    );
    let mut steps = 1;
    while store.sweep(300) {
        steps += 1;
    }
    assert!(steps > 5, "in bounded steps");
    assert_eq!(store.used_bytes(), 0);
}

#[test]
fn the_bytes_of_a_slot_are_those_of_its_entries_and_tables() {
    let store = store();
    let mut table = store.table();
    fill(&mut table, 1_000, &[0; 112]);
    // 12 bytes of header, 4 of key, 112 of value: the class of 128.
    assert_eq!(table.tally().entry_bytes, 1_000 * 128);
    let tables = table.bytes() - table.tally().entry_bytes;
    assert!(
        (16_000..48_000).contains(&tables),
        "{tables} bytes of tables for 1,000 entries"
    );
}

#[test]
fn a_walk_has_the_same_order_on_all_copies() {
    let (left, right) = (store(), store());
    let (mut one, mut two) = (left.table(), right.table());
    fill(&mut one, 3_000, b"");
    for key in (0..3_000_u32).rev() {
        tx(&mut two, 1).set(&key.to_be_bytes(), b"", Expiry::Never);
    }
    let keys = |table: &SlotTable| {
        let mut keys = Vec::new();
        let mut next = Some(0);
        while let Some(position) = next {
            next = table.scan(position, |entry| {
                keys.push(entry.key().to_vec());
                ControlFlow::Continue(())
            });
        }
        keys
    };
    assert_eq!(keys(&one), keys(&two));
    assert_eq!(keys(&one).len(), 3_000);
}

#[test]
fn a_copy_in_chunks_with_writes_in_between_is_equal() {
    let (source, target) = (store(), store());
    let (mut from, mut to) = (source.table(), target.table());
    fill(&mut from, 2_000, b"value");
    let mut next = Some(0);
    let mut number = 10_000;
    while let Some(cursor) = next {
        let mut chunk = Vec::new();
        next = from.copy_out(cursor, 1_000, &mut chunk);
        to.copy_in(&chunk).unwrap();
        number += 1;
        let mut write = tx(&mut from, number);
        let key = |offset: u64| ((number * 7 + offset) as u32 % 2_000).to_be_bytes();
        write.splice(&key(0), 3, b"spliced");
        write.remove(&key(1));
        write.expire(&key(2), Some(5_000));
        let effects = write.finish().effects;
        let mut touched = Vec::new();
        from.copy_touched(effects.as_bytes(), &mut touched);
        to.copy_in(&touched).unwrap();
    }
    assert!(number > 10_020, "more than a few chunks");
    assert_eq!((from.digest(), from.tally()), (to.digest(), to.tally()));
    tx(&mut to, 20_000).set(b"other", b"", Expiry::Never);
    assert_ne!(from.digest(), to.digest());
}

#[test]
fn bad_effects_change_nothing() {
    let store = store();
    let mut table = store.table();
    fill(&mut table, 3, b"value");
    let digest = table.digest();
    let mut cut = Effects::new();
    cut.push(&Effect::Remove {
        key: &1_u32.to_be_bytes(),
    });
    cut.push(&Effect::Remove {
        key: &2_u32.to_be_bytes(),
    });
    let bytes = cut.as_bytes();
    assert!(table.apply(version(9), &bytes[..bytes.len() - 1]).is_err());
    let mut lost = Effects::new();
    lost.push(&Effect::Remove {
        key: &1_u32.to_be_bytes(),
    });
    lost.push(&Effect::Expire {
        key: &1_u32.to_be_bytes(),
        at: None,
    });
    let refused = table.apply(version(9), lost.as_bytes());
    assert_eq!(
        refused,
        Err(BadEffects("a change of a key that is not there"))
    );
    assert!(table.copy_in(&[1, 2, 3]).is_err());
    assert_eq!(table.digest(), digest);
}

#[test]
fn dirty_and_doubtful_entries_survive_being_emptied() {
    let store = store();
    let mut table = store.table();
    let mut write = tx(&mut table, 1);
    let doubt = Mark::InDoubt {
        definition: 1,
        stamp: version(1),
    };
    write.put(
        b"dirty",
        Kind::String,
        b"1",
        None,
        Mark::Dirty { definition: 1 },
    );
    write.put(b"doubtful", Kind::Absent, b"", None, doubt);
    write.put(
        b"clean",
        Kind::String,
        b"2",
        None,
        Mark::Clean {
            definition: 1,
            fresh_until: 9,
        },
    );
    write.set(b"plain", b"3", Expiry::Never);
    for key in [b"dirty".as_slice(), b"doubtful"] {
        assert_eq!(write.evict(key, Reason::Own, |_, _| true), None);
    }
    write.clear();
    let copied = write.finish().effects;
    let mut copy = table.empty();
    copy.apply(version(1), copied.as_bytes()).unwrap();
    let mut left = BTreeSet::new();
    table.scan(0, |entry| {
        left.insert(entry.key().to_vec());
        ControlFlow::Continue(())
    });
    assert_eq!(
        left,
        BTreeSet::from([b"dirty".to_vec(), b"doubtful".to_vec()])
    );
    assert_eq!(
        (
            table.tally().dirty,
            table.tally().in_doubt,
            table.tally().keys
        ),
        (1, 1, 1)
    );
    assert_eq!(
        (copy.digest(), copy.tally()),
        (table.digest(), table.tally())
    );
}

/// All slots of a store, lent by somebody who leads them all.
pub(super) struct Lent {
    pub(super) store: Store,
    pub(super) now_unix_ms: u64,
    slots: Vec<parking_lot::Mutex<SlotTable>>,
}

impl Lent {
    pub(super) fn new(now_unix_ms: u64) -> Lent {
        let store = store();
        let slots = Slot::all()
            .map(|_| parking_lot::Mutex::new(store.table()))
            .collect();
        Lent {
            store,
            now_unix_ms,
            slots,
        }
    }

    pub(super) fn set(&mut self, key: &[u8], value: &[u8], expiry: Expiry) {
        self.change(Slot::of(key), |tx| tx.set(key, value, expiry));
    }

    pub(super) fn put(&mut self, key: &[u8], kind: Kind, value: &[u8], mark: Mark) {
        self.change(Slot::of(key), |tx| tx.put(key, kind, value, None, mark));
    }

    pub(super) fn touch(&mut self, key: &[u8]) -> bool {
        self.change(Slot::of(key), |tx| tx.touch(key)) == Some(true)
    }

    pub(super) fn holds(&self, key: &[u8]) -> bool {
        self.look(Slot::of(key), |table| table.find(key).is_some()) == Some(true)
    }

    pub(super) fn keys(&self) -> usize {
        self.slots.iter().map(|slot| slot.lock().tally().keys).sum()
    }
}

impl LedSlots for Lent {
    fn look<R>(&self, slot: Slot, look: impl FnOnce(&SlotTable) -> R) -> Option<R> {
        Some(look(&self.slots[slot.index()].lock()))
    }

    fn change<R>(&self, slot: Slot, change: impl FnOnce(&mut Tx<'_>) -> R) -> Option<R> {
        let table = &mut *self.slots[slot.index()].lock();
        let version = version(table.newest().as_u64() + 1);
        let result = {
            let mut tx = Tx::new(table, Role::Primary, self.now_unix_ms, version);
            change(&mut tx)
        };
        table.committed(version);
        Some(result)
    }
}
