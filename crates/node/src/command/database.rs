//! `KEYSPACE`: the rules for keys, and what of them the databases still lack.

use bytes::Bytes;

use super::{Answer, Args, Later, Session, help};
use crate::error::CommandError;
use crate::inquiry::{Asker, Part, Question};
use crate::resp::Reply;

type Answered<'a> = Result<Answer<'a>, CommandError>;

/// `KEYSPACE LIST`: the names, in the order of what the keys begin with.
pub(crate) fn list<'a>(session: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    let keyspaces = session.node.modes.keyspaces();
    let names = keyspaces.iter().map(|keyspace| text(&keyspace.name));
    Ok(Reply::Array(names.collect()).into())
}

/// `KEYSPACE GET name`: every setting with its value.
pub(crate) fn get<'a>(session: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    let keyspaces = session.node.modes.keyspaces();
    let name = String::from_utf8_lossy(args.bytes()?);
    let keyspace = keyspaces.named(&name).ok_or_else(|| unknown(&name))?;
    let settings = keyspace.describe();
    let shown = settings
        .into_iter()
        .map(|(name, value)| (Reply::text(name), Reply::Bulk(value.into())));
    Ok(Reply::Map(shown.collect()).into())
}

/// `KEYSPACE FLUSH [name]`: returns how many keys the databases got when they have all that they
/// lacked at the call, in the whole cluster, whichever port is asked. That may take as long as a
/// database is away.
pub(crate) fn flush<'a>(session: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    let name = args.next();
    args.finish()?;
    if let Some(name) = name {
        let name = String::from_utf8_lossy(name);
        let keyspaces = session.node.modes.keyspaces();
        let keyspace = keyspaces.named(&name).ok_or_else(|| unknown(&name))?;
        if keyspace.database().is_none() {
            return Ok(Reply::Int(0).into());
        }
    }
    let question = Question::Flush(name.map(Bytes::copy_from_slice));
    let asker = Asker::whole(session.node);
    let reply = async move {
        let (mut keys, mut refused) = (0, None);
        let count = |parts: Vec<Part>| {
            for part in parts {
                keys += part.count;
                refused = part.keys.into_iter().next().or(refused.take());
            }
            Ok(())
        };
        asker.cover(&question, count).await?;
        match refused {
            None => Ok(Reply::Int(i64::try_from(keys).unwrap_or(i64::MAX))),
            Some(why) => Err(format!("STORE {}", String::from_utf8_lossy(&why)).into()),
        }
    };
    Ok(Later::holding_back(reply).into())
}

/// `KEYSPACE HELP`
pub(crate) fn help<'a>(_: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    Ok(help::of("keyspace|help").into())
}

fn text(text: &str) -> Reply<'static> {
    Reply::Bulk(Bytes::copy_from_slice(text.as_bytes()))
}

fn unknown(name: &str) -> CommandError {
    format!("ERR no such keyspace: '{name}'").into()
}
