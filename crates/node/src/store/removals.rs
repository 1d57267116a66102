//! When watched keys were removed that were not there: an absence that ended and came back is told
//! from one that lasted, without a clock.
//!
//! A key that is there has the version of the record that wrote it, so nobody needs to remember
//! anything. Of a key that is not there, a slot remembers the newest removal, for a few keys that
//! are watched. Who asks about another key is told of the slot's newest removal: it may hear of a
//! change that was none, and never misses one.

use std::collections::VecDeque;

use cluster::Version;

use super::size_class::rounded;

/// Keys of a slot whose removals are remembered one by one.
const WATCHED_MAX: usize = 32;

/// The removals of one slot.
#[derive(Debug, Default)]
pub(super) struct Removals {
    /// The newest of any key.
    newest: Version,
    /// A copy came in: it does not say what was removed before it.
    copied: bool,
    watched: VecDeque<Watched>,
}

/// A key that somebody watches, by its hash: two that share one are taken for each other.
#[derive(Clone, Copy, Debug)]
struct Watched {
    hash: u64,
    /// Everything since this record is known.
    since: Version,
    removed: Version,
}

impl Removals {
    /// A record follows all that is here.
    #[inline]
    pub(super) fn follow(&mut self, version: Version) {
        if self.copied {
            self.copied = false;
            self.newest = self.newest.max(version);
        }
    }

    /// The record removes the key with this hash.
    #[inline]
    pub(super) fn note(&mut self, hash: u64, version: Version) {
        self.newest = self.newest.max(version);
        let same = self.watched.iter_mut().filter(|known| known.hash == hash);
        same.for_each(|known| known.removed = known.removed.max(version));
    }

    /// The record removes all keys.
    pub(super) fn note_all(&mut self, version: Version) {
        self.newest = self.newest.max(version);
        for known in &mut self.watched {
            known.removed = known.removed.max(version);
        }
    }

    /// A part of a copy took the place of records.
    pub(super) fn note_copy(&mut self) {
        self.copied = true;
        self.watched = VecDeque::new();
    }

    /// Remembers the removals of a key that is not there, from the record `newest` on.
    pub(super) fn watch(&mut self, hash: u64, newest: Version) {
        let watched = &mut self.watched;
        let known = watched.iter().position(|known| known.hash == hash);
        let known = known.and_then(|at| watched.remove(at));
        if watched.len() == WATCHED_MAX {
            watched.pop_front();
        }
        watched.push_back(known.unwrap_or(Watched {
            hash,
            since: newest,
            removed: Version::ZERO,
        }));
    }

    /// Whether the key may have been removed after this record.
    pub(super) fn any_after(&self, hash: u64, since: Version) -> bool {
        match self
            .watched
            .iter()
            .find(|known| known.hash == hash && known.since <= since)
        {
            Some(known) => known.removed > since,
            None => self.copied || self.newest > since,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        rounded(self.watched.capacity() * size_of::<Watched>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(number: u64) -> Version {
        Version::from_u64(number)
    }

    #[test]
    fn of_a_watched_key_each_removal_is_known_and_of_others_the_newest() {
        let mut removals = Removals::default();
        removals.note(7, version(3));
        removals.watch(7, version(4));
        removals.note(8, version(5));
        assert!(!removals.any_after(7, version(4)), "another key went");
        assert!(removals.any_after(9, version(4)), "nobody watched it");
        assert!(!removals.any_after(9, version(5)));
        removals.note(7, version(6));
        assert!(removals.any_after(7, version(4)));
        assert!(!removals.any_after(7, version(6)), "watched again later");
        removals.watch(7, version(6));
        assert!(
            removals.any_after(7, version(4)),
            "who watched before still hears of it"
        );
        removals.note_all(version(8));
        assert!(removals.any_after(7, version(6)));
    }

    #[test]
    fn a_key_that_fell_out_counts_as_any_other() {
        let mut removals = Removals::default();
        for hash in 0..=WATCHED_MAX as u64 {
            removals.watch(hash, version(1));
        }
        assert!(!removals.any_after(0, version(1)));
        removals.note(100, version(2));
        assert!(removals.any_after(0, version(1)), "it was the first");
        assert!(!removals.any_after(1, version(1)));
        assert!(removals.bytes() <= 2048, "{}", removals.bytes());
    }

    #[test]
    fn what_a_copy_does_not_say_may_have_happened() {
        let mut removals = Removals::default();
        removals.watch(7, version(4));
        removals.note_copy();
        assert!(removals.any_after(7, version(4)));
        removals.watch(7, version(4));
        assert!(!removals.any_after(7, version(4)), "watched after the copy");
        removals.follow(version(6));
        assert!(removals.any_after(8, version(5)) && !removals.any_after(8, version(6)));
    }
}
