//! The configuration of a process: built-in defaults, then a file, then the environment, then
//! flags. It is checked once, here; whoever holds [`Settings`] need not doubt them.

pub(crate) mod check;
mod error;
mod keys;
mod settings;
mod values;

use std::path::{Path, PathBuf};

use config::builder::DefaultState;
use config::{Config, ConfigBuilder, Environment, File, FileFormat};
use serde_json::Value;
use toml_edit::Document;

pub use error::{ConfigError, Origin};
pub use settings::{
    Balance, Cluster, Failover, Gossip, Limits, Log, Memory, Metadata, Node, Packed, Peers,
    Settings, Timings,
};
pub use values::{ClientShare, EvictionPolicy, LogFilter, LogFormat, Seeds};

use check::Wrong;
use keys::{Unknown, Written};

/// What the names of all variables of ours begin with.
const PREFIX: &str = "QUORATE_";

/// So much of a line that is no TOML is shown.
const SHOWN_CHARS_MAX: usize = 60;

/// A setting that was given on the command line.
#[derive(Clone, Debug)]
pub struct Flag {
    /// As it was written: `--port`.
    pub name: &'static str,
    /// The setting: `node.port`.
    pub key: &'static str,
    /// Its value.
    pub value: String,
}

/// Reads and checks the configuration. Each layer overrides those before it: built-in defaults,
/// `file`, the variables of `environment` that begin with `QUORATE_`, `flags`.
///
/// # Errors
/// The first thing that is wrong, with its key and where it stands.
pub fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &[Flag],
) -> Result<Settings, ConfigError> {
    let mut layers = Layers {
        template: keys::template(),
        ..Layers::default()
    };
    let mut builder = Config::builder();
    if let Some(path) = file {
        builder = builder.add_source(layers.file(path)?);
    }
    builder = builder.add_source(layers.environment(environment)?);
    builder = layers.flags(builder, flags)?;
    let settings = builder
        .build()
        .and_then(Config::try_deserialize)
        .map_err(|error| layers.wrong_value(error))?;
    check::check(settings).map_err(|wrong| layers.broken(wrong))
}

/// What each layer sets, so that an error can say where the wrong value stands.
#[derive(Default)]
struct Layers {
    template: Value,
    path: PathBuf,
    written: Vec<Written>,
    /// Names of variables with their keys.
    variables: Vec<(String, String)>,
    flags: Vec<Flag>,
}

impl Layers {
    fn file(
        &mut self,
        path: &Path,
    ) -> Result<File<config::FileSourceString, FileFormat>, ConfigError> {
        path.clone_into(&mut self.path);
        let wrong = |line, key: &str, problem| ConfigError {
            origin: Origin::File(path.to_owned(), line),
            key: key.to_owned(),
            problem,
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| wrong(0, "", format!("cannot be read: {error}")))?;
        let document = Document::parse(text.as_str()).map_err(|error| {
            let line = error
                .span()
                .map_or(0, |span| keys::line_of(&text, span.start));
            let shown = text.lines().nth(line.wrapping_sub(1)).unwrap_or_default();
            let shown: String = shown.trim().chars().take(SHOWN_CHARS_MAX).collect();
            wrong(line, "", format!("{}: {shown}", error.message()))
        })?;
        self.written = keys::written(&document);
        for Written { key, line } in &self.written {
            keys::find(&self.template, key)
                .map_err(|why| wrong(*line, key, unknown(why, ToOwned::to_owned)))?;
        }
        Ok(File::from_str(&text, FileFormat::Toml))
    }

    fn environment(
        &mut self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Environment, ConfigError> {
        let mut source = config::Map::new();
        for (name, value) in environment {
            let Some(rest) = name.strip_prefix(PREFIX) else {
                continue;
            };
            let key = rest.to_lowercase().replace("__", ".");
            let wrong = |problem| ConfigError {
                origin: Origin::Environment(name.clone()),
                key: String::new(),
                problem,
            };
            if value.starts_with("tcp://") || name.contains("_SERVICE_") {
                return Err(wrong(
                    "Kubernetes sets this for a Service named quorate; \
                     `enableServiceLinks: false` in the pod's spec leaves it out"
                        .to_owned(),
                ));
            }
            if key.starts_with("keyspace") {
                return Err(wrong("keyspaces are set in the file alone".to_owned()));
            }
            keys::find(&self.template, &key).map_err(|why| wrong(unknown(why, variable)))?;
            self.variables.push((name.clone(), key));
            source.insert(name, value);
        }
        let prefix = PREFIX.trim_end_matches('_');
        Ok(Environment::with_prefix(prefix)
            .prefix_separator("_")
            .separator("__")
            .source(Some(source)))
    }

    fn flags(
        &mut self,
        mut builder: ConfigBuilder<DefaultState>,
        flags: &[Flag],
    ) -> Result<ConfigBuilder<DefaultState>, ConfigError> {
        flags.clone_into(&mut self.flags);
        for flag in flags {
            builder = builder
                .set_override(flag.key, flag.value.as_str())
                .map_err(|error| self.error(flag.key.to_owned(), error.to_string()))?;
        }
        Ok(builder)
    }

    fn wrong_value(&self, error: config::ConfigError) -> ConfigError {
        match error {
            config::ConfigError::Type {
                key,
                unexpected,
                expected,
                ..
            } => self.error(
                dotted(key),
                format!(
                    "must be {}, not {}",
                    plainly(expected),
                    given(&unexpected.to_string())
                ),
            ),
            config::ConfigError::At { error, key, .. } => {
                self.error(dotted(key), wrong_type(&with_nearest(&error.to_string())))
            }
            config::ConfigError::NotFound(key) => {
                self.error(dotted(Some(key)), "is missing".to_owned())
            }
            other => self.error(String::new(), other.to_string()),
        }
    }

    /// Of two settings that do not go together, one that somebody has set is to blame.
    fn broken(&self, wrong: Wrong) -> ConfigError {
        let mut error = self.error(wrong.key, wrong.problem);
        if let Some(against) = wrong.against.filter(|_| !self.sets(&error.key)) {
            error.origin = self.error(against.to_owned(), String::new()).origin;
        }
        error
    }

    /// Whether some layer sets the key itself.
    fn sets(&self, key: &str) -> bool {
        self.flags.iter().any(|flag| flag.key == key)
            || self.variables.iter().any(|(_, set)| set == key)
            || self.written.iter().any(|written| written.key == key)
    }

    /// The layer that sets a key last is the one to blame.
    fn error(&self, key: String, problem: String) -> ConfigError {
        let flag = self.flags.iter().find(|flag| flag.key == key);
        let variable = self.variables.iter().find(|(_, set)| *set == key);
        let within = |written: &&Written| {
            key.strip_prefix(&written.key)
                .is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
        };
        let line = self
            .written
            .iter()
            .filter(within)
            .max_by_key(|written| written.key.len());
        let origin = match (flag, variable, line) {
            (Some(flag), ..) => Origin::Flag(flag.name),
            (_, Some((name, _)), _) => Origin::Environment(name.clone()),
            (.., Some(written)) => Origin::File(self.path.clone(), written.line),
            _ => Origin::Default,
        };
        ConfigError {
            origin,
            key,
            problem,
        }
    }
}

fn unknown(why: Unknown, spell: impl Fn(&str) -> String) -> String {
    match why {
        Unknown::Near(near) => {
            format!("there is no such setting; did you mean {}?", spell(&near))
        }
        Unknown::Unlike(all) => {
            let all: Vec<String> = all.iter().map(|key| spell(key)).collect();
            format!("there is no such setting; there are {}", all.join(", "))
        }
        Unknown::NotATable(key) => format!("{} is a value, not a table", spell(&key)),
    }
}

/// A key as a variable's name.
fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

fn plainly(expected: &str) -> &str {
    match expected {
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "a table",
        _ if expected.starts_with("struct ") => "a table",
        _ if expected.contains(" 8 bit integer") => "a whole number from 0 to 255",
        _ if expected.contains("16 bit integer") => "a whole number from 0 to 65535",
        _ if expected.contains("integer") => "a whole number",
        _ => expected,
    }
}

/// A value of the wrong type, without the name of the type that it has.
fn given(unexpected: &str) -> &str {
    match unexpected {
        "map" => "a table",
        "sequence" => "a list",
        _ => unexpected
            .split_once('`')
            .and_then(|(_, value)| value.strip_suffix('`'))
            .or_else(|| unexpected.strip_prefix("string "))
            .unwrap_or(unexpected),
    }
}

/// What the reader says of a wrong type, as we say it.
fn wrong_type(problem: &str) -> String {
    let parts = problem
        .strip_prefix("invalid type: ")
        .and_then(|rest| rest.split_once(", expected "));
    match parts {
        Some((unexpected, expected)) => {
            format!("must be {}, not {}", plainly(expected), given(unexpected))
        }
        None => problem.to_owned(),
    }
}

/// `keyspace[0]mode`, as the reader spells it, in the form that [`keys::written`] has.
fn dotted(key: Option<String>) -> String {
    let key = key
        .unwrap_or_default()
        .replace(']', "].")
        .replace("..", ".");
    key.trim_end_matches('.').to_owned()
}

/// Adds the name that was meant to an error that ends with the names that there are.
fn with_nearest(problem: &str) -> String {
    let near = problem
        .split_once("expected one of: ")
        .and_then(|(before, names)| error::nearest(before.split('"').nth(1)?, names.split(", ")));
    match near {
        Some(near) => format!("{problem}; did you mean {near:?}?"),
        None => problem.to_owned(),
    }
}

#[cfg(test)]
mod tests;
