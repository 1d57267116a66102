//! Who this node is: an id kept in its data directory, and the lock that makes it the only process
//! to be that node.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

use crate::NodeId;

const LOCK_FILE: &str = "lock";
const ID_FILE: &str = "node-id";

/// A data directory in use by this process. Dropping it lets another process have it.
#[derive(Debug)]
pub struct Identity {
    node: NodeId,
    directory: PathBuf,
    _lock: File,
}

/// Why a data directory cannot be used.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// Another process runs in it.
    #[error("another process uses the data directory {0}")]
    InUse(PathBuf),
    /// What it says of the node's id cannot be read.
    #[error("{path} does not hold a node id: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file system failed.
    #[error("{path}: {source}")]
    Io {
        /// What was read or written.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

impl Identity {
    /// Takes the data directory, which is made if it does not exist, and reads the node's id from
    /// it. `choose` is told the id that is there and says which one it is to be; a directory that
    /// has none gets that.
    ///
    /// # Errors
    /// If another process has the directory, or the file system fails, or none is chosen.
    pub fn open<E: From<IdentityError>>(
        directory: &Path,
        choose: impl FnOnce(Option<NodeId>) -> Result<NodeId, E>,
    ) -> Result<Identity, E> {
        let lock = take(directory)?;
        let found = read(directory)?;
        let node = choose(found)?;
        if found.is_none() {
            write(directory, node)?;
        }
        Ok(Identity {
            node,
            directory: directory.to_owned(),
            _lock: lock,
        })
    }

    /// The node's id.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The data directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

fn take(directory: &Path) -> Result<File, IdentityError> {
    fs::create_dir_all(directory).map_err(io_error(directory))?;
    let path = directory.join(LOCK_FILE);
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let lock = lock.map_err(io_error(&path))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(IdentityError::InUse(directory.to_owned())),
        Err(error) => Err(io_error(&path)(error.into())),
    }
}

fn read(directory: &Path) -> Result<Option<NodeId>, IdentityError> {
    let path = directory.join(ID_FILE);
    let mut text = String::new();
    match File::open(&path).and_then(|file| file.take(64).read_to_string(&mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(&path)(error)),
    }
    let node = text.trim().parse();
    node.map(Some)
        .map_err(|reason| IdentityError::Damaged { path, reason })
}

/// Writes the id beside its place first: a crash leaves all of it or nothing.
fn write(directory: &Path, node: NodeId) -> Result<(), IdentityError> {
    let path = directory.join(ID_FILE);
    let draft = directory.join("node-id.new");
    let written = File::create(&draft)
        .and_then(|mut file| writeln!(file, "{node}").and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&draft, &path))
        .and_then(|()| File::open(directory)?.sync_all());
    written.map_err(io_error(&path))
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> IdentityError {
    let path = path.to_owned();
    move |source| IdentityError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; 20])
    }

    fn open(directory: &Path, other: NodeId) -> Result<Identity, IdentityError> {
        Identity::open(directory, |found| Ok(found.unwrap_or(other)))
    }

    #[test]
    fn an_id_is_drawn_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        assert_eq!(open(&path, id(1)).unwrap().node(), id(1));
        assert_eq!(open(&path, id(2)).unwrap().node(), id(1));
    }

    #[test]
    fn two_processes_never_share_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let first = open(directory.path(), id(1)).unwrap();
        let second = open(directory.path(), id(1));
        assert!(matches!(second, Err(IdentityError::InUse(_))));
        drop(first);
        assert!(open(directory.path(), id(1)).is_ok());
    }

    #[test]
    fn a_damaged_id_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(ID_FILE), "abc\n").unwrap();
        let opened = open(directory.path(), id(1));
        assert!(matches!(opened, Err(IdentityError::Damaged { .. })));
    }
}
