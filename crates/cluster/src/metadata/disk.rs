//! What a node must still know after it has been killed: the Raft log and vote, its incarnation,
//! the founding that it has pledged itself to, the lineage that it belongs to.
//!
//! One redb file. A write returns when it is on disk, except where it says otherwise.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::sync::oneshot;

use crate::{Incarnation, NodeId};

const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
const FACTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("facts");

/// The file in the data directory.
pub(super) const FILE: &str = "metadata.redb";

/// Memory that redb may use for its pages: the file holds a few megabytes.
const CACHE_BYTES: usize = 8 << 20;

/// The open file. Only one process may have it.
///
/// One thread writes, in the order of the calls, and also what nobody waits for any more: a call
/// that was given up must not reach the disk after one that was made later.
#[derive(Debug)]
pub struct Disk {
    database: Arc<Database>,
    /// `None` only while the last one is dropped.
    writer: Option<(mpsc::Sender<Job>, JoinHandle<()>)>,
}

#[derive(Debug)]
struct Job {
    writes: Vec<Write>,
    durability: Durability,
    done: oneshot::Sender<Result<(), DiskError>>,
}

/// Why the file cannot be read or written.
#[derive(Debug, Error)]
pub enum DiskError {
    /// The database failed.
    #[error("{FILE}: {0}")]
    Database(#[from] Box<redb::Error>),
    /// Something in it does not read as what it should be.
    #[error("{FILE}: {0}")]
    Encoding(#[from] postcard::Error),
    /// The thread that writes could not start, or has ended.
    #[error("{FILE}: the writing thread: {0}")]
    Writer(String),
    /// The id beside the file is that of another node.
    #[error(
        "{FILE} is that of node {owner}, and node-id says {found}: the data directory is mixed"
    )]
    AnotherNode {
        /// Whose file it is.
        owner: NodeId,
        /// What the data directory says.
        found: NodeId,
    },
    /// The node has an id, and the file that it was drawn with is gone.
    #[error(
        "{FILE} of node {0} is gone, and with it what the node has promised the others: remove the \
         whole data directory, so that it joins as a new node"
    )]
    Lost(NodeId),
}

/// Something that is kept once, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    Node,
    Incarnation,
    Vote,
    Committed,
    Purged,
    Snapshot,
    SnapshotIndex,
    Founding,
    Lineage,
}

impl Fact {
    fn name(self) -> &'static str {
        match self {
            Fact::Node => "node",
            Fact::Incarnation => "incarnation",
            Fact::Vote => "vote",
            Fact::Committed => "committed",
            Fact::Purged => "purged",
            Fact::Snapshot => "snapshot",
            Fact::SnapshotIndex => "snapshot_index",
            Fact::Founding => "founding",
            Fact::Lineage => "lineage",
        }
    }
}

/// One change of the file; several of them happen together or not at all.
#[derive(Debug)]
pub(super) enum Write {
    Fact(Fact, Vec<u8>),
    Entries(Vec<(u64, Vec<u8>)>),
    /// The state at this index of the log, unless there is a later one.
    Snapshot(u64, Vec<u8>),
    /// Removes the log from this index on.
    Truncate(u64),
    /// Removes the log up to this index, which goes with it.
    Purge(u64),
}

impl Write {
    pub(super) fn fact<T: Serialize>(fact: Fact, value: &T) -> Result<Write, DiskError> {
        Ok(Write::Fact(fact, postcard::to_stdvec(value)?))
    }
}

impl Disk {
    /// Opens the file in this data directory, or makes it.
    ///
    /// # Errors
    /// If it is damaged, or another process has it.
    pub fn open(directory: &Path) -> Result<Disk, DiskError> {
        let path = directory.join(FILE);
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path);
        let database = Arc::new(database.map_err(boxed)?);
        let begin = database.begin_write().map_err(boxed)?;
        begin.open_table(LOG).map_err(boxed)?;
        begin.open_table(FACTS).map_err(boxed)?;
        begin.commit().map_err(boxed)?;
        let (jobs, queue) = mpsc::channel::<Job>();
        let written = Arc::clone(&database);
        let writer = thread::Builder::new()
            .name("metadata-disk".to_owned())
            .spawn(move || {
                for Job {
                    writes,
                    durability,
                    done,
                } in queue
                {
                    // Whoever gave the call up does not want to know.
                    let _ = done.send(write(&written, writes, durability));
                }
            });
        let writer = writer.map_err(|error| DiskError::Writer(error.to_string()))?;
        Ok(Disk {
            database,
            writer: Some((jobs, writer)),
        })
    }

    /// Whose file this is, where the data directory says `found`; a new one becomes `drawn`'s. What
    /// a node has promised and which starts it had lie here: an id without its file is no node.
    ///
    /// # Errors
    /// If the file is another node's, or not the one that the id was drawn with.
    pub fn owner(&self, found: Option<NodeId>, drawn: NodeId) -> Result<NodeId, DiskError> {
        let node = match (self.read(Fact::Node)?, found) {
            (Some(owner), Some(found)) if owner != found => {
                return Err(DiskError::AnotherNode { owner, found });
            }
            (Some(owner), _) => return Ok(owner),
            // Written by a version that did not say so yet.
            (None, Some(found)) if self.read::<Incarnation>(Fact::Incarnation)?.is_some() => found,
            (None, Some(found)) => return Err(DiskError::Lost(found)),
            (None, None) => drawn,
        };
        let writes = vec![Write::fact(Fact::Node, &node)?];
        write(&self.database, writes, Durability::Immediate)?;
        Ok(node)
    }

    /// Draws the incarnation of this start: greater than those of all starts before, on disk when
    /// this returns, and so never drawn again.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn draw_incarnation(&self) -> Result<Incarnation, DiskError> {
        let last: Option<Incarnation> = self.read(Fact::Incarnation)?;
        let next = Incarnation(last.unwrap_or_default().0 + 1);
        let writes = vec![Write::fact(Fact::Incarnation, &next)?];
        write(&self.database, writes, Durability::Immediate)?;
        Ok(next)
    }

    pub(super) fn read<T: DeserializeOwned>(&self, fact: Fact) -> Result<Option<T>, DiskError> {
        let read = self.database.begin_read().map_err(boxed)?;
        let facts = read.open_table(FACTS).map_err(boxed)?;
        let found = facts.get(fact.name()).map_err(boxed)?;
        Ok(found
            .map(|bytes| postcard::from_bytes(bytes.value()))
            .transpose()?)
    }

    /// The entries of the log from `start` to before `end`, as they were written; fewer, but one at
    /// least, if they are more than so many bytes.
    pub(super) fn entries(
        &self,
        start: u64,
        end: u64,
        bytes_max: usize,
    ) -> Result<Vec<Vec<u8>>, DiskError> {
        let read = self.database.begin_read().map_err(boxed)?;
        let log = read.open_table(LOG).map_err(boxed)?;
        let (mut found, mut bytes) = (Vec::new(), 0);
        for entry in log.range(start..end).map_err(boxed)? {
            let entry = entry.map_err(boxed)?.1.value().to_vec();
            bytes += entry.len();
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            found.push(entry);
        }
        Ok(found)
    }

    pub(super) fn last_entry(&self) -> Result<Option<Vec<u8>>, DiskError> {
        let read = self.database.begin_read().map_err(boxed)?;
        let log = read.open_table(LOG).map_err(boxed)?;
        Ok(log
            .last()
            .map_err(boxed)?
            .map(|(_, bytes)| bytes.value().to_vec()))
    }

    /// Performs the writes on the thread that may block: `fsync` takes milliseconds, and the
    /// callers share their thread with the heartbeats.
    pub(super) async fn save(&self, writes: Vec<Write>) -> Result<(), DiskError> {
        self.enqueue(writes, Durability::Immediate).await
    }

    /// The same, but on disk only with the next [`Disk::save`]: for what may be lost.
    pub(super) async fn save_lazily(&self, writes: Vec<Write>) -> Result<(), DiskError> {
        self.enqueue(writes, Durability::None).await
    }

    async fn enqueue(&self, writes: Vec<Write>, durability: Durability) -> Result<(), DiskError> {
        let ended = || DiskError::Writer("it has ended".to_owned());
        let (done, result) = oneshot::channel();
        let (jobs, _) = self.writer.as_ref().ok_or_else(ended)?;
        jobs.send(Job {
            writes,
            durability,
            done,
        })
        .map_err(|_| ended())?;
        result.await.map_err(|_| ended())?
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Some((jobs, writer)) = self.writer.take() {
            drop(jobs);
            if writer.join().is_err() {
                tracing::error!("the thread that writes {FILE} has panicked");
            }
        }
    }
}

fn write(database: &Database, writes: Vec<Write>, durability: Durability) -> Result<(), DiskError> {
    let mut begin = database.begin_write().map_err(boxed)?;
    begin.set_durability(durability).map_err(boxed)?;
    {
        let mut log = begin.open_table(LOG).map_err(boxed)?;
        let mut facts = begin.open_table(FACTS).map_err(boxed)?;
        for write in writes {
            match write {
                Write::Fact(fact, bytes) => {
                    facts.insert(fact.name(), bytes.as_slice()).map_err(boxed)?;
                }
                Write::Snapshot(index, bytes) => {
                    // The log may be purged up to the later one.
                    let known = facts.get(Fact::SnapshotIndex.name()).map_err(boxed)?;
                    let known = known.map(|known| postcard::from_bytes::<u64>(known.value()));
                    if known.transpose()?.is_none_or(|known| known <= index) {
                        let at = postcard::to_stdvec(&index)?;
                        let name = Fact::SnapshotIndex.name();
                        facts.insert(name, at.as_slice()).map_err(boxed)?;
                        let name = Fact::Snapshot.name();
                        facts.insert(name, bytes.as_slice()).map_err(boxed)?;
                    }
                }
                Write::Entries(entries) => {
                    for (index, bytes) in entries {
                        log.insert(index, bytes.as_slice()).map_err(boxed)?;
                    }
                }
                Write::Truncate(from) => log.retain_in(from.., |_, _| false).map_err(boxed)?,
                Write::Purge(upto) => log.retain_in(..=upto, |_, _| false).map_err(boxed)?,
            }
        }
    }
    begin.commit().map_err(boxed)?;
    Ok(())
}

/// redb's errors are large, and rare.
fn boxed(error: impl Into<redb::Error>) -> Box<redb::Error> {
    Box::new(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_and_its_file_go_together() {
        let id = |byte| NodeId::from_bytes([byte; 20]);
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        assert_eq!(disk.owner(None, id(1)).unwrap(), id(1));
        // The process died before the id was written beside it.
        assert_eq!(disk.owner(None, id(2)).unwrap(), id(1));
        assert_eq!(disk.owner(Some(id(1)), id(2)).unwrap(), id(1));
        let another = disk.owner(Some(id(3)), id(2));
        assert!(matches!(another, Err(DiskError::AnotherNode { .. })));
        let empty = tempfile::tempdir().unwrap();
        let lost = Disk::open(empty.path()).unwrap().owner(Some(id(1)), id(2));
        assert!(matches!(lost, Err(DiskError::Lost(node)) if node == id(1)));
    }

    #[tokio::test]
    async fn an_earlier_snapshot_does_not_take_the_place_of_a_later_one() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        for (index, kept) in [(7, 7_u64), (9, 9), (8, 9), (9, 9), (10, 10)] {
            let bytes = postcard::to_stdvec(&index).unwrap();
            disk.save(vec![Write::Snapshot(index, bytes)])
                .await
                .unwrap();
            assert_eq!(disk.read(Fact::Snapshot).unwrap(), Some(kept));
        }
    }

    #[test]
    fn each_start_draws_a_greater_incarnation() {
        let directory = tempfile::tempdir().unwrap();
        for start in 1..4 {
            let disk = Disk::open(directory.path()).unwrap();
            assert_eq!(disk.draw_incarnation().unwrap(), Incarnation(start));
        }
    }
}
