//! Databases of record as a configuration file writes them, and the check.

use serde::{Deserialize, Serialize};

use super::settings::{BadSetting, KeyspaceSettings, bad, check_name};
use crate::quantity::Span;

/// A database of record, as each node's own configuration names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreSettings {
    /// Where it is: `sqlite://path`.
    pub url: String,
    /// Connections of this node, at most; one of them writes, for SQLite has one writer at a time.
    #[serde(default = "defaults::max_connections")]
    pub max_connections: u32,
    /// How long it may take to open the database, or to make a table.
    #[serde(default = "defaults::open_timeout")]
    pub open_timeout: Span,
    /// How long the row of a removed key stays, by the database's clock.
    #[serde(default = "defaults::tombstone_keep")]
    pub tombstone_keep: Span,
    /// The id of a store of another cluster that this one shall own from now on.
    #[serde(default)]
    pub take_over: Option<String>,
}

mod defaults {
    use super::Span;

    pub(super) fn max_connections() -> u32 {
        16
    }
    pub(super) fn open_timeout() -> Span {
        Span::from_secs(5)
    }
    pub(super) fn tombstone_keep() -> Span {
        Span::from_secs(86_400)
    }
}

/// Checks a store's own settings and the keyspaces' timeouts against them.
///
/// # Errors
/// The first setting of the store that breaks a rule.
pub fn check_store(
    name: &str,
    store: &StoreSettings,
    keyspaces: &[KeyspaceSettings],
) -> Result<(), BadSetting> {
    check_name("", name)?;
    check_url(&store.url)?;
    let connections = store.max_connections;
    if !(2..=1_024).contains(&connections) {
        let problem = format!("must be from 2 to 1024, not {connections}");
        return bad("max_connections", problem);
    }
    let (open, least, most) = (
        store.open_timeout,
        Span::from_millis(10),
        Span::from_secs(600),
    );
    if !(least..=most).contains(&open) {
        let problem = format!("must be from {least} to {most}, not {open}");
        return bad("open_timeout", problem);
    }
    let here = keyspaces
        .iter()
        .filter(|keyspace| keyspace.store.as_deref() == Some(name));
    for keyspace in here {
        let longest = keyspace.timeout.max(keyspace.write_back.flush_timeout);
        if store.tombstone_keep.as_millis() < longest.as_millis().saturating_mul(100) {
            let problem = format!(
                "must be at least 100 timeouts, and keyspace {:?} has one of {longest}",
                keyspace.name
            );
            return bad("tombstone_keep", problem);
        }
    }
    Ok(())
}

/// A file that is there for all processes, and after them: nothing in memory.
fn check_url(url: &str) -> Result<(), BadSetting> {
    match url.strip_prefix("sqlite://") {
        None => bad("url", format!("must begin with sqlite://, not {url:?}")),
        Some(path) if path.is_empty() || path.starts_with(":memory:") => bad(
            "url",
            format!("must name a file, as in sqlite://data/quorate.db, not {url:?}"),
        ),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::example;
    use super::*;

    #[test]
    fn a_store_keeps_tombstones_for_a_hundred_timeouts() {
        let mut store = StoreSettings {
            url: "sqlite://x.db".into(),
            max_connections: 16,
            open_timeout: Span::from_secs(5),
            tombstone_keep: Span::from_secs(500),
            take_over: None,
        };
        assert_eq!(check_store("main", &store, &example()), Ok(()));
        let field = |store: &StoreSettings| {
            let wrong = check_store("main", store, &example()).unwrap_err();
            wrong.field
        };
        store.tombstone_keep = Span::from_secs(499);
        assert_eq!(field(&store), "tombstone_keep");
        store.max_connections = 1;
        assert_eq!(field(&store), "max_connections");
        for url in ["postgres://x", "sqlite://", "sqlite://:memory:"] {
            store.url = url.into();
            assert_eq!(field(&store), "url", "{url}");
        }
    }
}
