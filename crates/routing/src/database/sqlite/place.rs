//! The file of a store, told apart from another that has come into its place.
//!
//! A process goes on writing to a file that was removed or replaced under it, and nobody would find
//! what it wrote.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file that was opened, and where.
#[derive(Clone, Debug)]
pub(super) struct Place {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Place {
    /// The file that lies there now.
    pub(super) fn of(path: &Path) -> io::Result<Place> {
        let found = fs::metadata(path)?;
        Ok(Place {
            path: path.to_owned(),
            device: found.dev(),
            inode: found.ino(),
        })
    }

    /// That it still lies there.
    ///
    /// # Errors
    /// What is there instead.
    pub(super) fn check(&self) -> Result<(), String> {
        let path = self.path.display();
        match fs::metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) == (self.device, self.inode) => Ok(()),
            Ok(_) => Err(format!("the file was replaced while it was open: {path}")),
            Err(error) => Err(format!("the file is gone: {path}: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_not_the_one_that_took_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let [file, other] = ["file", "other"].map(|name| folder.path().join(name));
        fs::write(&file, "").unwrap();
        let place = Place::of(&file).unwrap();
        assert_eq!(place.check(), Ok(()));
        fs::rename(&file, &other).unwrap();
        assert!(place.check().unwrap_err().starts_with("the file is gone: "));
        fs::write(&file, "").unwrap();
        assert!(place.check().unwrap_err().contains("was replaced"));
        fs::rename(&other, &file).unwrap();
        assert_eq!(place.check(), Ok(()));
    }
}
