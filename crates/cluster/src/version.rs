//! The order of a slot's records: `epoch:24 | seq:40` in one number.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Orders the primaries of a slot. The epoch in which a sender acts is the *term* of its messages.
/// Stays below 2^23, so that a [`Version`] is a positive `i64` in a database.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u32);

impl Epoch {
    /// No epoch may reach this.
    pub const LIMIT: Epoch = Epoch(1 << 23);

    /// The next epoch.
    ///
    /// # Panics
    /// At [`Epoch::LIMIT`]: eight million changes of primary of one slot.
    #[must_use]
    pub fn next(self) -> Epoch {
        let next = Epoch(self.0 + 1);
        assert!(next < Epoch::LIMIT, "a slot has used up its epochs");
        next
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}", self.0)
    }
}

/// The position of a record in a slot's history. [`Version::ZERO`] is the state before any record.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version(u64);

impl Version {
    /// Before the first record.
    pub const ZERO: Version = Version(0);
    /// The greatest sequence number of an epoch.
    pub const SEQ_MAX: u64 = (1 << 40) - 1;

    /// The record `seq` of `epoch`.
    ///
    /// # Panics
    /// If either is out of its range.
    #[must_use]
    pub fn new(epoch: Epoch, seq: u64) -> Version {
        assert!(epoch < Epoch::LIMIT && seq <= Version::SEQ_MAX);
        Version((u64::from(epoch.0) << 40) | seq)
    }

    /// The version with this number, as [`Version::as_u64`] gave it.
    #[must_use]
    pub const fn from_u64(number: u64) -> Version {
        Version(number)
    }

    /// The version as one number that orders as versions do.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The epoch of the primary that made the record.
    #[must_use]
    pub fn epoch(self) -> Epoch {
        Epoch((self.0 >> 40) as u32)
    }

    /// The number within the epoch; the first record has 1.
    #[must_use]
    pub fn seq(self) -> u64 {
        self.0 & Version::SEQ_MAX
    }

    /// The version of the next record that the primary of `epoch` makes after this one, or `None`
    /// if the epoch has no number left and a new epoch is needed.
    #[must_use]
    pub fn next(self, epoch: Epoch) -> Option<Version> {
        assert!(
            self.epoch() <= epoch,
            "a primary of {epoch:?} follows {self:?}"
        );
        let seq = if self.epoch() == epoch {
            self.seq() + 1
        } else {
            1
        };
        (seq <= Version::SEQ_MAX).then(|| Version::new(epoch, seq))
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({},{})", self.epoch().0, self.seq())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_epoch_beats_any_seq() {
        let old = Version::new(Epoch(1), 900);
        let new = Version::new(Epoch(2), 1);
        assert!(new > old);
        assert_eq!(old.next(Epoch(2)), Some(new));
        assert_eq!(new.next(Epoch(2)), Some(Version::new(Epoch(2), 2)));
        assert_eq!((new.epoch(), new.seq()), (Epoch(2), 1));
    }

    #[test]
    fn an_epoch_ends_when_its_numbers_are_used_up() {
        assert_eq!(
            Version::new(Epoch(3), Version::SEQ_MAX).next(Epoch(3)),
            None
        );
    }
}
