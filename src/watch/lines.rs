//! Reading on in a file that another process writes, row by row, a bounded amount at a time.

use std::fs::File;
use std::io::{self, BufReader, Seek, SeekFrom};
use std::path::Path;

use super::mark::Mark;
use crate::error::{Error, Result};
use crate::record::rows::{Line, MAX_ROW_BYTES, read_line};

/// Rows of a file from a place on. A row that is not ended yet is left for the next time, one that
/// is longer than any should be is passed over.
#[derive(Debug)]
pub(super) struct Lines {
    input: BufReader<File>,
    /// Bytes before the next row.
    offset: u64,
}

impl Lines {
    /// Opens a file at its beginning; `None` while it is not there.
    pub(super) fn open(path: &Path) -> Result<Option<Self>> {
        match File::open(path) {
            Ok(file) => Ok(Some(Self {
                input: BufReader::new(file),
                offset: 0,
            })),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(fault) => Err(Error::io("read", path)(fault)),
        }
    }

    /// Bytes before the next row.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Goes to a place; `false`, and to the beginning, where the file is no longer the one that was
    /// read up to there.
    pub(super) fn go_to(&mut self, mark: Mark) -> io::Result<bool> {
        let holds = mark.holds(self.input.get_mut())?;
        self.seek(if holds { mark.offset } else { 0 })?;
        Ok(holds)
    }

    /// Goes to a row's beginning.
    pub(super) fn seek(&mut self, offset: u64) -> io::Result<()> {
        self.offset = offset;
        self.input.seek(SeekFrom::Start(offset)).map(|_| ())
    }

    /// The place before the next row.
    pub(super) fn mark(&mut self) -> io::Result<Mark> {
        let mark = Mark::at(self.input.get_mut(), self.offset)?;
        self.seek(self.offset)?;
        Ok(mark)
    }

    /// Replaces `line` by the next row that is not blank, without its end; `false` when there is
    /// none yet.
    pub(super) fn next(&mut self, line: &mut Vec<u8>) -> io::Result<bool> {
        loop {
            match read_line(&mut self.input, line, MAX_ROW_BYTES)? {
                Line::Whole if line.ends_with(b"\n") => self.offset += line.len() as u64,
                Line::TooLong => self.offset = self.input.stream_position()?,
                Line::Whole | Line::End => return Ok(false),
            }
            if !line.trim_ascii().is_empty() {
                return Ok(true);
            }
        }
    }
}
