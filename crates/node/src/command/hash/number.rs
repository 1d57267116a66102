//! Fields that are numbers.

use super::Answer;
use super::set::set;
use crate::command::Args;
use crate::command::args::integer;
use crate::command::long_double::LongDouble;
use crate::error::CommandError;
use crate::resp::Reply;
use crate::store::Tx;

/// `HINCRBY key field increment`
pub(in crate::command) fn hincrby<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let (key, field, increment) = (args.key()?, args.bytes()?, args.int()?);
    let value = tx.hash(key)?.and_then(|hash| hash.get(field));
    let value = value
        .map_or(Some(0), integer)
        .ok_or("ERR hash value is not an integer")?;
    let sum = value
        .checked_add(increment)
        .ok_or("ERR increment or decrement would overflow")?;
    let digits = itoa::Buffer::new().format(sum).to_owned();
    set(tx, key, &[(field, digits.as_bytes())])?;
    Ok(Reply::Int(sum))
}

/// `HINCRBYFLOAT key field increment`
pub(in crate::command) fn hincrbyfloat<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let (key, field, increment) = (args.key()?, args.bytes()?, args.bytes()?);
    let increment = LongDouble::parse(increment).ok_or(CommandError::NotFloat)?;
    if increment.is_infinite() {
        return Err("ERR value is NaN or Infinity".into());
    }
    let value = tx.hash(key)?.and_then(|hash| hash.get(field));
    let value = LongDouble::parse(value.unwrap_or(b"0"));
    let sum = value
        .ok_or("ERR hash value is not a float")?
        .checked_add(increment)
        .ok_or("ERR increment would produce NaN or Infinity")?
        .to_text();
    set(tx, key, &[(field, sum.as_bytes())])?;
    Ok(Reply::bulk(sum))
}
