//! Requests that other nodes pass on for their clients, their questions about many slots, and that
//! they stop: answered here or not at all.
//!
//! The node that the client came to has asked it for its password. What it sends runs in the order
//! in which it arrives, at once; only the answer waits for copies.

use std::sync::{Arc, Weak};

use ahash::AHashSet;
use bytes::{Bytes, BytesMut};
use cluster::transport::{BoxFuture, CallKind, Handler};
use cluster::{Member, Slot};
use futures_util::future::join_all;
use routing::forward::{Arrived, Fate, decode, encode_answer};
use routing::route::Way;

use crate::client_state::Written;
use crate::command::Args;
use crate::command::table::{Run, table};
use crate::departure;
use crate::dispatch::{Replies, Request, known};
use crate::error::CommandError;
use crate::execute::{Asker, Ran, execute};
use crate::gather::{Gather, Timeouts};
use crate::inquiry;
use crate::modes::{DEFERRED_MAX, Deferred, Pending};
use crate::node::Node;
use crate::resp::{Reply, RespVersion, Span};
use crate::transaction::{of_carried, told};

/// An answer does not grow further than by one reply beyond this.
const ANSWER_BYTES: usize = 16 << 20;

/// Answers the other nodes of a cluster, as long as this node is there.
pub(crate) struct Inbox(pub(crate) Weak<Node>);

impl Handler for Inbox {
    fn handle(&self, from: Member, kind: CallKind, requests: Bytes) -> BoxFuture<'static, Bytes> {
        let Some(node) = self.0.upgrade() else {
            return Box::pin(std::future::ready(Bytes::new()));
        };
        match kind {
            CallKind::Inquiry => inquiry::answer(&node, &requests),
            CallKind::Departure => departure::answer(&node, from, &requests),
            _ => answer(&node, &requests),
        }
    }
}

/// One request, as far as it is answered.
struct Part {
    fate: Option<Fate>,
    version: RespVersion,
    reply: BytesMut,
    gather: Gather,
    deferred: Option<Deferred>,
}

impl Part {
    /// Waits for all that the reply waits for.
    async fn settle(&mut self, timeouts: Timeouts) {
        if let Some(deferred) = self.deferred.take() {
            match deferred.answer(timeouts).await {
                Some(Ok(reply)) => self.reply.extend_from_slice(&reply),
                Some(Err(error)) => Reply::Error(error).encode(self.version, &mut self.reply),
                None => self.fate = Some(Fate::NotHere),
            }
        }
        let carried = std::future::ready(());
        // The node that the client came to counts its errors.
        self.gather
            .settle(&mut self.reply, self.version, timeouts, |_, _| {}, carried)
            .await;
    }
}

/// Runs the requests of a call, now, and returns what will be the answer. What is no call has an
/// empty one.
pub(crate) fn answer(node: &Arc<Node>, requests: &Bytes) -> BoxFuture<'static, Bytes> {
    let Some((left, arrived)) = decode(requests) else {
        return Box::pin(std::future::ready(Bytes::new()));
    };
    let (mut refused, mut pending) = (AHashSet::new(), Pending::default());
    let (mut bytes, mut deferred) = (0, 0);
    let mut parts = Vec::with_capacity(arrived.len());
    for arrived in arrived {
        let part = run(
            node,
            requests,
            &arrived,
            (&mut refused, &mut pending),
            bytes >= ANSWER_BYTES || deferred >= DEFERRED_MAX,
        );
        bytes += part.reply.len();
        deferred += usize::from(part.deferred.is_some());
        parts.push(part);
    }
    let timeouts = Timeouts::of(node).at_most(left);
    Box::pin(async move {
        let waits = parts
            .iter_mut()
            .filter(|part| part.deferred.is_some() || !part.gather.is_empty());
        join_all(waits.map(|part| part.settle(timeouts))).await;
        let fate = |part: Part| {
            part.fate
                .unwrap_or_else(|| Fate::Reply(part.reply.freeze()))
        };
        let fates: Vec<Fate> = parts.into_iter().map(fate).collect();
        encode_answer(fates.iter())
    })
}

/// The slots whose requests are not taken, and those of which some are with the cache modes.
type Slots<'a> = (&'a mut AHashSet<Slot>, &'a mut Pending);

fn run(
    node: &Arc<Node>,
    requests: &Bytes,
    arrived: &Arrived,
    slots: Slots<'_>,
    full: bool,
) -> Part {
    let version = match arrived.version {
        3 => RespVersion::Resp3,
        _ => RespVersion::Resp2,
    };
    let mut part = Part {
        fate: None,
        version,
        reply: BytesMut::new(),
        gather: Gather::default(),
        deferred: None,
    };
    let span = |word: &std::ops::Range<usize>| Span::new(word.start, word.end);
    let spans: Vec<Span> = arrived.words.iter().map(span).collect();
    let request = Request {
        buffer: requests,
        spans: &spans,
    };
    part.fate = run_in_slot(node, request, slots, full, &mut part).unwrap_or_else(|error| {
        Reply::Error(error).encode(version, &mut part.reply);
        None
    });
    part
}

/// What became of the request, if it did not run.
fn run_in_slot(
    node: &Arc<Node>,
    request: Request<'_>,
    (refused, pending): Slots<'_>,
    full: bool,
    part: &mut Part,
) -> Result<Option<Fate>, CommandError> {
    let command = table().row(known(request)?);
    if !command.arity.allows(request.spans.len()) && !matches!(command.run, Run::Exec) {
        return Err(CommandError::WrongArity(command.name));
    }
    let (command, handler) = of_carried(command, request)?;
    let mut keys = command.keys.of(request.buffer, request.spans);
    let slot = Slot::of(keys.next().unwrap_or_default());
    if keys.any(|key| Slot::of(key) != slot) {
        return Err(crate::others::CROSS_SLOT.into());
    }
    // The rest of a slot's requests follow the first that is not taken.
    if refused.contains(&slot) {
        return Ok(Some(Fate::NotHere));
    }
    if full {
        return Ok(Some(Fate::Later));
    }
    let mut asker = Asker {
        node,
        version: part.version,
        way: Way::default(),
        forwarded: true,
        written: &mut Written::default(),
        pending,
        stats: None,
        card: None,
    };
    let mut args = Args::new(request.buffer, request.spans, command.name);
    let mut replies = Replies {
        out: &mut part.reply,
        gather: &mut part.gather,
    };
    let ran = execute(&mut asker, slot, command, handler, &mut args, &mut replies);
    match ran.map_err(|error| told(command, error))? {
        Ran::Here => Ok(None),
        Ran::Deferred(deferred) => {
            part.deferred = Some(deferred);
            Ok(None)
        }
        Ran::Not(_) => {
            refused.insert(slot);
            Ok(Some(Fate::NotHere))
        }
    }
}
