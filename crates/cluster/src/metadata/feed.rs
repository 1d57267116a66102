//! The node's own copy of the metadata, and who is told when it moves on.
//!
//! It has two sources that say the same: the Raft log, where this node is in the group, and what it
//! pulls from others, where it is not. Whichever is ahead moves the state on; what the other one
//! brings late is known already. The latest entries are kept, so that every node can help those
//! behind it.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};

use super::{Applied, Entry, State};
use crate::SharedSlotMap;

/// How many entries are kept for nodes that are behind; who is further behind gets the state.
const RECENT_MAX: usize = 512;

/// How many updates a subscriber may be behind before it gets the state as a whole.
const UPDATES_MAX: usize = 256;

/// What a subscriber is told. Updates come in the order of the log, and leave nothing out.
#[derive(Clone, Debug)]
pub enum Update {
    /// These entries were applied, and this is the state after the last of them.
    Applied(Arc<State>, Arc<[Applied]>),
    /// The state as a whole: compare it with what was known. The first update is one, as is what
    /// follows a gap: a snapshot was installed, or the subscriber was slow.
    Whole(Arc<State>),
}

/// The state and its subscribers.
#[derive(Debug)]
pub(super) struct Feed {
    recent: Mutex<VecDeque<(u64, Entry)>>,
    state: watch::Sender<Arc<State>>,
    updates: broadcast::Sender<Update>,
    slot_map: Arc<SharedSlotMap>,
}

/// A subscription to the updates of a node's metadata.
#[derive(Debug)]
pub struct Updates {
    state: watch::Receiver<Arc<State>>,
    updates: broadcast::Receiver<Update>,
    applied: Option<u64>,
}

impl Feed {
    pub(super) fn new(slots: u16) -> Arc<Feed> {
        Arc::new(Feed {
            recent: Mutex::default(),
            state: watch::Sender::new(Arc::new(State::new(slots))),
            updates: broadcast::Sender::new(UPDATES_MAX),
            slot_map: Arc::default(),
        })
    }

    pub(super) fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.borrow())
    }

    pub(super) fn watch(&self) -> watch::Receiver<Arc<State>> {
        self.state.subscribe()
    }

    pub(super) fn slot_map(&self) -> &Arc<SharedSlotMap> {
        &self.slot_map
    }

    pub(super) fn subscribe(&self) -> Updates {
        let updates = self.updates.subscribe();
        Updates {
            updates,
            state: self.state.subscribe(),
            applied: None,
        }
    }

    /// Entries that were applied elsewhere to the state that they led to.
    pub(super) fn applied(&self, state: &Arc<State>, entries: Vec<(Entry, Applied)>) {
        let mut recent = self.recent.lock();
        let known = self.state.borrow().applied();
        let mut applied = Vec::new();
        for (entry, what) in entries {
            if what.index > known {
                recent.push_back((what.index, entry));
                applied.push(what);
            }
        }
        let surplus = recent.len().saturating_sub(RECENT_MAX);
        recent.drain(..surplus);
        if !applied.is_empty() {
            self.publish(Update::Applied(Arc::clone(state), applied.into()));
        }
    }

    /// Entries from another node, in the order of the log. The first one follows `since`; if that
    /// is beyond what is known here, there would be a gap, and nothing is taken.
    pub(super) fn pulled(&self, since: u64, entries: Vec<(u64, Entry)>) {
        let current = self.state();
        if since > current.applied() {
            return;
        }
        let mut state = State::clone(&current);
        let mut applied = Vec::new();
        for (index, entry) in entries {
            if index > state.applied() {
                let what = state.apply(index, &entry);
                applied.push((entry, what));
            }
        }
        self.applied(&Arc::new(state), applied);
    }

    /// A whole state from another node, or from a snapshot.
    pub(super) fn replaced(&self, state: Arc<State>) {
        let mut recent = self.recent.lock();
        if state.applied() > self.state.borrow().applied() {
            recent.clear();
            self.publish(Update::Whole(state));
        }
    }

    /// The entries after `since`, or `None` if they are not kept any more.
    pub(super) fn since(&self, since: u64) -> Option<Vec<(u64, Entry)>> {
        let recent = self.recent.lock();
        let first = recent.front().map(|(index, _)| *index);
        let applied = self.state.borrow().applied();
        // Without knowing what was between them, only what follows a kept entry is complete.
        let complete = since == applied || first.is_some_and(|first| first <= since);
        complete.then(|| {
            recent
                .iter()
                .filter(|(index, _)| *index > since)
                .cloned()
                .collect()
        })
    }

    /// Called with the lock held, so that subscribers see one order.
    fn publish(&self, update: Update) {
        let (Update::Applied(state, _) | Update::Whole(state)) = &update;
        let state = Arc::clone(state);
        self.slot_map.offer(Arc::clone(&state));
        self.state.send_replace(state);
        // Nobody may be listening.
        let _ = self.updates.send(update);
    }
}

impl Updates {
    /// The next update; `None` when the node's metadata has ended.
    pub async fn next(&mut self) -> Option<Update> {
        let Some(known) = self.applied else {
            return Some(self.whole());
        };
        loop {
            match self.updates.recv().await {
                Ok(update) => {
                    let (Update::Applied(state, _) | Update::Whole(state)) = &update;
                    // What a whole state had in it already is not told again.
                    if state.applied() > known {
                        self.applied = Some(state.applied());
                        return Some(update);
                    }
                }
                Err(broadcast::error::RecvError::Lagged(_)) => return Some(self.whole()),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    fn whole(&mut self) -> Update {
        self.updates = self.updates.resubscribe();
        let state = Arc::clone(&self.state.borrow());
        self.applied = Some(state.applied());
        Update::Whole(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Lineage;
    use crate::metadata::{Document, Form};

    fn form() -> Entry {
        Entry::Form(Form {
            lineage: Lineage(1),
            hash_seed: [0; 4],
            nodes: Vec::new(),
            replication_factor: None,
            write_quorum: None,
            read_quorum: None,
            documents: Vec::new(),
        })
    }

    fn entry(index: u64) -> (u64, Entry) {
        let (name, value) = ("k".to_owned(), index.to_string().into());
        (
            index,
            Entry::Document(Document {
                name,
                value,
                expect: None,
            }),
        )
    }

    #[test]
    fn what_comes_twice_counts_once_and_a_gap_is_not_taken() {
        let feed = Feed::new(16);
        feed.pulled(0, vec![(1, form()), entry(2)]);
        feed.pulled(3, vec![entry(4)]);
        assert_eq!(feed.state().applied(), 2);
        feed.pulled(1, vec![entry(2), entry(3)]);
        assert_eq!(feed.state().document("k").unwrap().rev, 2);
    }

    #[test]
    fn only_a_complete_rest_of_the_log_is_handed_on() {
        let feed = Feed::new(16);
        let other = Feed::new(16);
        other.pulled(0, vec![(1, form())]);
        feed.replaced(other.state());
        assert_eq!(feed.since(1), Some(Vec::new()));
        feed.pulled(1, vec![entry(2), entry(3)]);
        assert_eq!(feed.since(0), None);
        assert_eq!(
            feed.since(1),
            None,
            "entries of others than us may lie between 1 and 2"
        );
        assert_eq!(feed.since(2), Some(vec![entry(3)]));
    }

    #[tokio::test]
    async fn a_subscriber_hears_everything_in_order_and_a_slow_one_the_whole() {
        let feed = Feed::new(16);
        feed.pulled(0, vec![(1, form())]);
        let mut updates = feed.subscribe();
        assert!(matches!(updates.next().await, Some(Update::Whole(state)) if state.applied() == 1));
        feed.pulled(1, vec![entry(2), entry(3)]);
        let Some(Update::Applied(state, applied)) = updates.next().await else {
            panic!()
        };
        assert_eq!(
            applied.iter().map(|what| what.index).collect::<Vec<_>>(),
            [2, 3]
        );
        assert_eq!(state.applied(), 3);
        for index in 4..=4 + UPDATES_MAX as u64 {
            feed.pulled(index - 1, vec![entry(index)]);
        }
        assert!(matches!(updates.next().await, Some(Update::Whole(_))));
        feed.pulled(4 + UPDATES_MAX as u64, vec![entry(1000)]);
        assert!(matches!(updates.next().await, Some(Update::Applied(s, _)) if s.applied() == 1000));
    }
}
