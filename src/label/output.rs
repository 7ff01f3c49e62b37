//! The files that labeling a file writes, and where an earlier process stopped in them.

use std::fs;
use std::path::{Path, PathBuf};

use super::LabelFile;
use crate::error::{Error, Result};
use crate::record::{AnswerPair, Label, LabelFailure};
use crate::run::ledger::Ledger;

/// The files that grow.
pub(super) struct Output {
    pub(super) labels: Ledger,
    pub(super) failures: Ledger,
    failures_path: PathBuf,
    /// The label written last by an earlier process.
    last: Option<Label>,
    /// First pair of the chunk in which that label is.
    pub(super) chunk: usize,
    /// Bytes before that chunk in the labels.
    chunk_at: u64,
    /// Bytes before that chunk in the failures.
    failures_at: u64,
}

impl Output {
    pub(super) fn open(file: &LabelFile, path: &Path, labeler: &str) -> Result<Self> {
        let (mut last, mut chunk, mut chunk_at) = (None::<Label>, 0, 0);
        let labels = Ledger::open(path, |row: Label, at| {
            let index = row.index.unwrap_or(0);
            if last.is_none() || index >= chunk + file.batch {
                (chunk, chunk_at) = (index / file.batch * file.batch, at);
            }
            last = Some(row);
        })?;
        let by = last
            .as_ref()
            .and_then(|row| row.preference.labeler.as_deref());
        if last.is_some() && by != Some(labeler) {
            let by = by.unwrap_or("nobody");
            let message =
                format!("holds labels by `{by}`, expected `{labeler}`; name another file");
            return Err(Error::file(path, message));
        }
        let failures_path = file.unlabeled();
        // Failures of chunks whose labels are not written are those of an unfinished chunk.
        let next = if last.is_some() {
            chunk + file.batch
        } else {
            0
        };
        let (mut before, mut after) = (None, None);
        let failures = Ledger::open(&failures_path, |row: LabelFailure, at| {
            if row.index >= chunk {
                before.get_or_insert(at);
            }
            if row.index >= next {
                after.get_or_insert(at);
            }
        })?;
        if let Some(at) = after {
            failures.cut(at)?;
        }
        let end = failures.len()?;
        Ok(Self {
            labels,
            failures,
            failures_path,
            last,
            chunk,
            chunk_at,
            failures_at: before.unwrap_or(end),
        })
    }

    /// Whether a chunk was finished by an earlier process; if it was only begun, what is left of
    /// it is dropped.
    pub(super) fn holds(&mut self, chunk: &[(usize, AnswerPair)]) -> Result<bool> {
        let Some(last) = self.last.take() else {
            return Ok(false);
        };
        let same_place = |(index, _): &&(usize, AnswerPair)| Some(*index) == last.index;
        let Some((_, pair)) = chunk.iter().find(same_place) else {
            return Err(self.of_another_input(&last));
        };
        let row = &last.preference;
        let answers = [&row.chosen, &row.rejected];
        let same = answers == [&pair.a, &pair.b] || answers == [&pair.b, &pair.a];
        if !same || row.prompt != pair.prompt {
            return Err(self.of_another_input(&last));
        }
        if chunk.last().filter(same_place).is_some() {
            return Ok(true);
        }
        self.labels.cut(self.chunk_at)?;
        self.failures.cut(self.failures_at)?;
        Ok(false)
    }

    fn of_another_input(&self, last: &Label) -> Error {
        let place = last.index.unwrap_or(0);
        let message =
            format!("its last label, of pair {place}, is of another input; name another file");
        Error::file(self.labels.path(), message)
    }

    /// A file without failures is not kept.
    pub(super) fn finish(self) -> Result<()> {
        if let Some(last) = &self.last {
            return Err(self.of_another_input(last));
        }
        if self.failures.len()? > 0 {
            return Ok(());
        }
        fs::remove_file(&self.failures_path).map_err(Error::io("remove", &self.failures_path))
    }
}
