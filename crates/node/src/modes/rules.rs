//! The keyspaces that a node is configured with, and those of its cluster.

use cluster::metadata::State;
use routing::keyspace::{self, Document};

use crate::config::Settings;

/// The keyspaces of this node's configuration: those that a cluster is made with.
pub(crate) fn own_keyspaces(settings: &Settings) -> Document {
    let stores: Vec<&str> = settings.store.keys().map(String::as_str).collect();
    keyspace::check(&settings.keyspace, &stores).expect("settings are checked when they are read")
}

/// The keyspaces in force: those that the cluster was made with. A cluster whose keyspaces this
/// version cannot read must not be served without them.
///
/// # Errors
/// That they cannot be read.
pub(crate) fn keyspaces_of(state: &State, settings: &Settings) -> Result<Document, String> {
    let document = state.document(super::KEYSPACES);
    let known = document.map(|document| Document::from_bytes(&document.value));
    let known = known.unwrap_or_else(|| Ok(Document::default()));
    let known = known.map_err(|error| {
        format!("this version of Quorate cannot read the cluster's keyspaces: {error}")
    })?;
    if !settings.keyspace.is_empty() && own_keyspaces(settings) != known {
        tracing::warn!(
            "the keyspaces of the configuration are not those of the cluster, which are in force"
        );
    }
    Ok(known)
}
