use cluster::replication::Table;
use proptest::prelude::*;

use super::super::Store;
use super::*;
use crate::store::Reason;

const NOW: u64 = 1_000_000;

fn version(number: u64) -> Version {
    Version::from_u64(number)
}

fn table() -> SlotTable {
    Store::new([1, 2, 3, 4]).table()
}

fn at(table: &mut SlotTable, now: u64, number: u64) -> Tx<'_> {
    Tx::new(table, Role::Primary, now, version(number))
}

fn tx(table: &mut SlotTable, number: u64) -> Tx<'_> {
    at(table, NOW, number)
}

#[test]
fn a_reply_depends_on_what_it_has_met() {
    let mut table = table();
    tx(&mut table, 5).set(b"k", b"v", Expiry::Never);
    let mut read = tx(&mut table, 9);
    assert_eq!(read.string(b"k"), Ok(Some(b"v".as_slice())));
    assert_eq!(read.met(), version(5));
    assert!(read.effects().is_empty());

    assert!(tx(&mut table, 6).remove(b"k"));
    let mut absent = tx(&mut table, 9);
    assert!(!absent.remove(b"k"), "there is nothing to remove any more");
    assert_eq!(
        absent.met(),
        version(6),
        "and that it says so depends on the removal"
    );
    table.committed(version(6));
    let mut absent = tx(&mut table, 9);
    assert_eq!(absent.string(b"k"), Ok(None));
    assert_eq!(absent.met(), Version::ZERO);

    tx(&mut table, 7).clear();
    assert_eq!(tx(&mut table, 8).finish().met, Version::ZERO);
    tx(&mut table, 8).set(b"k", b"v", Expiry::Never);
    tx(&mut table, 9).clear();
    let mut absent = tx(&mut table, 10);
    assert!(!absent.exists(b"any"));
    assert_eq!(absent.met(), version(9));
}

#[test]
fn a_clean_entry_need_not_be_waited_for() {
    let mut table = table();
    let clean = Mark::Clean {
        definition: 1,
        fresh_until: NOW + 9,
    };
    tx(&mut table, 5).put(b"k", Kind::String, b"v", None, clean);
    tx(&mut table, 5).put(b"none", Kind::Absent, b"", None, clean);
    let mut read = tx(&mut table, 9);
    assert_eq!(read.string(b"k"), Ok(Some(b"v".as_slice())));
    assert_eq!(read.string(b"none"), Ok(None));
    assert_eq!(read.met(), Version::ZERO);
}

#[test]
fn only_the_primary_removes_what_is_past_its_time() {
    let mut table = table();
    tx(&mut table, 1).set(b"k", b"v", Expiry::At(NOW));
    assert!(
        tx(&mut table, 2).exists(b"k"),
        "the last moment is within its time"
    );
    let mut replica = Tx::new(&mut table, Role::Replica, NOW + 1, version(2));
    assert_eq!(replica.string(b"k"), Ok(None));
    assert!(replica.finish().effects.is_empty());
    let mut primary = at(&mut table, NOW + 1, 2);
    assert_eq!(primary.string(b"k"), Ok(None));
    let outcome = primary.finish();
    let mut removed = Effects::new();
    removed.push(&Effect::Remove { key: b"k" });
    assert_eq!((outcome.effects, outcome.met), (removed, version(2)));
    assert_eq!(table.tally().entries, 0);
    assert_eq!(tx(&mut table, 3).table.absence(b"k"), version(2));
}

#[test]
fn what_the_database_has_ends_as_a_dirty_absence_and_a_doubt_does_not_end() {
    let mut table = table();
    let mut write = tx(&mut table, 1);
    let clean = Mark::Clean {
        definition: 7,
        fresh_until: NOW + 99,
    };
    let doubt = Mark::InDoubt {
        definition: 7,
        stamp: version(1),
    };
    write.put(b"clean", Kind::String, b"v", Some(NOW), clean);
    write.put(b"doubt", Kind::String, b"v", Some(NOW), doubt);
    let mut late = at(&mut table, NOW + 1, 2);
    assert!(!late.exists(b"clean"));
    let entry = late.inspect(b"clean").expect("a tombstone on its way");
    assert_eq!(
        (entry.kind(), entry.mark()),
        (Kind::Absent, Mark::Dirty { definition: 7 })
    );
    assert!(late.exists(b"doubt"));
    let mut later = at(&mut table, NOW + 2, 3);
    assert!(!later.exists(b"clean"));
    assert!(later.finish().effects.is_empty(), "once is enough");
}

#[test]
fn what_is_laid_over_the_table_counts_as_there() {
    let mut table = table();
    tx(&mut table, 1).set(b"a", b"1", Expiry::Never);
    let mut trial = tx(&mut table, 2).on_overlay();
    trial.lay(b"a", None);
    trial.lay(b"b", Some((Kind::String, b"2", Some(NOW + 5))));
    assert!(!trial.exists(b"a") && trial.exists(b"b"));
    assert_eq!(trial.met(), Version::ZERO, "neither is the table's");
    trial.splice(b"b", 1, b"x");
    let written = trial.finish().written;
    let b = written[b"b".as_slice()].as_ref().expect("it is there");
    assert_eq!(
        (b.value(), b.expires_at()),
        (b"2x".as_slice(), Some(NOW + 5))
    );
    assert_eq!(tx(&mut table, 3).string(b"a"), Ok(Some(b"1".as_slice())));
}

#[test]
fn a_view_that_may_not_write_says_what_it_should_have_removed() {
    let mut table = table();
    tx(&mut table, 1).set(b"a", b"1", Expiry::At(NOW - 1));
    let mut read = Tx::new(&mut table, Role::Replica, NOW, version(2));
    assert!(!read.exists(b"a") && !read.exists(b"b"));
    let outcome = read.finish();
    assert!(outcome.saw_ended && outcome.effects.is_empty());
}

#[test]
fn an_overlay_shows_its_writes_to_nobody_else() {
    let mut table = table();
    let mut write = tx(&mut table, 1);
    write.set(b"a", b"1", Expiry::At(NOW + 5));
    write.set(b"b", b"2", Expiry::Never);
    let digest = table.digest();
    let mut trial = tx(&mut table, 2).on_overlay();
    trial.splice(b"a", 1, b"0");
    assert!(trial.remove(b"b") && !trial.exists(b"b"));
    trial.splice(b"c", 2, b"x");
    assert!(trial.expire(b"a", None));
    assert_eq!(trial.string(b"a"), Ok(Some(b"10".as_slice())));
    let names = [b"a".as_slice(), b"b", b"c"];
    let seen = trial.strings(names.into_iter());
    assert_eq!(seen, [Some(b"10".as_slice()), None, Some(b"\0\0x")]);
    let outcome = trial.finish();
    assert_eq!(table.digest(), digest);
    assert_eq!(outcome.written.len(), 3);
    let a = outcome.written[b"a".as_slice()]
        .as_ref()
        .expect("it was written");
    assert_eq!((a.value(), a.expires_at()), (b"10".as_slice(), None));
    assert!(outcome.written[b"b".as_slice()].is_none());
    table.apply(version(2), outcome.effects.as_bytes()).unwrap();
    assert_eq!(
        tx(&mut table, 3).string(b"c"),
        Ok(Some(b"\0\0x".as_slice()))
    );
}

#[test]
fn a_write_on_an_overlay_depends_on_what_it_met_below() {
    let mut table = table();
    tx(&mut table, 4).set(b"a", b"1", Expiry::Never);
    let mut trial = tx(&mut table, 9).on_overlay();
    assert!(trial.exists(b"a"));
    assert_eq!(trial.finish().met, version(4));
}

#[test]
fn due_entries_go_in_bounded_steps() {
    let mut table = table();
    let clean = Mark::Clean {
        definition: 1,
        fresh_until: NOW - 1,
    };
    for key in 0..2_000_u32 {
        let mut write = at(&mut table, 0, 1);
        match key % 4 {
            0 => write.set(&key.to_be_bytes(), b"", Expiry::Never),
            1 => write.set(&key.to_be_bytes(), b"", Expiry::At(NOW + 1)),
            2 => write.set(&key.to_be_bytes(), b"", Expiry::At(NOW - 1)),
            _ => write.put(&key.to_be_bytes(), Kind::String, b"", None, clean),
        }
    }
    let mut steps = 0;
    let mut next = Some(0);
    let mut copy = table.empty();
    let mut chunk = Vec::new();
    assert_eq!(table.copy_out(0, usize::MAX, &mut chunk), None);
    copy.copy_in(&chunk).unwrap();
    while let Some(position) = next {
        let mut step = tx(&mut table, 2);
        next = step.expire_due(position, &mut 300);
        let effects = step.finish().effects;
        assert!(effects.iter().count() <= 300 + 256);
        copy.apply(version(2), effects.as_bytes()).unwrap();
        steps += 1;
    }
    assert!(steps > 3);
    assert_eq!((table.tally().keys, table.tally().expiring), (1_000, 500));
    assert_eq!(copy.digest(), table.digest());
    assert_eq!(tx(&mut table, 3).expire_due(0, &mut 1_000), None);
    assert_eq!(table.newest(), version(2), "nothing more was due");
}

#[derive(Clone, Debug)]
enum Step {
    Set(u8, Vec<u8>, Option<u64>),
    Splice(u8, u16, Vec<u8>),
    Remove(u8),
    Expire(u8, Option<u64>),
    Read(u8),
    Put(u8, bool, Mark),
    Evict(u8),
    Clear,
    Wait(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..30);
    let time = || proptest::option::of(NOW..NOW + 50_000);
    let mark = prop_oneof![
        Just(Mark::None),
        (NOW..NOW + 50_000).prop_map(|at| Mark::Clean {
            definition: 1,
            fresh_until: at
        }),
        Just(Mark::Dirty { definition: 2 }),
        Just(Mark::InDoubt {
            definition: 3,
            stamp: Version::from_u64(8)
        }),
    ];
    let key = || 0_u8..12;
    let step = prop_oneof![
        4 => (key(), bytes(), time()).prop_map(|(key, value, at)| Step::Set(key, value, at)),
        4 => (key(), 0_u16..6_000, bytes()).prop_map(|(key, at, with)| Step::Splice(key, at, with)),
        2 => key().prop_map(Step::Remove),
        2 => (key(), time()).prop_map(|(key, at)| Step::Expire(key, at)),
        2 => key().prop_map(Step::Read),
        2 => (key(), any::<bool>(), mark).prop_map(|(key, there, m)| Step::Put(key, there, m)),
        1 => key().prop_map(Step::Evict),
        1 => Just(Step::Clear),
        2 => (0_u16..5_000).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 1..60)
}

fn run(tx: &mut Tx<'_>, step: &Step) {
    match step {
        Step::Set(key, value, at) => {
            let expiry = at.map_or(Expiry::Keep, Expiry::At);
            tx.set(&[*key], value, expiry);
        }
        Step::Splice(key, offset, bytes) => tx.splice(&[*key], usize::from(*offset), bytes),
        Step::Remove(key) => _ = tx.remove(&[*key]),
        Step::Expire(key, at) => _ = tx.expire(&[*key], *at),
        Step::Read(key) => _ = tx.string(&[*key]),
        Step::Put(key, true, mark) => tx.put(&[*key], Kind::String, b"p", None, *mark),
        Step::Put(key, false, mark) => tx.put(&[*key], Kind::Absent, b"", None, *mark),
        Step::Evict(key) => _ = tx.evict(&[*key], Reason::Own, |_, _| true),
        Step::Clear | Step::Wait(_) => {}
    }
}

proptest! {
    /// Whatever commands do, their effects make an equal table elsewhere, and the overlay's effects
    /// are those of the table.
    #[test]
    fn effects_make_equal_copies(steps in steps()) {
        let mut primary = table();
        let mut copy = table();
        let mut now = NOW;
        for (number, step) in (1..).zip(&steps) {
            if let Step::Wait(time) = step {
                now += u64::from(*time);
            }
            let mut trial = at(&mut primary, now, number).on_overlay();
            run(&mut trial, step);
            let expected = trial.finish().effects;
            let told = |definition| definition < 2;
            let mut tx = at(&mut primary, now, number);
            if number % 3 == 0 {
                tx = tx.telling(&told);
            }
            run(&mut tx, step);
            if matches!(step, Step::Clear) {
                tx.clear();
            }
            let effects = tx.finish().effects;
            if number % 3 != 0 && !matches!(step, Step::Clear) {
                prop_assert_eq!(&expected, &effects);
            }
            if !effects.is_empty() {
                copy.apply(version(number), effects.as_bytes()).unwrap();
            }
            prop_assert_eq!(primary.digest(), copy.digest());
            prop_assert_eq!(primary.tally(), copy.tally());
            prop_assert_eq!(primary.newest(), copy.newest());
        }
    }
}
