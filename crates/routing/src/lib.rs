//! Where a request goes and which cache mode it meets.
//!
//! [`keyspace`] says which rule a key falls under, [`database`] speaks to the database of record.
//! [`Cache`] is the door to the cache modes: protocol alone, written against the traits of
//! [`host`], without a clock, chance, task or network of its own, so that a simulation can replay
//! every decision.

mod cache;
pub mod database;
mod dirty;
mod error;
mod flush;
pub mod forward;
pub mod host;
pub mod keyspace;
mod line;
mod load;
mod metrics;
mod mode;
mod notice;
mod prepare;
pub mod quantity;
pub mod route;
mod rule;
mod settle;
mod signal;
#[cfg(test)]
mod simulation;

pub use cache::Cache;
pub use error::{Error, Lost, Refusal};
pub use flush::Flushed;
pub use host::Host;
pub use line::HeldLines;
pub use metrics::describe as describe_metrics;
pub use mode::standing::serves;
pub use mode::{Request, Use};
