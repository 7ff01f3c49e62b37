//! A branch is taken as far as something needs it, and does itself only what sets it apart.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Pipeline;
use super::inputs::{DPO, LABEL, REWARD, RL, SAMPLE, SFT, Stage, inputs_of};
use super::plan::stages;
use crate::error::{Error, Result};
use crate::record::{Preference, read_jsonl};
use crate::run::digest_file;

/// How far a run is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Goal {
    /// Its policy is fine-tuned.
    Initial,
    /// Its completions are labeled.
    Labels,
    /// It has a reward model.
    RewardModel,
    /// Its policy is optimised.
    Policy,
}

impl Goal {
    fn includes(self, stage: Stage) -> bool {
        let least = match stage.name {
            name if name == SFT.name => Self::Initial,
            name if [SAMPLE.name, LABEL.name].contains(&name) => Self::Labels,
            name if name == REWARD.name => Self::RewardModel,
            name if [RL.name, DPO.name].contains(&name) => Self::Policy,
            _ => return false,
        };
        least <= self
    }
}

impl Pipeline {
    pub(super) fn perform(&self, stage: Stage) -> Result<()> {
        match stage {
            SFT => self.sft(),
            SAMPLE => self.sample(),
            LABEL => self.label(),
            REWARD => self.reward(),
            RL => self.rl(),
            DPO => self.dpo(),
            _ => self.eval(),
        }
    }

    /// Does the stages up to `goal`. This run is a branch of `base`: a stage that has the same
    /// inputs there is done there, once for all branches, and its outcome found there.
    ///
    /// With `labels`, files of preferences, there is nothing sampled and labeled: all of theirs are
    /// learned from.
    ///
    /// # Errors
    /// Those of the stages, and when the run file has no such stage.
    pub fn prepare(&self, base: &Self, goal: Goal, labels: &[PathBuf]) -> Result<()> {
        let planned = stages(&self.config);
        for stage in planned.iter().filter(|stage| goal.includes(**stage)) {
            match *stage {
                SAMPLE if !labels.is_empty() => {}
                LABEL if !labels.is_empty() => self.take_labels(labels)?,
                stage if self.is_shared(base, stage)? => base.perform(stage)?,
                stage => self.perform(stage)?,
            }
        }
        let (made, missing) = match goal {
            Goal::RewardModel => (
                planned.contains(&REWARD),
                "`rl.reward` asks no reward model",
            ),
            Goal::Labels => {
                let labeled = planned.contains(&LABEL) || self.config.data.is_labeled();
                (labeled, "no stage of this run needs labels")
            }
            Goal::Initial | Goal::Policy => (true, ""),
        };
        if made {
            return Ok(());
        }
        let at = self.run.root().display();
        Err(Error::Usage(format!("{at}: {missing}")))
    }

    /// Whether a stage that this run has not done itself would do the same in `base`.
    fn is_shared(&self, base: &Self, stage: Stage) -> Result<bool> {
        if self.run.stage_inputs(stage.name).is_some() {
            return Ok(false);
        }
        let inputs = |run: &Self| stage.inputs(&run.config, |rel| run.own_or_parents(rel));
        Ok(inputs(self)? == inputs(base)?)
    }

    /// Puts the preferences of other files in the place of labels of its own.
    fn take_labels(&self, files: &[PathBuf]) -> Result<()> {
        let digest = |path: &PathBuf| Ok(json!([path, digest_file(path)?]));
        let inputs: Vec<Value> = files.iter().map(digest).collect::<Result<_>>()?;
        let inputs = json!(inputs);
        if self.run.stage_done(LABEL.name, &inputs) {
            return Ok(());
        }
        self.run.forget_stage(LABEL.name)?;
        let mut rows: Vec<Preference> = Vec::new();
        for path in files {
            rows.extend(read_jsonl(path)?);
        }
        self.run.write_records("preferences.jsonl", &rows)?;
        self.run.finish_stage(LABEL.name, &inputs, 0.0)
    }

    /// These keys of the run file, by their dotted paths, and files of the run as they are now: what
    /// something depends on that is found out about it.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn depends_on(&self, keys: &[&str], reads: &[&str]) -> Result<Value> {
        inputs_of(&self.config, (keys, reads), |rel| self.own_or_parents(rel))
    }

    /// A file of the run, or that of the run it is a branch of where it has none itself.
    pub fn find(&self, rel: impl AsRef<Path>) -> PathBuf {
        self.own_or_parents(&rel.as_ref().to_string_lossy())
    }
}
