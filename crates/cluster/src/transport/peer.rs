//! One other node: its address, its streams, the calls to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::caller::Caller;
use super::frame::Frame;
use super::handshake::{self, Greeting, Refusal};
use super::hub::Hub;
use super::link::{Channel, Direction, Flow, Link, LinkDriver, Opened};
use super::outgoing::Outlet;
use crate::{Incarnation, Lineage, Member, NodeId};

/// What is known of another node, and its streams of both directions.
pub(crate) struct Peer {
    pub(crate) node: NodeId,
    pub(crate) caller: Arc<Caller>,
    /// Told when the address has changed or the peer is forgotten.
    pub(crate) changed: Notify,
    address: Mutex<Option<String>>,
    incarnation: Mutex<Incarnation>,
    forgotten: AtomicBool,
    /// Held while the driver is told of a stream, so that it hears of one after the other. The
    /// driver may use the peer meanwhile: nothing else takes these locks.
    turns: [Mutex<()>; 2],
    links: Mutex<[Option<OpenLink>; 2]>,
}

struct OpenLink {
    link: Link,
    outlet: Outlet,
    lineage: Option<Lineage>,
    stop: Arc<Notify>,
}

/// An open link as its session holds it; the driver hears of the end when it is dropped.
pub(crate) struct LinkSession {
    pub(crate) link: Link,
    pub(crate) stop: Arc<Notify>,
    pub(crate) end: String,
    hub: Arc<Hub>,
    peer: Arc<Peer>,
    driver: Arc<dyn LinkDriver>,
}

impl Peer {
    pub(crate) fn new(node: NodeId, caller: Caller) -> Peer {
        Peer {
            node,
            caller: Arc::new(caller),
            changed: Notify::new(),
            address: Mutex::default(),
            incarnation: Mutex::default(),
            forgotten: AtomicBool::new(false),
            turns: Default::default(),
            links: Mutex::default(),
        }
    }

    pub(crate) fn address(&self) -> Option<String> {
        self.address.lock().clone()
    }

    /// Returns whether the peer had no address before.
    pub(crate) fn set_address(&self, address: &str) -> bool {
        let mut known = self.address.lock();
        let first = known.is_none();
        if known.as_deref() != Some(address) {
            *known = Some(address.to_owned());
            self.changed.notify_one();
        }
        first
    }

    /// A start of the node has proven itself. An earlier one has nothing to say any more.
    pub(crate) fn admit(&self, member: Member) -> Result<(), Refusal> {
        let mut latest = self.incarnation.lock();
        if self.is_forgotten() || member.incarnation < *latest {
            return Err(Refusal::Superseded);
        }
        *latest = member.incarnation;
        Ok(())
    }

    pub(crate) fn forget(&self) {
        self.forgotten.store(true, Ordering::Release);
        self.changed.notify_one();
        for open in self.links.lock().iter().flatten() {
            open.stop.notify_one();
        }
    }

    pub(crate) fn is_forgotten(&self) -> bool {
        self.forgotten.load(Ordering::Acquire)
    }

    /// Hands a stream to the driver. What was open in its place is over before that.
    pub(crate) fn open(
        self: Arc<Peer>,
        hub: &Arc<Hub>,
        driver: Arc<dyn LinkDriver>,
        direction: Direction,
        theirs: &Greeting,
        outlet: &Outlet,
    ) -> LinkSession {
        let stop = Arc::new(Notify::new());
        let turn = self.turns[direction as usize].lock();
        if let Some(old) = self.take_link(direction, |_| true) {
            end_link(hub, &*driver, &old, "a newer stream took its place");
            old.stop.notify_one();
        }
        let (peer, stream) = (theirs.member, hub.next_stream());
        let link = Link {
            peer,
            stream,
            direction,
        };
        let source = driver.opened(Opened {
            link,
            lineage: theirs.lineage,
            info: theirs.info.clone(),
            wake: outlet.wake(),
        });
        outlet.attach(source);
        hub.metrics.links(direction).increment(1);
        self.links.lock()[direction as usize] = Some(OpenLink {
            link,
            outlet: outlet.clone(),
            lineage: theirs.lineage,
            stop: Arc::clone(&stop),
        });
        drop(turn);
        LinkSession {
            link,
            stop,
            end: String::new(),
            hub: Arc::clone(hub),
            peer: self,
            driver,
        }
    }

    fn take_link(&self, direction: Direction, which: impl Fn(&Link) -> bool) -> Option<OpenLink> {
        self.links.lock()[direction as usize].take_if(|open| which(&open.link))
    }

    /// The links that are open with this peer.
    pub(crate) fn open_links(&self) -> Vec<Link> {
        let links = self.links.lock();
        links.iter().flatten().map(|open| open.link).collect()
    }

    /// Sends a packet on whichever stream is open.
    pub(crate) fn gossip(&self, packet: &Bytes) -> bool {
        let links = self.links.lock();
        links
            .iter()
            .flatten()
            .any(|open| open.outlet.gossip(packet.clone()))
    }

    /// This node belongs to the lineage: the peer is told, and streams with others end.
    pub(crate) fn set_lineage(&self, lineage: Lineage) {
        for open in self.links.lock().iter().flatten() {
            open.outlet.send(Frame::Lineage(lineage));
            if handshake::judge_lineage(Some(lineage), open.lineage).is_err() {
                open.stop.notify_one();
            }
        }
    }
}

impl LinkSession {
    /// Gives a message to the driver, or `None` if the stream is not the open one any more.
    pub(crate) fn received(&self, channel: Channel, payload: Bytes) -> Option<Flow> {
        let _turn = self.peer.turns[self.link.direction as usize].lock();
        let current = {
            let links = self.peer.links.lock();
            let open = links[self.link.direction as usize].as_ref();
            open.is_some_and(|open| open.link.stream == self.link.stream)
        };
        current.then(|| self.driver.received(&self.link, channel, payload))
    }

    /// The peer belongs to this lineage from now on.
    pub(crate) fn set_peer_lineage(&self, lineage: Lineage) {
        if let Some(open) = &mut self.peer.links.lock()[self.link.direction as usize]
            && open.link.stream == self.link.stream
        {
            open.lineage = Some(lineage);
        }
    }
}

impl Drop for LinkSession {
    fn drop(&mut self) {
        let direction = self.link.direction;
        let _turn = self.peer.turns[direction as usize].lock();
        let ours = |link: &Link| link.stream == self.link.stream;
        if let Some(old) = self.peer.take_link(direction, ours) {
            let reason = if self.end.is_empty() {
                "this node is stopping"
            } else {
                &self.end
            };
            end_link(&self.hub, &*self.driver, &old, reason);
        }
    }
}

fn end_link(hub: &Hub, driver: &dyn LinkDriver, old: &OpenLink, reason: &str) {
    old.outlet.end();
    hub.metrics.links(old.link.direction).decrement(1);
    driver.closed(&old.link, reason);
}
