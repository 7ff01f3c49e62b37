//! `rlaif run`: all stages, what they would do, and the same again.

use std::path::{Path, PathBuf};

use clap::Args;

use super::screen::ScreenArg;
use super::{Stage, interrupt_on_ctrl_c, print};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::pipeline::{self, Pipeline, Planned};

/// Do all stages, skipping those that are finished.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// Run file.
    #[arg(long, value_name = "FILE", required_unless_present = "reproduce")]
    config: Option<PathBuf>,
    /// Run folder.
    #[arg(long, value_name = "DIR", required_unless_present = "reproduce")]
    run: Option<PathBuf>,
    /// Backend, instead of the run file's.
    #[arg(long, value_enum)]
    backend: Option<Backend>,
    /// Override a key of the run file, such as `rl.steps=10`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Say what would be done and why, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do the run of this folder again in another (`--run`, or the same name with `-reproduced`),
    /// and compare all results; what has changed since is said first.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["config", "backend", "overrides", "dry_run", "tui"])]
    reproduce: Option<PathBuf>,
    #[command(flatten)]
    screen: ScreenArg,
}

impl Run {
    pub(super) fn run(self) -> Result<()> {
        if let Some(old) = &self.reproduce {
            let new = self.run.unwrap_or_else(|| pipeline::reproduction_of(old));
            return reproduce(old, &new);
        }
        let stage = Stage {
            config: self.config.unwrap_or_default(),
            run: self.run.unwrap_or_default(),
            backend: self.backend,
            overrides: self.overrides,
            screen: self.screen,
        };
        if self.dry_run {
            plan(&stage)
        } else {
            stage.perform(Pipeline::run_all)
        }
    }
}

fn plan(stage: &Stage) -> Result<()> {
    for Planned { stage, reason } in pipeline::plan(&stage.config()?, &stage.run)? {
        match reason {
            Some(reason) => print(format_args!("{stage:8} would run: {reason}"))?,
            None => print(format_args!("{stage:8} would be skipped: unchanged"))?,
        }
    }
    Ok(())
}

fn reproduce(old: &Path, new: &Path) -> Result<()> {
    let compared = pipeline::reproduce(old, new, &interrupt_on_ctrl_c()?)?;
    for one in &compared {
        match &one.difference {
            Some(difference) => {
                print(format_args!(
                    "differs  {}: {difference}",
                    one.path.display()
                ))?;
            }
            None => print(format_args!("same     {}", one.path.display()))?,
        }
    }
    let n = compared
        .iter()
        .filter(|one| one.difference.is_some())
        .count();
    match n {
        0 => Ok(()),
        n => Err(Error::Usage(format!(
            "{n} of {} results differ",
            compared.len()
        ))),
    }
}
