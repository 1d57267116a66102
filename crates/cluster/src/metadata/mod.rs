//! Who owns what: the one log that all nodes of a cluster agree on, and the state that follows
//! from it.
//!
//! [`entry`] and [`state`] are pure: the same entries in the same order give the same state on
//! every node and in the simulation. What carries the log (Raft, its store on disk, the start-up of
//! a new cluster) is behind the feature `net`. The keyspaces and other settings travel in the same
//! log as documents, which are bytes to this crate.

mod applied;
pub mod entry;
mod rules;
pub mod state;

pub use applied::{Applied, Refusal};
pub use entry::{ActivateSlot, ChangeSlot, Document, Entry, FenceSlot, Form, LearnersSlot};
pub use rules::COPIES_MAX;
pub use state::{DocumentRecord, NodeRecord, State};
