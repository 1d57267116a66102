//! The commands of hashes.

mod number;
mod random;
mod scan;
mod set;

pub(super) use number::{hincrby, hincrbyfloat};
pub(super) use random::hrandfield;
pub(super) use scan::hscan;
pub(super) use set::{hdel, hmset, hset, hsetnx};

use super::Args;
use crate::error::CommandError;
use crate::resp::{Parts, REPLY_BYTES_MAX, REPLY_TOO_LONG, Reply};
use crate::store::{Hash, Tx};

type Answer<'t> = Result<Reply<'t>, CommandError>;

/// `HGET key field`
pub(super) fn hget<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    Ok(Reply::bulk_or_null(field(tx, args)?))
}

/// `HMGET key field [field …]`
pub(super) fn hmget<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let hash = tx.hash(args.key()?)?;
    let values = args.clone().map(|field| hash?.get(field));
    let bytes: usize = values.clone().flatten().map(<[u8]>::len).sum();
    if bytes > REPLY_BYTES_MAX {
        return Err(REPLY_TOO_LONG.into());
    }
    Ok(Reply::Array(values.map(Reply::bulk_or_null).collect()))
}

/// `HGETALL key`
pub(super) fn hgetall<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let whole = tx.hash(args.key()?)?;
    whole.map_or(Ok(Reply::Map(Vec::new())), |hash| all(hash, Parts::Both))
}

/// `HKEYS key`
pub(super) fn hkeys<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let whole = tx.hash(args.key()?)?;
    whole.map_or(Ok(Reply::Array(Vec::new())), |hash| {
        all(hash, Parts::Fields)
    })
}

/// `HVALS key`
pub(super) fn hvals<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let whole = tx.hash(args.key()?)?;
    whole.map_or(Ok(Reply::Array(Vec::new())), |hash| {
        all(hash, Parts::Values)
    })
}

/// `HLEN key`
pub(super) fn hlen<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    Ok(count(tx.hash(args.key()?)?.map_or(0, Hash::len)))
}

/// `HSTRLEN key field`
pub(super) fn hstrlen<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    Ok(count(field(tx, args)?.map_or(0, <[u8]>::len)))
}

/// `HEXISTS key field`
pub(super) fn hexists<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    Ok(Reply::Int(i64::from(field(tx, args)?.is_some())))
}

/// What a field and its value take in a reply beside what they take as items, at most.
const FRAMES_BYTES: usize = 32;

/// The whole hash, if it is not too long for a reply.
fn all<'t>(hash: Hash<'t>, parts: Parts) -> Answer<'t> {
    if hash.packed_bytes() + hash.len() * FRAMES_BYTES > REPLY_BYTES_MAX {
        return Err(REPLY_TOO_LONG.into());
    }
    Ok(Reply::Hash(hash, parts))
}

/// The value of the field that the next two arguments name.
fn field<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Result<Option<&'t [u8]>, CommandError> {
    let (key, field) = (args.key()?, args.bytes()?);
    Ok(tx.hash(key)?.and_then(|hash| hash.get(field)))
}

fn count<'t>(number: usize) -> Reply<'t> {
    Reply::Int(number as i64)
}

#[cfg(test)]
mod tests;
