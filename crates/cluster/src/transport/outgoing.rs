//! The sending half of a stream: pulls from its source when the network has room.

use std::collections::VecDeque;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::frame::Frame;
use super::link::{Channel, Source, Wake};
use super::metrics::Traffic;

/// What a stream's owner holds of its sending half.
#[derive(Clone)]
pub(crate) struct Outlet {
    shared: Arc<Shared>,
}

/// An outlet whose stream ends with it, whatever ends the task that holds it: a carrier goes on
/// polling a stream that nobody ends.
pub(crate) struct OwnedOutlet(pub(crate) Outlet);

/// The stream of frames itself; whatever carries it polls it when there is room.
pub(crate) struct Outgoing {
    shared: Arc<Shared>,
    source: Option<Arc<dyn Source>>,
    rest: Option<(Channel, Bytes)>,
}

/// How much goes at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// A source is asked for about as much at once.
    pub(crate) batch_bytes: usize,
    /// A payload above this is cut.
    pub(crate) frame_bytes_max: usize,
    /// So many gossip packets may wait.
    pub(crate) gossip_packets_max: usize,
}

struct Shared {
    state: Mutex<State>,
    wake: Wake,
    /// Told when nothing is carried any more.
    dropped: Notify,
    sizes: Sizes,
    traffic: Traffic,
}

#[derive(Default)]
struct State {
    frames: VecDeque<Frame>,
    gossip: VecDeque<Bytes>,
    source: Option<Arc<dyn Source>>,
    ended: bool,
}

/// A new sending half: what its owner holds, and what the carrier polls.
pub(crate) fn outgoing(sizes: Sizes, traffic: Traffic) -> (OwnedOutlet, Outgoing) {
    let state = Mutex::new(State::default());
    let shared = Arc::new(Shared {
        state,
        wake: Wake::default(),
        dropped: Notify::new(),
        sizes,
        traffic,
    });
    let outlet = OwnedOutlet(Outlet {
        shared: Arc::clone(&shared),
    });
    (
        outlet,
        Outgoing {
            shared,
            source: None,
            rest: None,
        },
    )
}

impl Outlet {
    /// Sends a frame ahead of everything else. The protocol sends a handful on each stream.
    pub(crate) fn send(&self, frame: Frame) {
        self.shared.state.lock().frames.push_back(frame);
        self.shared.wake.wake();
    }

    /// Sends a gossip packet, unless it is too long for a frame or too many wait already.
    pub(crate) fn gossip(&self, packet: Bytes) -> bool {
        let sizes = &self.shared.sizes;
        {
            let mut state = self.shared.state.lock();
            let full = state.gossip.len() >= sizes.gossip_packets_max;
            if state.ended || full || packet.len() > sizes.frame_bytes_max {
                return false;
            }
            state.gossip.push_back(packet);
        }
        self.shared.wake.wake();
        true
    }

    /// Pulls from this source from now on.
    pub(crate) fn attach(&self, source: Arc<dyn Source>) {
        self.shared.state.lock().source = Some(source);
        self.shared.wake.wake();
    }

    /// Ends the stream after the frames that wait; nothing is pulled any more.
    pub(crate) fn end(&self) {
        {
            let mut state = self.shared.state.lock();
            state.ended = true;
            state.source = None;
            state.gossip.clear();
        }
        self.shared.wake.wake();
    }

    /// Until nothing is carried any more; for one who waits.
    pub(crate) async fn dropped(&self) {
        self.shared.dropped.notified().await;
    }

    pub(crate) fn wake(&self) -> Wake {
        self.shared.wake.clone()
    }
}

impl Deref for OwnedOutlet {
    type Target = Outlet;

    fn deref(&self) -> &Outlet {
        &self.0
    }
}

impl Drop for OwnedOutlet {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Drop for Outgoing {
    /// Whatever carried the stream is done with it.
    fn drop(&mut self) {
        self.shared.dropped.notify_one();
    }
}

impl Outgoing {
    fn next(&mut self) -> Poll<Option<Frame>> {
        {
            let mut state = self.shared.state.lock();
            if let Some(frame) = state.frames.pop_front() {
                return Poll::Ready(Some(frame));
            }
            if state.ended {
                self.source = None;
                return Poll::Ready(None);
            }
            if let Some(packet) = state.gossip.pop_front() {
                drop(state);
                return Poll::Ready(Some(self.batch(Channel::Gossip, packet)));
            }
            if let Some(source) = state.source.take() {
                self.source = Some(source);
            }
        }
        if self.rest.is_some()
            && let Some((channel, payload)) = self.source.as_ref().and_then(|s| s.take_between())
        {
            return Poll::Ready(Some(self.frame(channel, payload, false)));
        }
        let next = self.rest.take().or_else(|| {
            self.source
                .as_ref()
                .and_then(|source| source.take(self.shared.sizes.batch_bytes))
        });
        match next {
            Some((channel, payload)) => Poll::Ready(Some(self.batch(channel, payload))),
            None => Poll::Pending,
        }
    }

    fn batch(&mut self, channel: Channel, mut payload: Bytes) -> Frame {
        let frame_bytes_max = self.shared.sizes.frame_bytes_max;
        let more = payload.len() > frame_bytes_max;
        if more {
            let rest = payload.split_off(frame_bytes_max);
            self.rest = Some((channel, rest));
        }
        self.frame(channel, payload, more)
    }

    fn frame(&self, channel: Channel, payload: Bytes, more: bool) -> Frame {
        self.shared.traffic.count(payload.len());
        Frame::Batch {
            channel,
            payload,
            more,
        }
    }
}

impl Stream for Outgoing {
    type Item = Frame;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Frame>> {
        if let Poll::Ready(frame) = self.next() {
            return Poll::Ready(frame);
        }
        self.shared.wake.register(context.waker());
        // What was put into the source before the waker was there has woken nobody.
        self.next()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::task::{ArcWake, waker};

    use super::*;

    #[derive(Default)]
    struct Queue(Mutex<VecDeque<Bytes>>, Mutex<Option<Bytes>>);

    impl Source for Queue {
        fn take(&self, _bytes_max: usize) -> Option<(Channel, Bytes)> {
            self.0
                .lock()
                .pop_front()
                .map(|payload| (Channel::Replication, payload))
        }

        fn take_between(&self) -> Option<(Channel, Bytes)> {
            self.1
                .lock()
                .take()
                .map(|payload| (Channel::Between, payload))
        }
    }

    struct Counter(AtomicUsize);

    impl ArcWake for Counter {
        fn wake_by_ref(counter: &Arc<Counter>) {
            counter.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    const SIZES: Sizes = Sizes {
        batch_bytes: 100,
        frame_bytes_max: 4,
        gossip_packets_max: 2,
    };

    fn poll(outgoing: &mut Outgoing, counter: &Arc<Counter>) -> Poll<Option<Frame>> {
        let waker = waker(Arc::clone(counter));
        Pin::new(outgoing).poll_next(&mut Context::from_waker(&waker))
    }

    fn text(frame: Poll<Option<Frame>>) -> String {
        match frame {
            Poll::Ready(Some(Frame::Batch {
                channel,
                payload,
                more,
            })) => {
                format!("{channel:?} {} {more}", String::from_utf8_lossy(&payload))
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn an_idle_sender_is_woken_once_and_takes_all_that_has_gathered() {
        let counter = Arc::new(Counter(AtomicUsize::new(0)));
        let (outlet, mut outgoing) = outgoing(SIZES, Traffic::unnamed());
        let queue = Arc::new(Queue::default());
        outlet.attach(Arc::clone(&queue) as Arc<dyn Source>);
        assert!(poll(&mut outgoing, &counter).is_pending());
        for _ in 0..100 {
            queue.0.lock().push_back(Bytes::from_static(b"x"));
            outlet.wake().wake();
        }
        assert_eq!(counter.0.load(Ordering::Relaxed), 1);
        for _ in 0..100 {
            assert_eq!(text(poll(&mut outgoing, &counter)), "Replication x false");
        }
        assert!(poll(&mut outgoing, &counter).is_pending());
    }

    #[test]
    fn a_long_payload_is_cut_and_what_is_short_passes_between_its_parts() {
        let counter = Arc::new(Counter(AtomicUsize::new(0)));
        let (outlet, mut outgoing) = outgoing(SIZES, Traffic::unnamed());
        let queue = Arc::new(Queue::default());
        queue.0.lock().push_back(Bytes::from_static(b"123456789"));
        outlet.attach(Arc::clone(&queue) as Arc<dyn Source>);
        assert_eq!(text(poll(&mut outgoing, &counter)), "Replication 1234 true");
        assert!(outlet.gossip(Bytes::from_static(b"hey")));
        assert_eq!(text(poll(&mut outgoing, &counter)), "Gossip hey false");
        assert_eq!(text(poll(&mut outgoing, &counter)), "Replication 5678 true");
        *queue.1.lock() = Some(Bytes::from_static(b"beat"));
        assert_eq!(text(poll(&mut outgoing, &counter)), "Between beat false");
        assert_eq!(text(poll(&mut outgoing, &counter)), "Replication 9 false");
        assert!(outlet.gossip(Bytes::new()) && outlet.gossip(Bytes::new()));
        assert!(!outlet.gossip(Bytes::new()), "the queue is bounded");
        outlet.end();
        assert!(matches!(poll(&mut outgoing, &counter), Poll::Ready(None)));
    }
}
