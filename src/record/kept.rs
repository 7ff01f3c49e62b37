//! Where a stage puts rows as it makes them.

use std::ops::Range;

use crate::error::Result;

/// Rows that a stage makes in order. An earlier process may have made the first of them, so that
/// the stage goes on behind them: a `Vec` begins empty, a file of a run folder
/// ([`RunDir::kept`](crate::run::RunDir::kept)) with what it holds.
pub trait Kept<T> {
    /// Number of rows.
    fn n_rows(&self) -> usize;

    /// Drops all rows but the first `n`.
    ///
    /// # Errors
    /// The file system refuses.
    fn truncate(&mut self, n: usize) -> Result<()>;

    /// Adds rows.
    ///
    /// # Errors
    /// The file system refuses; or [`Error::Interrupted`](crate::Error::Interrupted), once they are
    /// kept, where the user wants to stop.
    fn append(&mut self, rows: Vec<T>) -> Result<()>;
}

impl<T> Kept<T> for Vec<T> {
    fn n_rows(&self) -> usize {
        self.len()
    }

    fn truncate(&mut self, n: usize) -> Result<()> {
        Vec::truncate(self, n);
        Ok(())
    }

    fn append(&mut self, mut rows: Vec<T>) -> Result<()> {
        Vec::append(self, &mut rows);
        Ok(())
    }
}

/// How many of the `rows` of a piece of work are there, of which it makes `at_once` at a time. What
/// was begun and not finished is dropped, so that the others are made in the groups in which an
/// uninterrupted process would have made them.
pub(crate) fn resume<T>(
    kept: &mut impl Kept<T>,
    rows: Range<usize>,
    at_once: usize,
) -> Result<usize> {
    let whole = match kept.n_rows().saturating_sub(rows.start) {
        n if n >= rows.len() => return Ok(rows.len()),
        n => n / at_once * at_once,
    };
    kept.truncate(rows.start + whole)?;
    Ok(whole)
}
