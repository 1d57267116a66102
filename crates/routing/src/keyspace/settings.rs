//! Keyspaces as a configuration file writes them, and the check that makes rules of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Definition, DefinitionId, Document, Keyspace};
use crate::quantity::{Size, Span};

/// The most keyspaces that a cluster has.
const KEYSPACES_MAX: usize = 1_024;
/// What a keyspace must not be called: its table would be `quorate_store`, in which each store says
/// whose it is.
const NAME_TAKEN: &str = "store";
/// The longest name of a keyspace, and the longest prefix.
const NAME_BYTES_MAX: usize = 128;
/// The most bytes of a value that any store is asked to take.
const VALUE_BYTES_MAX: u64 = 512 << 20;

/// What happens with a key's database when the key is read or written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// A write is acknowledged when the database has it; the cache keeps it.
    WriteThrough,
    /// A write is acknowledged when W copies have it; the database gets it later.
    WriteBack,
    /// A write is acknowledged when the database has it; the cache forgets the key.
    WriteAround,
    /// The cache reads the database and refuses writes.
    ReadOnly,
    /// No database at all.
    #[default]
    Cache,
}

/// How a key lies in the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MappingKind {
    /// A table of our own with a row for each key.
    #[default]
    Blob,
}

/// How a key lies in the database, with what the kind needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// The kind.
    pub kind: MappingKind,
}

/// When a write of a plain keyspace is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ack {
    /// When W copies have it.
    #[default]
    Quorum,
    /// When the primary has it: as in Redis, it can be lost. For keyspaces in mode `cache` alone.
    Primary,
}

/// What a write-back write gets that would exceed `max_dirty_bytes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// After `timeout`, the error `STORE`.
    #[default]
    Refuse,
    /// It goes the write-through way.
    WriteThrough,
}

/// The settings of write-back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WriteBackSettings {
    /// A key is flushed at most once in this time.
    pub flush_interval: Span,
    /// For a batch, at the database.
    pub flush_timeout: Span,
    /// Keys in a batch, at most.
    pub batch: usize,
    /// Dirty bytes of the keyspace at a node, for the slots that it leads.
    pub max_dirty_bytes: Size,
    /// What a write gets that would exceed it.
    pub when_full: WhenFull,
}

impl Default for WriteBackSettings {
    fn default() -> WriteBackSettings {
        WriteBackSettings {
            flush_interval: Span::from_millis(100),
            flush_timeout: Span::from_secs(5),
            batch: 512,
            max_dirty_bytes: Size(256 << 20),
            when_full: WhenFull::Refuse,
        }
    }
}

/// A keyspace as it is written in the configuration file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyspaceSettings {
    /// The name, unique in the cluster.
    pub name: String,
    /// The keys: a prefix, then `*`.
    #[serde(rename = "match")]
    pub prefix: String,
    /// The cache mode.
    #[serde(default)]
    pub mode: Mode,
    /// The store's name; needed in every mode but `cache`.
    #[serde(default)]
    pub store: Option<String>,
    /// How a key lies in the store.
    #[serde(default)]
    pub mapping: Mapping,
    /// When a write is answered.
    #[serde(default)]
    pub ack: Ack,
    /// How long a clean entry is fresh after its last exchange with the database.
    #[serde(default = "defaults::ttl")]
    pub ttl: Span,
    /// The share of `ttl` that chance takes away, so that entries do not end all at once.
    #[serde(default = "defaults::ttl_jitter")]
    pub ttl_jitter: f64,
    /// The same as `ttl` for "the database has no such key"; 0 keeps no such entry.
    #[serde(default = "defaults::negative_ttl")]
    pub negative_ttl: Span,
    /// For the turn in the line, and again for the database, all attempts together.
    #[serde(default = "defaults::timeout")]
    pub timeout: Span,
    /// The longest value, as it lies in the database.
    #[serde(default = "defaults::max_value")]
    pub max_value: Size,
    /// The settings of mode `write-back`.
    #[serde(default)]
    pub write_back: WriteBackSettings,
}

impl Default for KeyspaceSettings {
    fn default() -> KeyspaceSettings {
        KeyspaceSettings {
            name: String::new(),
            prefix: "*".to_owned(),
            mode: Mode::Cache,
            store: None,
            mapping: Mapping::default(),
            ack: Ack::Quorum,
            ttl: defaults::ttl(),
            ttl_jitter: defaults::ttl_jitter(),
            negative_ttl: defaults::negative_ttl(),
            timeout: defaults::timeout(),
            max_value: defaults::max_value(),
            write_back: WriteBackSettings::default(),
        }
    }
}

mod defaults {
    use super::{Size, Span};

    pub(super) fn ttl() -> Span {
        Span::from_secs(3_600)
    }
    pub(super) fn ttl_jitter() -> f64 {
        0.1
    }
    pub(super) fn negative_ttl() -> Span {
        Span::from_secs(5)
    }
    pub(super) fn timeout() -> Span {
        Span::from_millis(500)
    }
    pub(super) fn max_value() -> Size {
        Size(8 << 20)
    }
}

/// A setting that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSetting {
    /// Its name as the file has it: `store`, `write_back.batch`; empty if it is the whole table.
    pub field: &'static str,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

/// A keyspace with a setting that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadKeyspace {
    /// Which of them, counted from 0.
    pub at: usize,
    /// The setting.
    pub setting: BadSetting,
}

pub(super) fn bad<T>(field: &'static str, problem: impl Into<String>) -> Result<T, BadSetting> {
    let problem = problem.into();
    Err(BadSetting { field, problem })
}

/// Checks the keyspaces of a configuration file against each other and the stores' names, and
/// gives their definitions numbers: the document of a new cluster.
///
/// # Errors
/// The first setting that breaks a rule.
pub fn check(settings: &[KeyspaceSettings], stores: &[&str]) -> Result<Document, BadKeyspace> {
    let mut names = BTreeSet::new();
    let mut prefixes = BTreeMap::new();
    let mut document = Document::default();
    for (at, (keyspace, id)) in settings.iter().zip(1..).enumerate() {
        let mut next = || {
            if at == KEYSPACES_MAX {
                let problem = format!("{} keyspaces, but at most {at}", settings.len());
                return bad("", problem);
            }
            let checked = check_one(keyspace, id, stores)?;
            let name = &keyspace.name;
            if !names.insert(name) {
                return bad("name", format!("{name:?} is there twice; names are unique"));
            }
            if let Some(other) = prefixes.insert(checked.prefix.clone(), name) {
                return bad("match", format!("keyspace {other:?} matches the same keys"));
            }
            Ok(checked)
        };
        let checked = next().map_err(|setting| BadKeyspace { at, setting })?;
        document.keyspaces.push(checked);
    }
    Ok(document)
}

pub(super) fn check_name(field: &'static str, name: &str) -> Result<(), BadSetting> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(fits) {
        let right = format!("1 to {NAME_BYTES_MAX} of a-z, 0-9, \"_\" and \"-\"");
        return bad(field, format!("a name is {right}, not {name:?}"));
    }
    Ok(())
}

fn check_one(
    settings: &KeyspaceSettings,
    id: DefinitionId,
    stores: &[&str],
) -> Result<Keyspace, BadSetting> {
    check_name("name", &settings.name)?;
    if settings.name == NAME_TAKEN {
        let problem = format!("{NAME_TAKEN:?} is taken: stores have a table quorate_{NAME_TAKEN}");
        return bad("name", problem);
    }
    let prefix = check_match(&settings.prefix)?;
    check_times(settings)?;
    let jitter = settings.ttl_jitter;
    if !(0.0..=0.9).contains(&jitter) {
        return bad("ttl_jitter", format!("must be from 0 to 0.9, not {jitter}"));
    }
    let (value, most) = (settings.max_value, Size(VALUE_BYTES_MAX));
    if !(Size(1)..=most).contains(&value) {
        let problem = format!("must be from 1B to {most}, not {value}");
        return bad("max_value", problem);
    }
    let batch = settings.write_back.batch;
    if !(1..=10_000).contains(&batch) {
        let problem = format!("must be from 1 to 10000, not {batch}");
        return bad("write_back.batch", problem);
    }
    if settings.ack == Ack::Primary && settings.mode != Mode::Cache {
        return bad("ack", "\"primary\" is for mode = \"cache\" alone");
    }
    Ok(Keyspace {
        name: settings.name.clone(),
        definition: definition(settings, id, &prefix, stores)?,
        prefix,
        mode: settings.mode,
        ack: settings.ack,
        ttl: settings.ttl,
        ttl_jitter: settings.ttl_jitter,
        negative_ttl: settings.negative_ttl,
        timeout: settings.timeout,
        max_value: settings.max_value,
        write_back: settings.write_back.clone(),
    })
}

fn check_times(settings: &KeyspaceSettings) -> Result<(), BadSetting> {
    let back = &settings.write_back;
    let (millis, secs) = (Span::from_millis, Span::from_secs);
    for (field, value, least, most) in [
        ("ttl", settings.ttl, millis(1), secs(10 * 365 * 86_400)),
        (
            "negative_ttl",
            settings.negative_ttl,
            millis(0),
            secs(86_400),
        ),
        ("timeout", settings.timeout, millis(1), secs(60)),
        (
            "write_back.flush_interval",
            back.flush_interval,
            millis(1),
            secs(3_600),
        ),
        (
            "write_back.flush_timeout",
            back.flush_timeout,
            millis(10),
            secs(600),
        ),
    ] {
        if !(least..=most).contains(&value) {
            return bad(
                field,
                format!("must be from {least} to {most}, not {value}"),
            );
        }
    }
    Ok(())
}

fn definition(
    settings: &KeyspaceSettings,
    id: DefinitionId,
    prefix: &str,
    stores: &[&str],
) -> Result<Option<Arc<Definition>>, BadSetting> {
    let known = match stores {
        [] => "there is none".to_owned(),
        _ => format!("there are: {}", stores.join(", ")),
    };
    match (&settings.store, settings.mode) {
        (None, Mode::Cache) => Ok(None),
        (Some(_), Mode::Cache) => bad("store", "mode = \"cache\" has no store; leave it out"),
        (None, mode) => bad("mode", format!("\"{mode}\" needs a store; {known}")),
        (Some(store), _) if !stores.contains(&store.as_str()) => {
            bad("store", format!("there is no store {store:?}; {known}"))
        }
        (Some(store), _) => Ok(Some(Arc::new(Definition {
            id,
            prefix: prefix.to_owned(),
            store: store.clone(),
            mapping: settings.mapping.clone(),
            table: format!("quorate_{}", settings.name),
        }))),
    }
}

fn check_match(pattern: &str) -> Result<String, BadSetting> {
    match pattern.strip_suffix('*') {
        Some(prefix) if prefix.len() > NAME_BYTES_MAX => {
            bad("match", format!("is longer than {NAME_BYTES_MAX} bytes"))
        }
        Some(prefix) if !prefix.contains(['*', '?', '[', '\\']) => Ok(prefix.to_owned()),
        _ => {
            let right = "must be a prefix and one \"*\", like \"user:*\"";
            bad("match", format!("{right}, not {pattern:?}"))
        }
    }
}

/// The names that the configuration file has for the variants. Written out, since `config` tells
/// nobody which names there are.
macro_rules! named {
    ($type:ty, $($variant:ident => $name:literal),+) => {
        impl FromStr for $type {
            type Err = String;

            fn from_str(text: &str) -> Result<$type, String> {
                match text {
                    $($name => Ok(<$type>::$variant),)+
                    _ => {
                        let right = [$($name),+].join(", ");
                        Err(format!("unknown word {text:?}, expected one of: {right}"))
                    }
                }
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(<$type>::$variant => $name),+ })
            }
        }
    };
}

named!(Mode, WriteThrough => "write-through", WriteBack => "write-back",
    WriteAround => "write-around", ReadOnly => "read-only", Cache => "cache");
named!(Ack, Quorum => "quorum", Primary => "primary");
named!(WhenFull, Refuse => "refuse", WriteThrough => "write-through");
named!(MappingKind, Blob => "blob");

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

/// One keyspace of each mode, as the tests of several files use them.
#[cfg(test)]
pub(crate) fn example() -> Vec<KeyspaceSettings> {
    let one = |name: &str, mode| KeyspaceSettings {
        name: name.to_owned(),
        prefix: format!("{name}:*"),
        mode,
        store: (mode != Mode::Cache).then(|| "main".to_owned()),
        ..KeyspaceSettings::default()
    };
    vec![
        one("wt", Mode::WriteThrough),
        one("wb", Mode::WriteBack),
        one("wa", Mode::WriteAround),
        one("ro", Mode::ReadOnly),
        one("plain", Mode::Cache),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(change: impl FnOnce(&mut KeyspaceSettings)) -> String {
        let mut settings = example();
        change(&mut settings[1]);
        let BadKeyspace { at, setting } = check(&settings, &["main"]).unwrap_err();
        assert_eq!(at, 1);
        format!("{}: {}", setting.field, setting.problem)
    }

    #[test]
    fn every_error_names_the_setting_and_what_is_right() {
        assert_eq!(
            wrong(|k| k.store = Some("mian".into())),
            "store: there is no store \"mian\"; there are: main"
        );
        assert_eq!(
            wrong(|k| k.store = None),
            "mode: \"write-back\" needs a store; there are: main"
        );
        let pattern = wrong(|k| k.prefix = "user".into());
        assert!(pattern.starts_with("match: ") && pattern.contains("like \"user:*\""));
        assert!(wrong(|k| k.prefix = "a*b*".into()).contains("like \"user:*\""));
        assert_eq!(
            wrong(|k| k.prefix = "wt:*".into()),
            "match: keyspace \"wt\" matches the same keys"
        );
        assert!(wrong(|k| k.name = "wt".into()).contains("unique"));
        assert!(wrong(|k| k.name = "Users!".into()).contains("a-z"));
        assert_eq!(
            wrong(|k| k.name = "store".into()),
            "name: \"store\" is taken: stores have a table quorate_store"
        );
        assert_eq!(
            wrong(|k| k.timeout = Span::default()),
            "timeout: must be from 1ms to 1m, not 0ms"
        );
        assert!(wrong(|k| k.ttl_jitter = f64::NAN).contains("0 to 0.9"));
        assert!(wrong(|k| k.ack = Ack::Primary).contains("mode = \"cache\""));
        assert_eq!(
            wrong(|k| k.write_back.batch = 0),
            "write_back.batch: must be from 1 to 10000, not 0"
        );
    }

    #[test]
    fn keyspaces_are_so_many_at_most() {
        let one = |number: usize| KeyspaceSettings {
            name: format!("k{number}"),
            prefix: format!("k{number}:*"),
            ..KeyspaceSettings::default()
        };
        let mut settings: Vec<_> = (0..KEYSPACES_MAX).map(one).collect();
        assert!(check(&settings, &[]).is_ok());
        settings.push(one(KEYSPACES_MAX));
        let error = check(&settings, &[]).unwrap_err();
        assert_eq!((error.at, error.setting.field), (KEYSPACES_MAX, ""));
    }

    fn read(text: &str) -> Result<KeyspaceSettings, String> {
        let source = config::File::from_str(text, config::FileFormat::Toml);
        let read = config::Config::builder()
            .add_source(source)
            .build()
            .map_err(|e| e.to_string())?;
        read.try_deserialize().map_err(|e| e.to_string())
    }

    #[test]
    fn a_file_reads_as_documented() {
        let found = read(
            r#"name = "users"
            match = "user:*"
            mode = "write-back"
            store = "main"
            mapping = { kind = "blob" }
            ttl = "1h"
            ttl_jitter = 0.1
            negative_ttl = "5s"
            timeout = "500ms"
            max_value = "8MiB"
            [write_back]
            flush_interval = "100ms"
            flush_timeout = "5s"
            batch = 512
            max_dirty_bytes = "256MiB"
            when_full = "refuse""#,
        );
        let expected = KeyspaceSettings {
            name: "users".into(),
            prefix: "user:*".into(),
            mode: Mode::WriteBack,
            store: Some("main".into()),
            ..KeyspaceSettings::default()
        };
        assert_eq!(
            found,
            Ok(expected),
            "what the page shows is what is assumed"
        );
    }

    #[test]
    fn an_unknown_word_is_told_the_right_ones() {
        let with = |more: &str| read(&format!("name = \"a\"\nmatch = \"a*\"\n{more}"));
        let error = with("mode = \"write-thru\"").unwrap_err();
        assert!(
            error.contains("write-thru") && error.contains("write-through,"),
            "{error}"
        );
        let error = with("tttl = \"1h\"").unwrap_err();
        assert!(
            error.contains("`tttl`") && error.contains("`ttl`"),
            "{error}"
        );
        let error = with("mapping = { kind = \"row\" }").unwrap_err();
        assert!(
            error.contains("\"row\"") && error.contains("blob"),
            "{error}"
        );
        let error = with("ttl = \"1 hour\"").unwrap_err();
        assert!(
            error.contains("1 hour") && error.contains("\"1h\""),
            "{error}"
        );
    }

    #[test]
    fn definitions_have_numbers_of_their_own() {
        let document = check(&example(), &["main"]).unwrap();
        let ids: Vec<_> = document
            .keyspaces
            .iter()
            .filter_map(|k| k.definition.as_ref().map(|d| d.id))
            .collect();
        assert_eq!(ids, [1, 2, 3, 4]);
        assert!(
            document.keyspaces[4].definition.is_none(),
            "mode cache has no database"
        );
    }
}
