//! The slots that a node leads, as those see them who expire and evict. Whoever holds the locks of
//! the slots lends them.

use cluster::Slot;

use super::slot::SlotTable;
use super::tx::Tx;

/// Lends slots one at a time, each under its lock. A slot that this node does not lead, or may not
/// write to at the moment, is not lent.
pub trait LedSlots {
    /// Shows the table of a slot.
    fn look<R>(&self, slot: Slot, look: impl FnOnce(&SlotTable) -> R) -> Option<R>;

    /// Lets a slot be changed; what happens to it is a record that nobody waits for.
    fn change<R>(&self, slot: Slot, change: impl FnOnce(&mut Tx<'_>) -> R) -> Option<R>;
}
