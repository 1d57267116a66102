//! Makes room: samples slots, keeps the best candidates, removes the best of them.

use cluster::{SLOTS, Slot};

use super::{Policy, Scope};
use crate::store::Store;
use crate::store::led::LedSlots;

/// How many candidates are kept from one sample to the next. They make the choice nearly as good as
/// one among all entries.
const POOL_MAX: usize = 16;
/// Slots that are compared for one removal, if each has as many entries as a sample of it.
const SLOTS_SAMPLED: usize = 2;
/// Slots that are tried for one removal: a node may lead few of them, and most may be empty.
const SLOTS_TRIED_MAX: usize = 64;
/// Samples that are taken of one slot where what may go is rare in it: each passes many segments.
const SAMPLES_OF_SLOT_MAX: usize = 1024;
/// Samples that are taken for one removal where few slots hold anything that may go.
const LOOKS_MAX: usize = 2 * SLOTS as usize;

/// For whose sake entries go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// This node's memory is full.
    Own,
    /// That of another member is, which holds the same slots.
    Others,
}

impl Reason {
    /// Both.
    pub const ALL: [Reason; 2] = [Reason::Own, Reason::Others];

    /// The label of its metric.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Reason::Own => "own",
            Reason::Others => "others",
        }
    }
}

/// Removes entries by the store's policy, one by one.
#[derive(Debug)]
pub struct Evictor {
    /// The best candidate comes last.
    pool: Vec<Candidate>,
    /// The policy by which the candidates were ranked.
    policy: &'static str,
    reason: Reason,
    random: u64,
    /// Where slots with entries were found last: tried again when chance finds none.
    fallback: u16,
}

#[derive(Debug)]
struct Candidate {
    rank: u64,
    slot: Slot,
    key: Box<[u8]>,
}

impl Evictor {
    /// An evictor of its own luck.
    #[must_use]
    pub fn new(seed: u64, reason: Reason) -> Evictor {
        Evictor {
            pool: Vec::with_capacity(POOL_MAX + 1),
            policy: "",
            reason,
            random: seed | 1,
            fallback: 0,
        }
    }

    /// Removes entries until it is `enough`, which is asked with what the removed ones took, or
    /// `removals_max` went, or no more can be found. Returns whether it is enough. Each removal is
    /// a record.
    pub fn step(
        &mut self,
        store: &Store,
        slots: &impl LedSlots,
        removals_max: usize,
        mut enough: impl FnMut(usize) -> bool,
    ) -> bool {
        let policy = store.policy();
        if self.policy != policy.name() {
            self.policy = policy.name();
            self.pool.clear();
        }
        let mut freed = 0;
        for _ in 0..removals_max {
            if enough(freed) {
                return true;
            }
            let removed = policy.evicts().then(|| self.remove_one(store, slots));
            match removed.flatten() {
                Some(bytes) => freed += bytes,
                None => return false,
            }
        }
        enough(freed)
    }

    fn remove_one(&mut self, store: &Store, slots: &impl LedSlots) -> Option<usize> {
        let (policy, reason) = (store.policy(), self.reason);
        self.fill(store, slots);
        while let Some(Candidate { slot, key, rank }) = self.pool.pop() {
            // It may be gone, dirty by now, in a slot that another node leads, or used since.
            let still = |entry: &_, access| {
                policy.scope().includes(entry)
                    && policy.rank(entry, access, store.conditions()) >= rank
            };
            let removed = slots.change(slot, |tx| tx.evict(&key, reason, still));
            if let Some(bytes) = removed.flatten() {
                return Some(bytes);
            }
            if self.pool.is_empty() {
                self.fill(store, slots);
            }
        }
        None
    }

    /// Takes samples of slots until enough entries were looked at.
    fn fill(&mut self, store: &Store, slots: &impl LedSlots) {
        let policy = store.policy();
        let count = store.conditions().samples() as usize;
        let mut sampled = 0;
        for _ in 0..SLOTS_TRIED_MAX {
            if sampled >= SLOTS_SAMPLED * count {
                return;
            }
            let slot = (self.next_random() >> 32) as u16 % SLOTS;
            let random = self.next_random();
            let seen = self.sample(store, slots, (slot, random), policy, count);
            sampled += seen.map_or(0, |seen| seen.offered);
        }
        if sampled > 0 || !self.pool.is_empty() {
            return;
        }
        // Few slots hold anything that may go: go round them all, from the last one that did.
        let (mut position, mut of_slot, mut passed) = (self.next_random(), 0, 0);
        for _ in 0..LOOKS_MAX {
            let at = (self.fallback, position);
            match self.sample(store, slots, at, policy, count) {
                Some(seen) if seen.offered > 0 => return,
                Some(seen) if seen.may_have_more && of_slot < SAMPLES_OF_SLOT_MAX => {
                    position = seen.next;
                    of_slot += 1;
                    continue;
                }
                _ => {}
            }
            self.fallback = (self.fallback + 1) % SLOTS;
            (of_slot, passed) = (0, passed + 1);
            if passed == SLOTS {
                return;
            }
        }
    }

    /// Puts the best of a sample of a slot into the pool. None if the slot is not lent.
    fn sample(
        &mut self,
        store: &Store,
        slots: &impl LedSlots,
        (slot, random): (u16, u64),
        policy: &dyn Policy,
        count: usize,
    ) -> Option<Seen> {
        let slot = Slot::new(slot).expect("slots are drawn below their number");
        let now = store.conditions();
        slots.look(slot, |table| {
            let tally = table.tally();
            let held = tally.dirty + tally.in_doubt;
            let any = match policy.scope() {
                Scope::All => tally.entries > held,
                Scope::Expiring => tally.expiring > 0,
            };
            let mut seen = Seen {
                offered: 0,
                next: random,
                may_have_more: any,
            };
            if any {
                seen.next = policy.candidates(table, random, count, &mut |entry, access| {
                    if !entry.mark().is_held() {
                        seen.offered += 1;
                        self.offer(policy.rank(entry, access, now), slot, entry.key());
                    }
                });
            }
            seen
        })
    }

    fn offer(&mut self, rank: u64, slot: Slot, key: &[u8]) {
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

/// What a sample of a slot saw.
struct Seen {
    offered: usize,
    /// Where another one may go on.
    next: u64,
    may_have_more: bool,
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
        let mut evictor = Evictor::new(42, Reason::Own);
        let mut steps = 1;
        while !step(&mut evictor, &slots) {
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

    /// Up to a hundred removals, until the data is within its limit.
    fn step(evictor: &mut Evictor, slots: &Lent) -> bool {
        evictor.step(&slots.store, slots, 100, |_| !slots.store.is_over_limit())
    }

    #[test]
    fn entries_go_below_the_limit_too_if_that_is_asked() {
        let slots = filled("allkeys-lru");
        let mut relief = Evictor::new(3, Reason::Others);
        assert!(relief.step(&slots.store, &slots, 100, |freed| freed >= 128 * 50));
        assert_eq!(slots.keys(), KEYS as usize - 50);
        let evicted: Vec<_> = slots
            .store
            .evicted()
            .filter(|(.., count)| *count > 0)
            .collect();
        assert_eq!(evicted, [("allkeys-lru", Reason::Others, 50)]);
        assert!(slots.store.set_policy("noeviction"));
        assert!(!relief.step(&slots.store, &slots, 100, |freed| freed > 0));
    }

    #[test]
    fn without_eviction_nothing_goes() {
        let slots = filled("noeviction");
        slots.store.set_maxmemory_bytes(1);
        let mut evictor = Evictor::new(1, Reason::Own);
        assert!(!step(&mut evictor, &slots));
        assert_eq!(slots.keys(), KEYS as usize);
        slots.store.set_maxmemory_bytes(0);
        assert!(step(&mut evictor, &slots));
    }

    /// Which tenth of the keys, in the order in which they came, keeps how many of its 2,000 when
    /// half of the memory is taken away.
    fn left_of_tenths(slots: &Lent) -> Vec<usize> {
        slots
            .store
            .set_maxmemory_bytes(slots.store.used_bytes() / 2);
        let mut evictor = Evictor::new(9, Reason::Own);
        while !step(&mut evictor, slots) {}
        let left = |tenth: u32| {
            let keys = tenth * KEYS / 10..(tenth + 1) * KEYS / 10;
            keys.filter(|key| slots.holds(&key.to_be_bytes())).count()
        };
        (0..10).map(left).collect()
    }

    #[test]
    fn fifo_goes_by_age_whatever_is_used() {
        let mut slots = filled("allkeys-fifo");
        for key in 0..2_000_u32 {
            assert!(slots.touch(&key.to_be_bytes()));
            slots.set(&key.to_be_bytes(), &[1; 100], Expiry::Never);
        }
        let left = left_of_tenths(&slots);
        assert!(left[0] < 50 && left[1] < 50 && left[9] > 1_900, "{left:?}");
    }

    #[test]
    fn lfu_keeps_what_is_used_often() {
        let mut slots = filled("allkeys-lfu");
        for _ in 0..30 {
            for key in 4_000..6_000_u32 {
                slots.touch(&key.to_be_bytes());
            }
        }
        let left = left_of_tenths(&slots);
        assert!(left[2] > 1_950, "{left:?}");
    }

    #[test]
    fn random_spares_nobody() {
        let slots = filled("allkeys-random");
        let left = left_of_tenths(&slots);
        assert!(
            left.iter().all(|left| (600..1_400).contains(left)),
            "{left:?}"
        );
    }

    #[test]
    fn what_was_recent_stays_recent_when_the_policy_changes() {
        let slots = filled("allkeys-lru");
        assert!(slots.store.set_policy("allkeys-lfu"));
        let left = left_of_tenths(&slots);
        assert!(left[0] + left[1] < 200 && left[9] > 1_900, "{left:?}");
    }

    #[test]
    fn only_what_expires_goes_where_the_policy_says_so_however_rare_it_is() {
        for policy in [
            "volatile-lru",
            "volatile-lfu",
            "volatile-fifo",
            "volatile-random",
        ] {
            let mut slots = filled(policy);
            // All in one slot, among thousands that stay.
            let key = |number: u32| format!("{{one}}{number}").into_bytes();
            for number in 0..5_000 {
                let expiry = if number % 500 == 7 {
                    Expiry::At(1 << 40)
                } else {
                    Expiry::Never
                };
                slots.set(&key(number), b"v", expiry);
            }
            let before = slots.keys();
            slots.store.set_maxmemory_bytes(1);
            assert!(!step(&mut Evictor::new(5, Reason::Own), &slots));
            assert_eq!(slots.keys(), before - 10, "{policy}");
            assert!(slots.holds(&key(8)) && !slots.holds(&key(7)), "{policy}");
        }
    }

    #[test]
    fn what_expires_soonest_goes_first() {
        let mut slots = Lent::new(0);
        assert!(slots.store.set_policy("volatile-ttl"));
        for key in 0..KEYS {
            let at = 1_000_000 + u64::from(KEYS - key) * 1_000;
            slots.set(&key.to_be_bytes(), &[0; 100], Expiry::At(at));
        }
        let left = left_of_tenths(&slots);
        assert!(left[9] < 50 && left[0] > 1_950, "{left:?}");
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
        let mut evictor = Evictor::new(7, Reason::Own);
        for _ in 0..20 {
            assert!(!step(&mut evictor, &slots));
        }
        assert!(!slots.holds(b"clean"));
        assert_eq!(slots.keys(), 200);
    }
}
