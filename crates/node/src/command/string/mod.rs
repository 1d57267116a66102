//! The commands of strings.

mod lcs;
mod number;
mod range;
mod set;

pub(super) use lcs::lcs;
pub(super) use number::{decr, decrby, incr, incrby, incrbyfloat};
pub(super) use range::{append, getrange, setrange, strlen};
pub(super) use set::{getex, getset, mset, msetnx, psetex, set, setex, setnx};

use bytes::Bytes;

use super::Args;
use crate::error::CommandError;
use crate::resp::{REPLY_BYTES_MAX, REPLY_TOO_LONG, Reply};
use crate::store::{Tx, WrongType};

type Answer<'t> = Result<Reply<'t>, CommandError>;

/// `GET key`
pub(super) fn get<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    Ok(Reply::bulk_or_null(tx.string(args.key()?)?))
}

/// `MGET key [key …]`
pub(super) fn mget<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let values = tx.strings(args.clone());
    let bytes: usize = values.iter().flatten().map(|value| value.len()).sum();
    if bytes > REPLY_BYTES_MAX {
        return Err(REPLY_TOO_LONG.into());
    }
    Ok(Reply::Array(
        values.into_iter().map(Reply::bulk_or_null).collect(),
    ))
}

/// `GETDEL key`
pub(super) fn getdel<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let key = args.key()?;
    let value = copied(tx, key)?;
    if value.is_some() {
        tx.remove(key);
    }
    Ok(bulk_or_null(value))
}

/// The string at a key, for a reply that outlives a change of it.
fn copied(tx: &mut Tx<'_>, key: &[u8]) -> Result<Option<Bytes>, WrongType> {
    Ok(tx.string(key)?.map(Bytes::copy_from_slice))
}

fn bulk_or_null<'t>(value: Option<Bytes>) -> Reply<'t> {
    value.map_or(Reply::Null, Reply::Bulk)
}

#[cfg(test)]
mod tests;
