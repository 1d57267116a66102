//! What the 24 bits of an entry say, and how the one is read as the other.
//!
//! A change of policy does not touch the entries. Those of a segment are converted together when
//! one of them is used next; what is only compared is read as if they had been.

use super::{Conditions, lfu};

/// What the 24 bits of an entry say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trace {
    /// A moment, in units of [`Conditions::clock`].
    #[default]
    Moment,
    /// A minute and a counter of uses.
    Frequency,
}

/// Units of the clock within a minute.
const MINUTE: u32 = (60_000 / Conditions::UNIT_MS) as u32;

impl Trace {
    /// Reads bits that say this as bits that say `wanted`.
    #[must_use]
    pub fn convert(self, access: u32, wanted: Trace, now: &Conditions) -> u32 {
        match (self, wanted) {
            (Trace::Moment, Trace::Frequency) => {
                let minutes = idle_units(access, now) / MINUTE;
                // It was used once, that much is known.
                lfu::bits(now.minutes().wrapping_sub(minutes), lfu::COUNTER_NEW)
            }
            (Trace::Frequency, Trace::Moment) => {
                // Of one minute, those that were used more often count as used later.
                let rarely = (lfu::COUNTER_MAX - lfu::counter(access)) * MINUTE / lfu::COUNTER_MAX;
                let idle = lfu::idle_minutes(access, now) * MINUTE + rarely;
                now.clock().wrapping_sub(idle) & Conditions::CLOCK_MASK
            }
            _ => access,
        }
    }

    /// For how many seconds an entry with such bits was not used.
    #[must_use]
    pub fn idle_seconds(self, access: u32, now: &Conditions) -> u64 {
        match self {
            Trace::Moment => u64::from(idle_units(access, now)) * Conditions::UNIT_MS / 1000,
            Trace::Frequency => u64::from(lfu::idle_minutes(access, now)) * 60,
        }
    }

    /// What the counter of an entry with such bits stands at.
    #[must_use]
    pub fn frequency(self, access: u32, now: &Conditions) -> u8 {
        let access = self.convert(access, Trace::Frequency, now);
        // A counter has eight bits.
        lfu::decayed(access, now) as u8
    }
}

fn idle_units(access: u32, now: &Conditions) -> u32 {
    now.clock().wrapping_sub(access) & Conditions::CLOCK_MASK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_entries_survives_a_change_of_what_their_bits_say() {
        let now = Conditions::default();
        now.set_unix_ms(1_700_000_000_000);
        let ago = |seconds: u32| now.clock().wrapping_sub(seconds * 4) & Conditions::CLOCK_MASK;
        let as_frequency = |seconds| Trace::Moment.convert(ago(seconds), Trace::Frequency, &now);
        assert_eq!(Trace::Moment.frequency(ago(0), &now), 5);
        assert_eq!(Trace::Frequency.frequency(as_frequency(150), &now), 3);
        assert_eq!(Trace::Frequency.frequency(as_frequency(100_000), &now), 0);
        let back = Trace::Frequency.convert(as_frequency(600), Trace::Moment, &now);
        let idle = Trace::Moment.idle_seconds(back, &now);
        assert!((595..=720).contains(&idle), "{idle}");

        let (rare, often) = (lfu::bits(now.minutes(), 3), lfu::bits(now.minutes(), 200));
        let moment = |bits| Trace::Frequency.convert(bits, Trace::Moment, &now);
        let idle = |bits| Trace::Moment.idle_seconds(moment(bits), &now);
        assert!(idle(rare) > idle(often) && idle(rare) <= 60);
        assert_eq!(Trace::Frequency.idle_seconds(often, &now), 0);
    }
}
