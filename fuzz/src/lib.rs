//! What the fuzz targets share: readers take paths, so that what libFuzzer makes up is written to
//! files in memory first.

use std::path::{Path, PathBuf};

use rlaif::backend::Backend;

/// A folder of files, the same for all inputs of a process.
pub struct Folder(tempfile::TempDir);

impl Folder {
    /// An empty folder, in memory where the system has a place for that.
    pub fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let folder = match memory.is_dir() {
            true => tempfile::tempdir_in(memory),
            false => tempfile::tempdir(),
        };
        Self(folder.expect("a folder for the inputs"))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Replaces a file.
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, bytes).expect("a file in the folder");
        path
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

/// Where tensors are computed.
pub fn device() -> burn::prelude::Device {
    Backend::Flex.device().expect("the CPU")
}
