//! The clients of this node, for those who want to see or count them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use dashmap::DashMap;
use tokio::sync::watch;

use crate::client_state::ClientCard;

/// Every client that is connected.
#[derive(Debug, Default)]
pub struct Clients {
    by_id: DashMap<u64, Arc<ClientCard>>,
    connected: AtomicUsize,
    last_id: AtomicU64,
    /// Counts how often clients were chosen to be closed for the sake of memory.
    evictions: watch::Sender<u64>,
}

impl Clients {
    /// Makes room for one more client, unless there are `most` already. Its number must be given
    /// back through [`Clients::leave`].
    #[must_use]
    pub fn enter(&self, most: u64) -> Option<u64> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let one_more = |count| (count < most).then_some(count + 1);
        self.connected
            .fetch_update(Relaxed, Relaxed, one_more)
            .ok()?;
        Some(self.last_id.fetch_add(1, Relaxed) + 1)
    }

    /// Shows a client that has entered.
    pub fn show(&self, card: &Arc<ClientCard>) {
        self.by_id.insert(card.id, Arc::clone(card));
    }

    /// Some cards say newly that their client is to be closed.
    pub(crate) fn announce_evictions(&self) {
        self.evictions.send_modify(|count| *count += 1);
    }

    /// Tells of such cards, for those who close connections.
    pub(crate) fn evictions(&self) -> watch::Receiver<u64> {
        self.evictions.subscribe()
    }

    /// The client is gone.
    pub fn leave(&self, id: u64) {
        self.by_id.remove(&id);
        self.connected.fetch_sub(1, Relaxed);
    }

    /// How many are connected.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.connected.load(Relaxed)
    }

    /// All of them, in the order in which they came.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<ClientCard>> {
        let mut cards: Vec<_> = self.by_id.iter().map(|card| Arc::clone(&card)).collect();
        cards.sort_by_key(|card| card.id);
        cards
    }

    /// The client with this number.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<Arc<ClientCard>> {
        self.by_id.get(&id).map(|card| Arc::clone(&card))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_enters_above_the_limit() {
        let clients = Clients::default();
        let first = clients.enter(1).unwrap();
        assert_eq!(clients.enter(1), None);
        clients.leave(first);
        assert!(clients.enter(1).is_some_and(|second| second > first));
        assert_eq!(clients.connected(), 1);
    }
}
