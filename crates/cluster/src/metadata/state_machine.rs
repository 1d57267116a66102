//! The state under the Raft log: applies what is committed, keeps snapshots on disk.
//!
//! The state itself lives in memory. After a restart it comes from the last snapshot and the log
//! behind it.

use std::io::Cursor;
use std::sync::Arc;

use openraft::storage::RaftStateMachine;
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, StorageIOError};
use serde::{Deserialize, Serialize};

use super::disk::{Disk, DiskError, Fact, Write};
use super::feed::Feed;
use super::raft::{LogId, Membership, Snapshot, SnapshotMeta, StorageError, Types};
use super::{Applied, State};

type RaftEntry = openraft::Entry<Types>;

/// The state, and how far in the log it is.
#[derive(Debug)]
pub(super) struct Machine {
    disk: Arc<Disk>,
    feed: Arc<Feed>,
    state: Arc<State>,
    applied: Option<LogId>,
    membership: Membership,
}

/// A snapshot as it lies on disk.
#[derive(Serialize, Deserialize)]
struct Kept {
    meta: SnapshotMeta,
    bytes: Vec<u8>,
}

/// A state to make a snapshot of, while the machine goes on.
pub(super) struct Builder {
    disk: Arc<Disk>,
    state: Arc<State>,
    applied: Option<LogId>,
    membership: Membership,
}

impl Machine {
    /// The state of the last snapshot; one without entries if there is none.
    pub(super) fn restore(
        disk: Arc<Disk>,
        feed: Arc<Feed>,
        slots: u16,
    ) -> Result<Machine, DiskError> {
        let state = Arc::new(State::new(slots));
        let membership = Membership::default();
        let mut machine = Machine {
            disk,
            feed,
            state,
            applied: None,
            membership,
        };
        if let Some(kept) = machine.disk.read::<Kept>(Fact::Snapshot)? {
            let state = kept.state()?;
            machine.take(&kept.meta, state);
        }
        Ok(machine)
    }

    fn take(&mut self, meta: &SnapshotMeta, state: State) {
        self.state = Arc::new(state);
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.feed.replaced(Arc::clone(&self.state));
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), StorageError> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Applied>, StorageError>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut answers = Vec::new();
        let mut changes = Vec::new();
        for entry in entries {
            let index = entry.log_id.index;
            self.applied = Some(entry.log_id);
            let mut answer = Applied {
                index,
                ..Applied::default()
            };
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Membership(membership) => {
                    self.membership = Membership::new(self.applied, membership);
                }
                EntryPayload::Normal(entry) => {
                    answer = Arc::make_mut(&mut self.state).apply(index, &entry);
                    changes.push((index, entry));
                }
            }
            answers.push(answer);
        }
        if !changes.is_empty() {
            self.feed.applied(&self.state, changes);
        }
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            disk: Arc::clone(&self.disk),
            state: Arc::clone(&self.state),
            applied: self.applied,
            membership: self.membership.clone(),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let kept = Kept {
            meta: meta.clone(),
            bytes: snapshot.into_inner(),
        };
        // What cannot be read must not take the place of what can.
        let read_failed = |error| StorageIOError::read_snapshot(Some(meta.signature()), &error);
        let state = kept.state().map_err(read_failed)?;
        let failed = |error| StorageIOError::write_snapshot(Some(meta.signature()), &error);
        let write = kept.to_write().map_err(failed)?;
        self.disk.save(vec![write]).await.map_err(failed)?;
        self.take(meta, state);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        let failed = |error| StorageIOError::read_snapshot(None, &error);
        let kept = self.disk.read::<Kept>(Fact::Snapshot).map_err(failed)?;
        Ok(kept.map(Kept::into_snapshot))
    }
}

impl RaftSnapshotBuilder<Types> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError> {
        let index = self.applied.map_or(0, |applied| applied.index);
        let meta = SnapshotMeta {
            last_log_id: self.applied,
            last_membership: self.membership.clone(),
            snapshot_id: format!("{index}"),
        };
        let failed =
            |error: DiskError| StorageIOError::write_snapshot(Some(meta.signature()), &error);
        let bytes = postcard::to_stdvec(&*self.state).map_err(|error| failed(error.into()))?;
        let kept = Kept {
            meta: meta.clone(),
            bytes,
        };
        let write = kept.to_write().map_err(failed)?;
        self.disk.save(vec![write]).await.map_err(failed)?;
        Ok(kept.into_snapshot())
    }
}

impl Kept {
    fn state(&self) -> Result<State, postcard::Error> {
        postcard::from_bytes(&self.bytes)
    }

    fn to_write(&self) -> Result<Write, DiskError> {
        let index = self.meta.last_log_id.map_or(0, |last| last.index);
        Ok(Write::Snapshot(index, postcard::to_stdvec(self)?))
    }

    fn into_snapshot(self) -> Snapshot {
        Snapshot {
            meta: self.meta,
            snapshot: Box::new(Cursor::new(self.bytes)),
        }
    }
}
