//! The files that a revision writes, and where an earlier process stopped in them.

use std::path::{Path, PathBuf};

use super::ReviseConfig;
use crate::error::{Error, Result};
use crate::record::rows;
use crate::record::{Prompt, Revised, Unanswered};
use crate::run::ledger::Ledger;

/// The files that grow.
pub(super) struct Output {
    revised: Ledger,
    unanswered: Ledger,
    unanswered_path: PathBuf,
}

impl Output {
    /// Opens the files, and says how many of the prompts are done with. What is left of a group that
    /// was not finished is dropped.
    pub(super) fn open(
        path: &Path,
        prompts: &[Prompt],
        model: &str,
        config: &ReviseConfig,
    ) -> Result<(Self, usize)> {
        let other = |message: String| {
            let message = format!("{message}; name another file");
            Err(Error::file(path, message))
        };
        let (mut starts, mut last) = (Vec::new(), None::<Revised>);
        let revised = Ledger::open(path, |row: Revised, at| {
            starts.push((row.index, at));
            last = Some(row);
        })?;
        if let Some(row) = &last {
            if row.chain.model != model {
                let by = &row.chain.model;
                return other(format!("holds revisions by `{by}`, expected `{model}`"));
            }
            if row.chain.rounds.len() > config.rounds {
                let n = row.chain.rounds.len();
                return other(format!("holds {n} rounds, expected {}", config.rounds));
            }
            let same = |prompt: &Prompt| prompt.id == row.id && prompt.prompt == row.prompt;
            if !prompts.get(row.index).is_some_and(same) {
                let place = row.index;
                return other(format!(
                    "its last row, of prompt {place}, is of another input"
                ));
            }
        }
        let unanswered_path = rows::beside(path, "unanswered.jsonl");
        let mut failed = Vec::new();
        let unanswered = Ledger::open(&unanswered_path, |row: Unanswered, at| {
            failed.push((row.index, at));
        })?;
        let places = starts.iter().chain(&failed).map(|(index, _)| *index);
        let done = finished(places, prompts.len(), config.batch);
        for (ledger, rows) in [(&revised, &starts), (&unanswered, &failed)] {
            if let Some((_, at)) = rows.iter().find(|(index, _)| *index >= done) {
                ledger.cut(*at)?;
            }
        }
        let output = Self {
            revised,
            unanswered,
            unanswered_path,
        };
        Ok((output, done))
    }

    /// Appends the rows of a group.
    pub(super) fn append(&mut self, revised: &[Revised], unanswered: &[Unanswered]) -> Result<()> {
        self.unanswered.append(unanswered)?;
        self.revised.append(revised)
    }

    /// A file without rows is not kept, where all prompts have a response.
    pub(super) fn finish(self) -> Result<()> {
        if self.unanswered.len()? > 0 {
            return Ok(());
        }
        let path = &self.unanswered_path;
        std::fs::remove_file(path).map_err(Error::io("remove", path))
    }
}

/// How many of `n` prompts, asked in groups of `batch`, are in groups of which every row is there.
fn finished(places: impl Iterator<Item = usize>, n: usize, batch: usize) -> usize {
    let mut counts = vec![0; n.div_ceil(batch)];
    for place in places {
        if let Some(count) = counts.get_mut(place / batch) {
            *count += 1;
        }
    }
    let size = |group: usize| batch.min(n - group * batch);
    let whole = counts.iter().enumerate();
    let whole = whole.take_while(|(group, count)| **count >= size(*group));
    (whole.count() * batch).min(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_finished_when_all_its_rows_are_there() {
        let check = |places: &[usize], expected: usize| {
            assert_eq!(
                finished(places.iter().copied(), 7, 3),
                expected,
                "{places:?}"
            );
        };
        check(&[], 0);
        check(&[0, 1], 0);
        check(&[0, 2, 1], 3);
        check(&[0, 1, 2, 5], 3);
        check(&[0, 1, 2, 3, 4, 5], 6);
        check(&[0, 1, 2, 3, 4, 5, 6], 7);
    }
}
