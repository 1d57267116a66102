//! `WATCH`: the slot's primary says how the keys are, and the client's node remembers it.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use ahash::AHashMap;
use bytes::{Buf, Bytes, BytesMut};
use cluster::Slot;
use parking_lot::Mutex;
use routing::route::Route;

use super::Transaction;
use crate::command::args::integer;
use crate::command::session::LaterResult;
use crate::command::table::{Arity, Command, KeyHandler, Keys, flag, keyed};
use crate::command::{Args, Later, Session};
use crate::dispatch::{Next, Reach, Replies, Request, elsewhere, reach};
use crate::error::CommandError;
use crate::execute::{Asker, Ran, execute};
use crate::gather::{Gather, Timeouts};
use crate::outbox::carried;
use crate::resp::Reply;
use crate::stats::Limit;
use crate::store::Tx;
use crate::store::tx::Stamp;

const ALL: Keys = Keys::Every { first: 1, step: 1 };

/// How the keys are asked about. Its reply is one bulk string, eight bytes for each key.
static STAMPING: Command = keyed("watch", Arity::AtLeast(2), flag::READ, ALL, 0, stamps);

const MALFORMED: &str = "ERR what the slot's primary says of the keys is malformed";

/// What runs a `WATCH` in its slot.
pub(super) fn row() -> (&'static Command, KeyHandler) {
    (&STAMPING, stamps)
}

fn stamps<'t>(tx: &'t mut Tx<'_>, args: &mut Args<'_>) -> Result<Reply<'t>, CommandError> {
    let mut all = Vec::with_capacity(args.remaining() * 8);
    for key in args {
        all.extend_from_slice(&tx.stamp(key).to_bytes());
    }
    Ok(Reply::Bulk(all.into()))
}

/// The keys that a client watches, all of one slot.
#[derive(Debug, Default)]
pub(super) struct Watched {
    keys: AHashMap<Bytes, Stamp>,
    bytes: usize,
}

impl Watched {
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], Stamp)> {
        self.keys.iter().map(|(key, stamp)| (&key[..], *stamp))
    }

    /// The slot of all of them.
    pub(super) fn slot(&self) -> Option<Slot> {
        self.keys.keys().next().map(|key| Slot::of(key))
    }

    /// A key that is watched already stays as it was.
    fn take(&mut self, keys: &[Bytes], stamps: &[[u8; 8]]) {
        for (key, stamp) in keys.iter().zip(stamps) {
            if let Entry::Vacant(place) = self.keys.entry(key.clone()) {
                self.bytes += key.len() + size_of::<(Bytes, Stamp)>();
                place.insert(Stamp::from_bytes(*stamp));
            }
        }
    }
}

/// What a `WATCH` on its way will do with the answer.
struct Watch {
    keys: Vec<Bytes>,
    watched: Arc<Mutex<Watched>>,
}

impl Watch {
    /// The encoded stamps have come.
    fn take(self, reply: &[u8]) -> Result<Reply<'static>, CommandError> {
        if let Some(error) = reply.strip_prefix(b"-") {
            return Err(String::from_utf8_lossy(error.trim_ascii_end())
                .into_owned()
                .into());
        }
        let stamps = stamps_in(reply).filter(|stamps| stamps.len() == self.keys.len());
        self.watched
            .lock()
            .take(&self.keys, stamps.ok_or(MALFORMED)?);
        Ok(Reply::Ok)
    }

    async fn take_later(self, reply: impl Future<Output = LaterResult>) -> LaterResult {
        match reply.await? {
            Reply::Encoded(reply) => self.take(&reply),
            _ => Err(MALFORMED.into()),
        }
    }
}

fn stamps_in(reply: &[u8]) -> Option<&[[u8; 8]]> {
    let rest = reply.strip_prefix(b"$")?;
    let end = rest.iter().position(|byte| *byte == b'\r')?;
    let length = usize::try_from(integer(&rest[..end])?).ok()?;
    let (stamps, _) = rest.get(end + 2..)?.get(..length)?.as_chunks();
    Some(stamps)
}

/// `WATCH key [key …]`
///
/// # Errors
/// Why the keys are not watched. What was watched before still is.
pub(crate) fn watch(
    session: &mut Session<'_>,
    command: &'static Command,
    request: Request<'_>,
    replies: &mut Replies<'_>,
) -> Result<Next, CommandError> {
    let transaction = &session.client.transaction;
    if transaction.queue.is_some() {
        return Err("ERR WATCH inside MULTI is not allowed".into());
    }
    let slot = match reach(session, command, request)? {
        Reach::Slot(slot) => slot,
        Reach::Node | Reach::Split => return Err(elsewhere(session, Route::CrossSlot)),
    };
    let watch = watch_of(session, request)?;
    if watch
        .watched
        .lock()
        .slot()
        .is_some_and(|other| other != slot)
    {
        return Err(elsewhere(session, Route::CrossSlot));
    }
    let version = session.client.version;
    let (mut out, mut gather) = (BytesMut::new(), Gather::default());
    if !replies.gather.outbox.holds(slot) {
        let mut args = Args::new(request.buffer, request.spans, STAMPING.name);
        let mut own = Replies {
            out: &mut out,
            gather: &mut gather,
        };
        let mut asker = Asker::of(session);
        match execute(&mut asker, slot, &STAMPING, stamps, &mut args, &mut own)? {
            // That they are watched shows nothing of them: what EXEC shows it waits for.
            Ran::Here => {
                watch.take(&out)?.encode(version, replies.out);
                return Ok(Next::Go);
            }
            Ran::Deferred(deferred) => {
                let reply = deferred.reply(Arc::clone(session.node), session.into());
                let later = Later::beside(watch.take_later(reply));
                replies.gather.wait_for_modes(replies.out.len(), later);
                return Ok(Next::Settle);
            }
            Ran::Not(Route::Forward(_) | Route::TryAgain) => {}
            Ran::Not(route) => return Err(elsewhere(session, route)),
        }
    }
    let words = (request.buffer, request.spans);
    let outbox = &mut replies.gather.outbox;
    let reply = outbox.post(session.node, slot, &STAMPING, version, words);
    let reply = carried(reply, false, Timeouts::of(session.node));
    let later = Later::beside(watch.take_later(reply));
    replies.gather.wait_for(replies.out.len(), later);
    // The transaction that may follow must know.
    Ok(Next::Settle)
}

/// What is to be remembered, if there is room for it.
fn watch_of(session: &Session<'_>, request: Request<'_>) -> Result<Watch, CommandError> {
    let Transaction { watched, .. } = &session.client.transaction;
    let limits = &session.node.settings.limits;
    let keys = request.spans[1..]
        .iter()
        .map(|span| span.of(request.buffer));
    let bytes: usize = keys
        .clone()
        .map(|key| key.len() + size_of::<(Bytes, Stamp)>())
        .sum();
    let known = watched.lock();
    let (count, bytes) = (known.len() + keys.len(), known.bytes + bytes);
    drop(known);
    if count > limits.transaction_commands_max || bytes > limits.transaction_bytes_max.as_usize() {
        session.node.stats.reached(Limit::Transaction);
        return Err(super::TOO_MUCH.into());
    }
    Ok(Watch {
        keys: keys.map(|mut key| key.copy_to_bytes(key.len())).collect(),
        watched: Arc::clone(watched),
    })
}
