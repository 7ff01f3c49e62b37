//! Rows of a Parquet file, row group by row group.
//!
//! What the `parquet` crate does not check it asserts, the levels of nested columns among others:
//! a panic of its is an error here.

use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::{ReaderIter, TreeBuilder};
use serde_json::Value;

use super::{Row, parquet_bounds, row_error};
use crate::contained::contained;
use crate::error::{Error, Result};

/// Rows that are decoded at once.
const BATCH: usize = 64;

/// Rows of a Parquet file.
pub(super) struct ParquetRows {
    path: PathBuf,
    handle: File,
    file: SerializedFileReader<File>,
    n_groups: usize,
    next_group: usize,
    group: Option<ReaderIter>,
    n_rows: usize,
}

impl ParquetRows {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("read", path))?;
        parquet_bounds::check_metadata(&file).map_err(|e| refused(path, &e))?;
        let handle = file.try_clone().map_err(Error::io("read", path))?;
        let file = own(|| SerializedFileReader::new(file)).map_err(|e| refused(path, &e))?;
        Ok(Self {
            handle,
            path: path.to_path_buf(),
            n_groups: file.num_row_groups(),
            file,
            next_group: 0,
            group: None,
            n_rows: 0,
        })
    }

    fn open_group(&mut self) -> Result<(), ParquetError> {
        let schema = self.file.metadata().file_metadata().schema_descr_ptr();
        let group = self.file.get_row_group(self.next_group)?;
        parquet_bounds::check_pages(&self.handle, group.metadata())?;
        self.next_group += 1;
        let rows = TreeBuilder::new().with_batch_size(BATCH);
        self.group = Some(rows.as_iter(schema, group.as_ref())?);
        Ok(())
    }
}

impl Iterator for ParquetRows {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        loop {
            let group = self.group.as_mut();
            let next = |rows: &mut ReaderIter| {
                let row = own(|| Ok(rows.next().transpose()?.map(|row| row.to_json_value())));
                row.transpose()
            };
            if let Some(row) = group.and_then(next) {
                self.n_rows += 1;
                return Some(match row.map(without_nulls) {
                    Ok(Value::Object(fields)) => Ok(Row {
                        line: self.n_rows,
                        fields,
                    }),
                    Ok(_) => Err(row_error(&self.path, self.n_rows, "expected columns")),
                    // What follows a page that cannot be decoded is lost.
                    Err(source) => Err(refused(&self.path, &source)),
                });
            }
            if self.next_group == self.n_groups {
                return None;
            }
            if let Err(source) = own(|| self.open_group()) {
                return Some(Err(refused(&self.path, &source)));
            }
        }
    }
}

/// What the crate makes of something.
fn own<T>(work: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    contained(work).unwrap_or_else(|panic| Err(ParquetError::General(panic)))
}

/// All rows have the same columns in Parquet, and all messages the same fields; what one lacks is
/// null there.
fn without_nulls(mut value: Value) -> Value {
    drop_nulls(&mut value);
    value
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        _ => {}
    }
}

pub(super) fn refused(path: &Path, source: &ParquetError) -> Error {
    let text = source.to_string();
    let hint = if text.to_lowercase().contains("zstd") {
        "; rebuild with `--features zstd`, or write the file with snappy or gzip"
    } else {
        ""
    };
    Error::file(path, format!("not readable as Parquet: {text}{hint}"))
}
