//! The database of record: what a cache mode asks of it, whatever database it is.
//!
//! Every write carries a [`Stamp`], and a row takes it only if it is greater than the row's own.
//! So statements may run late, twice or never, in any order: no row ever goes back.

mod blob;
pub mod sqlite;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use cluster::Version;
use futures_util::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};

use crate::keyspace::Definition;

/// The longest key that a database is asked to take.
pub const KEY_BYTES_MAX: usize = 1_024;

/// Orders the statements of one key: `gen` counts the clusters that have owned the store.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Stamp {
    /// Which owner of the store.
    pub generation: u32,
    /// The slot's number.
    pub version: Version,
}

/// A value as it lies in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The data type; `string` lies as it is, others as by `DUMP`.
    pub kind: Cow<'static, str>,
    /// The bytes.
    pub bytes: Bytes,
    /// When it ends, in milliseconds of Unix time, if it does.
    pub expires_at: Option<u64>,
}

/// A write of one row; no value makes it a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// By which the key has a row.
    pub definition: Arc<Definition>,
    /// The key.
    pub key: Bytes,
    /// Taken only if it is greater than the row's.
    pub stamp: Stamp,
    /// What the row shall hold.
    pub value: Option<Value>,
}

/// What became of one row of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The row has it from now on.
    Landed,
    /// The row had it, with exactly this stamp: an earlier attempt landed.
    AlreadyExactly,
    /// The guard refused it: the row has this stamp, which is greater.
    Refused(Stamp),
    /// The database refuses this row for itself: a constraint, a type, a length.
    Rejected(String),
}

impl Outcome {
    /// Whether the row has what was written.
    #[must_use]
    pub fn is_there(&self) -> bool {
        matches!(self, Outcome::Landed | Outcome::AlreadyExactly)
    }
}

/// Whether the rows of a batch stand or fall together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Together {
    /// One row that is not taken undoes the whole batch: the keys of one command.
    All,
    /// Each row by itself: a flush.
    Each,
}

/// What a barrier found in its row; the row's stamp, if it is greater than the barrier's.
pub type Settled = Result<Option<Value>, Stamp>;

/// Why a call gave no answer about rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nothing reached the database, or it says that nothing was done.
    #[error("{0}")]
    NotDone(String),
    /// The call may have been done, may still be done, or never.
    #[error("{0}")]
    Unanswered(String),
}

/// A database of record. Calls are bounded by `until_unix_ms`, the moment by the database's clock
/// until when a write may start; an implementation ends each call soon after it.
///
/// Dropping a call's future is the same as no answer: what was sent may still be done.
pub trait Database {
    /// The generation of this cluster's stamps.
    fn generation(&self) -> u32;

    /// Reads rows: for each key its value, or none if there is no row, or a tombstone.
    fn load<'a>(
        &'a self,
        definition: &'a Definition,
        keys: &'a [Bytes],
        until_unix_ms: u64,
    ) -> LocalBoxFuture<'a, Result<Vec<Option<Value>>, Failure>>;

    /// Writes rows in one transaction: for each what became of it. Of rows that stand or fall
    /// together, those behind one that is rejected may be left out.
    fn store<'a>(
        &'a self,
        writes: &'a [Write],
        together: Together,
        until_unix_ms: u64,
    ) -> LocalBoxFuture<'a, Result<Vec<Outcome>, Failure>>;

    /// Raises the stamps of rows (an empty tombstone where there is none) and reads them in the
    /// same transaction: what was on its way to them is refused from then on. A row whose stamp is
    /// greater already gives its stamp.
    fn settle<'a>(
        &'a self,
        definition: &'a Definition,
        keys: &'a [(Bytes, Stamp)],
        until_unix_ms: u64,
    ) -> LocalBoxFuture<'a, Result<Vec<Settled>, Failure>>;

    /// Removes up to `rows_max` tombstones, and rows past their time, that are older than the
    /// store's `tombstone_keep` by the database's clock; says how many there were.
    fn collect<'a>(
        &'a self,
        definition: &'a Definition,
        rows_max: u32,
        until_unix_ms: u64,
    ) -> LocalBoxFuture<'a, Result<u64, Failure>>;
}

/// What the row of `quorate_store` says: whose the store is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ownership {
    /// Drawn when the table was made: another id is another database.
    pub id: String,
    /// The cluster whose stamps the store takes.
    pub cluster: String,
    /// Grows with each take-over.
    pub generation: u32,
}
