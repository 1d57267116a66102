//! Black-box tests: real processes, real clients, and the house rules.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "a test that measures says what")]

mod any_port;
mod cli;
mod clients;
mod cluster;
mod compat;
mod configuration;
mod databases;
mod deploy;
mod documentation;
mod limits;
mod memory;
mod operations;
mod protocol_errors;
mod tidy;
mod trying_clients;
mod unreadable;
mod waiting;
