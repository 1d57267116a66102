//! A record, and the stretch of a slot's history that a member keeps.

use std::collections::VecDeque;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::backlog::Backlog;
use crate::Version;

/// What one write did to a slot: absolute effects, in the store's encoding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The version of the record before it.
    pub prev: Version,
    /// Its own version, greater than `prev`.
    pub version: Version,
    /// What happened to the keys.
    pub effects: Bytes,
}

impl Record {
    /// About how many bytes it takes in a backlog.
    #[must_use]
    pub fn size(&self) -> usize {
        self.effects.len() + size_of::<Record>()
    }
}

/// The end of a slot's history: the records after `floor`. Every member keeps one, for it may be
/// the next primary and bring the others up to date from it.
#[derive(Debug, Default)]
pub(crate) struct History {
    floor: Version,
    records: VecDeque<Record>,
    /// Counted in the member's [`Backlog`] too.
    bytes: usize,
}

impl History {
    /// Starts again from a state whose past is not known.
    pub(crate) fn reset(&mut self, floor: Version, backlog: &Backlog) {
        if self.bytes > 0 {
            backlog.give_back(self.bytes);
        }
        *self = History {
            floor,
            ..History::default()
        };
    }

    /// Adds the newest record, and forgets old ones where there are too many.
    pub(crate) fn push(&mut self, record: Record, backlog: &Backlog) {
        assert_eq!(
            record.prev,
            self.last(),
            "a record follows the one before it"
        );
        assert!(record.version > record.prev);
        let size = record.size();
        self.bytes += size;
        backlog.take(size);
        self.records.push_back(record);
        self.trim(backlog);
    }

    /// Forgets the oldest records while the slot has more than it may keep now, or all slots
    /// together have too many. Nothing needs them: who asks for one of them gets a copy.
    pub(crate) fn trim(&mut self, backlog: &Backlog) {
        let limit = backlog.slot_limit();
        while (self.bytes > limit || backlog.is_over())
            && let Some(oldest) = self.records.pop_front()
        {
            let size = oldest.size();
            self.bytes -= size;
            backlog.give_back(size);
            self.floor = oldest.version;
        }
        // The room of those that are gone is not counted, so it must not stay.
        let (room, needed) = (self.records.capacity(), self.records.len());
        if room > 2 * needed + 8 {
            self.records.shrink_to(needed + needed / 2);
        }
    }

    /// The version of the newest record.
    pub(crate) fn last(&self) -> Version {
        self.records
            .back()
            .map_or(self.floor, |record| record.version)
    }

    /// The records after `version`, or `None` if that version is not a point of this history, or
    /// one that is forgotten. Being smaller is not enough: it may be a record that was undone.
    pub(crate) fn after(
        &self,
        version: Version,
        exactly: bool,
    ) -> Option<impl Iterator<Item = &Record>> {
        let start = if version == self.floor {
            0
        } else if !exactly {
            self.records
                .partition_point(|record| record.version <= version)
        } else {
            self.records
                .binary_search_by_key(&version, |record| record.version)
                .ok()?
                + 1
        };
        Some(self.records.range(start..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Epoch;
    use crate::replication::Settings;

    fn record(prev: (u32, u64), version: (u32, u64)) -> Record {
        let at = |(epoch, seq)| Version::new(Epoch(epoch), seq);
        Record {
            prev: at(prev),
            version: at(version),
            effects: Bytes::from_static(b"effect"),
        }
    }

    /// The first record of a history that starts from nothing, or the one after `seq`.
    fn after(seq: u64) -> Record {
        record((u32::from(seq > 0), seq), (1, seq + 1))
    }

    /// So many records may there be in a slot, and in all `slots` together.
    fn backlog(of_slot: usize, total: usize, slots: u16) -> Backlog {
        let settings = Settings {
            backlog_bytes_max: of_slot * after(0).size(),
            backlog_total_bytes_max: total * after(0).size(),
            ..Settings::default()
        };
        Backlog::new(&settings, slots)
    }

    #[test]
    fn a_version_between_two_records_is_not_in_the_history() {
        let (mut history, backlog) = (History::default(), backlog(100, 100, 1));
        history.push(record((0, 0), (1, 1)), &backlog);
        history.push(record((1, 1), (2, 1)), &backlog);
        let after = |version| history.after(version, true).map(Iterator::count);
        assert_eq!(after(Version::ZERO), Some(2));
        assert_eq!(after(Version::new(Epoch(1), 1)), Some(1));
        assert_eq!(after(Version::new(Epoch(2), 1)), Some(0));
        assert_eq!(after(Version::new(Epoch(1), 2)), None);
    }

    #[test]
    fn what_is_forgotten_raises_the_floor() {
        let (mut history, backlog) = (History::default(), backlog(3, 1000, 1));
        (0..10).for_each(|seq| history.push(after(seq), &backlog));
        assert_eq!(history.bytes, 3 * after(0).size());
        assert_eq!(backlog.used(), history.bytes);
        assert!(history.after(Version::new(Epoch(1), 6), true).is_none());
        assert_eq!(
            history
                .after(Version::new(Epoch(1), 7), true)
                .map(Iterator::count),
            Some(3)
        );
        history.reset(Version::ZERO, &backlog);
        assert_eq!(backlog.used(), 0);
    }

    #[test]
    fn all_slots_together_never_keep_more_than_the_whole() {
        let backlog = backlog(50, 64, 16);
        let mut histories: Vec<History> = (0..16).map(|_| History::default()).collect();
        for history in &mut histories {
            for seq in 0..100 {
                history.push(after(seq), &backlog);
                assert!(!backlog.is_over());
            }
        }
        let bytes: usize = histories.iter().map(|history| history.bytes).sum();
        assert_eq!(bytes, backlog.used());
        assert!(histories[0].bytes > 16 * after(0).size());
    }

    #[test]
    fn slots_that_are_not_written_give_back_what_others_need() {
        let backlog = backlog(64, 64, 16);
        let mut histories: Vec<History> = (0..16).map(|_| History::default()).collect();
        let write = |history: &mut History| {
            let seq = history.last().seq();
            history.push(after(seq), &backlog);
        };
        (0..100).for_each(|_| write(&mut histories[0]));
        let at_first = histories[0].bytes;
        for _ in 0..100 {
            histories[1..].iter_mut().for_each(write);
            histories
                .iter_mut()
                .for_each(|history| history.trim(&backlog));
        }
        assert!(histories[0].bytes < at_first / 4);
        assert!(histories.iter().all(|history| history.records.len() >= 3));
        assert!(!backlog.is_over());
    }

    #[test]
    fn a_record_that_is_larger_than_all_may_be_is_not_kept() {
        let (mut history, backlog) = (History::default(), backlog(2, 2, 1));
        history.push(after(0), &backlog);
        let mut large = after(1);
        large.effects = vec![0; 1000].into();
        history.push(large, &backlog);
        assert_eq!((history.bytes, backlog.used()), (0, 0));
        assert_eq!(history.last(), Version::new(Epoch(1), 2));
    }

    #[test]
    fn the_room_of_records_that_are_forgotten_is_given_back() {
        let (mut history, backlog) = (History::default(), backlog(1000, 1000, 100));
        (0..1000).for_each(|seq| history.push(after(seq), &backlog));
        let before = history.records.capacity();
        backlog.take(900 * after(0).size());
        history.trim(&backlog);
        assert!(history.records.capacity() < before / 4);
    }
}
