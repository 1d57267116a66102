//! Which keys there are, where a file has them, and which one was meant.

use std::ops::Range;

use routing::keyspace::{KeyspaceSettings, StoreSettings};
use serde_json::Value;
use toml_edit::{Document, Item};

use super::error::nearest;
use super::settings::Settings;

/// Every key with its default, as a document in which one store and one keyspace stand for all.
/// A key without a default is null there.
pub(super) fn template() -> Value {
    let mut template =
        serde_json::to_value(Settings::default()).expect("settings have no keys but texts");
    let store: StoreSettings =
        serde_json::from_str(r#"{"url": ""}"#).expect("the address alone has no default");
    template["store"] = serde_json::json!({ "NAME": store });
    template["keyspace"] = serde_json::json!([KeyspaceSettings::default()]);
    template
}

/// The full names of all keys that hold a value, as a file would write them.
pub(super) fn all(template: &Value) -> Vec<String> {
    let mut keys = Vec::new();
    collect(template, "", &mut keys);
    keys
}

fn collect(value: &Value, path: &str, keys: &mut Vec<String>) {
    match value {
        Value::Object(table) => {
            for (key, value) in table {
                collect(value, &join(path, key), keys);
            }
        }
        Value::Array(list) if list.first().is_some_and(Value::is_object) => {
            collect(&list[0], path, keys);
        }
        _ => keys.push(path.to_owned()),
    }
}

/// Why a key is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    /// There is no such key; this one was meant.
    Near(String),
    /// There is no such key, nor one that is like it; the table has these.
    Unlike(Vec<String>),
    /// What stands before the last level is a value, and holds no keys.
    NotATable(String),
}

/// Whether there is such a key, a table's own name included.
pub(super) fn find(template: &Value, key: &str) -> Result<(), Unknown> {
    let mut table = template;
    let mut above = String::new();
    for level in key.split('.') {
        let name = level.split('[').next().unwrap_or(level);
        let Some(inner) = table.as_object() else {
            return Err(Unknown::NotATable(above));
        };
        table = match inner.get(name) {
            Some(found) => found,
            // Any name may be a store's.
            None if above == "store" => &inner["NAME"],
            None => {
                let names = || inner.keys().map(|name| join(&above, name));
                return Err(meant(template, inner.keys(), &above, name)
                    .map_or_else(|| Unknown::Unlike(names().collect()), Unknown::Near));
            }
        };
        if let Some(first) = table.as_array().and_then(|list| list.first()) {
            table = first;
        }
        above = join(&above, name);
    }
    Ok(())
}

/// The nearest name in the same table, or else the key of another table that ends like it.
fn meant<'a>(
    template: &Value,
    names: impl Iterator<Item = &'a String>,
    above: &str,
    wrong: &str,
) -> Option<String> {
    let elsewhere = || {
        let same = |key: &String| key.rsplit('.').next() == Some(wrong);
        all(template).into_iter().find(same)
    };
    let near = nearest(wrong, names.map(String::as_str)).map(|name| join(above, name));
    elsewhere().or(near)
}

/// A key of a file and the line that it is on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// The key, its levels parted by dots; `[i]` follows what is a list of tables.
    pub(super) key: String,
    /// Counted from 1.
    pub(super) line: usize,
}

/// All keys of a file, tables and lists of tables among them.
pub(super) fn written(document: &Document<&str>) -> Vec<Written> {
    let mut found = Vec::new();
    visit(document.as_item(), "", &mut |key, span| {
        found.push(Written {
            key: key.to_owned(),
            line: line_of(document.raw(), span.start),
        });
    });
    found
}

fn visit(item: &Item, path: &str, found: &mut impl FnMut(&str, Range<usize>)) {
    if let Some(table) = item.as_table_like() {
        for (name, inner) in table.iter() {
            let key = join(path, name);
            let span = table.get_key_value(name).and_then(|(key, _)| key.span());
            found(&key, span.or_else(|| inner.span()).unwrap_or_default());
            visit(inner, &key, found);
        }
    } else if let Some(tables) = item.as_array_of_tables() {
        for (index, table) in tables.iter().enumerate() {
            let key = format!("{path}[{index}]");
            found(&key, table.span().unwrap_or_default());
            visit(&Item::Table(table.clone()), &key, found);
        }
    } else if let Some(values) = item.as_array() {
        let tables = values
            .iter()
            .enumerate()
            .filter(|(_, value)| value.is_inline_table());
        for (index, table) in tables {
            let key = format!("{path}[{index}]");
            found(&key, table.span().unwrap_or_default());
            visit(&Item::Value(table.clone()), &key, found);
        }
    }
}

/// The line of a place in a text, counted from 1.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()
        .iter()
        .take(offset)
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}

fn join(above: &str, name: &str) -> String {
    if above.is_empty() {
        name.to_owned()
    } else {
        format!("{above}.{name}")
    }
}
