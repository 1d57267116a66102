//! Commands about the node as a whole.

use std::time::Duration;

use cluster::clock;

use crate::command::{Answer, Args, Later, Session};
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

/// The writes of the client so far are on this many replicas.
pub(crate) fn wait<'a>(session: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    let wanted = args.int()?;
    let timeout = args
        .int()
        .map_err(|_| "ERR timeout is not an integer or out of range")?;
    let timeout = u64::try_from(timeout).map_err(|_| "ERR timeout is negative")?;
    let node = std::sync::Arc::clone(session.node);
    let written = std::mem::take(&mut session.client.written);
    let replicas = node.slots.replicas_of(&written);
    if replicas >= wanted {
        return Ok(Reply::Int(replicas).into());
    }
    let reply = async move {
        let forever = timeout == 0;
        let until = clock::now() + Duration::from_millis(timeout);
        loop {
            let replicas = node.slots.replicas_of(&written);
            if replicas >= wanted || (!forever && clock::now() >= until) {
                return Ok(Reply::Int(replicas));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    Ok(Later::holding_back(reply).into())
}
