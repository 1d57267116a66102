//! The process: front end, commands, store.
//!
//! A request's way: [`server`] accepts a socket, `connection` reads and answers it, [`resp`]
//! decodes and encodes, `dispatch` is the list of gates, [`command`] holds the table and the
//! handlers, [`store`] the data. [`topology`] is the cluster as the node shows it, and [`admin`]
//! speaks to operators.

pub mod admin;
pub mod census;
pub mod client_state;
pub mod clients;
pub mod command;
pub mod config;
mod connection;
pub mod departure;
mod dispatch;
pub mod error;
mod execute;
pub mod gather;
mod inbox;
mod inquiry;
pub mod join;
pub mod logs;
pub mod memory;
pub mod metrics;
pub mod modes;
pub mod node;
pub mod others;
mod outbox;
pub mod parameters;
pub mod process;
pub mod resp;
pub mod server;
pub mod slots;
mod split;
pub mod stats;
pub mod store;
pub mod topology;
mod transaction;
mod upkeep;
