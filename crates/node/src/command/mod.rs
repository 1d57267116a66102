//! The commands: the table, the cursor over arguments, and a file of handlers for each family.

pub mod args;
mod client;
mod cluster;
mod config;
pub mod connection;
mod copies;
mod database;
mod expiry;
mod generic;
pub mod glob;
mod hash;
mod help;
mod info;
mod introspect;
mod keyspace;
mod long_double;
mod memory;
mod object;
mod scan;
mod server;
pub mod session;
mod string;
pub mod table;
mod time;
#[cfg(test)]
mod trial;
mod wait;

pub use args::Args;
pub use session::{Answer, Later, Session};
