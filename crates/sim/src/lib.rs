//! The data plane in one thread, replayable by seed: nodes, virtual time, a network and a metadata
//! log that misbehave, clients, and what must hold all the while.
//!
//! The replication and the metadata state machine are the real ones; [`world`] is all around them.

pub mod chance;
pub mod fault;
pub mod invariant;
pub mod run;
pub mod table;
pub mod workload;
pub mod world;

pub use chance::Chance;
pub use run::{Run, Without, run};
pub use table::KvTable;
pub use world::{Config, World};
