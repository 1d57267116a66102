//! `CLIENT`: what clients are called, and who is connected.

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
        let kind = args.bytes()?.to_ascii_lowercase();
        match kind.as_slice() {
            b"normal" => clients.all(),
            b"master" | b"replica" | b"slave" | b"pubsub" => Vec::new(),
            _ => {
                let kind = String::from_utf8_lossy(&kind).into_owned();
                return Err(format!("ERR Unknown client type '{kind}'").into());
            }
        }
    } else if args.remaining() >= 2 && args.option("id") {
        let mut cards = Vec::new();
        for id in args.by_ref() {
            let id = integer(id).ok_or("ERR Invalid client ID")?;
            cards.extend(u64::try_from(id).ok().and_then(|id| clients.get(id)));
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
    printable(name).ok_or_else(|| {
        "ERR Client names cannot contain spaces, newlines or special characters.".into()
    })
}

fn printable(text: &[u8]) -> Option<String> {
    let printable = text.iter().all(|byte| (b'!'..=b'~').contains(byte));
    printable.then(|| String::from_utf8_lossy(text).into_owned())
}

pub(crate) fn help<'a>(_: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    Ok(super::help::of(args.command()).into())
}
