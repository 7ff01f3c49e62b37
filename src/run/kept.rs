//! Rows of a stage at work, kept as they come, so that it goes on behind them after a kill.
//!
//! They lie in `.parts/`, in a file named by the stage, the rows and what the stage was given, until
//! the stage is finished; only then there is the file that other stages read.

use std::fs;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use super::digest::digest_text;
use super::ledger::Ledger;
use super::{Interrupt, RunDir};
use crate::error::{Error, Result};
use crate::record::{JsonlReader, Kept, Record};

const FOLDER: &str = ".parts";

/// The rows of one kind that a stage makes.
#[derive(Debug)]
pub struct KeptRows<T> {
    stage: String,
    ledger: Ledger,
    path: PathBuf,
    /// Where in the file each row of an earlier process begins.
    starts: Vec<u64>,
    n_rows: usize,
    interrupt: Interrupt,
    row: PhantomData<fn() -> T>,
}

impl RunDir {
    /// Opens the rows `name` of a stage, with those that an earlier process made from the same
    /// `inputs`; made from others, they are removed. `interrupt` ends the stage.
    ///
    /// # Errors
    /// The file system refuses, or a row is damaged.
    pub fn kept<T: Record>(
        &self,
        (stage, name): (&str, &str),
        inputs: &str,
        interrupt: &Interrupt,
    ) -> Result<KeptRows<T>> {
        let prefix = format!("{stage}-{name}-");
        let path = self.inside(FOLDER)?.join(format!(
            "{prefix}{}.jsonl",
            digest_text(inputs).get(..16).unwrap_or_default()
        ));
        self.remove_parts(&prefix, Some(&path))?;
        fs::create_dir_all(self.path(FOLDER)).map_err(Error::io("create", &path))?;
        let mut starts = Vec::new();
        let ledger = Ledger::open(&path, |_: T, at| starts.push(at))?;
        if !starts.is_empty() {
            tracing::info!("{stage}: goes on after row {} of {name}", starts.len());
        }
        Ok(KeptRows {
            stage: stage.into(),
            ledger,
            path,
            n_rows: starts.len(),
            starts,
            interrupt: interrupt.clone(),
            row: PhantomData,
        })
    }

    /// Removes the rows of a stage that is finished.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn forget_kept(&self, stage: &str) -> Result<()> {
        self.remove_parts(&format!("{stage}-"), None)?;
        // Other stages may have rows there.
        let _ = fs::remove_dir(self.path(FOLDER));
        Ok(())
    }

    fn remove_parts(&self, prefix: &str, but: Option<&Path>) -> Result<()> {
        let folder = self.path(FOLDER);
        if !folder.is_dir() {
            return Ok(());
        }
        for entry in fs::read_dir(&folder).map_err(Error::io("read", &folder))? {
            let path = entry.map_err(Error::io("read", &folder))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let ours = name.is_some_and(|name| name.starts_with(prefix));
            if ours && but != Some(&path) {
                fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            }
        }
        Ok(())
    }
}

impl<T: Record> KeptRows<T> {
    /// Reads the rows.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(&self) -> Result<JsonlReader<T>> {
        JsonlReader::open(&self.path)
    }
}

impl<T: Record> Kept<T> for KeptRows<T> {
    fn n_rows(&self) -> usize {
        self.n_rows
    }

    fn truncate(&mut self, n: usize) -> Result<()> {
        if let Some(&start) = self.starts.get(n) {
            self.ledger.cut(start)?;
            self.starts.truncate(n);
            self.n_rows = n;
        }
        Ok(())
    }

    fn append(&mut self, rows: Vec<T>) -> Result<()> {
        self.ledger.append(&rows)?;
        self.n_rows += rows.len();
        tracing::debug!("{}: kept {} rows", self.stage, self.n_rows);
        if self.interrupt.requested() {
            return Err(Error::Interrupted {
                stage: self.stage.clone(),
                place: format!("row {}", self.n_rows),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Prompt;
    use crate::record::kept::resume;

    fn rows(ids: &[&str]) -> Vec<Prompt> {
        let row = |id: &&str| Prompt {
            id: id.to_string(),
            prompt: "q".into(),
        };
        ids.iter().map(row).collect()
    }

    fn ids(kept: &KeptRows<Prompt>) -> Vec<String> {
        let rows = kept.read().unwrap();
        rows.map(|row| row.unwrap().id).collect()
    }

    /// Rows are made two at a time; the last of three is of a group that was not finished.
    #[test]
    fn a_stage_goes_on_where_a_group_began() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::create(root.path()).unwrap();
        let open = |inputs: &str| {
            let interrupt = Interrupt::default();
            run.kept::<Prompt>(("label", "pairs"), inputs, &interrupt)
                .unwrap()
        };
        let mut kept = open("a");
        assert_eq!(resume(&mut kept, 0..5, 2).unwrap(), 0);
        kept.append(rows(&["1", "2", "3"])).unwrap();
        drop(kept);
        let mut kept = open("a");
        assert_eq!(resume(&mut kept, 0..5, 2).unwrap(), 2);
        kept.append(rows(&["3", "4"])).unwrap();
        kept.append(rows(&["5"])).unwrap();
        drop(kept);
        let mut kept = open("a");
        assert_eq!(resume(&mut kept, 0..5, 2).unwrap(), 5);
        assert_eq!(ids(&kept), ["1", "2", "3", "4", "5"]);
        drop(kept);
        assert_eq!(open("b").n_rows(), 0);
        assert_eq!(open("a").n_rows(), 0, "removed with other inputs");
        run.forget_kept("label").unwrap();
        assert!(!run.path(FOLDER).exists());
    }

    #[test]
    fn the_wish_to_stop_is_heard_when_the_rows_are_kept() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::create(root.path()).unwrap();
        let interrupt = Interrupt::default();
        interrupt.request();
        let mut kept = run.kept(("eval", "sft"), "a", &interrupt).unwrap();
        let error = kept.append(rows(&["1"])).unwrap_err().to_string();
        let expected = "interrupted: eval is saved at row 1; the same command goes on from there";
        assert_eq!(error, expected);
        assert_eq!(ids(&kept), ["1"]);
    }
}
