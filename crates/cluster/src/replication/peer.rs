//! One other member as this one sees it: what waits to be sent there, what it has acknowledged,
//! the lease that it grants.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::message::{self, Back, Forward};
use super::shortage::{Shortage, Word};
use crate::{Epoch, Member, Slot, Time, Version};

/// Which side of a stream we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// We opened it: we send [`Forward`] and hear [`Back`].
    Forward,
    /// The other side opened it: we hear [`Forward`] and send [`Back`].
    Back,
}

/// Another member. Its locks are taken after a slot's lock, never before one.
pub struct Peer {
    member: Member,
    forward: Mutex<ForwardStream>,
    back: Mutex<BackStream>,
    /// The number of the open forward stream, 0 if there is none; written under its lock.
    open: AtomicU64,
    lease_until: AtomicU64,
    heard_at: AtomicU64,
    /// How short of memory it says that it is.
    shortage: Word,
    /// How short of memory we are.
    ours: Arc<Word>,
    gone: AtomicBool,
}

/// A counted message on its way: what its acknowledgement will mean.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InFlight {
    pub(crate) slot: Slot,
    pub(crate) term: Epoch,
    /// Which attachment of the member to the slot it belongs to.
    pub(crate) attachment: u32,
    pub(crate) version: Version,
}

/// Tells whoever empties a queue that there is something in it.
type Wake = Box<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct ForwardStream {
    number: u64,
    wake: Option<Wake>,
    queue: VecDeque<Forward>,
    queued_bytes: usize,
    in_flight: VecDeque<InFlight>,
    processed: u64,
    heartbeats: VecDeque<(u64, Time)>,
    heartbeat: u64,
    /// The newest heartbeat waits to be sent. It stands beside the queue, for a lease would end
    /// while large records are ahead of it there.
    beats: bool,
    confirmed: u64,
}

#[derive(Default)]
struct BackStream {
    number: u64,
    wake: Option<Wake>,
    queue: VecDeque<Back>,
    processed: u64,
    told: u64,
    told_shortage: Shortage,
}

/// How many unanswered heartbeats are remembered; older ones can no longer extend a lease.
const HEARTBEATS_MAX: usize = 64;

impl Peer {
    pub(crate) fn new(member: Member, now: Time, ours: Arc<Word>) -> Peer {
        Peer {
            member,
            forward: Mutex::default(),
            back: Mutex::default(),
            open: AtomicU64::new(0),
            lease_until: AtomicU64::new(0),
            heard_at: AtomicU64::new(now.as_nanos()),
            shortage: Word::default(),
            ours,
            gone: AtomicBool::new(false),
        }
    }

    /// The member that this is.
    #[must_use]
    pub fn member(&self) -> &Member {
        &self.member
    }

    /// Has `wake` called whenever there is something to be taken from the stream `number`, where
    /// there was nothing. It is called under locks: it must do no more than wake somebody.
    pub fn on_ready(
        &self,
        direction: Direction,
        number: u64,
        wake: impl Fn() + Send + Sync + 'static,
    ) {
        match direction {
            Direction::Forward => {
                let mut stream = self.forward.lock();
                if stream.number == number {
                    wake();
                    stream.wake = Some(Box::new(wake));
                }
            }
            Direction::Back => {
                let mut stream = self.back.lock();
                if stream.number == number {
                    wake();
                    stream.wake = Some(Box::new(wake));
                }
            }
        }
    }

    /// Until when this member lets us lead, by our clock.
    #[must_use]
    pub fn lease_until(&self) -> Time {
        Time::from_nanos(self.lease_until.load(Ordering::Acquire))
    }

    /// How short of memory the member says that it is, while there is a stream to it.
    #[must_use]
    pub fn shortage(&self) -> Shortage {
        match self.is_connected() {
            true => self.shortage.get(),
            false => Shortage::default(),
        }
    }

    pub(crate) fn has_shortage(&self, shortage: Shortage) {
        self.shortage.set(shortage);
    }

    /// Whether a stream to it is open.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.open_stream().is_some()
    }

    /// The number of the open stream to it, if there is one.
    pub(crate) fn open_stream(&self) -> Option<u64> {
        match self.open.load(Ordering::Acquire) {
            0 => None,
            number => Some(number),
        }
    }

    /// Whether nothing was heard from it for longer than `silence`, or never will be again.
    #[must_use]
    pub fn is_silent(&self, now: Time, silence: Duration) -> bool {
        let heard_at = Time::from_nanos(self.heard_at.load(Ordering::Relaxed));
        self.gone.load(Ordering::Relaxed) || now.since(heard_at) > silence
    }

    /// The member's process is known not to run any more.
    pub(crate) fn set_gone(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }

    /// Bytes that wait to be sent forward.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.forward.lock().queued_bytes
    }

    /// A stream is open; whatever the old one still held is gone.
    pub(crate) fn opened(&self, direction: Direction, number: u64, now: Time) {
        assert_ne!(number, 0, "streams are numbered from 1");
        match direction {
            Direction::Forward => {
                let mut stream = self.forward.lock();
                let heartbeat = stream.heartbeat;
                let confirmed = stream.confirmed;
                *stream = ForwardStream {
                    number,
                    heartbeat,
                    confirmed,
                    ..Default::default()
                };
                self.open.store(number, Ordering::Release);
                self.heard_at.store(now.as_nanos(), Ordering::Relaxed);
            }
            Direction::Back => {
                *self.back.lock() = BackStream {
                    number,
                    ..Default::default()
                };
            }
        }
    }

    /// The stream is closed. A newer one is left alone.
    pub(crate) fn closed(&self, direction: Direction, number: u64) {
        match direction {
            Direction::Forward => {
                let mut stream = self.forward.lock();
                if stream.number == number {
                    let heartbeat = stream.heartbeat;
                    let confirmed = stream.confirmed;
                    *stream = ForwardStream {
                        heartbeat,
                        confirmed,
                        ..Default::default()
                    };
                    self.open.store(0, Ordering::Release);
                }
            }
            Direction::Back => {
                let mut stream = self.back.lock();
                if stream.number == number {
                    *stream = BackStream::default();
                }
            }
        }
    }

    /// Whatever was open to or from it is closed: nobody will say so of each stream.
    pub(crate) fn end(&self) {
        self.set_gone();
        for direction in [Direction::Forward, Direction::Back] {
            let number = match direction {
                Direction::Forward => self.forward.lock().number,
                Direction::Back => self.back.lock().number,
            };
            self.closed(direction, number);
        }
    }

    /// Whether this is the stream that is open now; messages of any other are dropped.
    pub(crate) fn is_open(&self, direction: Direction, number: u64) -> bool {
        match direction {
            Direction::Forward => self.forward.lock().number == number,
            Direction::Back => self.back.lock().number == number,
        }
    }

    /// Takes the heartbeat that waits on the forward stream `number`, if one does: it may go
    /// between the parts of a batch.
    #[must_use]
    pub fn take_heartbeat(&self, number: u64) -> Option<Bytes> {
        let mut batch = Vec::new();
        let mut stream = self.forward.lock();
        if stream.number == number {
            stream.take_heartbeat(&mut batch);
        }
        (!batch.is_empty()).then(|| Bytes::from(batch))
    }

    /// Queues a message forward on the stream `number`. False if that one is not open, or a
    /// counted message finds more than `bytes_max` waiting: the member cannot keep up.
    pub(crate) fn send(
        &self,
        number: u64,
        message: Forward,
        counted: Option<InFlight>,
        bytes_max: usize,
    ) -> bool {
        let mut stream = self.forward.lock();
        if stream.number != number || number == 0 {
            return false;
        }
        if counted.is_some() && stream.queued_bytes > bytes_max {
            return false;
        }
        stream.in_flight.extend(counted);
        stream.queued_bytes += size_of(&message);
        let was_empty = stream.queue.is_empty();
        stream.queue.push_back(message);
        if was_empty && let Some(wake) = &stream.wake {
            wake();
        }
        true
    }

    /// Queues an answer on the stream `number`, if that one is still open.
    pub(crate) fn answer(&self, number: u64, message: Back) {
        let mut stream = self.back.lock();
        if stream.number != number || number == 0 {
            return;
        }
        stream.queue.push_back(message);
        if let Some(wake) = &stream.wake {
            wake();
        }
    }

    /// One more counted message of the back stream has been processed.
    pub(crate) fn count_processed(&self, number: u64) {
        let mut stream = self.back.lock();
        if stream.number == number {
            stream.processed += 1;
        }
    }

    /// Called when a batch has been processed: its acknowledgement may go out.
    pub(crate) fn batch_processed(&self) {
        let stream = self.back.lock();
        if stream.processed > stream.told
            && let Some(wake) = &stream.wake
        {
            wake();
        }
    }

    /// Takes what has gathered, as one batch of at most about `bytes_max` (but at least one
    /// message). `None` if nothing waits or that stream is not the open one.
    #[must_use]
    pub fn take(&self, direction: Direction, number: u64, bytes_max: usize) -> Option<Bytes> {
        let mut batch = Vec::new();
        match direction {
            Direction::Forward => {
                let mut stream = self.forward.lock();
                if stream.number != number {
                    return None;
                }
                stream.take_heartbeat(&mut batch);
                let full = batch.len() + bytes_max;
                while batch.len() < full {
                    let Some(message) = stream.queue.pop_front() else {
                        break;
                    };
                    stream.queued_bytes -= size_of(&message);
                    message::encode(&message, &mut batch);
                }
            }
            Direction::Back => {
                let mut stream = self.back.lock();
                if stream.number != number {
                    return None;
                }
                // All that is queued goes first: a refusal must pass before the acknowledgement
                // that passes over the message refused.
                while let Some(message) = stream.queue.pop_front() {
                    message::encode(&message, &mut batch);
                }
                if stream.processed > stream.told {
                    stream.told = stream.processed;
                    message::encode(&Back::Processed { upto: stream.told }, &mut batch);
                }
                let shortage = self.ours.get();
                if shortage != stream.told_shortage && !batch.is_empty() {
                    stream.told_shortage = shortage;
                    message::encode(&Back::Shortage(shortage), &mut batch);
                }
            }
        }
        (!batch.is_empty()).then(|| Bytes::from(batch))
    }

    /// Has a heartbeat sent, from `now` on ahead of all that waits.
    pub(crate) fn heartbeat(&self, now: Time) {
        let Some(number) = self.open_stream() else {
            return;
        };
        let mut stream = self.forward.lock();
        if stream.number != number {
            return;
        }
        stream.heartbeat += 1;
        let heartbeat = stream.heartbeat;
        stream.heartbeats.push_back((heartbeat, now));
        if stream.heartbeats.len() > HEARTBEATS_MAX {
            stream.heartbeats.pop_front();
        }
        stream.beats = true;
        if let Some(wake) = &stream.wake {
            wake();
        }
    }

    /// A heartbeat came back: the lease runs from when it was sent. The slots that the answer
    /// excludes must have been dealt with before.
    pub(crate) fn heartbeat_acked(&self, heartbeat: u64, list: u64, lease: Duration) {
        let mut stream = self.forward.lock();
        stream.confirmed = stream.confirmed.max(list);
        while let Some(&(number, sent_at)) = stream.heartbeats.front() {
            if number > heartbeat {
                break;
            }
            stream.heartbeats.pop_front();
            if number == heartbeat {
                self.lease_until
                    .fetch_max((sent_at + lease).as_nanos(), Ordering::AcqRel);
            }
        }
    }

    /// Something arrived from this member.
    pub(crate) fn heard(&self, now: Time) {
        self.heard_at.fetch_max(now.as_nanos(), Ordering::Relaxed);
    }

    /// The member has processed the first `upto` counted messages of the forward stream: which
    /// ones of them are news.
    pub(crate) fn processed(&self, upto: u64, news: &mut Vec<InFlight>) {
        let mut stream = self.forward.lock();
        let fresh = usize::try_from(upto.saturating_sub(stream.processed)).unwrap_or(usize::MAX);
        let fresh = fresh.min(stream.in_flight.len());
        stream.processed += fresh as u64;
        news.extend(stream.in_flight.drain(..fresh));
    }
}

impl ForwardStream {
    fn take_heartbeat(&mut self, batch: &mut Vec<u8>) {
        if std::mem::take(&mut self.beats) {
            let message = Forward::Heartbeat {
                number: self.heartbeat,
                confirmed: self.confirmed,
            };
            message::encode(&message, batch);
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peer({:?})", self.member)
    }
}

/// About how many bytes a message takes on the wire and in the queue.
fn size_of(message: &Forward) -> usize {
    let payload = match message {
        Forward::Record { record, .. } => record.effects.len(),
        Forward::CopyChunk { chunk, .. } => chunk.len(),
        _ => 0,
    };
    payload + 48
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Incarnation, NodeId};

    #[test]
    fn a_heartbeat_goes_ahead_of_what_waits() {
        let node = NodeId::from_bytes([1; 20]);
        let incarnation = Incarnation(1);
        let peer = Peer::new(Member { node, incarnation }, Time::ZERO, Arc::default());
        peer.opened(Direction::Forward, 7, Time::ZERO);
        for _ in 0..3 {
            let chunk = Forward::CopyChunk {
                slot: Slot::new(0).unwrap(),
                term: Epoch(1),
                copy: 1,
                chunk: vec![0; 1000].into(),
            };
            assert!(peer.send(7, chunk, None, usize::MAX));
        }
        peer.heartbeat(Time::ZERO);
        peer.heartbeat(Time::from_nanos(5));
        let batch = peer.take(Direction::Forward, 7, 500).unwrap();
        let messages: Vec<Forward> = message::decode(&batch).map(Result::unwrap).collect();
        // Of several that nobody took the newest goes, and with it something of the queue.
        assert!(matches!(
            messages[..],
            [
                Forward::Heartbeat { number: 2, .. },
                Forward::CopyChunk { .. }
            ]
        ));
        assert_eq!(peer.take_heartbeat(7), None);
        peer.heartbeat(Time::from_nanos(9));
        assert_eq!((peer.take_heartbeat(6), peer.queued_bytes()), (None, 2096));
        assert!(peer.take_heartbeat(7).is_some());
        let lease = Duration::from_nanos(100);
        peer.heartbeat_acked(2, 0, lease);
        assert_eq!(peer.lease_until(), Time::from_nanos(105));
    }

    #[test]
    fn a_shortage_goes_along_with_the_next_answer_and_is_said_once() {
        let node = NodeId::from_bytes([1; 20]);
        let incarnation = Incarnation(1);
        let ours = Arc::<Word>::default();
        let peer = Peer::new(Member { node, incarnation }, Time::ZERO, Arc::clone(&ours));
        peer.opened(Direction::Back, 7, Time::ZERO);
        let shortage = Shortage {
            lacking_bytes: 5 << 30,
            full: true,
        };
        ours.set(shortage);
        let heard = || {
            peer.count_processed(7);
            let batch = peer.take(Direction::Back, 7, 500).unwrap();
            let messages = message::decode(&batch).map(Result::unwrap);
            messages.collect::<Vec<Back>>()
        };
        assert_eq!(
            heard(),
            [Back::Processed { upto: 1 }, Back::Shortage(shortage)]
        );
        assert_eq!(heard(), [Back::Processed { upto: 2 }]);
        ours.set(Shortage::default());
        assert_eq!(heard().last(), Some(&Back::Shortage(Shortage::default())));
        assert_eq!(peer.take(Direction::Back, 7, 500), None);
    }
}
