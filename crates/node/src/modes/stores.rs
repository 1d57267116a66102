//! The databases that the keyspaces name: opened at start, again and again until it works.
//!
//! One that is lost while it is open (its file was replaced, another cluster took it over)
//! is closed and opened anew as at the start.
//!
//! Whose a database is, is known to the metadata group as well: a node that sees another one there
//! (a file of another host, a wrong address) does not use it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use cluster::metadata::{Document, Entry, Group};
use cluster::{Lineage, Time, clock};
use rand::RngExt;
use routing::database::sqlite::SqliteStore;
use routing::database::{Database, Ownership};
use routing::keyspace::{Keyspaces, StoreSettings};
use tokio::task::JoinSet;

use crate::node::Node;

/// The pause after the first attempt that failed; doubled with each one.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// How long it is waited until the metadata group has taken note of something.
const NOTE_WAIT: Duration = Duration::from_secs(5);
/// How often it is tried to agree with the metadata group before the store is opened anew.
const AGREEMENTS_MAX: usize = 8;
const NOT_OPEN: &str = "is not open yet";
const FOREIGN: &str = "a row is written by another cluster";
/// So long after a row of another cluster was last met, the node says so. What has to be written to
/// it is tried again more often.
const ALARM: Duration = Duration::from_secs(60);
/// How long the connections of a store that is lost may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How each store is, for those who are on other threads: open, or why not.
#[derive(Debug, Default)]
pub(super) struct States {
    stores: BTreeMap<String, Result<(), String>>,
    /// When a row of a store was last met that another cluster has written.
    foreign: BTreeMap<String, Time>,
}

impl States {
    /// What is wrong with the stores that the keyspaces name.
    pub(super) fn troubles(&self, keyspaces: &Keyspaces, now: Time) -> Vec<String> {
        let named = names(keyspaces);
        let is_recent = |at: &Time| now.since(*at) < ALARM;
        let trouble = |name: &String| {
            let why = match self.stores.get(name) {
                Some(Ok(())) if self.foreign.get(name).is_some_and(is_recent) => FOREIGN,
                Some(Ok(())) => return None,
                Some(Err(why)) => why,
                None => NOT_OPEN,
            };
            Some(format!("store {name}: {why}"))
        };
        named.iter().filter_map(trouble).collect()
    }
}

fn names(keyspaces: &Keyspaces) -> BTreeSet<String> {
    let stores = keyspaces.definitions();
    stores.map(|definition| definition.store.clone()).collect()
}

/// The stores of a node; lives on the thread of the cache modes.
pub(super) struct Stores {
    node: Arc<Node>,
    group: Group,
    open: RefCell<BTreeMap<String, Rc<SqliteStore>>>,
    /// Those that are open, or being opened.
    named: RefCell<BTreeSet<String>>,
    opening: RefCell<JoinSet<()>>,
}

impl Stores {
    pub(super) fn new(node: &Arc<Node>, group: Group) -> Rc<Stores> {
        Rc::new(Stores {
            node: Arc::clone(node),
            group,
            open: RefCell::default(),
            named: RefCell::default(),
            opening: RefCell::default(),
        })
    }

    /// The database of this name.
    ///
    /// # Errors
    /// Why it is not open.
    pub(super) fn database(&self, name: &str) -> Result<Rc<dyn Database>, String> {
        if let Some(store) = self.open.borrow().get(name) {
            return Ok(Rc::clone(store) as _);
        }
        match self.node.modes.stores.lock().stores.get(name) {
            Some(Err(why)) => Err(why.clone()),
            _ => Err(NOT_OPEN.to_owned()),
        }
    }

    /// Opens the stores that keyspaces name, in the background, those that are not yet.
    pub(super) fn open_named(self: &Rc<Self>) {
        for name in names(&self.node.modes.keyspaces()) {
            if self.named.borrow_mut().insert(name.clone()) {
                let open = Rc::clone(self).open(name);
                self.opening.borrow_mut().spawn_local(open);
            }
        }
    }

    async fn open(self: Rc<Self>, name: String) {
        let mut lineage = self.group.watch_lineage();
        let lineage = lineage.wait_for(Option::is_some).await;
        let Some(lineage) = lineage.ok().and_then(|known| *known) else {
            return;
        };
        let mut pause = PAUSE_MIN;
        let mut told = String::new();
        // What was ours and was taken over is not taken back again by the same word.
        let mut may_take_over = true;
        loop {
            let why = match self.attempt(&name, lineage, may_take_over).await {
                Ok(store) => {
                    tracing::info!(store = name, "the database is open");
                    (pause, may_take_over) = (PAUSE_MIN, false);
                    self.use_while_ours(&name, Rc::new(store)).await
                }
                Err(why) => why,
            };
            if told != why {
                tracing::error!(store = name, "the database cannot be used: {why}");
                told.clone_from(&why);
            }
            self.say(name.clone(), Err(why));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(self.node.settings.timings.database_retry_max.0);
        }
    }

    /// Returns why the store is not to be used any more.
    async fn use_while_ours(&self, name: &str, store: Rc<SqliteStore>) -> String {
        let shared = Rc::clone(&store);
        self.open.borrow_mut().insert(name.to_owned(), shared);
        self.say(name.to_owned(), Ok(()));
        let why = store.lost().await;
        self.say(name.to_owned(), Err(why.clone()));
        self.open.borrow_mut().remove(name);
        // What it does not end by itself ends with the process.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, store.close()).await;
        why
    }

    /// Opens a store, with the tables of all its keyspaces.
    async fn attempt(
        &self,
        name: &str,
        lineage: Lineage,
        may_take_over: bool,
    ) -> Result<SqliteStore, String> {
        let settings = self.node.settings.store.get(name);
        let settings = settings.ok_or("is not in this node's configuration")?;
        let mut settings = settings.clone();
        settings.take_over = settings.take_over.filter(|_| may_take_over);
        let store = open_owned(name, &settings, &self.group, lineage).await?;
        let keyspaces = self.node.modes.keyspaces();
        for definition in keyspaces.definitions().filter(|one| one.store == name) {
            if let Err(why) = store.make_table(definition).await {
                store.close().await;
                return Err(why);
            }
        }
        Ok(store)
    }

    fn say(&self, name: String, state: Result<(), String>) {
        self.node.modes.stores.lock().stores.insert(name, state);
    }

    /// A row of the store is another cluster's.
    pub(super) fn met_foreign(&self, name: &str) {
        let mut states = self.node.modes.stores.lock();
        states.foreign.insert(name.to_owned(), clock::now());
    }

    /// Closes the databases.
    pub(super) async fn close(&self) {
        self.opening.borrow_mut().abort_all();
        let open = std::mem::take(&mut *self.open.borrow_mut());
        for store in open.into_values() {
            store.close().await;
        }
    }
}

/// Opens the store and has the metadata group know it.
async fn open_owned(
    name: &str,
    settings: &StoreSettings,
    group: &Group,
    lineage: Lineage,
) -> Result<SqliteStore, String> {
    let known = known(group, name)?.map(|(_, owned)| owned);
    let drawn = format!("{:016x}", rand::rng().random::<u64>());
    let cluster = lineage.to_string();
    let store = SqliteStore::open(settings, &cluster, known.as_ref(), &drawn).await?;
    match agree(group, name, store.ownership()).await {
        Ok(()) => Ok(store),
        Err(why) => {
            store.close().await;
            Err(why)
        }
    }
}

/// What the metadata group knows of the store, and how often it was set.
fn known(group: &Group, name: &str) -> Result<Option<(u64, Ownership)>, String> {
    let state = group.state();
    let Some(document) = state.document(&document_name(name)) else {
        return Ok(None);
    };
    let owned = postcard::from_bytes(&document.value)
        .map_err(|error| format!("the metadata group's word on it makes no sense: {error}"))?;
    Ok(Some((document.rev, owned)))
}

fn document_name(store: &str) -> String {
    format!("store/{store}")
}

/// Returns when the metadata group knows that the store is owned like this.
async fn agree(group: &Group, name: &str, owned: &Ownership) -> Result<(), String> {
    let value = postcard::to_stdvec(owned).expect("a vector grows as far as a document needs");
    for _ in 0..AGREEMENTS_MAX {
        let mut state = group.watch_state();
        state.mark_unchanged();
        let expect = match known(group, name)? {
            Some((_, known)) if known == *owned => return Ok(()),
            Some((_, known)) if known.id != owned.id => {
                let (found, known) = (&owned.id, known.id);
                return Err(format!(
                    "this is another database: its id is {found}, and the cluster knows {known}"
                ));
            }
            // It was taken over: once more since then, or by this node just now.
            Some((_, known)) if known.generation > owned.generation => {
                return Err("it was taken over meanwhile".to_owned());
            }
            Some((rev, _)) => rev,
            None => 0,
        };
        let document = Document {
            name: document_name(name),
            value: value.clone().into(),
            expect: Some(expect),
        };
        // Whatever became of it is seen in the state.
        let _ = group.propose(Entry::Document(document)).await;
        let _ = tokio::time::timeout(NOTE_WAIT, state.changed()).await;
    }
    Err("the metadata group does not take note of it".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use routing::keyspace;

    #[test]
    fn a_row_of_another_cluster_is_trouble_for_a_while() {
        let users = r#"{"name": "u", "match": "u:*", "mode": "write-back", "store": "main"}"#;
        let document = keyspace::check(&[serde_json::from_str(users).unwrap()], &["main"]).unwrap();
        let keyspaces = Keyspaces::new(document);
        let (mut states, met) = (States::default(), Time::from_nanos(7));
        let trouble = |states: &States, now| states.troubles(&keyspaces, now).pop();
        let not_open = trouble(&states, met);
        assert_eq!(not_open.as_deref(), Some("store main: is not open yet"));
        states.stores.insert("main".to_owned(), Ok(()));
        assert_eq!(trouble(&states, met), None);
        states.foreign.insert("main".to_owned(), met);
        assert_eq!(
            trouble(&states, met + ALARM / 2).as_deref(),
            Some("store main: a row is written by another cluster")
        );
        assert_eq!(trouble(&states, met + ALARM), None);
    }
}
