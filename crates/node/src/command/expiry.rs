//! The commands about when keys expire.

use super::Args;
use super::time::{Moment, invalid_time};
use crate::error::CommandError;
use crate::resp::Reply;
use crate::store::Tx;

type Answer<'t> = Result<Reply<'t>, CommandError>;

/// `EXPIRE key seconds [NX | XX | GT | LT]`
pub(super) fn expire<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    set_expiry(tx, args, Moment::AfterSeconds)
}

/// `PEXPIRE key milliseconds [NX | XX | GT | LT]`
pub(super) fn pexpire<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    set_expiry(tx, args, Moment::AfterMs)
}

/// `EXPIREAT key unix-seconds [NX | XX | GT | LT]`
pub(super) fn expireat<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    set_expiry(tx, args, Moment::AtSeconds)
}

/// `PEXPIREAT key unix-milliseconds [NX | XX | GT | LT]`
pub(super) fn pexpireat<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    set_expiry(tx, args, Moment::AtMs)
}

/// `PERSIST key`
pub(super) fn persist<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let key = args.key()?;
    let expires = tx.expires_at(key).flatten().is_some();
    if expires {
        tx.expire(key, None);
    }
    Ok(Reply::Int(i64::from(expires)))
}

/// `TTL key`
pub(super) fn ttl<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let now = tx.now_unix_ms();
    time_of(tx, args, |at| in_seconds(at.saturating_sub(now)))
}

/// `PTTL key`
pub(super) fn pttl<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let now = tx.now_unix_ms();
    time_of(tx, args, |at| at.saturating_sub(now))
}

/// `EXPIRETIME key`
pub(super) fn expiretime<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    time_of(tx, args, in_seconds)
}

/// `PEXPIRETIME key`
pub(super) fn pexpiretime<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    time_of(tx, args, |at| at)
}

fn in_seconds(ms: u64) -> u64 {
    ms.saturating_add(500) / 1000
}

/// A time of a key that expires; -1 if it does not, -2 if there is no such key.
fn time_of<'t>(tx: &mut Tx<'_>, args: &mut Args<'_>, time: impl FnOnce(u64) -> u64) -> Answer<'t> {
    let answer = match tx.expires_at(args.key()?) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => i64::try_from(time(at)).unwrap_or(i64::MAX),
    };
    Ok(Reply::Int(answer))
}

fn set_expiry<'t>(tx: &mut Tx<'_>, args: &mut Args<'_>, unit: fn(i64) -> Moment) -> Answer<'t> {
    let (key, time) = (args.key()?, args.bytes()?);
    let condition = Condition::parse(args)?;
    let time = super::args::integer(time).ok_or(CommandError::NotInteger)?;
    let now = tx.now_unix_ms();
    let at = unit(time)
        .checked_unix_ms(now)
        .ok_or_else(|| invalid_time(args.command()))?;
    let Some(before) = tx.expires_at(key) else {
        return Ok(Reply::Int(0));
    };
    if !condition.allows(
        before.map(|before| i64::try_from(before).unwrap_or(i64::MAX)),
        at,
    ) {
        return Ok(Reply::Int(0));
    }
    match u64::try_from(at) {
        Ok(at) if at > now => _ = tx.expire(key, Some(at)),
        // It is over already.
        _ => _ = tx.remove(key),
    }
    Ok(Reply::Int(1))
}

#[derive(Clone, Copy, Default)]
struct Condition {
    only_without: bool,
    only_with: bool,
    only_later: bool,
    only_earlier: bool,
}

impl Condition {
    fn parse(args: &mut Args<'_>) -> Result<Condition, CommandError> {
        let mut condition = Condition::default();
        while let Some(word) = args.peek() {
            if args.option("nx") {
                condition.only_without = true;
            } else if args.option("xx") {
                condition.only_with = true;
            } else if args.option("gt") {
                condition.only_later = true;
            } else if args.option("lt") {
                condition.only_earlier = true;
            } else {
                let word = String::from_utf8_lossy(word);
                return Err(format!("ERR Unsupported option {word}").into());
            }
        }
        let others = condition.only_with || condition.only_later || condition.only_earlier;
        if condition.only_without && others {
            return Err(
                "ERR NX and XX, GT or LT options at the same time are not compatible".into(),
            );
        }
        if condition.only_later && condition.only_earlier {
            return Err("ERR GT and LT options at the same time are not compatible".into());
        }
        Ok(condition)
    }

    /// A key that does not expire counts as one that expires after all others.
    fn allows(self, before: Option<i64>, at: i64) -> bool {
        !(self.only_without && before.is_some()
            || self.only_with && before.is_none()
            || self.only_later && before.is_none_or(|before| at <= before)
            || self.only_earlier && before.is_some_and(|before| at >= before))
    }
}

#[cfg(test)]
mod tests {
    use crate::command::trial::Trial;

    #[test]
    fn when_keys_expire() {
        let mut trial = Trial::new();
        trial.script(
            "expire k 10 => :0
             ttl k => :-2
             pexpiretime k => :-2
             set k v => +OK
             pttl k => :-1
             expiretime k => :-1
             persist k => :0
             expire k 10 => :1
             ttl k => :10
             pexpire k 1499 => :1
             ttl k => :1
             pttl k => :1499
             expiretime k => :1700000001
             pexpiretime k => :1700000001499
             expireat k 1700000100 => :1
             pexpireat k 1700000200000 => :1
             expiretime k => :1700000200
             persist k => :1
             persist k => :0
             ttl k => :-1",
        );
        trial.script("pexpire k 50 => :1");
        trial.now_unix_ms += 50;
        trial.script("pttl k => :0");
        trial.now_unix_ms += 1;
        trial.script("pttl k => :-2");
        trial.script(
            "set k v => +OK
             expire k -1 => :1
             exists k => :0
             set k v => +OK
             expireat k -9223372036854775 => :1
             exists k => :0",
        );
    }

    #[test]
    fn conditions_and_wrong_times() {
        Trial::new().script(
            "set k v => +OK
             expire k 10 xx => :0
             expire k 10 gt => :0
             expire k 10 NX => :1
             expire k 20 nx => :0
             expire k 5 gt => :0
             expire k 20 gt xx => :1
             expire k 30 lt => :0
             expire k 10 LT => :1
             persist k => :1
             expire k 10 lt => :1
             expire k 10 nx gt => \
                -ERR NX and XX, GT or LT options at the same time are not compatible
             expire k 10 gt lt => -ERR GT and LT options at the same time are not compatible
             expire k 10 zz => -ERR Unsupported option zz
             expire k x zz => -ERR Unsupported option zz
             expire k x => -ERR value is not an integer or out of range
             expire k 9223372036854775 => -ERR invalid expire time in 'expire' command
             expireat k 9223372036854776 => -ERR invalid expire time in 'expireat' command
             expire k -9223372036854776 => -ERR invalid expire time in 'expire' command
             pexpire k 9223372036854775807 => -ERR invalid expire time in 'pexpire' command
             pexpireat k 9223372036854775807 => :1
             expire k => -ERR wrong number of arguments for 'expire' command",
        );
    }
}
