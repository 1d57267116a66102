//! Which keys were removed by records that are not committed yet: an absence has a version too.

use std::collections::VecDeque;

use cluster::Version;
use hashbrown::HashTable;

use super::size_class::rounded;

/// The absences of one slot. Keys are told apart by their hashes alone: two that share one make a
/// reply wait for a record that it need not wait for, and nothing worse.
#[derive(Debug, Default)]
pub(super) struct Absences {
    by_hash: HashTable<(u64, Version)>,
    /// The same, oldest first; one that a later removal replaced is still there.
    order: VecDeque<(u64, Version)>,
    /// When all keys were removed at once.
    cleared: Version,
}

impl Absences {
    /// A record removes the key with this hash. Versions come in order.
    pub(super) fn note(&mut self, hash: u64, version: Version) {
        match self.by_hash.find_mut(hash, |&(other, _)| other == hash) {
            Some(known) => known.1 = version,
            None => {
                self.by_hash
                    .insert_unique(hash, (hash, version), |&(other, _)| other);
            }
        }
        self.order.push_back((hash, version));
    }

    /// A record removes all keys.
    pub(super) fn note_clear(&mut self, version: Version) {
        self.cleared = version;
    }

    /// The record that removed the key, if it is not known to be committed.
    pub(super) fn version_of(&self, hash: u64) -> Version {
        let known = self.by_hash.find(hash, |&(other, _)| other == hash);
        known.map_or(self.cleared, |&(_, version)| version.max(self.cleared))
    }

    /// Forgets what is committed.
    pub(super) fn committed(&mut self, version: Version) {
        if self.cleared <= version {
            self.cleared = Version::ZERO;
        }
        while let Some(&(hash, noted)) = self.order.front() {
            if noted > version {
                break;
            }
            self.order.pop_front();
            if let Ok(known) = self
                .by_hash
                .find_entry(hash, |&known| known == (hash, noted))
            {
                known.remove();
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty() && self.cleared == Version::ZERO
    }

    pub(super) fn bytes(&self) -> usize {
        rounded(size_of::<Absences>())
            + rounded(self.by_hash.allocation_size())
            + rounded(self.order.capacity() * size_of::<(u64, Version)>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absence_is_known_until_its_record_is_committed() {
        let version = Version::from_u64;
        let mut absences = Absences::default();
        absences.note(7, version(1));
        absences.note(8, version(2));
        absences.note(7, version(3));
        assert_eq!(absences.version_of(7), version(3));
        absences.committed(version(2));
        assert_eq!(absences.version_of(7), version(3), "removed again later");
        assert_eq!(absences.version_of(8), Version::ZERO);
        absences.note_clear(version(4));
        assert_eq!(absences.version_of(9), version(4));
        absences.committed(version(3));
        assert!(!absences.is_empty());
        absences.committed(version(4));
        assert!(absences.is_empty());
    }
}
