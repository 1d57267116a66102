//! A real SQLite file behind the simulated database: statements come late, twice or never by
//! virtual time, and each that runs at all runs on the file. Triggers record every change of a row.

use bytes::Bytes;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection, Executor};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::database::sqlite::SqliteStore;
use crate::database::{Database, Outcome, Stamp, Together, Value, Write};
use crate::keyspace::{Definition, Keyspaces, StoreSettings};
use crate::quantity::Span;

pub(super) struct SqliteFile {
    runtime: Runtime,
    store: SqliteStore,
    path: std::path::PathBuf,
    _folder: TempDir,
}

impl SqliteFile {
    pub(super) fn new(keyspaces: &Keyspaces) -> SqliteFile {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("quorate.db");
        let settings = StoreSettings {
            url: format!("sqlite://{}", path.display()),
            max_connections: 4,
            open_timeout: Span::from_secs(5),
            tombstone_keep: Span::from_secs(86_400),
            take_over: None,
        };
        let store = runtime.block_on(async {
            let store = SqliteStore::open(&settings, "ours", None, "s1")
                .await
                .unwrap();
            for definition in keyspaces.definitions() {
                // The first use makes the table.
                store
                    .load(definition, &[Bytes::from_static(b"x")], soon())
                    .await
                    .unwrap();
            }
            store
        });
        let file = SqliteFile {
            runtime,
            store,
            path,
            _folder: folder,
        };
        let mut triggers = "CREATE TABLE changes (key BLOB, value BLOB);".to_owned();
        for table in keyspaces.definitions().map(|definition| &definition.table) {
            for (change, when) in [("INSERT", "true"), ("UPDATE", "NEW.value IS NOT OLD.value")] {
                triggers += &format!(
                    "CREATE TRIGGER {table}_{change} AFTER {change} ON {table} WHEN {when}
                     BEGIN INSERT INTO changes VALUES (NEW.key, NEW.value); END;"
                );
            }
        }
        file.outside(async |connection| {
            connection.execute(AssertSqlSafe(triggers)).await.unwrap();
        });
        file
    }

    pub(super) fn store(&self, writes: &[Write], together: Together) -> Vec<Outcome> {
        self.runtime
            .block_on(self.store.store(writes, together, soon()))
            .unwrap()
    }

    pub(super) fn load(&self, definition: &Definition, key: &Bytes) -> Option<Value> {
        let keys = [key.clone()];
        self.runtime
            .block_on(self.store.load(definition, &keys, soon()))
            .unwrap()
            .remove(0)
    }

    pub(super) fn settle(
        &self,
        definition: &Definition,
        key: &Bytes,
        fresh: Stamp,
    ) -> Result<Option<Value>, Stamp> {
        let keys = [(key.clone(), fresh)];
        self.runtime
            .block_on(self.store.settle(definition, &keys, soon()))
            .unwrap()
            .remove(0)
    }

    /// Every change that the triggers saw; a barrier that leaves the value as it is is none.
    pub(super) fn changes(&self) -> Vec<(Bytes, Option<Bytes>)> {
        let rows: Vec<(Vec<u8>, Option<Vec<u8>>)> = self.outside(async |connection| {
            sqlx::query_as("SELECT key, value FROM changes ORDER BY rowid")
                .fetch_all(connection)
                .await
                .unwrap()
        });
        rows.into_iter()
            .map(|(key, value)| (key.into(), value.map(Bytes::from)))
            .collect()
    }

    fn outside<T>(&self, work: impl AsyncFnOnce(&mut SqliteConnection) -> T) -> T {
        let options = SqliteConnectOptions::new().filename(&self.path);
        self.runtime.block_on(async {
            let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
            let result = work(&mut connection).await;
            connection.close().await.unwrap();
            result
        })
    }
}

/// A deadline by the real clock that nothing here misses.
fn soon() -> u64 {
    cluster::clock::unix_ms() + 60_000
}
