//! Who owns what: the one log that all nodes of a cluster agree on, and the state that follows
//! from it.
//!
//! [`entry`] and [`state`] are pure: the same entries in the same order give the same state on
//! every node and in the simulation. What carries the log (Raft, its store on disk, the start-up of
//! a new cluster) is behind the feature `net`; the Raft library's own types stay in this folder.
//! The keyspaces and other settings travel in the same log as documents, which are bytes to this
//! crate.

mod applied;
pub mod entry;
// Pure as well, but only the start of a real node has a use for it; so with `voters`.
#[cfg(any(feature = "net", test))]
mod founding;
mod neighbours;
mod on_loss;
mod rules;
pub mod state;
#[cfg(any(feature = "net", test))]
mod voters;

#[cfg(feature = "net")]
mod answer;
#[cfg(feature = "net")]
mod bootstrap;
#[cfg(feature = "net")]
mod disk;
#[cfg(feature = "net")]
mod driven;
#[cfg(feature = "net")]
mod feed;
#[cfg(feature = "net")]
mod group;
#[cfg(feature = "net")]
mod lead;
#[cfg(feature = "net")]
mod log_store;
#[cfg(feature = "net")]
mod network;
#[cfg(feature = "net")]
mod propose;
#[cfg(feature = "net")]
mod pull;
#[cfg(feature = "net")]
mod raft;
#[cfg(feature = "net")]
mod request;
#[cfg(feature = "net")]
mod settings;
#[cfg(feature = "net")]
mod state_machine;

pub use applied::{Applied, Refusal};
pub use entry::{
    ActivateSlot, ChangeSlot, Document, Entry, FenceSlot, Form, LearnersSlot, TransferSlot,
};
pub use neighbours::Neighbours;
pub use on_loss::OnLoss;
pub use rules::COPIES_MAX;
pub use state::{DocumentRecord, NodeRecord, State};

#[cfg(feature = "net")]
pub use self::{
    bootstrap::{BootstrapSettings, bootstrap},
    disk::{Disk, DiskError},
    group::{Group, GroupError, Leadership, Leading},
    propose::{LeaseError, ProposeError, RegisterError},
    settings::GroupSettings,
};
