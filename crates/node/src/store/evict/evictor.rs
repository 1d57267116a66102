//! Makes room: samples slots, keeps the best candidates, removes the best of them.

use cluster::{SLOTS, Slot};

use crate::store::Store;
use crate::store::led::LedSlots;

/// How many candidates are kept from one sample to the next. They make the choice nearly as good as
/// one among all entries.
const POOL_MAX: usize = 16;
/// How many entries are looked at for one removal, of as many slots as that takes.
const SAMPLED_MIN: usize = 10;
/// Slots that are tried for one removal: a node may lead few of them, and most may be empty.
const SLOTS_TRIED_MAX: usize = 64;

/// Removes entries by the store's policy, one by one.
#[derive(Debug)]
pub struct Evictor {
    /// The best candidate comes last.
    pool: Vec<Candidate>,
    random: u64,
    /// Where slots with entries were found last: tried again when chance finds none.
    fallback: u16,
}

#[derive(Debug)]
struct Candidate {
    rank: u32,
    slot: Slot,
    key: Box<[u8]>,
}

impl Evictor {
    /// An evictor of its own luck.
    #[must_use]
    pub fn new(seed: u64) -> Evictor {
        Evictor {
            pool: Vec::with_capacity(POOL_MAX + 1),
            random: seed | 1,
            fallback: 0,
        }
    }

    /// Removes entries until the store is within its limit, or `removals_max` went, or no more can
    /// be found. Returns whether the store is within its limit. Each removal is a record.
    pub fn step(&mut self, store: &Store, slots: &impl LedSlots, removals_max: usize) -> bool {
        for _ in 0..removals_max {
            if !store.is_over_limit() {
                return true;
            }
            if !store.policy().evicts() || !self.remove_one(store, slots) {
                break;
            }
        }
        !store.is_over_limit()
    }

    /// Removes up to so many entries of these slots, whatever this store's limit is. Returns how
    /// many there were.
    pub fn evict(&mut self, store: &Store, slots: &impl LedSlots, removals: usize) -> usize {
        if !store.policy().evicts() {
            return 0;
        }
        (0..removals)
            .take_while(|_| self.remove_one(store, slots))
            .count()
    }

    fn remove_one(&mut self, store: &Store, slots: &impl LedSlots) -> bool {
        self.fill(store, slots);
        while let Some(Candidate { slot, key, .. }) = self.pool.pop() {
            // It may be gone, dirty by now, or in a slot that another node leads.
            if slots.change(slot, |tx| tx.evict(&key)) == Some(true) {
                return true;
            }
        }
        false
    }

    /// Takes samples of slots until enough entries were looked at.
    fn fill(&mut self, store: &Store, slots: &impl LedSlots) {
        let mut sampled = 0;
        for _ in 0..SLOTS_TRIED_MAX {
            let slot = (self.next_random() >> 32) as u16 % SLOTS;
            sampled += self.sample(store, slots, slot);
            if sampled >= SAMPLED_MIN {
                return;
            }
        }
        // Few slots hold anything: go round them all.
        for _ in 0..SLOTS {
            if sampled > 0 {
                return;
            }
            self.fallback = (self.fallback + 1) % SLOTS;
            sampled += self.sample(store, slots, self.fallback);
        }
    }

    /// Puts the best of a sample of a slot into the pool. Returns how many could go at all.
    fn sample(&mut self, store: &Store, slots: &impl LedSlots, slot: u16) -> usize {
        let slot = Slot::new(slot).expect("slots are drawn below their number");
        let (policy, clock) = (store.policy(), store.clock());
        let random = self.next_random();
        let mut sampled = 0;
        slots.look(slot, |table| {
            policy.candidates(table, random, &mut |entry| {
                if !entry.mark().is_held() {
                    sampled += 1;
                    self.offer(policy.rank(entry, clock), slot, entry.key());
                }
            });
        });
        sampled
    }

    fn offer(&mut self, rank: u32, slot: Slot, key: &[u8]) {
        let full = self.pool.len() >= POOL_MAX;
        if full && self.pool.first().is_some_and(|worst| worst.rank >= rank) {
            return;
        }
        if self
            .pool
            .iter()
            .any(|known| known.slot == slot && *known.key == *key)
        {
            return;
        }
        if full {
            self.pool.remove(0);
        }
        let place = self.pool.partition_point(|known| known.rank <= rank);
        self.pool.insert(
            place,
            Candidate {
                rank,
                slot,
                key: key.into(),
            },
        );
    }

    /// Chance that need not be good, and must not cost anything (xorshift).
    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::Lent;
    use crate::store::tx::Expiry;
    use crate::store::{Kind, Mark};

    const KEYS: u32 = 20_000;

    /// As many keys, each used one clock unit after the one before.
    fn filled(policy: &str) -> Lent {
        let mut slots = Lent::new(0);
        assert!(slots.store.set_policy(policy));
        for key in 0..KEYS {
            slots.store.tick(u64::from(key) * 256);
            slots.set(&key.to_be_bytes(), &[0; 100], Expiry::Never);
        }
        slots
    }

    #[test]
    fn the_oldest_go_until_the_limit_is_kept() {
        let mut slots = filled("allkeys-lru");
        // The first keys are used again, so they are not the oldest any more.
        for key in 0..1_000_u32 {
            assert!(slots.touch(&key.to_be_bytes()));
        }
        let limit = slots.store.used_bytes() / 2;
        slots.store.set_maxmemory_bytes(limit);
        let mut evictor = Evictor::new(42);
        let mut steps = 1;
        while !evictor.step(&slots.store, &slots, 100) {
            steps += 1;
        }
        assert!(steps > 50, "in bounded steps: {steps}");
        assert!(slots.store.used_bytes() <= limit);
        let left =
            |keys: std::ops::Range<u32>| keys.filter(|key| slots.holds(&key.to_be_bytes())).count();
        assert!(left(0..1_000) > 950, "what was used again stays");
        assert!(
            left(1_000..5_000) < 400,
            "the oldest went, but for {}",
            left(1_000..5_000)
        );
        assert!(left(16_000..KEYS) > 3_700, "the newest stay");
    }

    #[test]
    fn for_others_entries_go_below_the_limit_too() {
        let slots = filled("allkeys-lru");
        assert_eq!(Evictor::new(3).evict(&slots.store, &slots, 50), 50);
        assert_eq!(slots.keys(), KEYS as usize - 50);
        assert!(slots.store.set_policy("noeviction"));
        assert_eq!(Evictor::new(3).evict(&slots.store, &slots, 50), 0);
    }

    #[test]
    fn without_eviction_nothing_goes() {
        let slots = filled("noeviction");
        slots.store.set_maxmemory_bytes(1);
        assert!(!Evictor::new(1).step(&slots.store, &slots, 100));
        assert_eq!(slots.keys(), KEYS as usize);
        slots.store.set_maxmemory_bytes(0);
        assert!(Evictor::new(1).step(&slots.store, &slots, 100));
    }

    #[test]
    fn what_the_database_lacks_is_never_chosen() {
        let mut slots = Lent::new(0);
        assert!(slots.store.set_policy("allkeys-lru"));
        let doubt = Mark::InDoubt {
            definition: 1,
            stamp: cluster::Version::ZERO,
        };
        for key in 0..200_u32 {
            let mark = if key % 2 == 0 {
                Mark::Dirty { definition: 1 }
            } else {
                doubt
            };
            slots.put(&key.to_be_bytes(), Kind::String, b"v", mark);
        }
        let clean = Mark::Clean {
            definition: 1,
            fresh_until: 9,
        };
        slots.put(b"clean", Kind::Absent, b"", clean);
        slots.store.set_maxmemory_bytes(1);
        let mut evictor = Evictor::new(7);
        for _ in 0..20 {
            assert!(!evictor.step(&slots.store, &slots, 100));
        }
        assert!(!slots.holds(b"clean"));
        assert_eq!(slots.keys(), 200);
    }
}
