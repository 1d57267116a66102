//! Streams: what opens, arrives and closes, and where the transport takes what is to be sent.

use std::sync::Arc;

use bytes::Bytes;

use super::{Driver, Waiting};
use crate::clock;
use crate::replication::{Direction, Out, Peer, Table};
use crate::transport::{Channel, Flow, Link, LinkDriver, Opened, Source};

/// The driver, as the transport sees it.
pub(super) struct LinkEnd<T: Table, K: Waiting>(pub(super) Arc<Driver<T, K>>);

/// What a stream sends: the messages that wait at the peer.
struct PeerSource<T: Table, K: Waiting> {
    driver: Arc<Driver<T, K>>,
    peer: Arc<Peer>,
    direction: Direction,
    stream: u64,
}

impl<T: Table, K: Waiting> Source for PeerSource<T, K> {
    fn take(&self, bytes_max: usize) -> Option<(Channel, Bytes)> {
        let batch = self.peer.take(self.direction, self.stream, bytes_max)?;
        if self.direction == Direction::Forward
            && self.driver.replicas.has_room_for_copies(&self.peer)
        {
            self.driver.copies.notify_one();
        }
        Some((Channel::Replication, batch))
    }

    fn take_between(&self) -> Option<(Channel, Bytes)> {
        let forward = self.direction == Direction::Forward;
        let heartbeat = forward.then(|| self.peer.take_heartbeat(self.stream));
        Some((Channel::Between, heartbeat.flatten()?))
    }
}

fn side(link: &Link) -> Direction {
    match link.direction {
        crate::transport::Direction::Initiated => Direction::Forward,
        crate::transport::Direction::Accepted => Direction::Back,
    }
}

impl<T: Table, K: Waiting> LinkDriver for LinkEnd<T, K> {
    fn opened(&self, opened: Opened) -> Arc<dyn Source> {
        let (link, now) = (opened.link, clock::now());
        let direction = side(&link);
        let replicas = &self.0.replicas;
        tracing::info!(peer = ?link.peer, ?direction, stream = link.stream, "stream opened");
        replicas.opened(now, &link.peer, direction, link.stream);
        let peer = replicas.peer(&link.peer, now);
        let wake = opened.wake;
        peer.on_ready(direction, link.stream, move || wake.wake());
        Arc::new(PeerSource {
            driver: Arc::clone(&self.0),
            peer,
            direction,
            stream: link.stream,
        })
    }

    fn received(&self, link: &Link, channel: Channel, payload: Bytes) -> Flow {
        match channel {
            Channel::Gossip => self.0.gossip.received(link.peer, &payload),
            Channel::Replication | Channel::Between => {
                let mut out = Out::default();
                let (now, direction) = (clock::now(), side(link));
                let read = self.0.replicas.receive(
                    now,
                    &link.peer,
                    direction,
                    link.stream,
                    &payload,
                    &mut out,
                );
                self.0.perform(out);
                if let Err(error) = read {
                    tracing::error!(peer = ?link.peer, %error, "the stream is not used any more");
                    self.0.replicas.closed(&link.peer, direction, link.stream);
                }
            }
        }
        Flow::Continue
    }

    fn closed(&self, link: &Link, reason: &str) {
        let direction = side(link);
        let (peer, stream) = (link.peer, link.stream);
        tracing::info!(?peer, ?direction, stream, reason, "stream closed");
        self.0.replicas.closed(&link.peer, direction, link.stream);
    }
}
