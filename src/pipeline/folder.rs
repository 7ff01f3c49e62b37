//! What a stage finds in the run folder, and whether it has been done before.

use std::path::PathBuf;
use std::time::Instant;

use burn::prelude::*;

use super::Pipeline;
use super::inputs::Stage;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::run::{Environment, Journal, RunDir, RunLock};

/// Takes a run folder, and writes into it what is to be done with what.
pub(super) fn begin(run: &RunDir, config: &Config, device: &Device) -> Result<RunLock> {
    let lock = run.lock()?;
    run.write_text("config.toml", &config.to_toml()?)?;
    run.note_environment(Environment::current(device, config.seed))?;
    Ok(lock)
}

impl Pipeline {
    /// A file or folder that an earlier stage has written.
    pub(super) fn input(&self, rel: &str, stage: &str) -> Result<PathBuf> {
        let path = self.own_or_parents(rel);
        if path.exists() {
            return Ok(path);
        }
        Err(Error::Usage(format!(
            "{} is missing: run stage `{stage}` first",
            path.display()
        )))
    }

    pub(super) fn own_or_parents(&self, rel: &str) -> PathBuf {
        let own = self.run.path(rel);
        match &self.parent {
            Some(parent) if !own.exists() => parent.path(rel),
            _ => own,
        }
    }

    /// Does the work of a stage unless it has been done with the same inputs, which `work` is told.
    pub(super) fn stage(&self, stage: Stage, work: impl FnOnce(&str) -> Result<()>) -> Result<()> {
        let name = stage.name;
        let inputs = stage.inputs(&self.config, |rel| self.own_or_parents(rel))?;
        if self.run.stage_done(name, &inputs) {
            tracing::info!("{name}: finished before, skipped");
            return Ok(());
        }
        tracing::info!("{name}");
        self.run.forget_stage(name)?;
        let started = Instant::now();
        work(&inputs.to_string())?;
        self.run
            .finish_stage(name, &inputs, started.elapsed().as_secs_f64())?;
        self.run.forget_kept(name)
    }

    pub(super) fn journal(&self, stage: &str, folder: &str, inputs: &str) -> Result<Journal> {
        let journal = self.run.journal(stage, folder)?;
        Ok(journal
            .given(inputs)
            .saving(self.config.checkpoint)
            .ended_by(&self.interrupt))
    }
}
