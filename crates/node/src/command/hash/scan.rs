//! Walking over the fields of a hash in steps.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::Answer;
use crate::command::Args;
use crate::command::glob::matches;
use crate::command::scan::parse_cursor;
use crate::error::CommandError;
use crate::resp::Reply;
use crate::store::Tx;

/// How many fields are looked at if the client does not say, and at most.
const COUNT_DEFAULT: i64 = 10;
const COUNT_MAX: i64 = 1 << 16;
/// A call with so many bytes of fields and values ends.
const REPLY_BYTES: usize = 16 << 20;

/// `HSCAN key cursor [MATCH pattern] [COUNT count]`
pub(in crate::command) fn hscan<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Answer<'t> {
    let key = args.key()?;
    let cursor = parse_cursor(args.bytes()?).ok_or("ERR invalid cursor")?;
    let Some(hash) = tx.hash(key)? else {
        return Ok(reply(0, Vec::new()));
    };
    let (pattern, mut count) = options(args)?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    let next = hash.scan(cursor, |(field, value)| {
        if pattern.is_none_or(|pattern| matches(pattern, field)) {
            bytes += field.len() + value.len();
            found.extend([field, value].map(|part| Reply::Bulk(Bytes::copy_from_slice(part))));
        }
        count -= 1;
        if count > 0 && bytes < REPLY_BYTES {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    Ok(reply(next.unwrap_or(0), found))
}

fn reply<'t>(next: u64, found: Vec<Reply<'t>>) -> Reply<'t> {
    Reply::Array(vec![Reply::bulk(next.to_string()), Reply::Array(found)])
}

fn options<'a>(args: &mut Args<'a>) -> Result<(Option<&'a [u8]>, i64), CommandError> {
    let (mut pattern, mut count) = (None, COUNT_DEFAULT);
    while !args.is_empty() {
        if args.remaining() < 2 {
            return Err(CommandError::Syntax);
        } else if args.option("count") {
            count = args.int()?;
            if count < 1 {
                return Err(CommandError::Syntax);
            }
        } else if args.option("match") {
            pattern = Some(args.bytes()?);
        } else {
            return Err(CommandError::Syntax);
        }
    }
    Ok((pattern, count.min(COUNT_MAX)))
}
