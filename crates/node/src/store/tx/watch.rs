//! What a client that watches a key remembers of it, and whether it still holds.

use cluster::Version;

use super::Tx;

/// How a key was when somebody began to watch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stamp {
    /// It had the entry that this record wrote.
    Entry(Version),
    /// It was not there after this record.
    Absent(Version),
    /// What it had lies in no record: it counts as changed.
    Unknown,
}

impl Stamp {
    /// As it travels.
    pub(crate) fn to_bytes(self) -> [u8; 8] {
        let number = match self {
            Stamp::Entry(version) => version.as_u64() << 1,
            Stamp::Absent(version) => version.as_u64() << 1 | 1,
            Stamp::Unknown => u64::MAX,
        };
        number.to_be_bytes()
    }

    /// The way back.
    pub(crate) fn from_bytes(bytes: [u8; 8]) -> Stamp {
        match u64::from_be_bytes(bytes) {
            u64::MAX => Stamp::Unknown,
            number if number & 1 == 0 => Stamp::Entry(Version::from_u64(number >> 1)),
            number => Stamp::Absent(Version::from_u64(number >> 1)),
        }
    }
}

impl Tx<'_> {
    /// How the key is now. One past its time is not there.
    pub(crate) fn stamp(&mut self, key: &[u8]) -> Stamp {
        // Where this view may, it removes what is past its time.
        let live = self.look(key).is_some();
        let laid = self
            .overlay
            .as_ref()
            .is_some_and(|overlay| overlay.get(key).is_some());
        match self.inspect(key) {
            Some(_) if laid => Stamp::Unknown,
            // Also one that says that there is no such key.
            Some(entry) if live || !entry.is_expired(self.now_unix_ms) => {
                Stamp::Entry(entry.version())
            }
            _ => Stamp::Absent(self.table.watch_absence(key)),
        }
    }

    /// Whether nothing has happened to the key since it was stamped.
    pub(crate) fn is_as_stamped(&mut self, key: &[u8], stamp: Stamp) -> bool {
        let now = self.now_unix_ms;
        // What was found here is part of what the reply depends on.
        let _ = self.look(key);
        let entry = self.inspect(key).filter(|entry| !entry.is_expired(now));
        match (stamp, entry) {
            (Stamp::Entry(version), Some(entry)) => entry.version() == version,
            (Stamp::Absent(since), None) => !self.table.removed_after(key, since),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use cluster::replication::Table;

    use super::*;
    use crate::store::tx::{Expiry, Role};
    use crate::store::{SlotTable, Store};

    /// A primary's slot, and the copy that takes over.
    struct Slots {
        primary: SlotTable,
        copy: SlotTable,
        version: u64,
    }

    impl Slots {
        fn new() -> Slots {
            let primary = Store::new([1, 2, 3, 4]).table();
            let copy = primary.empty();
            let version = 1;
            Slots {
                primary,
                copy,
                version,
            }
        }

        fn run<T>(&mut self, run: impl FnOnce(&mut Tx<'_>) -> T) -> T {
            self.version += 1;
            let version = Version::from_u64(self.version);
            let mut tx = Tx::new(&mut self.primary, Role::Primary, 1_000, version);
            let result = run(&mut tx);
            let effects = tx.finish().effects;
            self.copy.apply(version, effects.as_bytes()).unwrap();
            result
        }

        fn set(&mut self, key: &[u8]) {
            self.run(|tx| tx.set(key, b"v", Expiry::Never));
        }

        fn remove(&mut self, key: &[u8]) {
            self.run(|tx| assert!(tx.remove(key)));
        }

        fn stamp(&mut self, key: &[u8]) -> Stamp {
            self.run(|tx| tx.stamp(key))
        }

        /// Whether it still holds: at the primary, and at the copy that takes over.
        fn holds(&mut self, key: &[u8], stamp: Stamp) -> (bool, bool) {
            let here = self.run(|tx| tx.is_as_stamped(key, stamp));
            let version = Version::from_u64(self.version + 1);
            let mut tx = Tx::new(&mut self.copy, Role::Primary, 1_000, version);
            (here, tx.is_as_stamped(key, stamp))
        }
    }

    #[test]
    fn a_key_that_is_there_has_changed_if_a_record_wrote_it() {
        let mut slots = Slots::new();
        slots.set(b"k");
        let stamp = slots.stamp(b"k");
        slots.set(b"other");
        slots.run(|tx| tx.touch(b"k"));
        assert_eq!(slots.holds(b"k", stamp), (true, true));
        slots.set(b"k");
        assert_eq!(slots.holds(b"k", stamp), (false, false));
        let stamp = slots.stamp(b"k");
        slots.remove(b"k");
        slots.set(b"k");
        assert_eq!(slots.holds(b"k", stamp), (false, false));
        let stamp = slots.stamp(b"k");
        slots.run(|tx| tx.clear());
        assert_eq!(slots.holds(b"k", stamp), (false, false));
    }

    #[test]
    fn a_key_that_was_not_there_has_changed_if_it_came_and_went() {
        let mut slots = Slots::new();
        slots.set(b"other");
        let stamp = slots.stamp(b"k");
        assert_eq!(slots.holds(b"k", stamp), (true, true));
        // Who takes over remembers the slot's newest removal alone.
        slots.remove(b"other");
        assert_eq!(slots.holds(b"k", stamp), (true, false));
        let stamp = slots.stamp(b"k");
        assert_eq!(slots.holds(b"k", stamp), (true, true));
        slots.set(b"k");
        assert_eq!(slots.holds(b"k", stamp), (false, false));
        slots.remove(b"k");
        assert_eq!(slots.holds(b"k", stamp), (false, false));
        let stamp = slots.stamp(b"k");
        slots.run(|tx| tx.set(b"k", b"v", Expiry::At(900)));
        slots.run(|tx| assert!(!tx.exists(b"k")));
        assert_eq!(slots.holds(b"k", stamp), (false, false));
    }

    #[test]
    fn a_key_past_its_time_has_changed_or_was_not_there() {
        let mut slots = Slots::new();
        slots.run(|tx| tx.set(b"k", b"v", Expiry::At(1_001)));
        let stamp = slots.stamp(b"k");
        assert_eq!(slots.holds(b"k", stamp), (true, true));
        let mut late = Tx::new(&mut slots.primary, Role::Replica, 1_002, Version::ZERO);
        assert!(!late.is_as_stamped(b"k", stamp));
        let stamp = late.stamp(b"k");
        assert!(matches!(stamp, Stamp::Absent(_)) && late.is_as_stamped(b"k", stamp));
    }

    #[test]
    fn what_was_laid_beside_the_table_is_not_watched() {
        let mut slots = Slots::new();
        let version = Version::from_u64(9);
        let mut tx = Tx::new(&mut slots.primary, Role::Primary, 1_000, version).on_overlay();
        tx.lay(b"k", Some((crate::store::Kind::String, b"v", None)));
        let stamp = tx.stamp(b"k");
        assert_eq!(stamp, Stamp::Unknown);
        assert!(!tx.is_as_stamped(b"k", stamp));
        tx.lay(b"none", None);
        let stamp = tx.stamp(b"none");
        assert!(tx.is_as_stamped(b"none", stamp));
    }

    #[test]
    fn a_stamp_travels_unchanged() {
        let newest = Version::from_u64((1 << 63) - 2);
        for stamp in [
            Stamp::Entry(Version::ZERO),
            Stamp::Entry(newest),
            Stamp::Absent(Version::from_u64(7)),
            Stamp::Absent(newest),
            Stamp::Unknown,
        ] {
            assert_eq!(Stamp::from_bytes(stamp.to_bytes()), stamp);
        }
    }
}
