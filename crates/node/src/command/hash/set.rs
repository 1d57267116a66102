//! Commands that set and remove fields.

use super::{Answer, count};
use crate::command::Args;
use crate::error::CommandError;
use crate::resp::Reply;
use crate::store::Tx;

/// `HSET key field value [field value …]`
pub(in crate::command) fn hset<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    set_all(tx, args).map(count)
}

/// `HMSET key field value [field value …]`
pub(in crate::command) fn hmset<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    set_all(tx, args).map(|_| Reply::Ok)
}

/// `HSETNX key field value`
pub(in crate::command) fn hsetnx<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let (key, field, value) = (args.key()?, args.bytes()?, args.bytes()?);
    let there = tx.hash(key)?.is_some_and(|hash| hash.get(field).is_some());
    if !there {
        set(tx, key, &[(field, value)])?;
    }
    Ok(Reply::Int(i64::from(!there)))
}

/// `HDEL key field [field …]`
pub(in crate::command) fn hdel<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let key = args.key()?;
    Ok(count(tx.remove_fields(key, args)?))
}

/// Sets fields to values. Returns how many are new.
pub(super) fn set(
    tx: &mut Tx<'_>,
    key: &[u8],
    pairs: &[(&[u8], &[u8])],
) -> Result<usize, CommandError> {
    let new = tx.set_fields(key, pairs)?;
    new.ok_or_else(|| "ERR hash exceeds maximum allowed size (512 MiB)".into())
}

fn set_all(tx: &mut Tx<'_>, args: &mut Args<'_>) -> Result<usize, CommandError> {
    let key = args.key()?;
    if !args.remaining().is_multiple_of(2) {
        return Err(args.wrong_arity());
    }
    let mut pairs = Vec::with_capacity(args.remaining() / 2);
    while !args.is_empty() {
        pairs.push((args.bytes()?, args.bytes()?));
    }
    set(tx, key, &pairs)
}
