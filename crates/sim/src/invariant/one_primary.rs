//! In each epoch of a slot one member at most becomes its active primary.

use std::collections::BTreeMap;

use cluster::{Epoch, Member};

/// Who led a slot when.
#[derive(Debug, Default)]
pub(super) struct OnePrimary {
    active: BTreeMap<Epoch, Member>,
}

impl OnePrimary {
    pub(super) fn active(&mut self, epoch: Epoch, member: Member) -> Result<(), String> {
        let known = *self.active.entry(epoch).or_insert(member);
        if known == member {
            Ok(())
        } else {
            Err(format!("{known:?} led in {epoch:?} already"))
        }
    }
}
