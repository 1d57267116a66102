//! The requests of one connection that belong to other nodes, until they are carried there.
//!
//! All that a batch of requests leaves here goes at once, to each primary in one call. While a
//! request of a slot waits here, whatever else the client asks of that slot waits behind it, even
//! if this node leads the slot by then: so a client's requests for a key keep their order.

use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use bytes::Bytes;
use cluster::transport::{BoxFuture, CallError, CallKind, NotSent};
use cluster::{Member, Slot};
use routing::forward::{Delivery, Parcel, Roads, Undelivered, carry};
use tokio::sync::oneshot;

use crate::command::session::LaterResult;
use crate::command::table::{Command, flag};
use crate::error::CommandError;
use crate::gather::Timeouts;
use crate::inbox::answer;
use crate::modes::DEFERRED_MAX;
use crate::node::Node;
use crate::others::DOWN;
use crate::resp::{Reply, RequestBuf, RespVersion, Span};

/// With so many bytes the requests are carried before further ones are read.
const BYTES_MAX: usize = 1 << 20;

/// What a client is told about a slot whose primary does not answer.
pub(crate) const UNREACHABLE: &str = "CLUSTERDOWN The slot's primary cannot be reached";
const TOO_LARGE: &str = "ERR the request or its reply is too large for the way between two nodes; \
                         ask by the cluster port";

/// What is to be carried.
#[derive(Default)]
pub(crate) struct Outbox {
    parcels: Vec<Parcel>,
    /// The slots, each with how much longer than others its requests may take, because of their
    /// databases: they run one after the other.
    slots: AHashMap<Slot, Duration>,
    /// How many of the requests may need a database.
    patient: usize,
    bytes: usize,
}

impl Outbox {
    /// Whether a request of this slot waits.
    pub(crate) fn holds(&self, slot: Slot) -> bool {
        !self.parcels.is_empty() && self.slots.contains_key(&slot)
    }

    /// Whether it is time to carry what is there.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= BYTES_MAX
    }

    /// Takes the request in. The reply is there after [`Outbox::carry`].
    pub(crate) fn post(
        &mut self,
        node: &Node,
        slot: Slot,
        command: &Command,
        version: RespVersion,
        (buffer, spans): (&[u8], &[Span]),
    ) -> oneshot::Receiver<Delivery> {
        let version = if version == RespVersion::Resp3 { 3 } else { 2 };
        let patience = node.modes.patience(command.keys.of(buffer, spans));
        *self.slots.entry(slot).or_default() += patience;
        self.patient += usize::from(!patience.is_zero());
        let words = spans.iter().map(|span| span.of(buffer));
        let (parcel, reply) = Parcel::new(slot, command.has(flag::WRITE), version, words);
        self.bytes += parcel.bytes();
        self.parcels.push(parcel);
        reply
    }

    /// Carries everything where it belongs.
    pub(crate) fn carry(
        &mut self,
        node: &Arc<Node>,
        timeouts: Timeouts,
    ) -> impl Future<Output = ()> + use<> {
        let Outbox {
            parcels,
            slots,
            patient,
            ..
        } = std::mem::take(self);
        // So many of them are taken at once; the others wait.
        let rounds = u32::try_from(patient.div_ceil(DEFERRED_MAX)).unwrap_or(u32::MAX);
        let patience = slots.into_values().max().unwrap_or_default();
        let patience = patience.saturating_mul(rounds);
        let patience_max = node.settings.timings.database_patience.0;
        let least = timeouts.longest().max(node.settings.timings.primary_wait.0);
        let within = least + patience.min(patience_max);
        // With more than that the client is closed, whatever else it has asked.
        let bytes_max = node.parameters.limits.load().output_bytes_max;
        let roads = Ways(Arc::clone(node));
        async move {
            if !parcels.is_empty() {
                carry(&roads, parcels, within, bytes_max).await;
            }
        }
    }
}

/// Passes one request on, and returns its reply.
pub(crate) async fn forward(
    node: &Arc<Node>,
    slot: Slot,
    command: &Command,
    version: RespVersion,
    request: &RequestBuf,
) -> LaterResult {
    let mut outbox = Outbox::default();
    let words = (request.buffer(), request.spans());
    let reply = outbox.post(node, slot, command, version, words);
    let timeouts = Timeouts::of(node);
    outbox.carry(node, timeouts).await;
    carried(reply, command.has(flag::WRITE), timeouts).await
}

/// The reply of a request that was carried.
pub(crate) async fn carried(
    reply: oneshot::Receiver<Delivery>,
    write: bool,
    timeouts: Timeouts,
) -> LaterResult {
    match reply.await.unwrap_or(Err(Undelivered::Unknown)) {
        Ok(reply) => error_in(&reply).map_or(Ok(Reply::Encoded(reply)), Err),
        Err(Undelivered::NoPrimary) => Err(DOWN.into()),
        Err(Undelivered::Unreachable) => Err(UNREACHABLE.into()),
        Err(Undelivered::TooLarge) => Err(TOO_LARGE.into()),
        Err(Undelivered::Unknown) => Err(timeouts.unconfirmed(write)),
    }
}

/// The error that an encoded reply is, if it is one.
fn error_in(reply: &Bytes) -> Option<CommandError> {
    let line = reply.strip_prefix(b"-")?;
    let line = line.strip_suffix(b"\r\n").unwrap_or(line);
    Some(String::from_utf8_lossy(line).into_owned().into())
}

/// The ways from a node to the primaries.
struct Ways(Arc<Node>);

impl Roads for Ways {
    fn primary(&self, slot: Slot) -> Option<Member> {
        self.0.slots.lock(slot).placement().primary
    }

    fn carry(
        &self,
        to: Member,
        requests: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let node = &self.0;
        if to == node.slots.replicas().me() {
            let answer = answer(node, &requests);
            return Box::pin(async move { Ok(answer.await) });
        }
        match node.calls.get() {
            Some(calls) => calls.call(to.node, CallKind::Command, requests, timeout),
            None => Box::pin(std::future::ready(Err(CallError::NotSent(NotSent::NoLink)))),
        }
    }
}
