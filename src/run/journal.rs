//! What a training loop writes as it goes: its metrics, and the checkpoints that it can go on from.

use std::path::Path;

use super::checkpoint::Checkpoints;
use super::digest::digest_text;
use super::{Checkpoint, CheckpointConfig, Interrupt, MetricsLog, RunDir};
use crate::error::{Error, Result};
use crate::record::LoggedRollout;

/// The journal of one stage.
#[derive(Debug)]
pub struct Journal {
    stage: String,
    run: RunDir,
    metrics: MetricsLog,
    checkpoints: Checkpoints,
    save_steps: usize,
    interrupt: Interrupt,
}

impl RunDir {
    /// Opens the journal of `stage`, whose checkpoints go into `folder`.
    ///
    /// # Errors
    /// The file system refuses, or the folder is none inside the run.
    pub fn journal(&self, stage: &str, folder: &str) -> Result<Journal> {
        let config = CheckpointConfig::default();
        Ok(Journal {
            stage: stage.into(),
            run: self.clone(),
            metrics: self.metrics()?,
            checkpoints: Checkpoints::new(self.inside(folder)?, "", config.save_total_limit),
            save_steps: config.save_steps,
            interrupt: Interrupt::default(),
        })
    }
}

impl Journal {
    /// Takes only checkpoints that were made with these `inputs`: all that the stage depends on.
    #[must_use]
    pub fn given(mut self, inputs: &str) -> Self {
        self.checkpoints.inputs = digest_text(inputs);
        self
    }

    /// Saves as often as `config` says.
    #[must_use]
    pub fn saving(mut self, config: CheckpointConfig) -> Self {
        self.checkpoints.limit = config.save_total_limit;
        self.save_steps = config.save_steps;
        self
    }

    /// Ends the loop at the wish of `interrupt`.
    #[must_use]
    pub fn ended_by(mut self, interrupt: &Interrupt) -> Self {
        self.interrupt = interrupt.clone();
        self
    }

    /// Where the loop goes on: its newest whole checkpoint, or `None` for the beginning. Rows that
    /// were logged after that point are dropped, for they will be logged again.
    ///
    /// # Errors
    /// The run folder cannot be read or written.
    pub fn resume(&mut self) -> Result<Option<Checkpoint>> {
        let found = self.checkpoints.latest()?;
        match &found {
            Some(checkpoint) => {
                tracing::info!("{}: goes on after step {}", self.stage, checkpoint.step);
                self.metrics.resume(&self.stage, checkpoint.step)?;
            }
            None => self.metrics.open(&self.stage)?,
        }
        Ok(found)
    }

    /// Logs the numbers of a step.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn write(&mut self, step: usize, values: &[(&str, f64)]) -> Result<()> {
        if let Some(screen) = crate::progress::screen() {
            screen.metrics(values);
        }
        self.metrics.write(&self.stage, step, values)
    }

    /// Replaces `rollouts.jsonl` by all that is kept of the rollouts so far.
    ///
    /// # Errors
    /// The file system refuses, or a reward is no number.
    pub fn write_rollouts(&self, rollouts: &[LoggedRollout]) -> Result<()> {
        self.run.write_records("rollouts.jsonl", rollouts)
    }

    /// Called after each step but the last: saves if a checkpoint is due, or if the user wants to
    /// stop. `save` puts the state of the loop into an empty folder.
    ///
    /// # Errors
    /// [`Error::Interrupted`] once the state is saved and the loop is to end; otherwise the file
    /// system or `save` failed.
    pub fn step_done(&self, step: usize, save: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let interrupted = self.interrupt.requested();
        if interrupted || step.is_multiple_of(self.save_steps) {
            self.checkpoints.save(step, save)?;
            tracing::debug!("{}: saved at step {step}", self.stage);
        }
        if interrupted {
            return Err(Error::Interrupted {
                stage: self.stage.clone(),
                place: format!("step {step}"),
            });
        }
        Ok(())
    }

    /// Removes the checkpoints, when what the loop was to make is written.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn finish(self) -> Result<()> {
        self.checkpoints.clear()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(run: &RunDir, interrupt: &Interrupt) -> Journal {
        let config = CheckpointConfig {
            save_steps: 2,
            ..Default::default()
        };
        let journal = run.journal("sft", "sft").unwrap();
        journal.given("inputs").saving(config).ended_by(interrupt)
    }

    #[test]
    fn a_loop_is_interrupted_and_goes_on() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::create(root.path()).unwrap();
        let interrupt = Interrupt::default();
        let mut log = journal(&run, &interrupt);
        assert_eq!(log.resume().unwrap(), None);
        for step in 1..=3 {
            log.write(step, &[("loss", 1.0)]).unwrap();
            log.step_done(step, |_| Ok(())).unwrap();
        }
        drop(log);
        let mut log = journal(&run, &interrupt);
        // Step 3 was logged, but the checkpoint is of step 2.
        assert_eq!(log.resume().unwrap().map(|found| found.step), Some(2));
        log.write(3, &[("loss", 1.0)]).unwrap();
        assert!(!interrupt.request());
        let ended = log.step_done(3, |_| Ok(())).unwrap_err();
        assert_eq!(
            ended.to_string(),
            "interrupted: sft is saved at step 3; the same command goes on from there"
        );
        let mut log = journal(&run, &Interrupt::default());
        assert_eq!(log.resume().unwrap().map(|found| found.step), Some(3));
        log.finish().unwrap();
        let rows = std::fs::read_to_string(run.path("metrics.jsonl")).unwrap();
        assert_eq!(rows.lines().count(), 3);
    }
}
