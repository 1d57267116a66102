//! A database file, seen from outside: by the `sqlite3` of the system.

use std::path::PathBuf;
use std::process::Command;

/// An SQLite file.
pub(super) struct Sqlite {
    file: PathBuf,
}

impl Sqlite {
    pub(super) fn new(file: PathBuf) -> Sqlite {
        Sqlite { file }
    }

    /// Runs SQL, and returns the rows: columns parted by `|`.
    pub(super) fn run(&self, sql: &str) -> Vec<String> {
        let output = Command::new("sqlite3")
            .args(["-batch", "-bail", "-cmd", ".timeout 10000"])
            .arg(&self.file)
            .arg(sql)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{sql}: {said}");
        let rows = String::from_utf8(output.stdout).unwrap();
        rows.lines().map(str::to_owned).collect()
    }

    /// The value of a key's row in a keyspace's table; none without a row, or if it is a tombstone.
    pub(super) fn value(&self, keyspace: &str, key: &str) -> Option<String> {
        let sql = format!(
            "SELECT value FROM quorate_{keyspace} \
             WHERE key = CAST('{key}' AS BLOB) AND value IS NOT NULL"
        );
        self.run(&sql).pop()
    }

    /// Gives a key's row a value, as another program that uses the database would.
    pub(super) fn set(&self, keyspace: &str, key: &str, value: &str) {
        self.run(&format!(
            "INSERT INTO quorate_{keyspace} (key, kind, value) \
             VALUES (CAST('{key}' AS BLOB), 'string', CAST('{value}' AS BLOB)) \
             ON CONFLICT (key) DO UPDATE SET kind = excluded.kind, value = excluded.value, \
             expires_at = NULL"
        ));
    }

    /// Keeps a record of all values that the rows of a keyspace take from now on.
    pub(super) fn watch(&self, keyspace: &str) {
        let mut sql = format!("CREATE TABLE IF NOT EXISTS watched_{keyspace} (key, value);");
        for event in ["INSERT", "UPDATE"] {
            sql += &format!(
                "CREATE TRIGGER watch_{keyspace}_{event} AFTER {event} ON quorate_{keyspace} \
                 BEGIN INSERT INTO watched_{keyspace} VALUES (NEW.key, NEW.value); END;"
            );
        }
        self.run(&sql);
    }

    /// The values that a key's row has taken, oldest first.
    pub(super) fn watched(&self, keyspace: &str, key: &str) -> Vec<String> {
        self.run(&format!(
            "SELECT value FROM watched_{keyspace} WHERE key = CAST('{key}' AS BLOB) ORDER BY rowid"
        ))
    }
}
