//! The process: front end, commands, store.
//!
//! A request's way: [`server`] accepts a socket, [`connection`] reads and answers it, [`resp`]
//! decodes and encodes, [`dispatch`] is the list of gates, [`command`] holds the table and the
//! handlers, [`store`] the data.

pub mod command;
pub mod config;
pub mod error;
pub mod resp;
pub mod store;
