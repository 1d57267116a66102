//! Commands about the node as a whole.

use cluster::clock;

use crate::command::{Answer, Args, Session};
use crate::error::CommandError;
use crate::resp::Reply;

type Answered<'a> = Result<Answer<'a>, CommandError>;

pub(crate) fn time<'a>(_: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    let now = clock::unix_micros();
    let parts = [now / 1_000_000, now % 1_000_000];
    Ok(Reply::Array(
        parts
            .map(|part| Reply::Bulk(part.to_string().into()))
            .into(),
    )
    .into())
}
