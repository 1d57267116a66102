//! Times to live and moments, as commands write them.

use crate::error::CommandError;

/// A moment as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    AfterSeconds(i64),
    AfterMs(i64),
    AtSeconds(i64),
    AtMs(i64),
}

impl Moment {
    /// The moment in Unix milliseconds, which may lie in the past. `None` beyond what 64 bits hold.
    pub(super) fn checked_unix_ms(self, now_unix_ms: u64) -> Option<i64> {
        let now = i64::try_from(now_unix_ms).ok()?;
        match self {
            Moment::AfterSeconds(seconds) => seconds.checked_mul(1000)?.checked_add(now),
            Moment::AfterMs(ms) => ms.checked_add(now),
            Moment::AtSeconds(seconds) => seconds.checked_mul(1000),
            Moment::AtMs(ms) => Some(ms),
        }
    }

    /// As [`Moment::checked_unix_ms`], where nothing but a positive number makes sense.
    pub(super) fn unix_ms(
        self,
        now_unix_ms: u64,
        command: &'static str,
    ) -> Result<u64, CommandError> {
        let number = match self {
            Moment::AfterSeconds(number) | Moment::AfterMs(number) => number,
            Moment::AtSeconds(number) | Moment::AtMs(number) => number,
        };
        let at = self.checked_unix_ms(now_unix_ms).filter(|_| number > 0);
        let at = at.and_then(|at| u64::try_from(at).ok());
        at.ok_or_else(|| invalid_time(command))
    }
}

/// The error for a time that cannot be.
pub(super) fn invalid_time(command: &'static str) -> CommandError {
    format!("ERR invalid expire time in '{command}' command").into()
}
