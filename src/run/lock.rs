//! One process at a time works in a run folder.

use std::fs::{File, OpenOptions, TryLockError};

use super::RunDir;
use crate::error::{Error, Result};

const FILE: &str = ".lock";

/// Holds a run folder until it is dropped, or the process dies.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

impl RunDir {
    /// Takes the folder for this process.
    ///
    /// # Errors
    /// Another process holds it, or the file system refuses.
    pub fn lock(&self) -> Result<RunLock> {
        let path = self.path(FILE);
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false);
        let file = options.open(&path).map_err(Error::io("write", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = "another process is at work in this run folder";
                return Err(Error::file(self.root(), message));
            }
            // Some network file systems know no locks.
            Err(TryLockError::Error(fault)) => {
                tracing::warn!("{}: cannot be locked: {fault}", self.root().display());
            }
        }
        Ok(RunLock { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_until_the_lock_is_dropped() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::create(root.path()).unwrap();
        let lock = run.lock().unwrap();
        let refused = run.lock().unwrap_err().to_string();
        assert!(refused.ends_with("another process is at work in this run folder"));
        drop(lock);
        run.lock().unwrap();
    }
}
