//! The node's own copy of the metadata, and the entries that led to it lately.
//!
//! It has two sources that say the same: the Raft log, where this node is in the group, and what it
//! pulls from others, where it is not. Whichever is ahead moves the state on; what the other one
//! brings late is known already. The latest entries are kept, so that every node can help those
//! behind it.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Entry, State};
use crate::SharedSlotMap;

/// How many entries are kept for nodes that are behind; who is further behind gets the state.
const RECENT_MAX: usize = 512;
/// How many slots these entries may name together: each takes some hundred bytes.
const RECENT_SLOTS_MAX: usize = 1 << 16;

/// The state, and what led to it lately.
#[derive(Debug)]
pub(super) struct Feed {
    recent: Mutex<VecDeque<(u64, Entry)>>,
    state: watch::Sender<Arc<State>>,
    slot_map: Arc<SharedSlotMap>,
}

impl Feed {
    pub(super) fn new(slots: u16) -> Arc<Feed> {
        Arc::new(Feed {
            recent: Mutex::default(),
            state: watch::Sender::new(Arc::new(State::new(slots))),
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

    /// Entries, with their indexes, that were applied elsewhere to the state that they led to.
    pub(super) fn applied(&self, state: &Arc<State>, entries: Vec<(u64, Entry)>) {
        let mut recent = self.recent.lock();
        let known = self.state.borrow().applied();
        if state.applied() > known {
            let news = entries.into_iter().filter(|(index, _)| *index > known);
            recent.extend(news);
            bound(&mut recent);
            self.publish(Arc::clone(state));
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
        for (index, entry) in &entries {
            if *index > state.applied() {
                state.apply(*index, entry);
            }
        }
        self.applied(&Arc::new(state), entries);
    }

    /// A whole state from another node, or from a snapshot.
    pub(super) fn replaced(&self, state: Arc<State>) {
        let mut recent = self.recent.lock();
        if state.applied() > self.state.borrow().applied() {
            recent.clear();
            self.publish(state);
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

    /// Called with the lock held, so that all see one order.
    fn publish(&self, state: Arc<State>) {
        self.slot_map.offer(Arc::clone(&state));
        self.state.send_replace(state);
    }
}

/// Drops the oldest entries above what is kept.
fn bound(recent: &mut VecDeque<(u64, Entry)>) {
    let mut kept: usize = recent.iter().map(|(_, entry)| entry.slots()).sum();
    while recent.len() > RECENT_MAX || kept > RECENT_SLOTS_MAX {
        let Some((_, dropped)) = recent.pop_front() else {
            return;
        };
        kept -= dropped.slots();
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
            on_loss: None,
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

    #[test]
    fn what_is_kept_is_bounded_by_what_it_takes() {
        let feed = Feed::new(16);
        feed.pulled(0, vec![(1, form())]);
        let fence = |slot| crate::metadata::FenceSlot {
            slot: crate::Slot::new(slot).unwrap(),
            rev: 0,
        };
        let full = Entry::Fence((0..1024).map(fence).collect());
        for index in 2..100 {
            feed.pulled(index - 1, vec![(index, full.clone())]);
        }
        assert_eq!(feed.since(35), None);
        assert_eq!(feed.since(36).unwrap().len(), 63);
    }
}
