//! Connections to the file of a store, each looked at before it is used.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::Sqlite;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};

use super::loss::Loss;
use super::place::Place;
use super::{not_done, ownership};
use crate::database::{Failure, Ownership};

/// How the file is opened. As with SQLite itself, a folder that is missing is not made: it may be
/// misspelt, or a disk that is not there.
pub(super) fn options(
    path: &Path,
    make: bool,
    timeout: Duration,
) -> Result<SqliteConnectOptions, String> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        return Err(format!("{}: there is no such folder", folder.display()));
    }
    if !make && !path.exists() {
        let path = path.display();
        return Err(format!(
            "{path}: there is no such file, and the cluster knows one"
        ));
    }
    Ok(SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(make)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(timeout))
}

/// Connections, each checked when it is made. The pool tries again where a check fails, so the
/// reason is kept for those who wait in vain.
pub(super) struct Pool {
    pub(super) pool: SqlitePool,
    loss: Arc<Loss>,
}

impl Pool {
    pub(super) fn new(
        connections: u32,
        options: &SqliteConnectOptions,
        owned: &Ownership,
        place: &Place,
        loss: &Arc<Loss>,
    ) -> Pool {
        let (owned, place, told) = (owned.clone(), place.clone(), Arc::clone(loss));
        let pool = SqlitePoolOptions::new()
            .max_connections(connections)
            .test_before_acquire(false)
            .after_connect(move |connection, _| {
                let (owned, place, told) = (owned.clone(), place.clone(), Arc::clone(&told));
                Box::pin(async move { verify(connection, &owned, &place, &told).await })
            })
            .connect_lazy_with(options.clone());
        let loss = Arc::clone(loss);
        Pool { pool, loss }
    }

    pub(super) async fn acquire(&self, left: Duration) -> Result<Borrowed, Failure> {
        match tokio::time::timeout(left, self.pool.acquire()).await {
            Ok(Ok(connection)) => Ok(Borrowed(Some(connection))),
            Ok(Err(error)) => Err(not_done(error)),
            Err(_) => {
                self.loss.check()?;
                Err(Failure::NotDone("no connection in time".to_owned()))
            }
        }
    }
}

/// Looks at a new connection: the file may be another one by now, or another cluster's.
async fn verify(
    connection: &mut SqliteConnection,
    owned: &Ownership,
    place: &Place,
    told: &Loss,
) -> Result<(), sqlx::Error> {
    let lost = match place.check() {
        Ok(()) => ownership::loss(connection, owned).await?,
        Err(why) => Some(why),
    };
    let Some(why) = lost else {
        return Ok(());
    };
    told.declare(why.clone());
    Err(sqlx::Error::Configuration(why.into()))
}

/// A connection that is closed unless what ran on it ended well: an answer that comes late on a
/// connection that is used again would be taken for another's.
pub(super) struct Borrowed(Option<PoolConnection<Sqlite>>);

impl Borrowed {
    pub(super) fn get(&mut self) -> &mut SqliteConnection {
        self.0
            .as_mut()
            .expect("the connection is there until it is kept")
    }

    pub(super) fn keep(&mut self) {
        self.0 = None;
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.0 {
            connection.close_on_drop();
        }
    }
}
