//! The blob mapping: a table of our own, a row for each key. SQL as SQLite speaks it.
//!
//! A tombstone's `expires_at` is the moment of the last statement on it, and a row never gets a
//! stamp after its time without becoming a tombstone. So `expires_at` alone tells when the last
//! statement on a row past its time was, and no column beyond the documented ones is needed. An
//! index of the rows that have it finds those to collect, so that no table is read for them.

use std::fmt::Write;
use std::sync::Arc;

/// Milliseconds of Unix time by the database's clock.
pub(super) const NOW: &str = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";

/// The statements of one table, written once.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) create: Arc<str>,
    pub(super) index: Arc<str>,
    pub(super) store: Arc<str>,
    pub(super) stamp: Arc<str>,
    pub(super) settle: Arc<str>,
    pub(super) row: Arc<str>,
    pub(super) collect: Arc<str>,
    load: String,
}

/// Keys in one `SELECT`; more are read in several.
pub(super) const LOAD_KEYS_MAX: usize = 256;

impl Statements {
    pub(super) fn new(table: &str) -> Statements {
        // No keyspace has a name with a dot, and so no table is called like this.
        let index = quoted(&format!("{table}.expires_at"));
        let table = quoted(table);
        let index = format!(
            "CREATE INDEX IF NOT EXISTS {index} ON {table} (expires_at) \
             WHERE expires_at IS NOT NULL"
        );
        let create = format!(
            "CREATE TABLE IF NOT EXISTS {table} (key BLOB PRIMARY KEY, \
             gen INTEGER NOT NULL DEFAULT 0, version INTEGER NOT NULL DEFAULT 0, \
             kind TEXT, value BLOB, expires_at INTEGER)"
        );
        // ?4 kind, ?5 value, ?6 expires_at. What is past its time already is a tombstone.
        let ended = format!("(?5 IS NULL OR coalesce(?6 <= {NOW}, 0))");
        let store = format!(
            "INSERT INTO {table} AS t (key, gen, version, kind, value, expires_at) \
             VALUES (?1, ?2, ?3, iif({ended}, NULL, ?4), iif({ended}, NULL, ?5), \
             iif({ended}, {NOW}, ?6)) \
             ON CONFLICT (key) DO UPDATE SET gen = excluded.gen, version = excluded.version, \
             kind = excluded.kind, value = excluded.value, expires_at = excluded.expires_at \
             WHERE (t.gen, t.version) < (excluded.gen, excluded.version) RETURNING key"
        );
        let stamp = format!("SELECT gen, version FROM {table} WHERE key = ?1");
        let past = format!("(t.value IS NULL OR coalesce(t.expires_at <= {NOW}, 0))");
        let settle = format!(
            "INSERT INTO {table} AS t (key, gen, version, expires_at) VALUES (?1, ?2, ?3, {NOW}) \
             ON CONFLICT (key) DO UPDATE SET gen = excluded.gen, version = excluded.version, \
             kind = iif({past}, NULL, t.kind), value = iif({past}, NULL, t.value), \
             expires_at = iif({past}, {NOW}, t.expires_at) \
             WHERE (t.gen, t.version) < (excluded.gen, excluded.version) \
             RETURNING kind, value, expires_at"
        );
        let row =
            format!("SELECT gen, version, kind, value, expires_at FROM {table} WHERE key = ?1");
        let collect = format!(
            "DELETE FROM {table} WHERE key IN (SELECT key FROM {table} \
             WHERE expires_at < {NOW} - ?1 LIMIT ?2)"
        );
        let load = format!("SELECT key, kind, value, expires_at FROM {table} WHERE key IN (");
        Statements {
            create: create.into(),
            index: index.into(),
            store: store.into(),
            stamp: stamp.into(),
            settle: settle.into(),
            row: row.into(),
            collect: collect.into(),
            load,
        }
    }

    /// Every one of them, with its places.
    pub(super) fn all(&self) -> impl Iterator<Item = Arc<str>> {
        let fixed = [
            &self.store,
            &self.stamp,
            &self.settle,
            &self.row,
            &self.collect,
        ];
        let load = Arc::from(self.load(1).0);
        fixed.into_iter().cloned().chain([load])
    }

    /// Reads `keys` rows. Few different texts, so that few statements are prepared: the number of
    /// places is a power of two, and the caller fills the rest with a key again.
    pub(super) fn load(&self, keys: usize) -> (String, usize) {
        let places = keys.next_power_of_two().min(LOAD_KEYS_MAX);
        let mut sql = self.load.clone();
        for place in 1..=places {
            let comma = if place == 1 { "" } else { "," };
            write!(sql, "{comma}?{place}").expect("a string grows");
        }
        sql.push(')');
        (sql, places)
    }
}

/// An identifier: doubled quotes inside quotes.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_quoted() {
        let statements = Statements::new("a\"b");
        assert!(
            statements.stamp.contains("FROM \"a\"\"b\" WHERE"),
            "{}",
            statements.stamp
        );
    }

    #[test]
    fn places_are_a_power_of_two() {
        let statements = Statements::new("t");
        assert_eq!(statements.load(1), (format!("{}?1)", statements.load), 1));
        assert_eq!(statements.load(3).1, 4);
        assert_eq!(statements.load(LOAD_KEYS_MAX).1, LOAD_KEYS_MAX);
    }
}
