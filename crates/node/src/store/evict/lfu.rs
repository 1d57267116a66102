//! Approximated LFU: the entry that was used least often of late, of those that were sampled.
//!
//! Eight bits count uses, each further step by chance and the rarer the higher the counter stands,
//! so that about a million uses fill it. Sixteen bits are the minute in which the counter was
//! looked at last: it loses one for each so many minutes since.

use std::cell::Cell;

use super::{Conditions, Policy, Scope, Trace};
use crate::store::entry::Entry;

/// The counter of a new entry: it is not the first to go before it could be used.
pub(super) const COUNTER_NEW: u32 = 5;
pub(super) const COUNTER_MAX: u32 = u8::MAX as u32;
const COUNTER_BITS: u32 = 8;

/// The bits of an entry are a minute and a counter.
#[derive(Debug)]
pub(super) struct Lfu(pub(super) Scope);

impl Policy for Lfu {
    fn name(&self) -> &'static str {
        self.0.pick("allkeys-lfu", "volatile-lfu")
    }

    fn scope(&self) -> Scope {
        self.0
    }

    fn trace(&self) -> Trace {
        Trace::Frequency
    }

    fn on_insert(&self, now: &Conditions) -> u32 {
        bits(now.minutes(), COUNTER_NEW)
    }

    fn on_access(&self, access: u32, now: &Conditions) -> u32 {
        let counter = decayed(access, now);
        bits(
            now.minutes(),
            incremented(counter, now.lfu_log_factor(), chance()),
        )
    }

    /// Among those of equal counters the one goes first that was left alone for longer.
    fn rank(&self, _entry: &Entry, access: u32, now: &Conditions) -> u64 {
        let rarely = u64::from(COUNTER_MAX - decayed(access, now));
        rarely << u16::BITS | u64::from(idle_minutes(access, now))
    }
}

pub(super) fn bits(minutes: u32, counter: u32) -> u32 {
    (minutes & Conditions::MINUTES_MASK) << COUNTER_BITS | counter
}

pub(super) fn counter(access: u32) -> u32 {
    access & COUNTER_MAX
}

pub(super) fn idle_minutes(access: u32, now: &Conditions) -> u32 {
    now.minutes().wrapping_sub(access >> COUNTER_BITS) & Conditions::MINUTES_MASK
}

/// What the counter stands at now.
pub(super) fn decayed(access: u32, now: &Conditions) -> u32 {
    let lost = idle_minutes(access, now).checked_div(now.lfu_decay_minutes());
    counter(access).saturating_sub(lost.unwrap_or(0))
}

/// One more use: the counter steps up with the chance of one in its height times the factor.
fn incremented(counter: u32, log_factor: u32, chance: u32) -> u32 {
    if counter >= COUNTER_MAX {
        return counter;
    }
    let height = u64::from(counter.saturating_sub(COUNTER_NEW));
    let one_in = height * u64::from(log_factor) + 1;
    counter + u32::from(u64::from(chance) * one_in <= u64::from(u32::MAX))
}

/// Chance that need not be good, and must not cost anything (xorshift).
fn chance() -> u32 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(rand::random::<u64>() | 1);
    }
    let mut state = STATE.get();
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    STATE.set(state);
    (state >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: u64 = 60_000;

    #[test]
    fn a_counter_grows_by_logarithm_and_decays_by_the_minute() {
        let now = Conditions::default();
        now.set_unix_ms(1_000 * MINUTE_MS);
        let policy = Lfu(Scope::All);
        let used = |times: u32| {
            (0..times).fold(policy.on_insert(&now), |bits, _| {
                policy.on_access(bits, &now)
            })
        };
        assert_eq!(counter(used(0)), COUNTER_NEW);
        assert!(
            (6..=20).contains(&counter(used(10))),
            "{}",
            counter(used(10))
        );
        let (hundreds, thousands) = (counter(used(100)), counter(used(10_000)));
        assert!((9..=20).contains(&hundreds), "{hundreds}");
        assert!((40..=62).contains(&thousands), "{thousands}");
        assert_eq!(
            counter(used(2_000_000)),
            COUNTER_MAX,
            "it stops at its greatest"
        );

        let bits = used(10_000);
        now.set_unix_ms(1_010 * MINUTE_MS);
        assert_eq!(decayed(bits, &now), counter(bits) - 10);
        now.set_lfu_decay_minutes(5);
        assert_eq!(decayed(bits, &now), counter(bits) - 2);
        now.set_lfu_decay_minutes(0);
        assert_eq!(decayed(bits, &now), counter(bits), "never");
        now.set_lfu_decay_minutes(1);
        now.set_unix_ms(2_000 * MINUTE_MS);
        assert_eq!(decayed(bits, &now), 0);
    }

    #[test]
    fn without_a_factor_every_use_counts() {
        let mut counter = COUNTER_NEW;
        for _ in 0..100 {
            counter = incremented(counter, 0, chance());
        }
        assert_eq!(counter, COUNTER_NEW + 100);
        assert_eq!(incremented(COUNTER_NEW + 1, 1, u32::MAX), COUNTER_NEW + 1);
        assert_eq!(incremented(COUNTER_NEW + 1, 1, 0), COUNTER_NEW + 2);
    }
}
