//! The data plane's replication: a state machine without I/O.

pub mod table;

pub use table::{BadEffects, Table};
