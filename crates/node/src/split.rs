//! Commands whose keys are in several slots, for clients that know nothing of slots: each slot's
//! part runs by itself, and the replies are put together.
//!
//! A part's reply is taken as it is encoded, so that it may as well come from another node.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use cluster::Slot;
use routing::forward::Delivery;
use routing::route::Route;
use tokio::sync::oneshot;

use crate::command::session::LaterResult;
use crate::command::table::{Command, KeyHandler, Keys, flag};
use crate::command::{Args, Later, Session};
use crate::dispatch::{Next, Replies, Request};
use crate::error::CommandError;
use crate::execute::{Asker, Ran, execute};
use crate::gather::{Gather, Timeouts};
use crate::others::DOWN;
use crate::outbox::carried;
use crate::resp::{REPLY_TOO_LONG, Reply, RespVersion, Span};

/// The hint of the commands that may be split.
pub(crate) const TIP: &str = "request_policy:multi_shard";

/// How the replies of the parts become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Join {
    /// They are counts: their sum.
    Sum,
    /// They say OK.
    AllOk,
    /// They hold an element for each key: all of them, in the order of the request.
    InOrder,
}

impl Join {
    fn of(command: &Command) -> Join {
        if command.has_tip("response_policy:agg_sum") {
            Join::Sum
        } else if command.has_tip("response_policy:all_succeeded") {
            Join::AllOk
        } else {
            Join::InOrder
        }
    }
}

/// One slot's part of a request.
#[derive(Default)]
struct Part {
    /// The command's name, and the words that belong to the slot.
    spans: Vec<Span>,
    /// Which of the request's keys these are.
    keys: Vec<usize>,
    reply: BytesMut,
    gather: Gather,
    /// The cache modes give the reply.
    of_modes: bool,
    /// The reply, where it is brought by a call, mostly from another node.
    carried: Option<oneshot::Receiver<Delivery>>,
}

/// Runs each slot's part. If all is certain then, the reply is there at once.
///
/// When the cache modes run enough parts of this client, the rest is carried like what belongs to
/// other nodes, also if it belongs to this one: a call has the same bound, and takes what exceeds
/// it when the parts before are answered.
pub(crate) fn split(
    session: &mut Session<'_>,
    command: &'static Command,
    handler: KeyHandler,
    request: Request<'_>,
    replies: &mut Replies<'_>,
) -> Result<Next, CommandError> {
    let version = session.client.version;
    let (mut parts, keys) = parts_of(command, request)?;
    let join = Join::of(command);
    // A longer reply would not be written; each part of it is bounded by itself.
    let mut room = session.node.parameters.limits.load().output_bytes_max;
    for (slot, part) in &mut parts {
        // What follows another request of its slot to the cache modes does so from here.
        let too_many = replies.gather.has_enough_of_modes() && !session.client.pending.holds(*slot);
        let is_here = !too_many
            && !replies.gather.outbox.holds(*slot)
            && run_part(session, *slot, command, handler, request, part);
        if part.of_modes {
            replies.gather.count_one_of_modes();
        }
        if !is_here {
            let words = (request.buffer, part.spans.as_slice());
            let outbox = &mut replies.gather.outbox;
            part.carried = Some(outbox.post(session.node, *slot, command, version, words));
            if command.has(flag::WRITE) {
                session.client.written.note_elsewhere(*slot);
            }
        }
        if join == Join::InOrder {
            room = room.checked_sub(part.reply.len()).ok_or(REPLY_TOO_LONG)?;
        }
    }
    let write = command.has(flag::WRITE);
    let mut parts: Vec<Part> = parts.into_values().collect();
    if parts.iter().all(Part::is_there) {
        let reply = joined(join, write, &parts, keys)?;
        reply.encode(version, replies.out);
        return Ok(Next::Go);
    }
    let timeouts = Timeouts::of(session.node);
    let reply = async move {
        settled(&mut parts, version, timeouts, write).await;
        joined(join, write, &parts, keys)
    };
    replies
        .gather
        .wait_for(replies.out.len(), Later::beside(reply));
    let enough = replies.gather.has_enough_of_modes() || replies.gather.outbox.is_full();
    Ok(if enough { Next::Settle } else { Next::Go })
}

/// Runs a slot's part, if this node leads the slot.
fn run_part(
    session: &mut Session<'_>,
    slot: Slot,
    command: &'static Command,
    handler: KeyHandler,
    request: Request<'_>,
    part: &mut Part,
) -> bool {
    let version = session.client.version;
    let mut args = Args::new(request.buffer, &part.spans, command.name);
    let mut own = Replies {
        out: &mut part.reply,
        gather: &mut part.gather,
    };
    let mut asker = Asker::of(session);
    let error = match execute(&mut asker, slot, command, handler, &mut args, &mut own) {
        Ok(Ran::Here) => return true,
        Ok(Ran::Deferred(deferred)) => {
            let later = Later::beside(deferred.reply(Arc::clone(session.node), session.into()));
            own.gather.wait_for(0, later);
            part.of_modes = true;
            return true;
        }
        Ok(Ran::Not(Route::Forward(_) | Route::TryAgain)) => return false,
        Ok(Ran::Not(_)) => DOWN.into(),
        Err(error) => error,
    };
    Reply::Error(error).encode(version, &mut part.reply);
    true
}

async fn settled(parts: &mut [Part], version: RespVersion, timeouts: Timeouts, write: bool) {
    let waits = parts.iter_mut().filter(|part| !part.is_there());
    let waits = waits.map(async |part| {
        if let Some(reply) = part.carried.take() {
            let reply = carried(reply, write, timeouts).await;
            let reply = reply.unwrap_or_else(Reply::Error);
            return reply.encode(version, &mut part.reply);
        }
        let nothing = std::future::ready(());
        // Whatever error a part turns into becomes the error of the whole, and is counted there.
        let (gather, reply) = (&mut part.gather, &mut part.reply);
        gather
            .settle(reply, version, timeouts, |_, _| {}, nothing)
            .await;
    });
    futures_util::future::join_all(waits).await;
}

impl Part {
    /// Whether its reply waits for nothing.
    fn is_there(&self) -> bool {
        self.gather.is_empty() && self.carried.is_none()
    }
}

/// The words of each slot, and how many keys there are.
fn parts_of(
    command: &Command,
    request: Request<'_>,
) -> Result<(BTreeMap<Slot, Part>, usize), CommandError> {
    let Keys::Every { first, step } = command.keys else {
        return Err("CROSSSLOT Keys in request don't hash to the same slot".into());
    };
    let (first, step) = (usize::from(first), usize::from(step));
    let groups = request.spans[first..].chunks(step);
    let keys = groups.len();
    let mut parts: BTreeMap<Slot, Part> = BTreeMap::new();
    for (index, group) in groups.enumerate() {
        if group.len() < step {
            return Err(CommandError::WrongArity(command.name));
        }
        let part = parts
            .entry(Slot::of(group[0].of(request.buffer)))
            .or_default();
        if part.spans.is_empty() {
            part.spans.extend_from_slice(&request.spans[..first]);
        }
        part.spans.extend_from_slice(group);
        part.keys.push(index);
    }
    Ok((parts, keys))
}

/// The replies of all parts as one.
fn joined(join: Join, write: bool, parts: &[Part], keys: usize) -> LaterResult {
    if let Some(error) = error_of(write, parts) {
        return Err(error);
    }
    let mut sum = 0;
    let mut elements: Vec<&[u8]> = vec![b""; keys];
    for part in parts {
        let reply = &part.reply[..];
        let (kind, line) = first_line(reply).ok_or(MALFORMED)?;
        match (kind, join) {
            (b':', Join::Sum) => {
                sum += crate::command::args::integer(line).ok_or(MALFORMED)?;
            }
            (b'+', Join::AllOk) => {}
            (b'*', Join::InOrder) => {
                let mut rest = reply;
                rest.advance(line.len() + 3);
                for key in &part.keys {
                    let length = element_length(rest).ok_or(MALFORMED)?;
                    elements[*key] = &rest[..length];
                    rest.advance(length);
                }
            }
            _ => return Err(MALFORMED.into()),
        }
    }
    Ok(match join {
        Join::Sum => Reply::Int(sum),
        Join::AllOk => Reply::Ok,
        Join::InOrder => {
            let mut whole = BytesMut::from(format!("*{keys}\r\n").as_bytes());
            elements
                .iter()
                .for_each(|element| whole.extend_from_slice(element));
            Reply::Encoded(whole.freeze())
        }
    })
}

/// An error of a part is the error of the whole. But most errors promise that nothing was applied,
/// and of a write some parts may have been.
fn error_of(write: bool, parts: &[Part]) -> Option<CommandError> {
    let errors = parts
        .iter()
        .filter_map(|part| match first_line(&part.reply)? {
            (b'-', line) => Some(String::from_utf8_lossy(line).into_owned()),
            _ => None,
        });
    let errors: Vec<String> = errors.collect();
    let first = errors.first()?;
    let uncertain = errors.iter().find(|error| error.starts_with("UNCERTAIN"));
    Some(match uncertain {
        Some(error) => error.clone().into(),
        None if write && errors.len() < parts.len() => {
            format!("UNCERTAIN some of the keys were written, and others not: {first}").into()
        }
        None => first.clone().into(),
    })
}

const MALFORMED: &str = "ERR a part of the reply is malformed";

/// What a reply begins with, and the rest of its first line.
fn first_line(reply: &[u8]) -> Option<(u8, &[u8])> {
    let (kind, rest) = reply.split_first()?;
    let end = rest.iter().position(|byte| *byte == b'\r')?;
    Some((*kind, &rest[..end]))
}

/// How many bytes an element of a flat array takes.
fn element_length(reply: &[u8]) -> Option<usize> {
    let (kind, line) = first_line(reply)?;
    let header = line.len() + 3;
    let body = match kind {
        b'$' => match crate::command::args::integer(line)? {
            -1 => 0,
            length => usize::try_from(length).ok()?.checked_add(2)?,
        },
        _ => 0,
    };
    Some(header + body).filter(|length| *length <= reply.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(reply: &str, keys: &[usize]) -> Part {
        Part {
            reply: reply.as_bytes().into(),
            keys: keys.to_vec(),
            ..Part::default()
        }
    }

    #[test]
    fn counts_are_added_and_elements_keep_their_places() {
        let sum = joined(
            Join::Sum,
            true,
            &[part(":2\r\n", &[0, 1]), part(":1\r\n", &[2])],
            3,
        );
        assert_eq!(sum, Ok(Reply::Int(3)));
        let ok = joined(
            Join::AllOk,
            true,
            &[part("+OK\r\n", &[0]), part("+OK\r\n", &[1])],
            2,
        );
        assert_eq!(ok, Ok(Reply::Ok));
        let parts = [
            part("*2\r\n$4\r\na\r\nb\r\n$-1\r\n", &[0, 2]),
            part("*2\r\n_\r\n$0\r\n\r\n", &[1, 3]),
        ];
        let all = joined(Join::InOrder, false, &parts, 4);
        let expected = "*4\r\n$4\r\na\r\nb\r\n_\r\n$-1\r\n$0\r\n\r\n";
        assert_eq!(all, Ok(Reply::Encoded(expected.into())));
    }

    #[test]
    fn an_error_of_a_part_is_the_error_of_the_whole() {
        let parts = [part(":2\r\n", &[0]), part("-OOM no\r\n", &[1])];
        assert_eq!(joined(Join::Sum, false, &parts, 2), Err("OOM no".into()));
        let error = joined(Join::Sum, true, &parts, 2).unwrap_err();
        assert_eq!(error.code(), "UNCERTAIN");
        let none = [part("-OOM no\r\n", &[0]), part("-OOM no\r\n", &[1])];
        assert_eq!(joined(Join::Sum, true, &none, 2), Err("OOM no".into()));
        for malformed in ["", ":", ":x\r\n", "*1\r\n$5\r\nab\r\n", "+OK\r\n"] {
            let parts = [part(malformed, &[0])];
            assert!(
                joined(Join::Sum, false, &parts, 1).is_err(),
                "{malformed:?}"
            );
            assert!(
                joined(Join::InOrder, false, &parts, 1).is_err(),
                "{malformed:?}"
            );
        }
    }
}
