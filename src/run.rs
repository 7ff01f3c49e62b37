//! The run folder: everything that one run writes, and the only writer inside it.
//!
//! What is written appears whole or not at all, so a run may be killed at any moment and started
//! again. `stages.json` remembers which stages are finished and what they were given,
//! `manifest.json` with what program and machine;
//! `metrics.jsonl` holds the numbers logged along the way. This room does not know what a stage
//! does, nor what a model is. One process at a time writes to a run
//! folder: [`RunDir::lock`].

mod answers;
pub(crate) mod atomic;
mod checkpoint;
mod compare;
mod digest;
mod environment;
mod interrupt;
mod journal;
pub(crate) mod jsonl;
mod kept;
pub(crate) mod ledger;
mod lock;
mod measured;
mod metrics;
mod stages;
mod tensorboard;

use std::fs;
use std::io::Write;
use std::path::{Component, Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, Result};
use crate::record::{self, Record};

pub use answers::{ANSWERS, Answer, AnswerLog, AnswerToken, TokenUsage};
pub(crate) use digest::{digest_file, digest_folder, digest_text};

pub use checkpoint::{Checkpoint, CheckpointConfig, write_state};
pub use compare::{Compared, compare};
pub use environment::Environment;
pub use interrupt::Interrupt;
pub use journal::Journal;
pub use kept::KeptRows;
pub use lock::RunLock;
pub use metrics::{Metric, MetricsLog};

/// A run folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir {
    root: PathBuf,
}

impl RunDir {
    /// Creates the folder, or takes the one that is there after trying to write to it.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let root = path.as_ref().to_path_buf();
        if root.exists() && !root.is_dir() {
            return Err(Error::file(&root, "is a file, expected a folder"));
        }
        fs::create_dir_all(&root).map_err(Error::io("create", &root))?;
        // A stage may train for hours before it writes: a read-only folder has to fail now.
        tempfile::tempfile_in(&root).map_err(Error::io("write", &root))?;
        Self::open(root)
    }

    /// Takes a folder that is there already, to read from it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let run = Self {
            root: path.as_ref().to_path_buf(),
        };
        if !run.root.is_dir() {
            return Err(Error::file(
                &run.root,
                "is no folder, expected the folder of a run",
            ));
        }
        run.stages()?;
        Ok(run)
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path inside the folder, for reading.
    pub fn path(&self, rel: impl AsRef<Path>) -> PathBuf {
        self.root.join(rel)
    }

    /// A run inside the run, in the folder `name`.
    pub fn child(&self, name: &str) -> Result<Self> {
        Self::create(self.inside(name)?)
    }

    /// Writes rows as JSONL.
    pub fn write_records<'a, T: Record + 'a>(
        &self,
        rel: impl AsRef<Path>,
        rows: impl IntoIterator<Item = &'a T>,
    ) -> Result<()> {
        record::write_jsonl(self.inside(rel)?, rows)
    }

    /// Writes rows as JSONL as they come; the first that fails is the error, and nothing is written.
    pub fn write_stream<T: Record>(
        &self,
        rel: impl AsRef<Path>,
        rows: impl Iterator<Item = Result<T>>,
    ) -> Result<()> {
        jsonl::write_stream(&self.inside(rel)?, rows)
    }

    /// Writes a value as indented JSON.
    pub fn write_json(&self, rel: impl AsRef<Path>, value: &impl Serialize) -> Result<()> {
        let json = serde_json::to_string_pretty(value)
            .map_err(|source| Error::file(self.path(&rel), source.to_string()))?;
        self.write_text(rel, &(json + "\n"))
    }

    /// Writes a text.
    pub fn write_text(&self, rel: impl AsRef<Path>, text: &str) -> Result<()> {
        let path = self.inside(rel)?;
        atomic::write_file(&path, |out| {
            out.write_all(text.as_bytes())
                .map_err(Error::io("write", &path))
        })
    }

    /// Writes a folder, such as a model: `fill` gets an empty folder, which then takes the place
    /// of the old one. If `fill` fails, the old one stays.
    pub fn write_dir(
        &self,
        rel: impl AsRef<Path>,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        atomic::write_dir(&self.inside(rel)?, fill)
    }

    /// Opens `metrics.jsonl` to append to it; one log at a time.
    pub fn metrics(&self) -> Result<MetricsLog> {
        MetricsLog::append_to(self.path("metrics.jsonl"))
    }

    /// [`RunDir::path`], refused when it leaves the folder: names may come from a run file.
    fn inside(&self, rel: impl AsRef<Path>) -> Result<PathBuf> {
        let rel = rel.as_ref();
        let stays = rel
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if !stays || rel.as_os_str().is_empty() {
            return Err(Error::file(rel, "expected a path inside the run folder"));
        }
        Ok(self.root.join(rel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Prompt, read_jsonl};

    #[test]
    fn everything_lands_inside() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::create(root.path().join("runs/first")).unwrap();
        let prompt = Prompt {
            id: "p1".into(),
            prompt: "hello".into(),
        };
        run.write_records("data/prompts.jsonl", [&prompt]).unwrap();
        assert_eq!(
            read_jsonl::<Prompt>(run.path("data/prompts.jsonl")).unwrap(),
            [prompt]
        );
        run.write_json("eval.json", &[1, 2]).unwrap();
        assert_eq!(
            fs::read_to_string(run.path("eval.json")).unwrap(),
            "[\n  1,\n  2\n]\n"
        );
        let child = run.child("judge").unwrap();
        child.write_text("note.txt", "ok").unwrap();
        child.write_dir("model", |_| Ok(())).unwrap();
        assert!(run.path("judge/note.txt").is_file() && run.path("judge/model").is_dir());
        assert_eq!(RunDir::open(child.root()).unwrap(), child);
    }

    #[test]
    fn unusable_folders_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        let check = |result: Result<RunDir>, end: &str| {
            let error = result.unwrap_err().to_string();
            assert!(error.ends_with(end), "{error}");
        };
        check(RunDir::create(&file), "/file: is a file, expected a folder");
        check(RunDir::create(file.join("sub")), "/file/sub: cannot create");
        check(
            RunDir::open(root.path().join("none")),
            "/none: is no folder, expected the folder of a run",
        );
        let run = RunDir::create(root.path()).unwrap();
        for name in ["", ".", "../x", "/x"] {
            check(run.child(name), ": expected a path inside the run folder");
        }
        fs::write(run.path("stages.json"), "{").unwrap();
        check(
            RunDir::create(root.path()),
            "EOF while parsing an object at line 1 column 1",
        );
    }
}
