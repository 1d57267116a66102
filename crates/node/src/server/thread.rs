//! One data thread: its connections, its counters, its buffers.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use ahash::AHashMap;
use bytes::BytesMut;

use crate::connection::{Close, Link};
use crate::node::Node;
use crate::stats::ThreadStats;

/// A buffer that is lent has at least this much room.
const BUFFER_BYTES: usize = 16 << 10;
/// A buffer that has grown beyond this is not kept.
const BUFFER_BYTES_MAX: usize = 32 << 10;
/// Buffers that a thread keeps for the next connection that needs one.
const BUFFERS_MAX: usize = 64;

/// What the connections of one thread share.
pub(crate) struct DataThread {
    pub(crate) node: Arc<Node>,
    pub(crate) stats: Arc<ThreadStats>,
    buffers: RefCell<Vec<BytesMut>>,
    links: RefCell<AHashMap<u64, Rc<Link>>>,
}

impl DataThread {
    pub(crate) fn new(node: Arc<Node>) -> DataThread {
        let stats = node.stats.thread();
        DataThread {
            node,
            stats,
            buffers: RefCell::default(),
            links: RefCell::default(),
        }
    }

    /// An empty buffer.
    pub(crate) fn lend(&self) -> BytesMut {
        let kept = self.buffers.borrow_mut().pop();
        kept.unwrap_or_else(|| BytesMut::with_capacity(BUFFER_BYTES))
    }

    /// Keeps a buffer for whoever needs one next.
    pub(crate) fn give_back(&self, mut buffer: BytesMut) {
        buffer.clear();
        // Makes whole again what was cut off at the front.
        if !buffer.try_reclaim(BUFFER_BYTES) || buffer.capacity() > BUFFER_BYTES_MAX {
            return;
        }
        let mut buffers = self.buffers.borrow_mut();
        if buffers.len() < BUFFERS_MAX {
            buffers.push(buffer);
        }
    }

    /// A connection begins.
    pub(crate) fn remember(&self, link: &Rc<Link>) {
        self.node.clients.show(&link.card);
        self.links
            .borrow_mut()
            .insert(link.card.id, Rc::clone(link));
    }

    /// A connection has ended.
    pub(crate) fn forget(&self, id: u64) {
        self.links.borrow_mut().remove(&id);
        self.node.clients.leave(id);
    }

    /// How many connections there are.
    pub(crate) fn connections(&self) -> usize {
        self.links.borrow().len()
    }

    /// No connection reads any more; each ends once it has answered.
    pub(crate) fn stop_reading(&self) {
        self.links
            .borrow()
            .values()
            .for_each(|link| link.stop_reading());
    }

    /// Cuts those who were chosen to go for the sake of memory.
    pub(crate) fn cut_the_evicted(&self) {
        for link in self.links.borrow().values() {
            if link.card.is_evicted() {
                link.cut(Close::Memory);
            }
        }
    }

    /// Cuts those who are idle for too long, or leave much unread for too long.
    pub(crate) fn cut_the_idle(&self) {
        let now = self.node.uptime_ms();
        let limits = self.node.parameters.limits.load();
        let timeout = self.node.parameters.timeout_seconds.load(Relaxed) * 1000;
        let soft = limits.output_soft_ms;
        for link in self.links.borrow().values() {
            let blocked = link.card.blocked_ms.load(Relaxed);
            let unread = link.card.output_bytes.load(Relaxed);
            let seen = link.card.seen_ms.load(Relaxed);
            if blocked != 0 && unread > limits.output_soft_bytes as u64 && now - blocked > soft {
                link.cut(Close::SoftOutput);
            } else if timeout > 0 && link.is_idle() && now.saturating_sub(seen) > timeout {
                link.cut(Close::Idle);
            }
        }
    }
}
