//! Active expiry: entries go when they are due, though nobody asks for them.
//!
//! It goes round all slots in small steps. Each segment of a table knows a moment before which none
//! of its entries is due, so that a round over what is not due costs next to nothing. Removals are
//! records like any other: only the primary expires.

use cluster::{SLOTS, Slot};

use super::led::LedSlots;

/// How many entries are looked at under one lock.
const ENTRIES_PER_LOCK: usize = 256;

/// Where active expiry is on its way round the slots.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expiry {
    slot: u16,
    position: u64,
}

impl Expiry {
    /// Goes on where it stopped, until about `budget` entries or segments were looked at, or all
    /// slots were passed. Returns whether that was the end of a round.
    pub fn step(&mut self, slots: &impl LedSlots, mut budget: usize) -> bool {
        while budget > 0 {
            let Some(slot) = Slot::new(self.slot) else {
                break;
            };
            let mut under_lock = budget.min(ENTRIES_PER_LOCK);
            let given = under_lock;
            let position = self.position;
            let next = if slots.look(slot, |table| table.may_expire()) == Some(true) {
                slots
                    .change(slot, |tx| tx.expire_due(position, &mut under_lock))
                    .flatten()
            } else {
                None
            };
            // A slot without anything costs a lock all the same.
            budget = budget.saturating_sub((given - under_lock).max(1));
            match next {
                Some(position) => self.position = position,
                None => {
                    *self = Expiry {
                        slot: self.slot + 1,
                        position: 0,
                    }
                }
            }
        }
        let round = self.slot >= SLOTS;
        if round {
            *self = Expiry::default();
        }
        round
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::Lent;
    use crate::store::tx;

    #[test]
    fn every_slot_is_visited_in_bounded_steps() {
        let mut slots = Lent::new(1_000);
        for key in 0..20_000_u32 {
            let expiry = match key % 2 {
                0 => tx::Expiry::At(500),
                _ => tx::Expiry::At(5_000),
            };
            slots.set(&key.to_be_bytes(), b"", expiry);
        }
        let mut expiry = Expiry::default();
        let mut steps = 1;
        while !expiry.step(&slots, 1_000) {
            steps += 1;
        }
        assert!(
            steps > 16,
            "{steps} steps for 16,384 slots and 20,000 entries"
        );
        assert_eq!(slots.keys(), 10_000);
        slots.now_unix_ms = 6_000;
        assert!(!expiry.step(&slots, 100), "a new round begins");
        assert!(slots.keys() > 9_000);
        while !expiry.step(&slots, 1_000) {}
        assert_eq!(slots.keys(), 0);
    }
}
