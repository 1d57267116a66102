//! Which rule a key falls under: keyspaces, checked once, looked up for every key.
//!
//! A keyspace is a named rule for the keys with a prefix. Its match, store and mapping make up a
//! [`Definition`], whose number every entry of a database keyspace carries; old definitions are
//! kept, so that an entry can always be flushed or settled by its own.

mod settings;
mod store;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::quantity::{Size, Span};
#[cfg(test)]
pub(crate) use settings::example as example_settings;
pub use settings::{
    Ack, BadKeyspace, BadSetting, KeyspaceSettings, Mapping, MappingKind, Mode, WhenFull,
    WriteBackSettings, check,
};
pub use store::{StoreSettings, check_store};

/// The number of a [`Definition`]; never used twice in a cluster.
pub type DefinitionId = u32;

/// What a key's row in the database is: an entry under another definition says nothing about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// The number that entries carry.
    pub id: DefinitionId,
    /// What the keys begin with.
    pub prefix: String,
    /// The store's name.
    pub store: String,
    /// How a key lies in the store.
    pub mapping: Mapping,
    /// The table of the blob mapping.
    pub table: String,
}

/// A named rule, checked: nothing about it is checked again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Keyspace {
    /// The name.
    pub name: String,
    /// What the keys begin with.
    pub prefix: String,
    /// The cache mode.
    pub mode: Mode,
    /// What the keys are in a database; none in mode `cache`.
    pub definition: Option<Arc<Definition>>,
    /// How many copies a reply waits for.
    pub ack: Ack,
    /// How long a clean entry is fresh.
    pub ttl: Span,
    /// The share of `ttl` that chance takes away.
    pub ttl_jitter: f64,
    /// The same as `ttl` for "the database has no such key".
    pub negative_ttl: Span,
    /// For the turn in the line, and again for the database.
    pub timeout: Span,
    /// The longest value.
    pub max_value: Size,
    /// The settings of mode `write-back`.
    pub write_back: WriteBackSettings,
}

impl Keyspace {
    /// The store's name and the definition, for a keyspace that has a database.
    #[must_use]
    pub fn database(&self) -> Option<&Arc<Definition>> {
        self.definition.as_ref()
    }

    /// Every setting with its value, as `KEYSPACE GET` shows it.
    #[must_use]
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        let mut shown = vec![
            ("name", self.name.clone()),
            ("match", format!("{}*", self.prefix)),
            ("mode", self.mode.to_string()),
            ("ack", self.ack.to_string()),
        ];
        let Some(definition) = &self.definition else {
            return shown;
        };
        shown.extend([
            ("store", definition.store.clone()),
            ("mapping", definition.mapping.to_string()),
            ("table", definition.table.clone()),
            ("definition", definition.id.to_string()),
            ("ttl", self.ttl.to_string()),
            ("ttl_jitter", self.ttl_jitter.to_string()),
            ("negative_ttl", self.negative_ttl.to_string()),
            ("timeout", self.timeout.to_string()),
            ("max_value", self.max_value.to_string()),
        ]);
        if self.mode == Mode::WriteBack {
            shown.extend([
                (
                    "write_back.flush_interval",
                    self.write_back.flush_interval.to_string(),
                ),
                (
                    "write_back.flush_timeout",
                    self.write_back.flush_timeout.to_string(),
                ),
                ("write_back.batch", self.write_back.batch.to_string()),
                (
                    "write_back.max_dirty_bytes",
                    self.write_back.max_dirty_bytes.to_string(),
                ),
                (
                    "write_back.when_full",
                    self.write_back.when_full.to_string(),
                ),
            ]);
        }
        shown
    }
}

/// The document of the metadata group: all keyspaces, and the definitions of earlier ones.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// The keyspaces, by prefix.
    pub keyspaces: Vec<Keyspace>,
    /// Definitions that no keyspace has any more; entries may still carry them.
    pub retired: Vec<Arc<Definition>>,
}

impl Document {
    /// Bytes for the metadata group's log.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("a vector grows as far as a document needs")
    }

    /// The document that [`Document::to_bytes`] wrote.
    ///
    /// # Errors
    /// If the bytes are something else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Document, String> {
        postcard::from_bytes(bytes).map_err(|error| format!("not a keyspace document: {error}"))
    }
}

/// All keyspaces of a cluster, ready for look-ups.
#[derive(Clone, Debug)]
pub struct Keyspaces {
    /// Sorted by prefix, so that what a key begins with is near it.
    sorted: Vec<Arc<Keyspace>>,
    /// For each, the keyspace with the longest prefix that its own prefix begins with.
    parent: Vec<Option<usize>>,
    /// Whether a prefix begins with the byte: most keys are turned away here.
    first: [bool; 256],
    /// The empty prefix takes every key.
    all: bool,
    retired: Vec<Arc<Definition>>,
}

impl Default for Keyspaces {
    fn default() -> Keyspaces {
        Keyspaces::new(Document::default())
    }
}

impl Keyspaces {
    /// Makes the document ready for look-ups.
    #[must_use]
    pub fn new(document: Document) -> Keyspaces {
        let mut sorted: Vec<_> = document.keyspaces.into_iter().map(Arc::new).collect();
        sorted.sort_by(|a, b| a.prefix.cmp(&b.prefix));
        let parent = (0..sorted.len())
            .map(|at| {
                (0..at)
                    .rev()
                    .find(|&up| sorted[at].prefix.starts_with(&sorted[up].prefix))
            })
            .collect();
        let mut first = [false; 256];
        for byte in sorted
            .iter()
            .filter_map(|keyspace| keyspace.prefix.as_bytes().first())
        {
            first[usize::from(*byte)] = true;
        }
        let all = sorted
            .first()
            .is_some_and(|keyspace| keyspace.prefix.is_empty());
        Keyspaces {
            sorted,
            parent,
            first,
            all,
            retired: document.retired,
        }
    }

    /// The keyspace of a key: the one with the longest prefix that the key begins with.
    #[must_use]
    pub fn of(&self, key: &[u8]) -> Option<&Arc<Keyspace>> {
        if !self.all
            && !key
                .first()
                .is_some_and(|&byte| self.first[usize::from(byte)])
        {
            return None;
        }
        // Whatever sorts between a prefix of the key and the key begins with that prefix too, so
        // that the way up from the last one at or before the key meets every prefix of it.
        let mut at = self
            .sorted
            .partition_point(|keyspace| keyspace.prefix.as_bytes() <= key)
            .checked_sub(1);
        while let Some(found) = at {
            if key.starts_with(self.sorted[found].prefix.as_bytes()) {
                return Some(&self.sorted[found]);
            }
            at = self.parent[found];
        }
        None
    }

    /// The keyspace of a key, if it has a database.
    #[must_use]
    pub fn with_database(&self, key: &[u8]) -> Option<&Arc<Keyspace>> {
        self.of(key)
            .filter(|keyspace| keyspace.definition.is_some())
    }

    /// The keyspace with this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Arc<Keyspace>> {
        self.sorted.iter().find(|keyspace| keyspace.name == name)
    }

    /// The definition with this number, also one that no keyspace has any more.
    #[must_use]
    pub fn definition(&self, id: DefinitionId) -> Option<&Arc<Definition>> {
        self.definitions().find(|found| found.id == id)
    }

    /// Every definition, the retired ones too: the tables that a store must have.
    pub fn definitions(&self) -> impl Iterator<Item = &Arc<Definition>> {
        let current = self
            .sorted
            .iter()
            .filter_map(|keyspace| keyspace.definition.as_ref());
        current.chain(&self.retired)
    }

    /// Every keyspace, by prefix: what `KEYSPACE LIST` shows.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Keyspace>> {
        self.sorted.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyspaces(prefixes: &[&str]) -> Keyspaces {
        let settings: Vec<_> = prefixes
            .iter()
            .enumerate()
            .map(|(at, prefix)| KeyspaceSettings {
                name: format!("k{at}"),
                prefix: format!("{prefix}*"),
                mode: Mode::WriteThrough,
                store: Some("main".to_owned()),
                ..KeyspaceSettings::default()
            })
            .collect();
        Keyspaces::new(settings::check(&settings, &["main"]).unwrap())
    }

    #[test]
    fn the_longest_prefix_wins() {
        let found = keyspaces(&["a", "a:b", "a:b:c", "a:bx", "user:", "users:"]);
        let of = |key: &str| {
            found
                .of(key.as_bytes())
                .map(|keyspace| keyspace.prefix.as_str())
        };
        assert_eq!(of("a:b:d"), Some("a:b"));
        assert_eq!(of("a:b:c"), Some("a:b:c"));
        assert_eq!(of("a:bz"), Some("a:b"));
        assert_eq!(of("a:c"), Some("a"));
        assert_eq!(of("user:1"), Some("user:"));
        assert_eq!(of("user1"), None);
        assert_eq!(of(""), None);
        assert_eq!(of("zebra"), None);
    }

    #[test]
    fn the_empty_prefix_takes_what_no_other_does() {
        let found = keyspaces(&["", "x"]);
        assert_eq!(found.of(b"").unwrap().prefix, "");
        assert_eq!(found.of(b"y").unwrap().prefix, "");
        assert_eq!(found.of(b"xy").unwrap().prefix, "x");
    }

    #[test]
    fn a_look_up_agrees_with_trying_every_prefix() {
        let prefixes = ["", "a", "aa", "aab", "ab", "b:", "b:a", "\u{7f}"];
        let found = keyspaces(&prefixes);
        for a in 0..4u8 {
            for b in 0..4u8 {
                for c in 0..4u8 {
                    let letters = [b'a', b'b', b':', b'z'];
                    let key = [a, b, c].map(|at| letters[usize::from(at)]);
                    let longest = prefixes
                        .iter()
                        .filter(|prefix| key.starts_with(prefix.as_bytes()))
                        .max_by_key(|prefix| prefix.len());
                    assert_eq!(found.of(&key).map(|k| k.prefix.as_str()), longest.copied());
                }
            }
        }
    }

    #[test]
    fn the_document_survives_the_metadata_log() {
        let settings = settings::example();
        let document = settings::check(&settings, &["main"]).unwrap();
        assert_eq!(Document::from_bytes(&document.to_bytes()), Ok(document));
        assert!(Document::from_bytes(b"\xff\xff").is_err());
    }
}
