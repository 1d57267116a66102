//! SQLite as the database of record: one file, shared by the processes of one host.
//!
//! A write takes the file's one write lock with `BEGIN IMMEDIATE`, waiting for it no longer than
//! its deadline allows, and only then asks the clock whether it may still start.

mod loss;
mod ownership;
mod place;
mod pool;
mod row;
mod write;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use futures_util::{FutureExt, TryStreamExt};
use parking_lot::Mutex;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection, Executor, Row, SqlSafeStr, Sqlite};

use super::blob::{LOAD_KEYS_MAX, NOW, Statements};
use super::{Database, Failure, Outcome, Ownership, Settled, Stamp, Together, Value, Write};
use crate::keyspace::{Definition, StoreSettings};
use crate::quantity::Span;
use loss::Loss;
use place::Place;
use pool::{Pool, options};
use row::{integer, value};
use write::{has_ended, settle_row, store_row};

/// What one load brings at most, unless one value alone is more. All of it is in memory at once,
/// for each of the loads that are under way.
const LOAD_BYTES_MAX: usize = 64 << 20;
/// How often it is looked whether an open store is still ours, whether it is used or not.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A store in an SQLite file.
pub struct SqliteStore {
    ownership: Ownership,
    open_timeout: Span,
    place: Place,
    loss: Arc<Loss>,
    tombstone_keep_ms: i64,
    reads: Pool,
    writes: Pool,
    tables: Mutex<BTreeMap<String, Arc<Statements>>>,
}

impl SqliteStore {
    /// Opens the file, and sees to it that the store is this cluster's. `known` is what the
    /// metadata group knows of the store: another database is refused. A file that is missing is
    /// made if nothing is known, in a folder that is there. `drawn` is the id that a new store
    /// gets.
    ///
    /// # Errors
    /// Why the store cannot be used: what `STORE` replies say until it can.
    pub async fn open(
        settings: &StoreSettings,
        cluster: &str,
        known: Option<&Ownership>,
        drawn: &str,
    ) -> Result<SqliteStore, String> {
        let path = settings
            .url
            .strip_prefix("sqlite://")
            .ok_or("url must begin with sqlite://")?;
        let timeout = settings.open_timeout;
        let options = options(Path::new(path), known.is_none(), timeout.0)?;
        let opened = async {
            let mut connection = SqliteConnection::connect_with(&options).await?;
            let place = Place::of(Path::new(path)).map_err(sqlx::Error::Io)?;
            let take_over = settings.take_over.as_deref();
            let claimed =
                ownership::claim(&mut connection, cluster, known, take_over, drawn).await?;
            connection.close().await?;
            Ok::<_, ownership::ClaimError>((claimed, place))
        };
        let (claimed, place) = tokio::time::timeout(timeout.0, opened)
            .await
            .map_err(|_| format!("{path} did not open within {timeout}"))?
            .map_err(|error| format!("{path}: {error}"))?;
        // The connections from now on are looked at one by one; this is for the one that claimed.
        place.check()?;
        // SQLite has one writer at a time. Who waits for the file's lock asks again and again, and
        // may be passed over; who waits for the one connection has its turn.
        let for_writes = 1;
        let for_reads = settings.max_connections - for_writes;
        let loss = Arc::new(Loss::default());
        Ok(SqliteStore {
            reads: Pool::new(for_reads, &options, &claimed, &place, &loss),
            writes: Pool::new(for_writes, &options, &claimed, &place, &loss),
            ownership: claimed,
            open_timeout: timeout,
            place,
            loss,
            tombstone_keep_ms: i64::try_from(settings.tombstone_keep.as_millis())
                .unwrap_or(i64::MAX),
            tables: Mutex::default(),
        })
    }

    /// Whose the store is: for the metadata group.
    #[must_use]
    pub fn ownership(&self) -> &Ownership {
        &self.ownership
    }

    /// Returns when the store must not be used any more, and says why: another file lies in its
    /// place, or it is another cluster's. Whoever wants to use it opens it anew.
    pub async fn lost(&self) -> String {
        loop {
            self.loss.wait(LOOK_EVERY).await;
            if let Some(why) = self.loss.why() {
                return why;
            }
            // What cannot be looked at now is looked at again.
            let _ = tokio::time::timeout(LOOK_EVERY, self.look()).await;
        }
    }

    async fn look(&self) -> Result<(), Failure> {
        self.is_in_place()?;
        let mut connection = self.reads.acquire(LOOK_EVERY).await?;
        self.is_ours(connection.get()).await?;
        connection.keep();
        Ok(())
    }

    /// That the file that is open is still the one that others find.
    fn is_in_place(&self) -> Result<(), Failure> {
        self.loss.check()?;
        let in_place = self.place.check();
        in_place.map_err(|why| self.loss.declare(why))
    }

    /// That nobody has taken the store over.
    async fn is_ours(&self, connection: &mut SqliteConnection) -> Result<(), Failure> {
        match ownership::loss(connection, &self.ownership).await {
            Ok(None) => Ok(()),
            Ok(Some(why)) => Err(self.loss.declare(why)),
            Err(error) => Err(not_done(error)),
        }
    }

    /// Closes all connections, when what is under way has ended.
    pub async fn close(&self) {
        self.reads.pool.close().await;
        self.writes.pool.close().await;
    }

    /// Makes the table of a definition, if it is not there; one that is must fit.
    ///
    /// # Errors
    /// Why it cannot be made.
    pub async fn make_table(&self, definition: &Definition) -> Result<(), String> {
        let timeout = self.open_timeout;
        let made = async {
            let mut connection = self.writes.acquire(timeout.0).await?;
            let statements = self.table(connection.get(), definition).await;
            let statements = statements.map_err(not_done)?;
            // A table of another shape is named now, and not by what fails later.
            for sql in statements.all() {
                let sql = AssertSqlSafe(sql).into_sql_str();
                connection.get().prepare(sql).await.map_err(not_done)?;
            }
            connection.keep();
            Ok::<_, Failure>(())
        };
        let within = tokio::time::timeout(timeout.0, made).await;
        let failed = |why: String| format!("table {}: {why}", definition.table);
        within
            .map_err(|_| failed(format!("not made within {timeout}")))?
            .map_err(|failure| failed(failure.to_string()))
    }

    /// The statements of the definition's table, which is made at its first use.
    async fn table(
        &self,
        connection: &mut SqliteConnection,
        definition: &Definition,
    ) -> Result<Arc<Statements>, sqlx::Error> {
        if let Some(known) = self.tables.lock().get(&definition.table) {
            return Ok(Arc::clone(known));
        }
        let statements = Arc::new(Statements::new(&definition.table));
        for sql in [&statements.create, &statements.index] {
            sqlx::query(AssertSqlSafe(Arc::clone(sql)))
                .execute(&mut *connection)
                .await?;
        }
        self.tables
            .lock()
            .insert(definition.table.clone(), Arc::clone(&statements));
        Ok(statements)
    }

    async fn store_batch(
        &self,
        writes: &[Write],
        together: Together,
        until_unix_ms: u64,
    ) -> Result<Stored, Failure> {
        self.transaction(until_unix_ms, async move |connection| {
            let mut outcomes = Vec::with_capacity(writes.len());
            for write in writes {
                let statements = self.table(connection, &write.definition).await?;
                let outcome = store_row(connection, &statements, write).await?;
                let rejected = matches!(outcome, Outcome::Rejected(_));
                outcomes.push(outcome);
                if rejected && has_ended(connection).await? {
                    let ended = true;
                    return Ok(Verdict::Undo(Stored { outcomes, ended }));
                }
            }
            let undo = together == Together::All && !outcomes.iter().all(Outcome::is_there);
            let ended = false;
            let stored = Stored { outcomes, ended };
            Ok(if undo {
                Verdict::Undo(stored)
            } else {
                Verdict::Commit(stored)
            })
        })
        .await
    }

    /// Runs `body` in a write transaction that starts before the deadline or not at all.
    async fn transaction<T, B>(&self, until_unix_ms: u64, body: B) -> Result<T, Failure>
    where
        B: AsyncFnOnce(&mut SqliteConnection) -> Result<Verdict<T>, sqlx::Error>,
    {
        let left = remaining(until_unix_ms).ok_or_else(too_late)?;
        let mut connection = self.writes.acquire(left).await?;
        // The wait for the connection has taken its share.
        let Some(left) = remaining(until_unix_ms) else {
            connection.keep();
            return Err(too_late());
        };
        let committing = Cell::new(false);
        let run = async {
            let mut transaction = begin(connection.get(), left).await.map_err(not_done)?;
            // Under the write lock: who takes the store over from now on waits for our commit.
            self.is_in_place()?;
            self.is_ours(&mut transaction).await?;
            if !may_start(&mut transaction, until_unix_ms)
                .await
                .map_err(not_done)?
            {
                return Err(too_late());
            }
            match body(&mut transaction).await.map_err(not_done)? {
                Verdict::Undo(result) => {
                    transaction.rollback().await.map_err(not_done)?;
                    Ok(result)
                }
                Verdict::Commit(result) => {
                    committing.set(true);
                    transaction
                        .commit()
                        .await
                        .map_err(|error| unanswered(&error))?;
                    Ok(result)
                }
            }
        };
        let result = match tokio::time::timeout(left, run).await {
            Ok(result) => result,
            // What was not asked to commit is rolled back with the connection.
            Err(_) if committing.get() => Err(Failure::Unanswered("no answer in time".to_owned())),
            Err(_) => Err(Failure::NotDone("not done in time".to_owned())),
        };
        if result.is_ok() {
            connection.keep();
        }
        result
    }
}

/// What became of the rows of a batch.
struct Stored {
    outcomes: Vec<Outcome>,
    /// The last of them ended the transaction: nothing of the batch is there.
    ended: bool,
}

/// What a transaction's body wants done with it.
enum Verdict<T> {
    Commit(T),
    Undo(T),
}

/// Takes the write lock, waiting for it three quarters of what is left at most, so that "locked"
/// is an answer and not a silence.
async fn begin(
    connection: &mut SqliteConnection,
    left: Duration,
) -> Result<sqlx::Transaction<'_, Sqlite>, sqlx::Error> {
    let wait_ms = left.as_millis() * 3 / 4;
    let patience = format!("PRAGMA busy_timeout = {wait_ms}");
    sqlx::query(AssertSqlSafe(patience))
        .persistent(false)
        .execute(&mut *connection)
        .await?;
    connection.begin_with("BEGIN IMMEDIATE").await
}

/// Asked under the write lock: nobody else's statement is between the answer and our commit.
async fn may_start(
    connection: &mut SqliteConnection,
    until_unix_ms: u64,
) -> Result<bool, sqlx::Error> {
    let now: i64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT {NOW}")))
        .fetch_one(connection)
        .await?;
    Ok(now < integer(until_unix_ms))
}

/// What is left until the deadline, by the clock that an SQLite file and its processes share.
fn remaining(until_unix_ms: u64) -> Option<Duration> {
    let now = Duration::from_millis(cluster::clock::unix_ms());
    Duration::from_millis(until_unix_ms)
        .checked_sub(now)
        .filter(|left| !left.is_zero())
}

fn too_much() -> Failure {
    let mib = LOAD_BYTES_MAX >> 20;
    Failure::NotDone(format!("the values asked for at once are over {mib}MiB"))
}

fn too_late() -> Failure {
    Failure::NotDone("the deadline passed before the database could start".to_owned())
}

fn not_done(error: impl Into<sqlx::Error>) -> Failure {
    Failure::NotDone(error.into().to_string())
}

fn unanswered(error: &sqlx::Error) -> Failure {
    Failure::Unanswered(error.to_string())
}

impl Database for SqliteStore {
    fn generation(&self) -> u32 {
        self.ownership.generation
    }

    fn load<'a>(
        &'a self,
        definition: &'a Definition,
        keys: &'a [Bytes],
        until_unix_ms: u64,
    ) -> LocalBoxFuture<'a, Result<Vec<Option<Value>>, Failure>> {
        async move {
            let left = remaining(until_unix_ms).ok_or_else(too_late)?;
            self.is_in_place()?;
            let mut connection = self.reads.acquire(left).await?;
            let run = async {
                let statements = self.table(connection.get(), definition).await?;
                let mut found = BTreeMap::new();
                let mut bytes = 0;
                for some in keys.chunks(LOAD_KEYS_MAX) {
                    let (sql, places) = statements.load(some.len());
                    let again = some.iter().cycle().take(places);
                    let query = again.fold(sqlx::query(AssertSqlSafe(sql)), |query, key| {
                        query.bind(&key[..])
                    });
                    let mut rows = query.fetch(connection.get());
                    while let Some(row) = rows.try_next().await? {
                        let key: Vec<u8> = row.try_get("key")?;
                        let value = value(&row)?;
                        bytes += value.as_ref().map_or(0, |value| value.bytes.len());
                        found.insert(Bytes::from(key), value);
                        if bytes > LOAD_BYTES_MAX && found.len() > 1 {
                            return Ok(None);
                        }
                    }
                }
                Ok::<_, sqlx::Error>(Some(found))
            };
            let mut found = match tokio::time::timeout(left, run).await {
                Ok(found) => found.map_err(not_done)?.ok_or_else(too_much)?,
                Err(_) => return Err(Failure::Unanswered("no answer in time".to_owned())),
            };
            connection.keep();
            Ok(keys
                .iter()
                .map(|key| found.get_mut(key).and_then(|value| value.clone()))
                .collect())
        }
        .boxed_local()
    }

    fn store<'a>(
        &'a self,
        writes: &'a [Write],
        together: Together,
        until_unix_ms: u64,
    ) -> LocalBoxFuture<'a, Result<Vec<Outcome>, Failure>> {
        async move {
            let batch = self.store_batch(writes, together, until_unix_ms).await?;
            if !batch.ended || together == Together::All {
                return Ok(batch.outcomes);
            }
            let mut outcomes = Vec::with_capacity(writes.len());
            for write in writes {
                let alone = std::slice::from_ref(write);
                let stored = self.store_batch(alone, together, until_unix_ms).await;
                // Those before it are there.
                let stored = stored.map_err(|failure| Failure::Unanswered(failure.to_string()))?;
                outcomes.extend(stored.outcomes);
            }
            Ok(outcomes)
        }
        .boxed_local()
    }

    fn settle<'a>(
        &'a self,
        definition: &'a Definition,
        keys: &'a [(Bytes, Stamp)],
        until_unix_ms: u64,
    ) -> LocalBoxFuture<'a, Result<Vec<Settled>, Failure>> {
        self.transaction(until_unix_ms, async move |connection| {
            let statements = self.table(connection, definition).await?;
            let mut rows = Vec::with_capacity(keys.len());
            for (key, fresh) in keys {
                rows.push(settle_row(connection, &statements, key, *fresh).await?);
            }
            Ok(Verdict::Commit(rows))
        })
        .boxed_local()
    }

    fn collect<'a>(
        &'a self,
        definition: &'a Definition,
        rows_max: u32,
        until_unix_ms: u64,
    ) -> LocalBoxFuture<'a, Result<u64, Failure>> {
        self.transaction(until_unix_ms, async move |connection| {
            let statements = self.table(connection, definition).await?;
            let removed = sqlx::query(AssertSqlSafe(Arc::clone(&statements.collect)))
                .bind(self.tombstone_keep_ms)
                .bind(i64::from(rows_max))
                .execute(connection)
                .await?;
            Ok(Verdict::Commit(removed.rows_affected()))
        })
        .boxed_local()
    }
}

#[cfg(test)]
mod tests;
