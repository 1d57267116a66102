//! The clocks of the process. Whatever decides by time is given it; this is where it is read.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::Time;

/// Now, on the clock that also counts the time in which the machine is suspended.
#[must_use]
pub fn now() -> Time {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    Time::from_nanos(seconds * 1_000_000_000 + nanos)
}

/// The time of day, in microseconds since 1970. It may jump.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
pub fn unix_micros() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// The time of day, in milliseconds since 1970. It may jump.
#[must_use]
pub fn unix_ms() -> u64 {
    unix_micros() / 1000
}
