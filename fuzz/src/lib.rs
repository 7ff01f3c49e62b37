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

/// A safetensors file of a header and as many bytes of data as its first two bytes say; `None` of
/// fewer.
pub fn safetensors(data: &[u8]) -> Option<Vec<u8>> {
    let (n, header) = data.split_first_chunk::<2>()?;
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header);
    file.resize(file.len() + usize::from(u16::from_le_bytes(*n)), 0);
    Some(file)
}
