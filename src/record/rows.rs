//! Rows of a data file of any format, as a stream in constant memory.
//!
//! JSONL, a JSON array, CSV, TSV or Parquet, each as it is or (Parquet aside) compressed by gzip or
//! Zstandard. The first bytes decide the compression and whether it is Parquet, the name's ending
//! decides the rest. What the columns mean is not known here; start reading at [`RowReader`].

mod array;
mod columns;
mod csv;
mod lines;
mod open;
mod parquet;
mod parquet_bounds;
mod parquet_out;
mod write;

use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Record;
use crate::error::{Error, Result};
use crate::run::jsonl;

pub use lines::MAX_ROW_BYTES;
pub(crate) use lines::{Line, read_line, too_long};
pub(crate) use open::beside;
pub use open::{Compression, Format, named};
pub use write::{check_writable, convert};

/// One row of a data file.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Where it begins: its line, or in Parquet its number, counted from 1.
    pub line: usize,
    /// Its columns in order.
    pub fields: Map<String, Value>,
}

/// What happens to a row that cannot be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// It is the error that ends the reading.
    #[default]
    Stop,
    /// It is left out and counted.
    Skip,
}

/// Reads a data file row by row.
///
/// A bad row is an [`Error::Row`] with its line, and reading may go on after it; any other error
/// ends the iteration. No row longer than [`MAX_ROW_BYTES`] is held.
pub struct RowReader {
    path: PathBuf,
    rows: Box<dyn Iterator<Item = Result<Row>>>,
    /// Whether an error of the file as a whole has been returned.
    broken: bool,
}

impl RowReader {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be read, or its format is not one of those above.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let rows = open::rows(&path)?;
        Ok(Self {
            path,
            rows,
            broken: false,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Iterator for RowReader {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        if self.broken {
            return None;
        }
        let row = self.rows.next()?;
        self.broken = matches!(&row, Err(error) if !matches!(error, Error::Row { .. }));
        Some(row)
    }
}

/// Reads a data file of any format as rows of one type.
pub struct RecordReader<T> {
    rows: RowReader,
    /// Where the row read last began.
    pub(crate) line: usize,
    row: PhantomData<fn() -> T>,
}

impl<T: Record> RecordReader<T> {
    /// Opens a file.
    ///
    /// # Errors
    /// As [`RowReader::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self {
            rows: RowReader::open(path)?,
            line: 0,
            row: PhantomData,
        })
    }

    /// Refuses the row read last.
    pub(crate) fn error(&self, message: impl Into<String>) -> Error {
        row_error(&self.rows.path, self.line, message)
    }
}

impl<T: Record> Iterator for RecordReader<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        let row = match self.rows.next()? {
            Ok(row) => row,
            Err(error) => return Some(Err(error)),
        };
        self.line = row.line;
        let record = jsonl::record(row.fields, row.line);
        Some(record.map_err(|message| self.error(message)))
    }
}

/// All rows of a file of any format; the first bad one is the error.
///
/// # Errors
/// As [`RecordReader`].
pub fn read_records<T: Record>(path: impl AsRef<Path>) -> Result<Vec<T>> {
    RecordReader::open(path)?.collect()
}

pub(super) fn row_error(path: &Path, line: usize, message: impl Into<String>) -> Error {
    Error::Row {
        path: path.to_path_buf(),
        line,
        message: message.into(),
    }
}
