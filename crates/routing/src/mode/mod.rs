//! The cache modes: what happens with a key's database when the key is written.
//!
//! Each mode is a [`CacheMode`], chosen once for each key of a request. A request that writes a key
//! whose mode asks the database first runs [`write_through`]'s protocol, any other
//! [`write_back`]'s; what a write leaves in the cache is up to each key's own mode.

mod bound;
pub(crate) mod standing;
mod statement;
pub(crate) mod write_around;
pub(crate) mod write_back;
pub(crate) mod write_through;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cluster::Slot;

use crate::database::{KEY_BYTES_MAX, Value};
use crate::error::Error;
use crate::host::{Change, Mark};
use crate::keyspace::{Definition, Keyspace, Keyspaces, Mode};

/// What a keyspace's mode does with a write of one key.
pub(crate) trait CacheMode: Sync {
    /// Whether the database must have the write before it is acknowledged.
    fn database_first(&self) -> bool;

    /// What the write leaves in the cache: `clean` is the mark for what the database has exactly.
    fn leaves(&self, value: Option<Value>, definition: &Definition, clean: Mark) -> Change;
}

/// The mode of a keyspace that takes writes.
fn of(keyspace: &Keyspace) -> Result<Option<&'static dyn CacheMode>, Error> {
    match keyspace.mode {
        Mode::WriteThrough => Ok(Some(&write_through::WriteThrough)),
        Mode::WriteAround => Ok(Some(&write_around::WriteAround)),
        Mode::WriteBack => Ok(Some(&write_back::WriteBack)),
        Mode::ReadOnly => Err(Error::ReadOnly {
            keyspace: keyspace.name.clone(),
        }),
        Mode::Cache => Ok(None),
    }
}

/// What a command does with one of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// It reads it.
    Read,
    /// It replaces it whole, whatever it was: no need to know that.
    Replace,
    /// It reads it and may change it.
    Change,
}

/// A command on keys of one slot, of which at least one may lie in a database keyspace.
#[derive(Debug)]
pub struct Request<C> {
    /// The slot of all keys.
    pub slot: Slot,
    /// The keys, plain ones too, with what becomes of them.
    pub keys: Vec<(Bytes, Use)>,
    /// What the host runs.
    pub command: C,
}

/// A request whose keys have met their keyspaces.
pub(crate) struct Plan<C> {
    pub(crate) slot: Slot,
    /// In the order of their bytes, none twice.
    pub(crate) keys: Vec<Planned>,
    pub(crate) command: C,
    /// For the turn in the line, and again for the database.
    pub(crate) timeout: Duration,
    /// The store of the keys, if one of them has one.
    pub(crate) store: Option<String>,
}

pub(crate) struct Planned {
    pub(crate) key: Bytes,
    pub(crate) used: Use,
    pub(crate) ruled: Option<Ruled>,
}

/// The rule of a key that has a row in a database.
#[derive(Clone)]
pub(crate) struct Ruled {
    pub(crate) keyspace: Arc<Keyspace>,
    pub(crate) definition: Arc<Definition>,
    /// None where the keyspace takes no writes.
    pub(crate) mode: Option<&'static dyn CacheMode>,
}

impl Ruled {
    pub(crate) fn of(keyspace: &Arc<Keyspace>) -> Option<Ruled> {
        let definition = Arc::clone(keyspace.database()?);
        let mode = of(keyspace).ok().flatten();
        Some(Ruled {
            keyspace: Arc::clone(keyspace),
            definition,
            mode,
        })
    }
}

/// For a command whose keys are all plain, which stands in line only behind others.
const PLAIN_TIMEOUT: Duration = Duration::from_millis(500);

impl<C> Plan<C> {
    /// # Errors
    /// What the keyspaces of the keys refuse: writes, two stores, keys that are too long.
    pub(crate) fn new(request: Request<C>, keyspaces: &Keyspaces) -> Result<Plan<C>, Error> {
        let mut keys: Vec<Planned> = Vec::with_capacity(request.keys.len());
        let mut wanted = request.keys;
        wanted.sort();
        for (key, used) in wanted {
            match keys.last_mut().filter(|last| last.key == key) {
                // Twice in one command: what either needs.
                Some(last) if last.used != used => last.used = Use::Change,
                Some(_) => {}
                None => {
                    let ruled = keyspaces.with_database(&key).and_then(Ruled::of);
                    keys.push(Planned { key, used, ruled });
                }
            }
        }
        let mut store: Option<&str> = None;
        for (planned, rule) in keys.iter().filter_map(|k| Some((k, k.ruled.as_ref()?))) {
            let name = rule.definition.store.as_str();
            if planned.used != Use::Read {
                of(&rule.keyspace)?;
            }
            if planned.key.len() > KEY_BYTES_MAX {
                return Err(Error::store(
                    name,
                    format!("the key is over {KEY_BYTES_MAX} bytes"),
                ));
            }
            if store.replace(name).is_some_and(|other| other != name) {
                return Err(Error::TwoStores);
            }
        }
        let store = store.map(str::to_owned);
        let timeouts = keys
            .iter()
            .filter_map(|key| Some(key.ruled.as_ref()?.keyspace.timeout.0));
        let timeout = timeouts.min().unwrap_or(PLAIN_TIMEOUT);
        Ok(Plan {
            slot: request.slot,
            keys,
            command: request.command,
            timeout,
            store,
        })
    }

    pub(crate) fn writes(&self) -> bool {
        self.keys.iter().any(|key| key.used != Use::Read)
    }

    /// Whether a key that may be written asks the database first.
    pub(crate) fn database_first(&self) -> bool {
        let written = self.keys.iter().filter(|key| key.used != Use::Read);
        written
            .filter_map(|key| key.ruled.as_ref()?.mode)
            .any(|mode| mode.database_first())
    }

    pub(crate) fn planned(&self, key: &Bytes) -> Option<&Planned> {
        let at = self
            .keys
            .binary_search_by(|planned| planned.key.cmp(key))
            .ok()?;
        Some(&self.keys[at])
    }

    pub(crate) fn rule(&self, key: &Bytes) -> Option<&Ruled> {
        self.planned(key)?.ruled.as_ref()
    }

    pub(crate) fn key_list(&self) -> Vec<Bytes> {
        self.keys
            .iter()
            .map(|planned| planned.key.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::{check, example_settings};

    fn plan(keys: &[(&'static str, Use)]) -> Result<Plan<()>, Error> {
        let mut settings = example_settings();
        settings.push(crate::keyspace::KeyspaceSettings {
            name: "other".into(),
            prefix: "other:*".into(),
            mode: Mode::WriteThrough,
            store: Some("second".into()),
            ..Default::default()
        });
        let keyspaces = Keyspaces::new(check(&settings, &["main", "second"]).unwrap());
        let keys = keys
            .iter()
            .map(|(key, used)| (Bytes::from_static(key.as_bytes()), *used));
        let request = Request {
            slot: Slot::of(b"x"),
            keys: keys.collect(),
            command: (),
        };
        Plan::new(request, &keyspaces)
    }

    #[test]
    fn keys_come_in_the_order_of_their_bytes_and_once() {
        let keys = [
            ("wt:b", Use::Replace),
            ("wt:a", Use::Read),
            ("wt:b", Use::Read),
        ];
        let plan = plan(&keys).unwrap();
        let found: Vec<_> = plan
            .keys
            .iter()
            .map(|key| (&key.key[..], key.used))
            .collect();
        assert_eq!(
            found,
            [(&b"wt:a"[..], Use::Read), (&b"wt:b"[..], Use::Change)]
        );
        assert!(plan.writes() && plan.database_first());
    }

    #[test]
    fn the_mode_of_what_is_written_decides() {
        let plan = |keys: &[_]| plan(keys).unwrap().database_first();
        assert!(!plan(&[("wt:a", Use::Read), ("wb:a", Use::Change)]));
        assert!(plan(&[
            ("wa:a", Use::Replace),
            ("wb:a", Use::Change),
            ("x", Use::Change)
        ]));
        assert!(!plan(&[("plain:a", Use::Change)]));
    }

    #[test]
    fn what_the_keyspaces_refuse() {
        let error = |keys: &[_]| plan(keys).err().unwrap();
        let read_only = Error::ReadOnly {
            keyspace: "ro".into(),
        };
        assert_eq!(error(&[("ro:a", Use::Replace)]), read_only);
        assert!(plan(&[("ro:a", Use::Read)]).is_ok());
        assert_eq!(
            error(&[("wt:a", Use::Read), ("other:a", Use::Read)]),
            Error::TwoStores
        );
        let long: &'static str = Box::leak(format!("wt:{}", "a".repeat(1_024)).into_boxed_str());
        assert!(
            error(&[(long, Use::Read)])
                .to_string()
                .starts_with("STORE main: the key is over")
        );
    }
}
