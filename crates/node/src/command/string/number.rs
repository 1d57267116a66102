//! Strings that are numbers.

use super::Answer;
use crate::command::Args;
use crate::command::args::integer;
use crate::command::long_double::LongDouble;
use crate::error::CommandError;
use crate::resp::Reply;
use crate::store::Tx;
use crate::store::tx::Expiry;

/// `INCR key`
pub(in crate::command) fn incr<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    add(tx, args.key()?, 1)
}

/// `DECR key`
pub(in crate::command) fn decr<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    add(tx, args.key()?, -1)
}

/// `INCRBY key increment`
pub(in crate::command) fn incrby<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let (key, increment) = (args.key()?, args.int()?);
    add(tx, key, increment)
}

/// `DECRBY key decrement`
pub(in crate::command) fn decrby<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let (key, decrement) = (args.key()?, args.int()?);
    let increment = decrement
        .checked_neg()
        .ok_or("ERR decrement would overflow")?;
    add(tx, key, increment)
}

/// `INCRBYFLOAT key increment`
pub(in crate::command) fn incrbyfloat<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let (key, increment) = (args.key()?, args.bytes()?);
    let number = |text| LongDouble::parse(text).ok_or(CommandError::NotFloat);
    let value = number(tx.string(key)?.unwrap_or(b"0"))?;
    let sum = value.checked_add(number(increment)?);
    let sum = sum
        .ok_or("ERR increment would produce NaN or Infinity")?
        .to_text();
    tx.set(key, sum.as_bytes(), Expiry::Keep);
    Ok(Reply::bulk(sum))
}

fn add<'t>(tx: &mut Tx<'_>, key: &[u8], increment: i64) -> Answer<'t> {
    let value = tx
        .string(key)?
        .map_or(Some(0), integer)
        .ok_or(CommandError::NotInteger)?;
    let sum = value
        .checked_add(increment)
        .ok_or("ERR increment or decrement would overflow")?;
    tx.set(
        key,
        itoa::Buffer::new().format(sum).as_bytes(),
        Expiry::Keep,
    );
    Ok(Reply::Int(sum))
}
