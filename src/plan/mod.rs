//! What a run will take, from its run file and from rates: tokens, time, memory and money of every
//! stage, without doing any of them.
//!
//! [`plan`] is arithmetic alone. What it needs besides the run file are lengths of texts and what
//! each model does in a second ([`PlanConfig`]): given, or found on this machine by [`measure`].
//! Start reading at `stages`, which has one function a stage; `lengths` is the simulator of batched
//! decoding, `memory` what lies on a device at the same time.
//!
//! Left out: loading and saving of models and checkpoints, tokenization, the first use of a backend,
//! and the rewards and comparisons of best-of-n.

mod config;
mod lengths;
mod measure;
mod memory;
mod stages;
mod work;

use std::path::Path;

use serde::Serialize;

pub use self::config::{
    DecodeRates, DeviceConfig, LengthsConfig, ModelRates, PlanConfig, QuestionRates, RowCounts,
};
pub use self::lengths::Lengths;
pub use self::measure::measure;
use self::memory::Memories;
use self::work::Planner;
pub use self::work::Work;
use crate::config::Config;
use crate::error::{Error, Result};

/// What a run will take.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Stages in their order.
    pub stages: Vec<StagePlan>,
    /// Where they are done.
    pub device: DeviceConfig,
}

/// What a stage will take.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StagePlan {
    /// Its name.
    pub stage: &'static str,
    /// Tokens, time and money.
    #[serde(flatten)]
    pub work: Work,
    /// Bytes on the device at their most.
    pub memory: u64,
    /// Devices whose memory together is as large, where that of one is known.
    pub devices: Option<u64>,
}

impl Plan {
    /// Tokens, time and money of all stages.
    pub fn total(&self) -> Work {
        self.stages.iter().map(|stage| stage.work).sum()
    }
}

/// Plans a run.
///
/// # Errors
/// A rate or a description of a model that the run needs is missing, or the data cannot be counted.
pub fn plan(config: &Config, given: &PlanConfig) -> Result<Plan> {
    let rows = match given.rows {
        Some(rows) => rows,
        None => RowCounts::of(config)?,
    };
    let planner = Planner::new(config, given, rows)?;
    let memories = Memories::new(config, given)?;
    let one = given.device.memory_gb.map(|gb| (gb * 1e9) as u64);
    let stage = |(stage, mut work): (&'static str, Work)| {
        let hourly = given.device.usd_per_hour * given.device.count as f64;
        work.usd += work.seconds / 3600.0 * hourly;
        let memory = memories.of(stage);
        StagePlan {
            stage,
            work,
            memory,
            devices: one.map(|one| memory.div_ceil(one.max(1))),
        }
    };
    Ok(Plan {
        stages: planner.stages()?.into_iter().map(stage).collect(),
        device: given.device.clone(),
    })
}

/// The rates of a file, or those of the run file's table `plan`.
///
/// # Errors
/// There are none, or the file cannot be used.
pub fn rates(config: &Config, file: Option<&Path>) -> Result<PlanConfig> {
    match (file, &config.plan) {
        (Some(path), _) => PlanConfig::read(path),
        (None, Some(plan)) => Ok(plan.clone()),
        (None, None) => {
            let expected = "this table, --rates FILE or --measure FILE";
            Err(Error::field("plan", "absent", expected))
        }
    }
}

#[cfg(test)]
mod tests;
