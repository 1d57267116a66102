//! Links: the long-lived streams between pairs of nodes, and what a driver gives and gets.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::task::AtomicWaker;

use super::call::BoxFuture;
use crate::{Lineage, Member, NodeId, NodeInfo};

/// The driver's side of the links. Every open link has its own source, so nothing that was meant
/// for a stream can travel on the one that follows it.
///
/// All calls for one peer and direction come one after the other: `opened`, any number of
/// `received`, `closed`. A new stream's `opened` comes after the old stream's `closed`, and nothing
/// of the old one is received after that. They run on the transport's thread and must not
/// block; they may use [`Links`] and calls.
pub trait LinkDriver: Send + Sync + 'static {
    /// A stream to or from a peer is open. Returns where the transport takes from what it sends.
    fn opened(&self, opened: Opened) -> Arc<dyn Source>;

    /// A message has arrived. The next one of this link is read when the returned [`Flow`] allows.
    fn received(&self, link: &Link, channel: Channel, payload: Bytes) -> Flow;

    /// The stream has ended; its source is not asked any more.
    fn closed(&self, link: &Link, reason: &str);
}

/// Where the transport takes what a link sends. It asks when the network has room, so whatever has
/// gathered since then goes as one batch, and what a slow peer does not read stays in the source.
pub trait Source: Send + Sync + 'static {
    /// The next payload to send, of about `bytes_max` at most; only a single message that is longer
    /// by itself may exceed it. `None` if there is nothing: call [`Wake::wake`] when there is.
    fn take(&self, bytes_max: usize) -> Option<(Channel, Bytes)>;

    /// A short payload, of another channel than what [`Source::take`] gives, that is to go between
    /// the parts of a long one. Asked for only there: otherwise `take` gives all.
    fn take_between(&self) -> Option<(Channel, Bytes)> {
        None
    }
}

/// Tells an idle link that its source has something again. Clones wake the same link.
#[derive(Clone, Debug, Default)]
pub struct Wake(Arc<AtomicWaker>);

impl Wake {
    /// Wakes the link's sender. May be called from every thread, after the message has been put
    /// into the source; costs two atomic operations if the sender is awake anyway.
    pub fn wake(&self) {
        self.0.wake();
    }

    /// Remembers the task to wake: the transport calls it, then asks the source once more.
    pub fn register(&self, waker: &std::task::Waker) {
        self.0.register(waker);
    }
}

/// One open stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// Who is at the other end.
    pub peer: Member,
    /// Unique within this process, and greater than that of every stream opened before.
    pub stream: u64,
    /// Which end opened it.
    pub direction: Direction,
}

/// Which end opened a stream. Every pair of nodes has one stream of each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// This node: it sends records, heartbeats and seals, and receives acknowledgements.
    Initiated,
    /// The peer: this node sends acknowledgements, and receives records, heartbeats and seals.
    Accepted,
}

impl Direction {
    /// The direction's label in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Direction::Initiated => "initiated",
            Direction::Accepted => "accepted",
        }
    }
}

/// What a message on a link is about: one byte before its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Channel {
    /// Records, acknowledgements and all else of replication; its own encoding.
    Replication = 0,
    /// A packet of the gossip.
    Gossip = 1,
    /// Messages of replication that may overtake those of [`Channel::Replication`].
    Between = 2,
}

impl Channel {
    /// The channel with this number, if this version knows it.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Channel> {
        match number {
            0 => Some(Channel::Replication),
            1 => Some(Channel::Gossip),
            2 => Some(Channel::Between),
            _ => None,
        }
    }
}

/// Whether the next message of a link may be read.
pub enum Flow {
    /// At once.
    Continue,
    /// When this is done. Until then the peer's messages wait, at first on the way, then with it.
    Wait(BoxFuture<'static, ()>),
}

/// A stream that has been opened, and what the peer said of itself.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The stream.
    pub link: Link,
    /// The peer's lineage; none if it does not belong to a formed cluster yet.
    pub lineage: Option<Lineage>,
    /// Where the peer can be reached, and more.
    pub info: NodeInfo,
    /// Wakes the link's sender.
    pub wake: Wake,
}

/// Keeps the streams to all known peers open.
pub trait Links: Send + Sync + 'static {
    /// Who takes part in the links from now on. Streams are opened once this has been called.
    fn drive(&self, driver: Arc<dyn LinkDriver>);

    /// The peer is at this `host:port` from now on: a stream to it is kept open, whatever happens.
    /// A changed address is used at the next attempt; a stream that is open stays so.
    fn connect(&self, node: NodeId, address: &str);

    /// No stream is kept open to this peer any more, and those open with it end; until somebody
    /// names its address again, be it the peer itself by connecting.
    fn forget(&self, node: NodeId);

    /// This node belongs to the lineage from now on. Streams with peers that have not named the
    /// same one are opened again.
    fn set_lineage(&self, lineage: Lineage);

    /// What peers are told about this node from now on, on streams opened after this.
    fn set_info(&self, info: NodeInfo);

    /// Sends one gossip packet to the node on any open stream, ahead of what the sources have.
    /// It is dropped if there is none or too many packets wait; gossip expects losses.
    fn gossip(&self, to: NodeId, packet: Bytes);

    /// The streams that are open now.
    fn open(&self) -> Vec<Link>;

    /// Ends all streams, for good; the driver hears of each, and is let go after that.
    fn stop(&self);
}
