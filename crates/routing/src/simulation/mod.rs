//! The cache modes in one thread, with virtual time and a database that misbehaves, replayable by
//! seed.
//!
//! A few nodes lead slots in turn over a modelled linear log, whose uncommitted tail is lost at a
//! take-over. The database's statements land late, twice or never, and answers get lost.

mod database;
mod doubts;
mod executor;
mod history;
mod node;
mod outages;
mod reads;
mod schedules;
mod seeds;
mod several;
mod sqlite;
mod world;

pub(crate) use database::{Fate, SimDatabase};
pub(crate) use executor::{Executor, NodeId, WORLD};
pub(crate) use node::{Node, SimLocked};
pub(crate) use world::{Command, Reply, World};
