//! How much data there may be, and how much there is.
//!
//! `maxmemory` is of the whole process. What of it is not for data (buffers of clients, records for
//! other members, what the process is made of) is *elsewhere*; somebody who can measure it says how
//! much that is. A command reserves what it will take before it takes it, so that several threads
//! together never take more than there is.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The bytes of all slots of a node, and their limit.
#[derive(Debug, Default)]
pub struct Budget {
    used: AtomicUsize,
    reserved: AtomicUsize,
    maxmemory: AtomicUsize,
    elsewhere: AtomicUsize,
}

/// Bytes that somebody is about to take; given back when it is dropped.
#[derive(Debug)]
pub struct Reserved<'a> {
    budget: &'a Budget,
    bytes: usize,
}

impl Budget {
    /// What all slots take.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// The limit of the process; 0 is none.
    #[must_use]
    pub fn maxmemory_bytes(&self) -> usize {
        self.maxmemory.load(Relaxed)
    }

    /// Sets the limit; 0 is none.
    pub fn set_maxmemory_bytes(&self, bytes: usize) {
        self.maxmemory.store(bytes, Relaxed);
    }

    /// What of the limit is not for data.
    #[must_use]
    pub fn elsewhere_bytes(&self) -> usize {
        self.elsewhere.load(Relaxed)
    }

    /// Says what of the limit is not for data.
    pub fn set_elsewhere_bytes(&self, bytes: usize) {
        self.elsewhere.store(bytes, Relaxed);
    }

    /// What the data may take; none without a limit.
    #[must_use]
    pub fn data_bytes_max(&self) -> Option<usize> {
        match self.maxmemory_bytes() {
            0 => None,
            limit => Some(limit.saturating_sub(self.elsewhere_bytes())),
        }
    }

    /// How much must go so that `more` bytes would be within the limit.
    #[must_use]
    pub fn lacking_bytes(&self, more: usize) -> usize {
        let Some(limit) = self.data_bytes_max() else {
            return 0;
        };
        let taken = self
            .used_bytes()
            .saturating_add(self.reserved.load(Relaxed));
        taken.saturating_add(more).saturating_sub(limit)
    }

    /// Sets `bytes` aside for somebody who is about to take them, if they are there.
    #[must_use]
    pub fn reserve(&self, bytes: usize) -> Option<Reserved<'_>> {
        let reserved = self.set_aside(bytes);
        // What others reserve at the same moment is counted on both sides: rather too much.
        (self.lacking_bytes(0) == 0).then_some(reserved)
    }

    /// As [`Budget::reserve`], whether they are there or not.
    #[must_use]
    pub fn set_aside(&self, bytes: usize) -> Reserved<'_> {
        self.reserved.fetch_add(bytes, Relaxed);
        Reserved {
            budget: self,
            bytes,
        }
    }

    /// Something that took `before` bytes takes `after` now.
    pub(super) fn adjust(&self, before: usize, after: usize) {
        if after >= before {
            self.used.fetch_add(after - before, Relaxed);
        } else {
            self.used.fetch_sub(before - after, Relaxed);
        }
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.budget.reserved.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_is_not_given_twice() {
        let budget = Budget::default();
        assert!(
            budget.reserve(usize::MAX / 2).is_some(),
            "there is no limit"
        );
        budget.set_maxmemory_bytes(1_000);
        budget.set_elsewhere_bytes(300);
        budget.adjust(0, 400);
        assert_eq!(budget.data_bytes_max(), Some(700));
        let first = budget.reserve(200);
        assert!(first.is_some() && budget.reserve(101).is_none());
        assert_eq!(
            (budget.lacking_bytes(100), budget.lacking_bytes(101)),
            (0, 1)
        );
        drop(first);
        assert!(budget.reserve(300).is_some());
        budget.set_maxmemory_bytes(200);
        assert_eq!(budget.lacking_bytes(0), 400, "less than what is elsewhere");
    }
}
