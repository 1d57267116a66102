//! Fields that are drawn by chance.

use std::collections::HashSet;

use rand::RngExt;
use rand::seq::SliceRandom;

use super::{Answer, all};
use crate::command::Args;
use crate::error::CommandError;
use crate::resp::{Parts, REPLY_BYTES_MAX, REPLY_TOO_LONG, Reply};
use crate::store::value::hash::Pair;
use crate::store::{Hash, Tx};

/// With more than this part of a hash wanted it is gone through; otherwise fields are drawn.
const DRAWN_PART: usize = 3;

/// `HRANDFIELD key [count [WITHVALUES]]`
pub(in crate::command) fn hrandfield<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let key = args.key()?;
    if args.is_empty() {
        let field = tx.hash(key)?.and_then(draw);
        return Ok(Reply::bulk_or_null(field.map(|(field, _)| field)));
    }
    let (count, with_values) = wanted(args)?;
    // Three times as many may be gone through, and some of it lies there twice.
    let room = tx.scratch_bytes_max() / (4 * size_of::<Pair<'_>>());
    let Some(hash) = tx.hash(key)?.filter(|_| count != 0) else {
        return Ok(Reply::Array(Vec::new()));
    };
    let number = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count > 0 && number >= hash.len() {
        // All of them, in the order in which they lie there.
        let parts = if with_values {
            Parts::Pairs
        } else {
            Parts::Fields
        };
        return all(hash, parts);
    }
    if number > room {
        return Err(REPLY_TOO_LONG.into());
    }
    let drawn = if count < 0 {
        repeated(hash, number)?
    } else {
        distinct(hash, number)
    };
    Ok(shown(drawn, with_values))
}

/// How many, negative if one may come more than once, and whether their values are wanted too.
fn wanted(args: &mut Args<'_>) -> Result<(i64, bool), CommandError> {
    let count = args.int()?;
    if count == i64::MIN {
        let (most, why) = (i64::MAX, "ERR value is out of range, value must between");
        return Err(format!("{why} -{most} and {most}").into());
    }
    let with_values = args.option("withvalues");
    args.finish()?;
    // Twice as many elements are to be counted.
    if with_values && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err("ERR value is out of range".into());
    }
    Ok((count, with_values))
}

/// As many as wanted, each drawn anew.
fn repeated(hash: Hash<'_>, number: usize) -> Result<Vec<Pair<'_>>, CommandError> {
    // A packed hash has no way to a field but past those before it.
    let packed: Vec<Pair<'_>> = if hash.is_packed() {
        hash.iter().collect()
    } else {
        Vec::new()
    };
    let mut random = rand::rng();
    let (mut drawn, mut bytes) = (Vec::new(), 0);
    for _ in 0..number {
        let pair = match packed.len() {
            0 => draw(hash),
            fields => Some(packed[random.random_range(0..fields)]),
        };
        let Some((field, value)) = pair else { break };
        bytes += field.len() + value.len();
        if bytes > REPLY_BYTES_MAX {
            return Err(REPLY_TOO_LONG.into());
        }
        drawn.push((field, value));
    }
    Ok(drawn)
}

/// As many as wanted, none twice; there are more.
fn distinct(hash: Hash<'_>, number: usize) -> Vec<Pair<'_>> {
    if hash.is_packed() || number > hash.len() / DRAWN_PART {
        let mut all: Vec<Pair<'_>> = hash.iter().collect();
        let (drawn, _) = all.partial_shuffle(&mut rand::rng(), number);
        return drawn.to_vec();
    }
    let (mut seen, mut drawn) = (HashSet::new(), Vec::with_capacity(number));
    while drawn.len() < number
        && let Some(pair) = draw(hash)
    {
        if seen.insert(pair.0) {
            drawn.push(pair);
        }
    }
    drawn
}

fn draw(hash: Hash<'_>) -> Option<Pair<'_>> {
    let mut random = rand::rng();
    hash.draw(|| random.random())
}

fn shown(pairs: Vec<Pair<'_>>, with_values: bool) -> Reply<'_> {
    if with_values {
        return Reply::Pairs(pairs);
    }
    let fields = pairs.into_iter().map(|(field, _)| Reply::Slice(field));
    Reply::Array(fields.collect())
}
