//! Values as a whole, of whatever kind, and how much of them one record can carry.

use super::{Entry, Kind, Mark, Tx};

/// A value of any kind, with its time of expiry, apart from its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    kind: Kind,
    /// As effects carry it.
    value: Vec<u8>,
    expires_at: Option<u64>,
}

impl Whole {
    /// How much of a record it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.value.len()
    }
}

impl Tx<'_> {
    /// The key's value. Counts as a use of it.
    pub(crate) fn whole(&mut self, key: &[u8]) -> Option<Whole> {
        let found = self.live(key)?;
        self.use_entry(found);
        let entry = self.at(found, key);
        Some(Whole {
            kind: entry.kind(),
            value: entry.encoded().into_owned(),
            expires_at: entry.expires_at(),
        })
    }

    /// Gives a key this value, whatever it held.
    pub(crate) fn put_whole(&mut self, key: &[u8], whole: &Whole) {
        let Whole {
            kind,
            value,
            expires_at,
        } = whole;
        self.put(key, *kind, value, *expires_at, Mark::None);
    }

    /// The entry of a key that a plain command sees. Does not count as a use.
    pub(crate) fn entry(&mut self, key: &[u8]) -> Option<&Entry> {
        let found = self.live(key)?;
        Some(self.at(found, key))
    }

    /// So many bytes of the record are for what other commands of it bring along.
    pub(crate) fn reserve(&mut self, bytes: usize) {
        self.reserved = bytes;
    }

    /// Whether the record can carry so many bytes more than the words of its commands have. There
    /// is always room for one value.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let effects = self.effects.as_bytes().len();
        effects == 0 || effects + self.reserved + bytes <= self.table.record_bytes_max()
    }
}
