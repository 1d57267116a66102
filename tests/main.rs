//! Black-box tests: real processes, real clients, and the house rules.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod any_port;
mod cli;
mod clients;
mod compat;
mod deploy;
mod operations;
mod tidy;
