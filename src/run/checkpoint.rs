//! Checkpoints of a training loop: folders `step-N`, each whole or absent, with a manifest of
//! checksums.
//!
//! A checkpoint is of use only to a stage with the same inputs, whose digest the manifest holds.
//! One that was cut or altered is reported, and the one before it is used.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::atomic;
use super::digest::{digest_file, digest_text};
use crate::config::at_least;
use crate::error::{Error, Result};

const MANIFEST: &str = "manifest.json";
const STATE: &str = "state.json";
const PREFIX: &str = "step-";

/// When a loop saves what it needs to go on; names and meaning as in TRL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointConfig {
    /// Optimizer steps (of policy optimisation: rollout batches) between two checkpoints.
    pub save_steps: usize,
    /// Checkpoints kept while a stage is unfinished, the newest.
    pub save_total_limit: usize,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self {
            save_steps: 50,
            save_total_limit: 2,
        }
    }
}

impl CheckpointConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn validate(&self) -> Result<()> {
        at_least("checkpoint.save_steps", self.save_steps, 1)?;
        at_least("checkpoint.save_total_limit", self.save_total_limit, 1)
    }
}

/// What a checkpoint consists of.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    step: usize,
    /// Digest of what the stage was given.
    inputs: String,
    /// SHA-256 of each file by its path.
    files: BTreeMap<String, String>,
}

/// A whole checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Steps taken when it was written.
    pub step: usize,
    /// Its folder.
    pub path: PathBuf,
}

impl Checkpoint {
    /// What [`write_state`] wrote.
    ///
    /// # Errors
    /// The file is missing or not what was expected.
    pub fn state<T: DeserializeOwned>(&self) -> Result<T> {
        read_json(&self.path.join(STATE))
    }
}

/// Writes the state of a loop that is not a tensor into the folder of a checkpoint.
///
/// # Errors
/// The file system refuses.
pub fn write_state(dir: &Path, state: &impl Serialize) -> Result<()> {
    write_json(&dir.join(STATE), state)
}

/// The checkpoints of one stage.
#[derive(Debug, Clone)]
pub(super) struct Checkpoints {
    folder: PathBuf,
    /// Digest of what the stage was given.
    pub(super) inputs: String,
    /// How many are kept.
    pub(super) limit: usize,
}

impl Checkpoints {
    /// Those in `folder` of a stage that was given `inputs`.
    pub(super) fn new(folder: PathBuf, inputs: &str, limit: usize) -> Self {
        let inputs = digest_text(inputs);
        Self {
            folder,
            inputs,
            limit,
        }
    }

    /// Writes a checkpoint, then drops the oldest beyond the limit. `fill` puts its files into the
    /// folder that it is given.
    pub(super) fn save(&self, step: usize, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let path = self.folder.join(format!("{PREFIX}{step}"));
        atomic::write_dir(&path, |dir| {
            fill(dir)?;
            let manifest = Manifest {
                step,
                inputs: self.inputs.clone(),
                files: digests(dir)?,
            };
            write_json(&dir.join(MANIFEST), &manifest)
        })?;
        for (_, old) in self.newest_first()?.into_iter().skip(self.limit) {
            fs::remove_dir_all(&old).map_err(Error::io("remove", &old))?;
        }
        Ok(())
    }

    /// The newest checkpoint that is whole and was made with the same inputs.
    pub(super) fn latest(&self) -> Result<Option<Checkpoint>> {
        for (step, path) in self.newest_first()? {
            match self.check(&path) {
                Ok(true) => return Ok(Some(Checkpoint { step, path })),
                Ok(false) => {}
                Err(fault) => tracing::warn!("{fault}; the checkpoint is left out"),
            }
        }
        Ok(None)
    }

    /// Removes all of them, and what killed processes left of any.
    pub(super) fn clear(&self) -> Result<()> {
        if !self.folder.is_dir() {
            return Ok(());
        }
        for (_, path) in self.newest_first()? {
            fs::remove_dir_all(&path).map_err(Error::io("remove", &path))?;
        }
        atomic::clear_leftovers(&self.folder, PREFIX)
    }

    /// Whether the checkpoint belongs to these inputs.
    fn check(&self, path: &Path) -> Result<bool> {
        let manifest: Manifest = read_json(&path.join(MANIFEST))?;
        if manifest.inputs != self.inputs {
            return Ok(false);
        }
        for (name, expected) in &manifest.files {
            let file = path.join(name);
            if digest_file(&file)? != *expected {
                return Err(Error::file(file, "is not what was written (checksum)"));
            }
        }
        Ok(true)
    }

    fn newest_first(&self) -> Result<Vec<(usize, PathBuf)>> {
        if !self.folder.is_dir() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(Error::io("read", &self.folder))? {
            let path = entry.map_err(Error::io("read", &self.folder))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let step = name.and_then(|name| name.strip_prefix(PREFIX)?.parse().ok());
            found.extend(step.map(|step: usize| (step, path)));
        }
        found.sort_by_key(|(step, _)| std::cmp::Reverse(*step));
        Ok(found)
    }
}

/// Digests of all files below a folder, by their paths in it.
fn digests(dir: &Path) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(Error::io("read", &folder))? {
            let path = entry.map_err(Error::io("read", &folder))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(name) = path.strip_prefix(dir) {
                let name = name.to_string_lossy().replace('\\', "/");
                found.insert(name, digest_file(&path)?);
            }
        }
    }
    Ok(found)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    serde_json::from_str(&text).map_err(|source| Error::file(path, source.to_string()))
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value);
    let text = text.map_err(|source| Error::file(path, source.to_string()))?;
    fs::write(path, text + "\n").map_err(Error::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoints(root: &Path, inputs: &str) -> Checkpoints {
        Checkpoints::new(root.join("sft"), inputs, 2)
    }

    fn save(checkpoints: &Checkpoints, step: usize) {
        let fill = |dir: &Path| {
            fs::create_dir(dir.join("value")).unwrap();
            fs::write(dir.join("value/model.bpk"), "weights").unwrap();
            write_state(dir, &step)
        };
        checkpoints.save(step, fill).unwrap();
    }

    fn latest(checkpoints: &Checkpoints) -> Option<usize> {
        let found = checkpoints.latest().unwrap();
        found.map(|found| {
            assert_eq!(found.state::<usize>().unwrap(), found.step);
            found.step
        })
    }

    #[test]
    fn the_newest_are_kept() {
        let root = tempfile::tempdir().unwrap();
        let checkpoints = checkpoints(root.path(), "a");
        assert_eq!(latest(&checkpoints), None);
        for step in [8, 9, 10] {
            save(&checkpoints, step);
        }
        assert_eq!(latest(&checkpoints), Some(10));
        assert!(!root.path().join("sft/step-8").exists());
        assert!(root.path().join("sft/step-9").exists());
        checkpoints.clear().unwrap();
        assert_eq!(latest(&checkpoints), None);
    }

    /// Killed while it cleared the checkpoints, started again from the one before, and killed while
    /// it put the last one back in its place.
    #[test]
    fn leftovers_go_with_the_checkpoints() {
        let root = tempfile::tempdir().unwrap();
        let checkpoints = checkpoints(root.path(), "a");
        save(&checkpoints, 5);
        let folder = root.path().join("sft");
        for left in [".step-5.old", ".step-6.tmp"] {
            fs::create_dir(folder.join(left)).unwrap();
            fs::write(folder.join(left).join("step"), "5").unwrap();
        }
        fs::create_dir(folder.join("model")).unwrap();
        checkpoints.clear().unwrap();
        let left: Vec<_> = fs::read_dir(folder).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn what_was_cut_or_altered_is_left_out() {
        let root = tempfile::tempdir().unwrap();
        let checkpoints = checkpoints(root.path(), "a");
        save(&checkpoints, 1);
        save(&checkpoints, 2);
        let weights = root.path().join("sft/step-2/value/model.bpk");
        for damage in ["weight", "Weights", ""] {
            fs::write(&weights, damage).unwrap();
            assert_eq!(latest(&checkpoints), Some(1));
        }
        fs::remove_file(&weights).unwrap();
        assert_eq!(latest(&checkpoints), Some(1));
        fs::remove_file(root.path().join("sft/step-1/manifest.json")).unwrap();
        assert_eq!(latest(&checkpoints), None);
    }

    #[test]
    fn other_inputs_have_other_checkpoints() {
        let root = tempfile::tempdir().unwrap();
        save(&checkpoints(root.path(), "a"), 1);
        assert_eq!(latest(&checkpoints(root.path(), "b")), None);
        assert_eq!(latest(&checkpoints(root.path(), "a")), Some(1));
    }

    #[test]
    fn a_failure_leaves_the_one_before() {
        let root = tempfile::tempdir().unwrap();
        let checkpoints = checkpoints(root.path(), "a");
        save(&checkpoints, 1);
        let failed = checkpoints.save(2, |_| Err(Error::Usage("no".into())));
        failed.unwrap_err();
        assert_eq!(latest(&checkpoints), Some(1));
    }
}
