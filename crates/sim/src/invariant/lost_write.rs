//! No acknowledged write is lost: what was ever committed lies on one line of records, and whoever
//! begins to lead a slot holds all of it.

use std::collections::BTreeMap;

use cluster::{Epoch, Slot, Version};

/// The records of one slot as they were made, and how far they are committed.
#[derive(Debug, Default)]
pub(super) struct Line {
    prev: BTreeMap<Version, Version>,
    committed: Version,
}

impl Line {
    pub(super) fn wrote(&mut self, slot: Slot, prev: Version, next: Version) -> Result<(), String> {
        match self.prev.insert(next, prev) {
            None => Ok(()),
            Some(_) => Err(format!("{slot:?}: {next:?} is written twice")),
        }
    }

    /// Somebody takes this version for committed.
    pub(super) fn committed(&mut self, slot: Slot, version: Version) -> Result<(), String> {
        let (older, newer) = if version < self.committed {
            (version, self.committed)
        } else {
            (self.committed, version)
        };
        if !self.is_before(older, newer) {
            return Err(format!(
                "{slot:?}: {older:?} and {newer:?} are both committed, on two lines"
            ));
        }
        self.committed = newer;
        Ok(())
    }

    /// Somebody begins to lead in this epoch, with this version: it holds what was committed in the
    /// epochs before. The epoch may be an old one, at a member that hears of it late.
    pub(super) fn begins(&self, slot: Slot, epoch: Epoch, last: Version) -> Result<(), String> {
        let mut before = self.committed;
        while before.epoch() >= epoch {
            match self.prev.get(&before) {
                Some(prev) => before = *prev,
                None => break,
            }
        }
        if self.is_before(before, last) {
            return Ok(());
        }
        Err(format!(
            "{slot:?}: {epoch:?} begins at {last:?} without {before:?}"
        ))
    }

    /// Whether a record is the other one, or in its past.
    pub(super) fn is_before(&self, older: Version, newer: Version) -> bool {
        let mut at = newer;
        while at > older {
            match self.prev.get(&at) {
                Some(prev) => at = *prev,
                None => return false,
            }
        }
        at == older
    }
}
