//! Time as an argument: made by the driver from a real clock, by the simulation from a virtual one.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment on one process's monotonic clock, in nanoseconds since an arbitrary start.
///
/// The clock also counts the time in which the machine is suspended (`CLOCK_BOOTTIME`): a lease
/// must not outlive a nap. Moments of two processes say nothing to each other.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The start of the clock; before everything that happens.
    pub const ZERO: Time = Time(0);
    /// After everything that happens.
    pub const MAX: Time = Time(u64::MAX);

    /// The moment this many nanoseconds after the start of the clock.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Time {
        Time(nanos)
    }

    /// Nanoseconds since the start of the clock.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not after it.
    #[must_use]
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, span: Duration) -> Time {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Time(self.0.saturating_add(nanos))
    }
}

impl Sub<Time> for Time {
    type Output = Duration;

    fn sub(self, earlier: Time) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Duration::from_nanos(self.0))
    }
}
