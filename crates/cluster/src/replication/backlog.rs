//! How many bytes of records a member keeps for others that fall behind, over all its slots.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::settings::Settings;

/// The bytes of all slots' histories, and what one of them may take. The fuller it is, the less
/// each slot may keep, down to an equal share, so that there is always room for the slots that are
/// written now: the others give theirs back as the ticks come by.
pub(crate) struct Backlog {
    slot_bytes_max: usize,
    total_bytes_max: AtomicUsize,
    /// What the settings say of it.
    total_bytes_limit: usize,
    slots: usize,
    used: AtomicUsize,
}

impl Backlog {
    pub(crate) fn new(settings: &Settings, slots: u16) -> Backlog {
        Backlog {
            slot_bytes_max: settings.backlog_bytes_max,
            total_bytes_max: settings.backlog_total_bytes_max.into(),
            total_bytes_limit: settings.backlog_total_bytes_max,
            slots: slots.max(1).into(),
            used: AtomicUsize::new(0),
        }
    }

    /// The bytes of all histories.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn set_total_bytes_max(&self, bytes: usize) {
        let bytes = bytes.min(self.total_bytes_limit);
        self.total_bytes_max.store(bytes, Ordering::Relaxed);
    }

    fn total_bytes_max(&self) -> usize {
        self.total_bytes_max.load(Ordering::Relaxed)
    }

    /// Whether there is more than there may be at all.
    pub(crate) fn is_over(&self) -> bool {
        self.used() > self.total_bytes_max()
    }

    /// Whether it is so full that slots that are not written have to give something back.
    pub(crate) fn is_tight(&self) -> bool {
        self.used() > self.total_bytes_max() / 2
    }

    /// What one slot may keep now: as much of what it may keep at most as the whole has room left.
    pub(crate) fn slot_limit(&self) -> usize {
        let total = self.total_bytes_max();
        let of_total = |used: usize| {
            let part = self.slot_bytes_max as u128 * used as u128;
            // At most the slot's bytes, as no more than all is used.
            usize::try_from(part / total.max(1) as u128).unwrap_or(usize::MAX)
        };
        let room = self.slot_bytes_max - of_total(self.used().min(total));
        room.max(total / self.slots).min(self.slot_bytes_max)
    }

    pub(crate) fn take(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        let used = self.used.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(used >= bytes, "only what was taken is given back");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backlog(slot: usize, total: usize, slots: u16) -> Backlog {
        let settings = Settings {
            backlog_bytes_max: slot,
            backlog_total_bytes_max: total,
            ..Settings::default()
        };
        Backlog::new(&settings, slots)
    }

    #[test]
    fn the_limit_of_a_slot_falls_from_its_own_to_an_equal_share() {
        let backlog = backlog(1000, 4000, 16);
        assert_eq!(backlog.slot_limit(), 1000);
        backlog.take(2000);
        assert_eq!(backlog.slot_limit(), 500);
        assert!(!backlog.is_tight());
        backlog.take(2000);
        assert_eq!(backlog.slot_limit(), 250);
        assert!(backlog.is_tight() && !backlog.is_over());
        backlog.take(1);
        assert_eq!(backlog.slot_limit(), 250);
        assert!(backlog.is_over());
        backlog.give_back(4001);
        assert_eq!(backlog.slot_limit(), 1000);
    }

    #[test]
    fn a_share_is_never_more_than_a_slot_may_keep() {
        let backlog = backlog(100, usize::MAX, 1);
        assert_eq!(backlog.slot_limit(), 100);
        backlog.take(1 << 40);
        assert_eq!(backlog.slot_limit(), 100);
    }
}
