//! Changes of in-sync sets on their way to the metadata group.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Driver, Waiting};
use crate::Slot;
use crate::metadata::{ChangeSlot, Entry};
use crate::replication::Table;

/// So many entries are under way at most. When the group is slow the primaries ask again for what
/// they do not see happen, and each time that comes to more; with a bound it does not.
const UNDER_WAY_MAX: usize = 8;

/// What was asked for and is not answered yet.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Of each slot the newest.
    waiting: BTreeMap<Slot, ChangeSlot>,
    under_way: usize,
}

impl Changes {
    pub(super) fn gather(&mut self, changes: Vec<ChangeSlot>) {
        let changes = changes.into_iter().map(|change| (change.slot, change));
        self.waiting.extend(changes);
    }

    /// The entries that go now.
    fn start(&mut self) -> Vec<Entry> {
        let mut entries = Vec::new();
        if self.waiting.is_empty() || self.under_way >= UNDER_WAY_MAX {
            return entries;
        }
        let waiting = std::mem::take(&mut self.waiting).into_values().collect();
        for entry in Entry::of_slots(Entry::Change, waiting) {
            match entry {
                Entry::Change(rest) if self.under_way >= UNDER_WAY_MAX => self.gather(rest),
                entry => {
                    self.under_way += 1;
                    entries.push(entry);
                }
            }
        }
        entries
    }
}

impl<T: Table, K: Waiting> Driver<T, K> {
    /// Sends the changes that have gathered. What becomes of them is seen in the placements; a
    /// primary that sees nothing proposes again.
    pub(super) fn propose_changes(self: &Arc<Self>) {
        let entries = self.changes.lock().start();
        for entry in entries {
            let proposed = self.metadata.propose(entry);
            let driver = Arc::clone(self);
            self.tasks.lock().spawn(async move {
                let _ = proposed.await;
                driver.changes.lock().under_way -= 1;
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::entry::SLOTS_MAX;
    use crate::{Epoch, SLOTS};

    fn changes(rev: u64) -> Vec<ChangeSlot> {
        let change = |slot| ChangeSlot {
            slot,
            epoch: Epoch::default(),
            rev,
            in_sync: Vec::new(),
            write_quorum: 1,
        };
        Slot::all().map(change).collect()
    }

    #[test]
    fn what_is_asked_for_again_and_again_is_under_way_once() {
        let mut asked = Changes::default();
        asked.gather(changes(1));
        let first = asked.start();
        assert_eq!(first.len(), UNDER_WAY_MAX);
        for rev in 2..10 {
            asked.gather(changes(rev));
            assert_eq!(asked.start(), []);
        }
        asked.under_way -= first.len();
        let Some(Entry::Change(slots)) = asked.start().into_iter().next() else {
            panic!("there is room again")
        };
        assert_eq!((slots.len(), slots[0].rev), (SLOTS_MAX, 9));
        assert_eq!(asked.waiting.len(), usize::from(SLOTS) - 8 * SLOTS_MAX);
    }
}
