//! A JSONL file that grows row by row and survives being killed.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};

use super::jsonl;
use crate::error::{Error, Result};
use crate::record::Record;
use crate::record::rows::{Line, MAX_ROW_BYTES, read_line, too_long};

/// The open file. No other process can open it as one at the same time.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    file: File,
}

impl Ledger {
    /// Opens or creates a file. `visit` is given each row with the number of bytes before it. A
    /// last row that a killed process left unfinished is cut off.
    pub(crate) fn open<T: Record>(path: &Path, mut visit: impl FnMut(T, u64)) -> Result<Self> {
        let mut options = OpenOptions::new();
        let options = options.read(true).append(true).create(true);
        let file = options.open(path).map_err(Error::io("write", path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::file(path, "another process is writing it"));
            }
            Err(TryLockError::Error(source)) => return Err(Error::io("lock", path)(source)),
        }
        let mut input = BufReader::new(&file);
        let (mut line, mut number, mut whole) = (Vec::new(), 0, 0);
        loop {
            let read = read_line(&mut input, &mut line, MAX_ROW_BYTES);
            number += 1;
            let at = |message| Error::Row {
                path: path.to_path_buf(),
                line: number,
                message,
            };
            match read.map_err(Error::io("read", path))? {
                Line::Whole if line.ends_with(b"\n") => {
                    if let Some(text) = jsonl::text(&line, number).map_err(at)? {
                        let row = jsonl::object(text).and_then(|row| jsonl::record(row, number));
                        visit(row.map_err(at)?, whole);
                    }
                    whole += line.len() as u64;
                }
                Line::Whole | Line::End => break,
                Line::TooLong => return Err(at(too_long())),
            }
        }
        let ledger = Self {
            path: path.to_path_buf(),
            file,
        };
        ledger.cut(whole)?;
        Ok(ledger)
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> Result<u64> {
        let metadata = self.file.metadata();
        metadata
            .map(|found| found.len())
            .map_err(Error::io("read", &self.path))
    }

    /// Drops all that follows the first `len` bytes.
    pub(crate) fn cut(&self, len: u64) -> Result<()> {
        if self.len()? <= len {
            return Ok(());
        }
        self.file
            .set_len(len)
            .map_err(Error::io("write", &self.path))
    }

    /// Appends rows. They are out of this process's hands when this returns.
    pub(crate) fn append<T: Record>(&mut self, rows: &[T]) -> Result<()> {
        let mut lines = String::new();
        for row in rows {
            row.check()?;
            let line = jsonl::to_line(row);
            lines += &line.map_err(|e| Error::file(&self.path, e.to_string()))?;
        }
        self.file
            .write_all(lines.as_bytes())
            .map_err(Error::io("write", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Prompt;

    #[test]
    fn what_was_whole_stays_and_the_rest_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let row = |id: &str| Prompt {
            id: id.into(),
            prompt: "q".into(),
        };
        let mut ledger = Ledger::open::<Prompt>(&path, |_, _| ()).unwrap();
        ledger.append(&[row("1"), row("2")]).unwrap();
        let busy = Ledger::open::<Prompt>(&path, |_, _| ()).unwrap_err();
        assert!(busy.to_string().ends_with("another process is writing it"));
        drop(ledger);
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, whole.clone() + "{\"id\":").unwrap();
        let mut found = Vec::new();
        let mut ledger = Ledger::open(&path, |row: Prompt, at| found.push((row.id, at))).unwrap();
        let second = whole.len() as u64 / 2;
        assert_eq!(found, [("1".to_string(), 0), ("2".to_string(), second)]);
        ledger.cut(second).unwrap();
        ledger.append(&[row("2")]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
    }
}
