//! The Raft log and vote on disk.

use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogId, RaftLogReader, StorageIOError};

use super::disk::{Disk, DiskError, Fact, Write};
use super::raft::{LogId, StorageError, Types, Vote};

type RaftEntry = openraft::Entry<Types>;

/// The log. Clones read and write the same one; the library never writes from two at a time.
#[derive(Clone, Debug)]
pub(super) struct LogStore {
    disk: Arc<Disk>,
}

impl LogStore {
    pub(super) fn new(disk: Arc<Disk>) -> LogStore {
        LogStore { disk }
    }

    fn read(&self, start: u64, end: u64, bytes_max: usize) -> Result<Vec<RaftEntry>, DiskError> {
        let entries = self.disk.entries(start, end, bytes_max)?;
        entries.iter().map(|bytes| decode(bytes)).collect()
    }
}

fn read_failed(error: &DiskError) -> StorageError {
    StorageIOError::read_logs(error).into()
}

fn write_failed(error: &DiskError) -> StorageError {
    StorageIOError::write_logs(error).into()
}

fn decode(bytes: &[u8]) -> Result<RaftEntry, DiskError> {
    Ok(postcard::from_bytes(bytes)?)
}

/// About how many bytes of entries go to another voter at once; one entry always does. Until they
/// are on its disk no heartbeat reaches it, and the library gives it no longer than one.
const APPEND_BYTES_MAX: usize = 256 << 10;

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<RaftEntry>, StorageError> {
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&before) => before + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&last) => last + 1,
            Bound::Excluded(&end) => end,
            Bound::Unbounded => u64::MAX,
        };
        let entries = self.read(start, end, usize::MAX);
        entries.map_err(|error| read_failed(&error))
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<RaftEntry>, StorageError> {
        let entries = self.read(start, end, APPEND_BYTES_MAX);
        entries.map_err(|error| read_failed(&error))
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        let purged: Option<LogId> = self
            .disk
            .read(Fact::Purged)
            .map_err(|error| read_failed(&error))?;
        let last = self
            .disk
            .last_entry()
            .map_err(|error| read_failed(&error))?;
        let last = last.map(|bytes| decode(&bytes)).transpose();
        let last = last.map_err(|error| read_failed(&error))?;
        let last_log_id = last.map(|entry| *entry.get_log_id()).or(purged);
        Ok(LogState {
            last_purged_log_id: purged,
            last_log_id,
        })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let failed = |error| StorageError::from(StorageIOError::write_vote(&error));
        let write = Write::fact(Fact::Vote, vote).map_err(failed)?;
        self.disk.save(vec![write]).await.map_err(failed)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        self.disk
            .read(Fact::Vote)
            .map_err(|error| StorageIOError::read_vote(&error).into())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        // Only a hint for the next start, which then knows the other nodes' addresses at once. A
        // lost one costs nothing: a node serves only after the group has registered its new start,
        // and then it has applied everything before that.
        let write =
            Write::fact(Fact::Committed, &committed).map_err(|error| write_failed(&error))?;
        self.disk
            .save_lazily(vec![write])
            .await
            .map_err(|error| write_failed(&error))
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        let read = self.disk.read::<Option<LogId>>(Fact::Committed);
        Ok(read.map_err(|error| read_failed(&error))?.flatten())
    }

    async fn append<I>(
        &mut self,
        entries: I,
        flushed: LogFlushed<Types>,
    ) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut encoded = Vec::new();
        for entry in entries {
            let bytes = postcard::to_stdvec(&entry).map_err(|error| write_failed(&error.into()))?;
            encoded.push((entry.log_id.index, bytes));
        }
        let saved = self.disk.save(vec![Write::Entries(encoded)]).await;
        saved.map_err(|error| write_failed(&error))?;
        flushed.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let writes = vec![Write::Truncate(log_id.index)];
        self.disk
            .save(writes)
            .await
            .map_err(|error| write_failed(&error))
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let purged = Write::fact(Fact::Purged, &log_id).map_err(|error| write_failed(&error))?;
        let writes = vec![purged, Write::Purge(log_id.index)];
        self.disk
            .save(writes)
            .await
            .map_err(|error| write_failed(&error))
    }
}

#[cfg(test)]
mod tests {
    use openraft::testing::{StoreBuilder, Suite};

    use super::*;
    use crate::metadata::feed::Feed;
    use crate::metadata::state_machine::Machine;

    struct Builder;

    impl StoreBuilder<Types, LogStore, Machine, tempfile::TempDir> for Builder {
        async fn build(&self) -> Result<(tempfile::TempDir, LogStore, Machine), StorageError> {
            let directory = tempfile::tempdir().unwrap();
            let disk = Arc::new(Disk::open(directory.path()).unwrap());
            let machine = Machine::restore(Arc::clone(&disk), Feed::new(16), 16).unwrap();
            Ok((directory, LogStore::new(disk), machine))
        }
    }

    #[test]
    fn the_store_keeps_what_the_raft_library_asks_of_one() {
        Suite::test_all(Builder).unwrap();
    }
}
