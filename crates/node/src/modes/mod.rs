//! The cache modes at this node: which commands they run, and the thread on which they do.
//!
//! Data threads answer what the cache can answer, and hand over what needs a database. All of the
//! protocol of the modes runs on one thread, which serves no client, so that no database ever holds
//! up a connection, and no slot's lock is held while a database is asked.

mod collect;
mod deferred;
mod errand;
mod gate;
mod host;
mod rules;
mod slot;
mod stores;
mod thread;
mod uses;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use cluster::replication::Turn;
use cluster::{Member, SLOTS, Slot, clock};
use parking_lot::Mutex;
use routing::keyspace::{Ack, Document, Keyspaces, Mode};
use routing::{Flushed, HeldLines};
use tokio::sync::{mpsc, oneshot};

pub(crate) use deferred::{Deferred, Pending};
pub(crate) use errand::defer;
pub(crate) use gate::{looks, needs_modes};
pub(crate) use rules::{keyspaces_of, own_keyspaces};
pub use thread::{ModesThread, start};
pub(crate) use uses::uses_of;

use errand::Errand;

/// So many commands of one client, or of one call of another node, are handed over at once: nobody
/// knows yet how long their replies are.
pub(crate) const DEFERRED_MAX: usize = 64;

/// The document of the metadata group that holds the keyspaces.
pub const KEYSPACES: &str = "keyspaces";

/// What the threads of a node share of its cache modes.
#[derive(Default)]
pub struct Modes {
    keyspaces: ArcSwap<Keyspaces>,
    /// Whether any keyspace has a database: most commands need to know no more.
    has_databases: AtomicBool,
    /// Whether any keyspace's writes are acknowledged by their primary alone.
    acknowledges_alone: AtomicBool,
    held: HeldLines,
    jobs: OnceLock<mpsc::UnboundedSender<Job>>,
    /// Commands that were handed over and are not answered yet.
    under_way: AtomicUsize,
    /// The same by slot.
    in_slots: InSlots,
    stores: Mutex<stores::States>,
}

/// A number for each slot.
struct InSlots(Box<[AtomicU32]>);

impl Default for InSlots {
    fn default() -> InSlots {
        InSlots((0..SLOTS).map(|_| AtomicU32::new(0)).collect())
    }
}

/// Something for the thread of the cache modes to do.
enum Job {
    /// Run a command.
    Run(Errand),
    /// There are new keyspaces.
    Ruled,
    /// Slots were won or lost.
    Turned(Vec<Turn>),
    /// Keys of a slot ended, and their databases are to hear of it.
    Ended(Slot, Vec<Bytes>),
    /// Slots were emptied.
    Emptied(BTreeSet<Slot>),
    /// The databases get what they lack of slots that this node leads.
    Flush(Flush, oneshot::Sender<Vec<Flushed>>),
    /// These members are about to stop, and no others.
    Departing(BTreeSet<Member>),
    /// The thread ends.
    End(oneshot::Sender<()>),
}

/// What is to be flushed, and for how long it may take.
struct Flush {
    /// Of this keyspace, or of all.
    name: Option<String>,
    slots: Vec<Slot>,
    patience: Duration,
}

impl Modes {
    /// The keyspaces in force.
    #[must_use]
    pub fn keyspaces(&self) -> Arc<Keyspaces> {
        self.keyspaces.load_full()
    }

    /// Puts keyspaces in force. Called before this node leads any slot: whoever leads one knows
    /// which of its keys have a database.
    pub fn set_keyspaces(&self, document: Document) {
        let keyspaces = Keyspaces::new(document);
        let databases = keyspaces.iter().any(|found| found.database().is_some());
        let alone = keyspaces.iter().any(|found| found.ack == Ack::Primary);
        self.keyspaces.store(Arc::new(keyspaces));
        self.has_databases.store(databases, Ordering::Release);
        self.acknowledges_alone.store(alone, Ordering::Release);
        self.post(Job::Ruled);
    }

    /// Slots were won or lost, in this order.
    pub fn turned(&self, turns: Vec<Turn>) {
        self.post(Job::Turned(turns));
    }

    /// Keys of the slot ended, at their primary, and left dirty entries.
    pub(crate) fn ended(&self, slot: Slot, keys: Vec<Bytes>) {
        if !keys.is_empty() {
            self.post(Job::Ended(slot, keys));
        }
    }

    /// Whether a database is told that a key's time is over: if it is written by the definition.
    pub(crate) fn tells(&self, definition: u32) -> bool {
        let keyspaces = self.keyspaces.load();
        !keyspaces.iter().any(|keyspace| {
            let own = keyspace.database().map(|found| found.id);
            own == Some(definition) && keyspace.mode == Mode::ReadOnly
        })
    }

    /// The slots were emptied, at their primary.
    pub(crate) fn emptied(&self, slots: BTreeSet<Slot>) {
        if self.has_databases() && !slots.is_empty() {
            self.post(Job::Emptied(slots));
        }
    }

    /// These members are about to stop, and no others: what is asked of the cache modes from now on
    /// knows it.
    pub(crate) fn departing(&self, members: BTreeSet<Member>) {
        self.post(Job::Departing(members));
    }

    /// Gives the databases what they lack of these slots, of one keyspace or of all, as long as
    /// there is time.
    pub(crate) async fn flush(
        &self,
        name: Option<String>,
        slots: Vec<Slot>,
        patience: Duration,
    ) -> Vec<Flushed> {
        let (done, flushed) = oneshot::channel();
        let flush = Flush {
            name,
            slots,
            patience,
        };
        self.post(Job::Flush(flush, done));
        // A node that stops says nothing; somebody else is asked then.
        flushed.await.unwrap_or_default()
    }

    /// What keeps databases from being used, for each store that a keyspace names.
    ///
    /// # Errors
    /// The names of the stores, each with the reason.
    pub fn check_stores(&self) -> Result<(), String> {
        let troubles = self
            .stores
            .lock()
            .troubles(&self.keyspaces.load(), clock::now());
        if troubles.is_empty() {
            Ok(())
        } else {
            Err(troubles.join("; "))
        }
    }

    /// Whether a command on the slot is under way.
    pub(crate) fn is_busy(&self, slot: Slot) -> bool {
        self.in_slots.0[slot.index()].load(Ordering::Acquire) > 0
    }

    /// Whether any keyspace has a database.
    pub(crate) fn has_databases(&self) -> bool {
        self.has_databases.load(Ordering::Acquire)
    }

    /// Whether there are keys whose writes are acknowledged before other copies have them.
    pub(crate) fn acknowledges_alone(&self) -> bool {
        self.acknowledges_alone.load(Ordering::Acquire)
    }

    /// Without the thread there is no keyspace either.
    fn post(&self, job: Job) {
        if let Some(jobs) = self.jobs.get() {
            // A node that stops has no use for what comes late.
            let _ = jobs.send(job);
        }
    }

    /// The longest that a command on one of these keys may take by itself: its turn in the line,
    /// what must happen first, its database, its copies.
    pub(crate) fn patience<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) -> Duration {
        if !self.has_databases() {
            return Duration::ZERO;
        }
        let keyspaces = self.keyspaces.load();
        let timeouts = keys.filter_map(|key| Some(keyspaces.with_database(key)?.timeout.0));
        timeouts.max().unwrap_or_default() * 4
    }
}

#[cfg(test)]
impl Modes {
    /// Stands for the thread; returns how many slots each job says were emptied that is posted
    /// while `step` runs.
    pub(crate) fn emptied_during(&self, document: Document, step: impl FnOnce()) -> Vec<usize> {
        let (jobs, mut to_do) = mpsc::unbounded_channel();
        self.jobs.set(jobs).expect("the node has no thread");
        self.set_keyspaces(document);
        step();
        let jobs = std::iter::from_fn(|| to_do.try_recv().ok());
        let emptied = jobs.filter_map(|job| match job {
            Job::Emptied(slots) => Some(slots.len()),
            _ => None,
        });
        emptied.collect()
    }
}
