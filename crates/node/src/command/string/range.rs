//! Commands on parts of a string.

use super::Answer;
use crate::command::Args;
use crate::command::args::TOO_MUCH;
use crate::error::CommandError;
use crate::resp::Reply;
use crate::store::Tx;
use crate::store::effect::VALUE_BYTES_MAX;

/// `APPEND key value`
pub(in crate::command) fn append<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let (key, value) = (args.key()?, args.bytes()?);
    let old = tx.string(key)?.map(<[u8]>::len);
    let length = old.unwrap_or(0);
    check_length(length, value.len())?;
    if old.is_none() || !value.is_empty() {
        tx.splice(key, length, value);
    }
    Ok(count(length + value.len()))
}

/// `STRLEN key`
pub(in crate::command) fn strlen<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let length = tx.string(args.key()?)?.map_or(0, <[u8]>::len);
    Ok(count(length))
}

/// `SETRANGE key offset value`
pub(in crate::command) fn setrange<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let (key, offset, value) = (args.key()?, args.int()?, args.bytes()?);
    let offset =
        usize::try_from(offset).map_err(|_| CommandError::from("ERR offset is out of range"))?;
    let length = tx.string(key)?.map_or(0, <[u8]>::len);
    if value.is_empty() {
        return Ok(count(length));
    }
    check_length(offset, value.len())?;
    // What is between the old end and the offset travels where there was no value.
    if length == 0 && !tx.has_room(offset) {
        return Err(TOO_MUCH.into());
    }
    tx.splice(key, offset, value);
    Ok(count(length.max(offset + value.len())))
}

/// `GETRANGE key start end`, also called `SUBSTR`
pub(in crate::command) fn getrange<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let (key, start, end) = (args.key()?, args.int()?, args.int()?);
    let value = tx.string(key)?.unwrap_or_default();
    Ok(Reply::Slice(part(value, start, end)))
}

/// From `start` to `end`, both included; negative ones count from the end.
fn part(value: &[u8], start: i64, end: i64) -> &[u8] {
    let length = value.len() as i64;
    if start < 0 && end < 0 && start > end {
        return &[];
    }
    let from_start = |at: i64| if at < 0 { (at + length).max(0) } else { at };
    let (start, end) = (from_start(start), from_start(end).min(length - 1));
    if start > end {
        &[]
    } else {
        &value[start as usize..=end as usize]
    }
}

fn check_length(before: usize, more: usize) -> Result<(), CommandError> {
    match before.checked_add(more) {
        Some(length) if length <= VALUE_BYTES_MAX => Ok(()),
        _ => Err("ERR string exceeds maximum allowed size (proto-max-bulk-len)".into()),
    }
}

fn count<'t>(length: usize) -> Reply<'t> {
    Reply::Int(length as i64)
}
