//! What the cache modes need from the node around them.
//!
//! The protocol of the modes is written against these traits alone: no clock, no chance, no task
//! and no network of its own. A node implements them on its runtime and its slots, the simulation
//! on virtual time and a modelled log, where every decision can be replayed.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cluster::{Epoch, Member, Slot, Time, Version};
use futures_util::future::LocalBoxFuture;

use crate::database::{Database, Value};
use crate::error::{Lost, Refusal};
use crate::keyspace::{DefinitionId, Keyspaces};

/// A node, as the cache modes see it.
pub trait Host: Sized + 'static {
    /// A command, ready to run; opaque here.
    type Command: 'static;
    /// What a client gets; opaque here.
    type Reply: 'static;
    /// A slot under its lock.
    type Locked<'a>: Locked<Self>;

    /// The monotonic clock.
    fn now(&self) -> Time;

    /// The wall clock, in milliseconds of Unix time.
    fn unix_ms(&self) -> u64;

    /// Completes when the span is over.
    fn sleep(&self, span: Duration) -> LocalBoxFuture<'static, ()>;

    /// A number drawn by chance, evenly from all.
    fn chance(&self) -> u64;

    /// Runs a task on this thread, beside the others.
    fn spawn(&self, task: LocalBoxFuture<'static, ()>);

    /// The keyspaces in force.
    fn keyspaces(&self) -> Arc<Keyspaces>;

    /// The longest pause before a database that failed is asked again.
    fn retry_max(&self) -> Duration;

    /// How many bytes the databases may lack at this node, of all keyspaces together.
    fn dirty_bytes_max(&self) -> u64;

    /// The database of this name, or why it cannot be used now.
    ///
    /// # Errors
    /// The reason, as a `STORE` reply says it.
    fn database(&self, store: &str) -> Result<Rc<dyn Database>, String>;

    /// A row of this database has a greater stamp than any that this cluster can have given it: an
    /// alarm, for whoever looks after the node.
    fn met_foreign(&self, _store: &str) {}

    /// Takes the slot's lock for a step that waits for nothing.
    fn lock<T>(&self, slot: Slot, step: impl FnOnce(&mut Self::Locked<'_>) -> T) -> T;

    /// Waits until the version, made or met in `epoch`, can be shown: for a write, that W copies
    /// hold it; for a read, that it is committed. Bounded by the host's own timeouts.
    fn held(
        &self,
        slot: Slot,
        epoch: Epoch,
        version: Version,
        wait: Wait,
    ) -> LocalBoxFuture<'static, Result<(), Lost>>;
}

/// For what a reply waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until W copies hold the record.
    Write,
    /// Until what was met is committed.
    Read,
}

/// A slot under its lock, at this member.
pub trait Locked<H: Host> {
    /// The epoch in which this member is the slot's active primary, with a lease that is valid now.
    ///
    /// # Errors
    /// Why it may not answer for the slot.
    fn lead(&mut self) -> Result<Epoch, Refusal>;

    /// Whether as many in-sync members as a write needs stay when these go.
    fn outlasts(&self, departing: &BTreeSet<Member>) -> bool;

    /// The version up to which everything is committed.
    fn committed(&self) -> Version;

    /// The key's entry as it lies there, past its time or not.
    fn entry(&mut self, key: &[u8]) -> Option<Entry>;

    /// The value of the key's entry as a database takes it; none if it is an absence.
    fn value(&mut self, key: &[u8]) -> Option<Value>;

    /// Every entry of the slot that is dirty or in doubt.
    fn marked(&mut self) -> Vec<(Bytes, Entry)>;

    /// Runs a command beside the table, which stays as it is, with `given` in place of what the
    /// table has for those keys.
    fn run(&mut self, command: &H::Command, given: &Given, now_unix_ms: u64) -> Ran<H::Reply>;

    /// The version that the next record will have.
    ///
    /// # Errors
    /// If the epoch has no number left.
    fn next_version(&mut self) -> Result<Version, Refusal>;

    /// Uses up the next version, as a stamp that no record has.
    ///
    /// # Errors
    /// If the epoch has no number left.
    fn fresh_stamp(&mut self) -> Result<Version, Refusal>;

    /// Makes one record of these effects, in this order, and applies it.
    ///
    /// # Errors
    /// Why nothing was recorded: no longer primary, too few copies, no memory.
    fn append(&mut self, effects: Vec<Effect>) -> Result<Version, Refusal>;
}

/// Values that stand in for what the table has: what a load brought and could not install.
pub type Given = BTreeMap<Bytes, Option<Value>>;

/// An entry, without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whether it has a value; otherwise it says that there is no such key, or (in doubt) nothing.
    pub has_value: bool,
    /// When the key expires, in milliseconds of Unix time, if it does.
    pub expires_at: Option<u64>,
    /// How it stands to the database.
    pub mark: Mark,
    /// The record that wrote it last.
    pub version: Version,
    /// Key and value together.
    pub bytes: u64,
}

/// How an entry stands to its database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mark {
    /// It belongs to no database.
    #[default]
    None,
    /// The database has exactly this.
    Clean {
        /// By which it was loaded or written.
        definition: DefinitionId,
        /// Until when it is fresh, in milliseconds of Unix time.
        fresh_until: u64,
    },
    /// The database does not have this yet.
    Dirty {
        /// By which it is to be flushed.
        definition: DefinitionId,
    },
    /// A statement may have landed, or may still land.
    Doubt {
        /// By which it is to be settled.
        definition: DefinitionId,
        /// The version that the statement carries.
        stamp: Version,
    },
}

/// One effect of a record on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// The key.
    pub key: Bytes,
    /// What happens to it.
    pub change: Change,
}

/// What happens to a key's entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has this value from now on, or is known not to be there, and stands so to the database.
    Put(Option<Value>, Mark),
    /// It keeps what it has, and stands so to the database.
    Mark(Mark),
    /// There is no entry.
    Remove,
}

/// What a command did beside the table.
#[derive(Debug)]
pub struct Ran<R> {
    /// What the client gets.
    pub reply: R,
    /// The keys that it wrote, each with what it left there; a given value that the command did
    /// not change does not matter either way.
    pub written: Vec<(Bytes, Option<Value>)>,
    /// The greatest version that the reply depends on; clean entries do not count.
    pub met: Version,
}
