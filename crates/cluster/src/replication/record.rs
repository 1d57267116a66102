//! A record, and the stretch of a slot's history that a member keeps.

use std::collections::VecDeque;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

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
    bytes: usize,
}

impl History {
    /// Starts again from a state whose past is not known.
    pub(crate) fn reset(&mut self, floor: Version) {
        *self = History {
            floor,
            ..History::default()
        };
    }

    /// Adds the newest record and forgets the oldest ones while there are more than `bytes_max`.
    pub(crate) fn push(&mut self, record: Record, bytes_max: usize) {
        assert_eq!(
            record.prev,
            self.last(),
            "a record follows the one before it"
        );
        assert!(record.version > record.prev);
        self.bytes += record.size();
        self.records.push_back(record);
        while self.bytes > bytes_max {
            let Some(oldest) = self.records.pop_front() else {
                break;
            };
            self.bytes -= oldest.size();
            self.floor = oldest.version;
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

    fn record(prev: (u32, u64), version: (u32, u64)) -> Record {
        let at = |(epoch, seq)| Version::new(Epoch(epoch), seq);
        Record {
            prev: at(prev),
            version: at(version),
            effects: Bytes::from_static(b"effect"),
        }
    }

    #[test]
    fn a_version_between_two_records_is_not_in_the_history() {
        let mut history = History::default();
        history.push(record((0, 0), (1, 1)), usize::MAX);
        history.push(record((1, 1), (2, 1)), usize::MAX);
        let after = |version| history.after(version, true).map(Iterator::count);
        assert_eq!(after(Version::ZERO), Some(2));
        assert_eq!(after(Version::new(Epoch(1), 1)), Some(1));
        assert_eq!(after(Version::new(Epoch(2), 1)), Some(0));
        assert_eq!(after(Version::new(Epoch(1), 2)), None);
    }

    #[test]
    fn what_is_forgotten_raises_the_floor() {
        let mut history = History::default();
        let size = record((0, 0), (1, 1)).size();
        for seq in 0..10 {
            history.push(record((u32::from(seq > 0), seq), (1, seq + 1)), 3 * size);
        }
        assert_eq!(history.bytes, 3 * size);
        assert!(history.after(Version::new(Epoch(1), 6), true).is_none());
        assert_eq!(
            history
                .after(Version::new(Epoch(1), 7), true)
                .map(Iterator::count),
            Some(3)
        );
    }
}
