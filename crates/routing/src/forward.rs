//! Carries requests to the primaries of their slots, and brings their replies back.
//!
//! What one connection has gathered goes to each primary in one call, in order, and what a node
//! refuses of a slot it refuses to the end of the call: so the requests of a slot run in the order
//! in which the client sent them, also while the slot changes hands. The node that is asked never
//! passes a request on; it says that it does not lead the slot, and the asking node looks again.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use cluster::transport::{BoxFuture, CallError, Lost, NotSent};
use cluster::{Member, Slot};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Between two looks at who leads a slot that nobody serves.
const PAUSE: Duration = Duration::from_millis(5);
/// What an answer may take longer than the node that is asked may wait.
const GRACE: Duration = Duration::from_millis(100);

/// The ways to the primaries.
pub trait Roads: Sync {
    /// The member that leads the slot, as far as this node knows.
    fn primary(&self, slot: Slot) -> Option<Member>;

    /// Takes requests to a member, this one among them, and brings its answer.
    fn carry(
        &self,
        to: Member,
        requests: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>>;
}

/// Why a request has no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// The slot had no primary all the time. Nothing was applied.
    NoPrimary,
    /// The slot's primary could not be reached. Nothing was applied.
    Unreachable,
    /// The request or its reply is too large to travel. A write may have been applied.
    TooLarge,
    /// It was sent, and nobody knows what became of it.
    Unknown,
}

/// What became of a request: its encoded reply.
pub type Delivery = Result<Bytes, Undelivered>;

/// One request on its way.
pub struct Parcel {
    slot: Slot,
    writes: bool,
    body: Bytes,
    reply: oneshot::Sender<Delivery>,
    /// Who did not take it when it was tried last.
    refused_by: Option<Member>,
}

impl Parcel {
    /// A request for a slot, in these words, for a client of this version of the protocol; and
    /// where its reply will be.
    pub fn new<'a>(
        slot: Slot,
        writes: bool,
        version: u8,
        words: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
    ) -> (Parcel, oneshot::Receiver<Delivery>) {
        let (reply, receiver) = oneshot::channel();
        let parcel = Parcel {
            slot,
            writes,
            body: encode(version, words),
            reply,
            refused_by: None,
        };
        (parcel, receiver)
    }

    /// How many bytes of a call it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.body.len()
    }

    /// Who waited may be gone.
    fn deliver(self, delivery: Delivery) {
        let _ = self.reply.send(delivery);
    }

    fn refused(mut self, by: Member) -> Parcel {
        self.refused_by = Some(by);
        self
    }
}

/// Delivers every parcel, or says why not, within this time and the little that answers take. When
/// the replies are more than `bytes_max` together, no further request is sent.
pub async fn carry(roads: &impl Roads, parcels: Vec<Parcel>, within: Duration, bytes_max: usize) {
    let mut bytes = 0;
    let until = Instant::now() + within;
    let mut waiting = parcels;
    let mut trips = FuturesUnordered::new();
    loop {
        let mut groups: BTreeMap<Member, Vec<Parcel>> = BTreeMap::new();
        for parcel in std::mem::take(&mut waiting) {
            match roads.primary(parcel.slot) {
                Some(primary) if parcel.refused_by != Some(primary) => {
                    groups.entry(primary).or_default().push(parcel);
                }
                _ => waiting.push(parcel),
            }
        }
        for (to, group) in groups {
            if bytes <= bytes_max {
                trips.push(trip(roads, to, group, until));
            } else {
                let too_large = |parcel: Parcel| parcel.deliver(Err(Undelivered::TooLarge));
                group.into_iter().for_each(too_large);
            }
        }
        if Instant::now() >= until {
            std::mem::take(&mut waiting).into_iter().for_each(give_up);
        }
        if trips.is_empty() && waiting.is_empty() {
            return;
        }
        tokio::select! {
            Some((left, brought)) = trips.next(), if !trips.is_empty() => {
                waiting.extend(left);
                bytes += brought;
            }
            () = tokio::time::sleep(PAUSE), if !waiting.is_empty() => {
                waiting.iter_mut().for_each(|parcel| parcel.refused_by = None);
            }
        }
    }
}

fn give_up(parcel: Parcel) {
    let why = match parcel.refused_by {
        Some(_) => Undelivered::Unreachable,
        None => Undelivered::NoPrimary,
    };
    parcel.deliver(Err(why));
}

/// Takes a group to a member. Returns what is to be tried again, and how long the answer was.
async fn trip(
    roads: &impl Roads,
    to: Member,
    group: Vec<Parcel>,
    until: Instant,
) -> (Vec<Parcel>, usize) {
    let left = until.saturating_duration_since(Instant::now());
    let requests = encode_all(left, group.iter().map(|parcel| &parcel.body));
    let answer = match roads.carry(to, requests, left + GRACE).await {
        Ok(answer) => answer,
        Err(error) => return (not_answered(error, to, group), 0),
    };
    let Some(fates) = decode_answer(&answer, group.len()) else {
        let lost = CallError::Unknown(Lost::LinkLost);
        return (not_answered(lost, to, group), 0);
    };
    let mut again = Vec::new();
    let mut refused = BTreeSet::new();
    for (parcel, fate) in group.into_iter().zip(fates) {
        match fate {
            Fate::Reply(reply) => parcel.deliver(Ok(reply)),
            Fate::NotHere => {
                refused.insert(parcel.slot);
                again.push(parcel.refused(to));
            }
            // It stays behind those of its slot that are not taken.
            Fate::Later if refused.contains(&parcel.slot) => again.push(parcel.refused(to)),
            Fate::Later => again.push(parcel),
        }
    }
    (again, answer.len())
}

fn not_answered(error: CallError, to: Member, group: Vec<Parcel>) -> Vec<Parcel> {
    let mut again = Vec::new();
    for parcel in group {
        match error {
            CallError::NotSent(NotSent::TooLarge) => parcel.deliver(Err(Undelivered::TooLarge)),
            CallError::Unknown(_) if parcel.writes => parcel.deliver(Err(Undelivered::Unknown)),
            CallError::Unknown(Lost::AnswerTooLarge) => {
                parcel.deliver(Err(Undelivered::TooLarge));
            }
            // A read does no harm twice.
            CallError::Unknown(_) | CallError::NotSent(_) => again.push(parcel.refused(to)),
        }
    }
    again
}

/// What the node that is asked did with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It ran: its encoded reply.
    Reply(Bytes),
    /// It did not run: this node does not lead the slot.
    NotHere,
    /// It did not run: the replies before it are as much as one answer takes.
    Later,
}

/// A request as it arrives: where its words lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// The version of the protocol that its client speaks.
    pub version: u8,
    /// Its words, in the bytes that arrived.
    pub words: Vec<Range<usize>>,
}

fn encode<'a>(version: u8, words: impl ExactSizeIterator<Item = &'a [u8]> + Clone) -> Bytes {
    let bytes: usize = words.clone().map(<[u8]>::len).sum();
    let mut out = BytesMut::with_capacity(5 + 4 * words.len() + bytes);
    out.put_u8(version);
    put_length(words.len(), &mut out);
    words
        .clone()
        .for_each(|word| put_length(word.len(), &mut out));
    words.for_each(|word| out.extend_from_slice(word));
    out.freeze()
}

fn encode_all<'a>(left: Duration, bodies: impl Iterator<Item = &'a Bytes> + Clone) -> Bytes {
    let bytes: usize = bodies.clone().map(Bytes::len).sum();
    let mut out = BytesMut::with_capacity(4 + bytes);
    out.put_u32(u32::try_from(left.as_millis()).unwrap_or(u32::MAX));
    bodies.for_each(|body| out.extend_from_slice(body));
    out.freeze()
}

/// The requests of a call, and how long their replies may wait; `None` if these are none.
#[must_use]
pub fn decode(requests: &[u8]) -> Option<(Duration, Vec<Arrived>)> {
    let mut rest = requests;
    let left = Duration::from_millis(rest.try_get_u32().ok()?.into());
    let mut arrived = Vec::new();
    while rest.has_remaining() {
        let version = rest.try_get_u8().ok()?;
        let count = get_length(&mut rest)?;
        if count > rest.len() / 4 {
            return None;
        }
        let lengths: Option<Vec<usize>> = (0..count).map(|_| get_length(&mut rest)).collect();
        let mut words = Vec::with_capacity(count);
        for length in lengths? {
            let start = requests.len() - rest.len();
            rest = rest.get(length..)?;
            words.push(start..start + length);
        }
        arrived.push(Arrived { version, words });
    }
    Some((left, arrived))
}

/// The answer to a call: what became of each request.
#[must_use]
pub fn encode_answer<'a>(fates: impl Iterator<Item = &'a Fate>) -> Bytes {
    let mut out = BytesMut::new();
    for fate in fates {
        match fate {
            Fate::NotHere => out.put_u8(0),
            Fate::Reply(reply) => {
                out.put_u8(1);
                put_length(reply.len(), &mut out);
                out.extend_from_slice(reply);
            }
            Fate::Later => out.put_u8(2),
        }
    }
    out.freeze()
}

fn decode_answer(answer: &Bytes, count: usize) -> Option<Vec<Fate>> {
    let mut rest = answer.clone();
    let mut fates = Vec::with_capacity(count);
    for _ in 0..count {
        fates.push(match rest.try_get_u8().ok()? {
            0 => Fate::NotHere,
            1 => {
                let length = get_length(&mut rest)?;
                if length > rest.len() {
                    return None;
                }
                Fate::Reply(rest.split_to(length))
            }
            2 => Fate::Later,
            _ => return None,
        });
    }
    rest.is_empty().then_some(fates)
}

fn put_length(length: usize, out: &mut BytesMut) {
    out.put_u32(u32::try_from(length).expect("what travels is smaller than 4 GiB"));
}

fn get_length(rest: &mut impl Buf) -> Option<usize> {
    usize::try_from(rest.try_get_u32().ok()?).ok()
}

#[cfg(test)]
mod tests;
