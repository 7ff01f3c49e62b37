//! Places in files that grow, and how to notice that a file is no longer the one that was read.

use std::fmt;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Seek, SeekFrom};
use std::str::FromStr;

/// Bytes before a place by which it is known.
const KNOWN_BY: u64 = 256;

/// A place in a file between two rows, with a digest of what stands before it.
///
/// A run that is started again drops rows and writes others; where that has happened the digest
/// differs, and reading has to begin anew. Only the server that made a mark can read it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// Bytes before it.
    pub(super) offset: u64,
    digest: u64,
}

impl Mark {
    /// The place after the first `offset` bytes.
    pub(super) fn at(file: &mut File, offset: u64) -> io::Result<Self> {
        let digest = if offset == 0 {
            0
        } else {
            digest(file, offset)?
        };
        Ok(Self { offset, digest })
    }

    /// Whether what stands before it is still the same.
    pub(super) fn holds(self, file: &mut File) -> io::Result<bool> {
        if file.metadata()?.len() < self.offset {
            return Ok(false);
        }
        Ok(Self::at(file, self.offset)? == self)
    }
}

fn digest(file: &mut File, offset: u64) -> io::Result<u64> {
    let n = offset.min(KNOWN_BY);
    file.seek(SeekFrom::Start(offset - n))?;
    let mut bytes = Vec::new();
    file.take(n).read_to_end(&mut bytes)?;
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    Ok(hasher.finish())
}

impl fmt::Display for Mark {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(out, "{}-{:x}", self.offset, self.digest)
    }
}

impl FromStr for Mark {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (offset, digest) = text.split_once('-').unwrap_or((text, ""));
        Ok(Self {
            offset: offset.parse()?,
            digest: u64::from_str_radix(digest, 16)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_place_is_known_by_what_stands_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let holds = |mark: Mark| mark.holds(&mut File::open(&path).unwrap()).unwrap();
        fs::write(&path, "one\ntwo\n").unwrap();
        let mark = Mark::at(&mut File::open(&path).unwrap(), 8).unwrap();
        assert_eq!(mark.to_string().parse(), Ok(mark));
        fs::write(&path, "one\ntwo\nthree\n").unwrap();
        assert!(holds(mark) && holds(Mark::default()));
        for other in ["one\n", "one\ntwx\nthree\n", "oneone\ntwo\n"] {
            fs::write(&path, other).unwrap();
            assert!(!holds(mark), "{other}");
        }
        for bad in ["", "-", "7", "x-1", "1-x", "-1-1"] {
            assert!(bad.parse::<Mark>().is_err(), "{bad}");
        }
    }
}
