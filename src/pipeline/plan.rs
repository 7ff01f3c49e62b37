//! Which stages a run has, and what it would do with each.

use std::path::Path;

use super::inputs::{DPO, LABEL, REWARD, RL, SAMPLE, SFT, Stage, difference, eval_stage};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::run::RunDir;

/// What a run would do with one stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Name of the stage.
    pub stage: &'static str,
    /// Why it would be done; `None` when it would be skipped.
    pub reason: Option<String>,
}

/// What [`Pipeline::run_all`](super::Pipeline::run_all) would do in the folder `root`, stage by
/// stage, and why. Nothing is written.
///
/// # Errors
/// A file cannot be read.
pub fn plan(config: &Config, root: &Path) -> Result<Vec<Planned>> {
    let run = if root.exists() {
        Some(RunDir::open(root)?)
    } else {
        None
    };
    let mut planned: Vec<Planned> = Vec::new();
    for stage in stages(config) {
        let redone = planned.iter().find(|before| before.reason.is_some());
        let finished = run.as_ref().and_then(|run| run.stage_inputs(stage.name));
        let reason = match (redone, finished) {
            (Some(redone), _) => Some(format!("comes after {}", redone.stage)),
            (None, None) => Some("not finished yet".into()),
            (None, Some(before)) => {
                difference(&before, &stage.inputs(config, |rel| root.join(rel))?)
            }
        };
        planned.push(Planned {
            stage: stage.name,
            reason,
        });
    }
    Ok(planned)
}

/// The stages of a run file, in order.
pub(super) fn stages(config: &Config) -> Vec<Stage> {
    let mut stages = Vec::new();
    stages.extend(config.sft.is_some().then_some(SFT));
    let made = if config.data.is_labeled() {
        vec![]
    } else {
        vec![SAMPLE, LABEL]
    };
    match &config.rl {
        Some(rl) if rl.reward.has_model() => {
            stages.extend(made);
            stages.extend([REWARD, RL]);
        }
        Some(_) => stages.push(RL),
        None => {
            stages.extend(made);
            stages.push(DPO);
        }
    }
    stages.push(eval_stage(config));
    stages
}

/// Their names.
pub(crate) fn stage_names(config: &Config) -> Vec<&'static str> {
    stages(config).into_iter().map(|stage| stage.name).collect()
}

/// A table that a stage cannot do without.
pub(super) fn table<'a, T>(table: &'a Option<T>, name: &str) -> Result<&'a T> {
    let missing = || Error::Usage(format!("the run file has no table `{name}`"));
    table.as_ref().ok_or_else(missing)
}
