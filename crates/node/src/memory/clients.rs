//! The buffers of clients: what they may take, and who goes when they take more.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use routing::quantity::Size;

use crate::client_state::ClientCard;
use crate::config::ClientShare;
use crate::node::Node;

/// What is set aside where there is no bound: a sixteenth of `maxmemory`.
const UNBOUNDED_PART: usize = 16;
/// Buffers that grow by less than this are not asked about beforehand.
pub(crate) const SMALL_BYTES: usize = 64 << 10;

impl ClientShare {
    /// The bound in bytes, if there is one.
    pub(crate) fn bytes_max(self, maxmemory: usize) -> Option<usize> {
        match self {
            ClientShare::Bytes(Size(0)) => None,
            ClientShare::Bytes(size) => Some(size.as_usize()),
            ClientShare::Percent(_) if maxmemory == 0 => None,
            ClientShare::Percent(percent) => Some(maxmemory / 100 * usize::from(percent)),
        }
    }
}

/// What of `maxmemory` is kept for clients. It is a quarter more than their bound: who reaches that
/// is not gone at once.
pub(super) fn set_aside(node: &Node) -> usize {
    let limit = node.store.maxmemory_bytes();
    let share = **node.parameters.maxmemory_clients.load();
    let aside = match share.bytes_max(limit) {
        Some(bound) => bound + bound / 4,
        None => limit / UNBOUNDED_PART,
    };
    aside.min(limit / 2)
}

/// What the buffers of all clients may take at this moment. Without a bound that is what neither
/// data nor anything else takes.
fn bytes_max(node: &Node) -> Option<usize> {
    let limit = node.store.maxmemory_bytes();
    let share = **node.parameters.maxmemory_clients.load();
    share.bytes_max(limit).or_else(|| {
        let free = node.store.budget().data_bytes_max()?;
        let free = free.saturating_sub(node.store.used_bytes());
        Some(set_aside(node) + free)
    })
}

/// Whether the buffers of a client may grow by so much. Those go first whose buffers are larger
/// than its own will be; if that is not enough, the client itself is to go.
pub(crate) fn admits(node: &Node, client: &ClientCard, more: usize) -> bool {
    if more < SMALL_BYTES {
        return true;
    }
    let Some(most) = bytes_max(node) else {
        return true;
    };
    if node.stats.client_bytes().saturating_add(more) <= most {
        return true;
    }
    let own = client
        .buffer_bytes
        .load(Relaxed)
        .saturating_add(more as u64);
    let admitted = own <= most as u64 && cut(node, most, more as u64, Some((client.id, own)));
    if !admitted && client.evict() {
        node.memory.evicted_clients.fetch_add(1, Relaxed);
        node.clients.announce_evictions();
    }
    admitted
}

/// Closes the clients with the largest buffers, until those of the others are within their bound.
pub(crate) fn cut_the_largest(node: &Node) {
    if let Some(most) = bytes_max(node)
        && node.stats.client_bytes() > most
    {
        cut(node, most, 0, None);
    }
}

/// Has the clients closed that have the largest buffers, as far as they are larger than those of
/// the one that is spared, until there would be room for more. Returns whether there will be.
fn cut(node: &Node, most: usize, more: u64, spared: Option<(u64, u64)>) -> bool {
    let mut cards: Vec<(u64, Arc<ClientCard>)> = node
        .clients
        .all()
        .into_iter()
        .filter(|card| !card.is_evicted())
        .map(|card| (card.buffer_bytes.load(Relaxed), card))
        .collect();
    let mut total = cards.iter().map(|(bytes, _)| bytes).sum::<u64>() + more;
    cards.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    let mut any = false;
    for (bytes, card) in cards {
        let (id, least) = spared.unwrap_or((0, SMALL_BYTES as u64));
        if total <= most as u64 || bytes < least {
            break;
        }
        if card.id != id && card.evict() {
            total -= bytes;
            any = true;
            node.memory.evicted_clients.fetch_add(1, Relaxed);
        }
    }
    if any {
        node.clients.announce_evictions();
    }
    total <= most as u64
}
