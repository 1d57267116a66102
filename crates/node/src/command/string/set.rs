//! Commands that replace a string, and the options that say when it expires.

use super::{Answer, bulk_or_null, copied};
use crate::command::Args;
use crate::command::time::Moment;
use crate::error::CommandError;
use crate::resp::Reply;
use crate::store::Tx;
use crate::store::tx::Expiry;

/// `SET key value [NX | XX] [GET] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]`
pub(in crate::command) fn set<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let (key, value) = (args.key()?, args.bytes()?);
    let options = SetOptions::parse(args)?;
    let expiry = match options.time {
        Time::Unsaid => Expiry::Never,
        Time::Keep => Expiry::Keep,
        Time::At(moment) => Expiry::At(moment.unix_ms(tx.now_unix_ms(), args.command())?),
    };
    let old = if options.get { copied(tx, key)? } else { None };
    let wanted = match options.only_if {
        OnlyIf::Any => true,
        OnlyIf::Missing => !tx.exists(key),
        OnlyIf::There => tx.exists(key),
    };
    if wanted {
        tx.set(key, value, expiry);
    }
    match (options.get, wanted) {
        (true, _) => Ok(bulk_or_null(old)),
        (false, true) => Ok(Reply::Ok),
        (false, false) => Ok(Reply::Null),
    }
}

/// `SETNX key value`
pub(in crate::command) fn setnx<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let (key, value) = (args.key()?, args.bytes()?);
    let missing = !tx.exists(key);
    if missing {
        tx.set(key, value, Expiry::Never);
    }
    Ok(Reply::Int(i64::from(missing)))
}

/// `SETEX key seconds value`
pub(in crate::command) fn setex<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    set_for(tx, args, Moment::AfterSeconds)
}

/// `PSETEX key milliseconds value`
pub(in crate::command) fn psetex<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    set_for(tx, args, Moment::AfterMs)
}

fn set_for<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>, unit: fn(i64) -> Moment) -> Answer<'t> {
    let (key, moment, value) = (args.key()?, unit(args.int()?), args.bytes()?);
    let at = moment.unix_ms(tx.now_unix_ms(), args.command())?;
    tx.set(key, value, Expiry::At(at));
    Ok(Reply::Ok)
}

/// `GETSET key value`
pub(in crate::command) fn getset<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let (key, value) = (args.key()?, args.bytes()?);
    let old = copied(tx, key)?;
    tx.set(key, value, Expiry::Never);
    Ok(bulk_or_null(old))
}

/// `GETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST]`
pub(in crate::command) fn getex<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let key = args.key()?;
    let (mut given, mut persist) = (GivenTime::default(), false);
    while !args.is_empty() {
        if given.is_none() && args.option("persist") {
            persist = true;
        } else if persist || !given.take(args)? {
            return Err(CommandError::Syntax);
        }
    }
    let Some(value) = copied(tx, key)? else {
        return Ok(Reply::Null);
    };
    if let Some(moment) = given.moment()? {
        let at = moment.unix_ms(tx.now_unix_ms(), args.command())?;
        if at <= tx.now_unix_ms() {
            tx.remove(key);
        } else {
            tx.expire(key, Some(at));
        }
    } else if persist && tx.expires_at(key).flatten().is_some() {
        tx.expire(key, None);
    }
    Ok(Reply::Bulk(value))
}

/// `MSET key value [key value …]`
pub(in crate::command) fn mset<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    check_pairs(args)?;
    set_pairs(tx, args)?;
    Ok(Reply::Ok)
}

/// `MSETNX key value [key value …]`
pub(in crate::command) fn msetnx<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    check_pairs(args)?;
    // Every key is looked at: the reply depends on all that are there.
    let there = args.clone().step_by(2).filter(|key| tx.exists(key)).count();
    if there > 0 {
        return Ok(Reply::Int(0));
    }
    set_pairs(tx, args)?;
    Ok(Reply::Int(1))
}

fn check_pairs(args: &Args<'_>) -> Result<(), CommandError> {
    if args.remaining().is_multiple_of(2) {
        Ok(())
    } else {
        Err(args.wrong_arity())
    }
}

fn set_pairs(tx: &mut Tx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    while !args.is_empty() {
        let (key, value) = (args.key()?, args.bytes()?);
        tx.set(key, value, Expiry::Never);
    }
    Ok(())
}

struct SetOptions {
    only_if: OnlyIf,
    get: bool,
    time: Time,
}

#[derive(Clone, Copy, PartialEq)]
enum OnlyIf {
    Any,
    Missing,
    There,
}

enum Time {
    Unsaid,
    Keep,
    At(Moment),
}

impl SetOptions {
    fn parse(args: &mut Args<'_>) -> Result<SetOptions, CommandError> {
        let (mut only_if, mut get, mut keep) = (OnlyIf::Any, false, false);
        let mut given = GivenTime::default();
        while !args.is_empty() {
            if only_if != OnlyIf::There && args.option("nx") {
                only_if = OnlyIf::Missing;
            } else if only_if != OnlyIf::Missing && args.option("xx") {
                only_if = OnlyIf::There;
            } else if args.option("get") {
                get = true;
            } else if given.is_none() && args.option("keepttl") {
                keep = true;
            } else if keep || !given.take(args)? {
                return Err(CommandError::Syntax);
            }
        }
        let time = match given.moment()? {
            Some(moment) => Time::At(moment),
            None if keep => Time::Keep,
            None => Time::Unsaid,
        };
        Ok(SetOptions { only_if, get, time })
    }
}

/// `EX`, `PX`, `EXAT` or `PXAT`; the same one may be given again. Its number is read only when all
/// options are known to make sense, and `GETEX` looks for the key before that.
#[derive(Default)]
struct GivenTime<'a>(Option<(usize, &'a [u8])>);

type Unit = fn(i64) -> Moment;
const UNITS: [(&str, Unit); 4] = [
    ("ex", Moment::AfterSeconds),
    ("px", Moment::AfterMs),
    ("exat", Moment::AtSeconds),
    ("pxat", Moment::AtMs),
];

impl<'a> GivenTime<'a> {
    fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Takes one of the options with its number, if it comes next and is no other than before.
    fn take(&mut self, args: &mut Args<'a>) -> Result<bool, CommandError> {
        for (unit, (word, _)) in UNITS.iter().enumerate() {
            if self.0.is_none_or(|(before, _)| before == unit) && args.option(word) {
                self.0 = Some((unit, args.bytes()?));
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn moment(&self) -> Result<Option<Moment>, CommandError> {
        let Some((unit, number)) = self.0 else {
            return Ok(None);
        };
        let number = crate::command::args::integer(number).ok_or(CommandError::NotInteger)?;
        Ok(Some(UNITS[unit].1(number)))
    }
}
