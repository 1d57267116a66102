//! `CLIENT`: what clients are called, and who is connected.

use ahash::AHashSet;
use bytes::Bytes;

use crate::client_state::ClientCard;
use crate::command::args::integer;
use crate::command::{Answer, Args, Session};
use crate::error::CommandError;
use crate::resp::Reply;

type Answered<'a> = Result<Answer<'a>, CommandError>;

pub(crate) fn id<'a>(session: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    Ok(Reply::Int(i64::try_from(session.client.card.id).unwrap_or(i64::MAX)).into())
}

pub(crate) fn info<'a>(session: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    let line = session.client.card.line(session.node.uptime_ms());
    Ok(Reply::Verbatim((line + "\n").into()).into())
}

pub(crate) fn list<'a>(session: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    let clients = &session.node.clients;
    let cards = if args.is_empty() {
        clients.all()
    } else if args.remaining() == 2 && args.option("type") {
        let kind = args.bytes()?;
        match kind.to_ascii_lowercase().as_slice() {
            b"normal" => clients.all(),
            b"master" | b"replica" | b"slave" | b"pubsub" => Vec::new(),
            _ => {
                let kind = String::from_utf8_lossy(kind);
                return Err(format!("ERR Unknown client type '{kind}'").into());
            }
        }
    } else if args.remaining() >= 2 && args.option("id") {
        let mut asked = AHashSet::new();
        let mut cards = Vec::new();
        for id in args.by_ref() {
            let id = integer(id).ok_or("ERR Invalid client ID")?;
            // Asked for often, a client is listed once: a reply is no longer than all of them.
            if asked.insert(id) {
                cards.extend(u64::try_from(id).ok().and_then(|id| clients.get(id)));
            }
        }
        cards
    } else {
        return Err(CommandError::Syntax);
    };
    let now = session.node.uptime_ms();
    let line = |card: &std::sync::Arc<ClientCard>| card.line(now) + "\n";
    Ok(Reply::Verbatim(cards.iter().map(line).collect::<String>().into()).into())
}

pub(crate) fn set_name<'a>(session: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    let name = valid_name(args.bytes()?)?;
    session.client.card.names.lock().name = name;
    Ok(Reply::Ok.into())
}

pub(crate) fn get_name<'a>(session: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    let name = session.client.card.names.lock().name.clone();
    let reply = if name.is_empty() {
        Reply::Null
    } else {
        Reply::Bulk(Bytes::from(name))
    };
    Ok(reply.into())
}

pub(crate) fn set_info<'a>(session: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    let what = args.bytes()?;
    let value = args.bytes()?;
    let (is_name, is_version) = (
        what.eq_ignore_ascii_case(b"lib-name"),
        what.eq_ignore_ascii_case(b"lib-ver"),
    );
    if !is_name && !is_version {
        let what = String::from_utf8_lossy(what);
        return Err(format!("ERR Unrecognized option '{what}'").into());
    }
    let label = if is_name { "lib-name" } else { "lib-ver" };
    short_enough(label, value)?;
    let value = printable(value).ok_or_else(|| {
        format!("ERR {label} cannot contain spaces, newlines or special characters.")
    })?;
    let mut names = session.client.card.names.lock();
    if is_name {
        names.library = value;
    } else {
        names.library_version = value;
    }
    Ok(Reply::Ok.into())
}

/// A name that stays one word of one line of `CLIENT LIST`.
pub(crate) fn valid_name(name: &[u8]) -> Result<String, CommandError> {
    short_enough("Client names", name)?;
    printable(name).ok_or_else(|| {
        "ERR Client names cannot contain spaces, newlines or special characters.".into()
    })
}

/// What a client calls itself is kept beside its connection, outside `maxmemory`.
const NAME_BYTES_MAX: usize = 1024;

fn short_enough(what: &str, name: &[u8]) -> Result<(), CommandError> {
    if name.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    Err(format!("ERR {what} cannot be longer than {NAME_BYTES_MAX} bytes").into())
}

fn printable(text: &[u8]) -> Option<String> {
    let printable = text.iter().all(|byte| (b'!'..=b'~').contains(byte));
    printable.then(|| String::from_utf8_lossy(text).into_owned())
}

pub(crate) fn help<'a>(_: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    Ok(super::help::of(args.command()).into())
}
