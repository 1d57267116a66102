//! The modelled metadata log: the real state machine behind an agreement that is taken for granted.

use cluster::metadata::{Applied, Entry, State};

/// The committed entries, and the state after all of them.
#[derive(Debug)]
pub struct Log {
    entries: Vec<Entry>,
    state: State,
}

/// An entry on its way into the log.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// The node that proposes it, and which start of it.
    pub from: (usize, u64),
    /// The entry.
    pub entry: Entry,
    /// Whether the proposer's coordinator is to be told what became of it.
    pub tell: bool,
}

impl Log {
    /// An empty log.
    #[must_use]
    pub fn new(slots: u16) -> Log {
        Log {
            entries: Vec::new(),
            state: State::new(slots),
        }
    }

    /// Commits an entry.
    pub fn append(&mut self, entry: Entry) -> Applied {
        let index = self.entries.len() as u64 + 1;
        let applied = self.state.apply(index, &entry);
        self.entries.push(entry);
        applied
    }

    /// The state after all committed entries.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The index of the last entry.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The entry at an index, counted from 1.
    #[must_use]
    pub fn entry(&self, index: u64) -> Option<&Entry> {
        let at = usize::try_from(index).ok()?.checked_sub(1)?;
        self.entries.get(at)
    }
}
