//! Experiments: a run file varied in some way, a few seeds, and a table of what came of it.
//!
//! An experiment is data ([`Experiment`], a TOML file; those that come with the crate stand in
//! `configs/experiments/`): arms, each a set of overrides of one run file, and what is measured of
//! them. [`run`] gives each seed a folder with the run of that file, in which the arms are branches:
//! a stage that an arm has in common with the run file is done once for all
//! ([`Pipeline::prepare`]), and everything measured is kept. What is killed goes on, and a second call
//! does nothing anew. `report` makes tables and the plot of the [`Outcome`].

mod config;
mod measure;
mod outcome;
mod truth;

use std::path::{Path, PathBuf};

pub use config::{Arm, ArmConfig, Axis, Experiment, Level, Measure, MeasureKind, Plot, SFT};
pub use outcome::{Cell, Mean, Outcome, Row, Table, Unit};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::pipeline::Pipeline;
use crate::run::Interrupt;
use measure::Bench;

/// Names and texts of the experiments that come with the crate.
pub const BUILT_IN: [(&str, &str); 10] = [
    ("main", include_str!("../../configs/experiments/main.toml")),
    (
        "prompts",
        include_str!("../../configs/experiments/prompts.toml"),
    ),
    (
        "labeler_size",
        include_str!("../../configs/experiments/labeler_size.toml"),
    ),
    (
        "position_bias",
        include_str!("../../configs/experiments/position_bias.toml"),
    ),
    (
        "self_consistency",
        include_str!("../../configs/experiments/self_consistency.toml"),
    ),
    (
        "reward_data",
        include_str!("../../configs/experiments/reward_data.toml"),
    ),
    (
        "sensitivity",
        include_str!("../../configs/experiments/sensitivity.toml"),
    ),
    (
        "soft_labels",
        include_str!("../../configs/experiments/soft_labels.toml"),
    ),
    (
        "staleness",
        include_str!("../../configs/experiments/staleness.toml"),
    ),
    (
        "hallucination",
        include_str!("../../configs/experiments/hallucination.toml"),
    ),
];

/// What the files of an experiment are called: a file's name without its ending.
fn name_of(name: &str) -> String {
    let stem = Path::new(name).file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// What an experiment is done with.
#[derive(Debug, Clone, Default)]
pub struct Setting {
    /// Another run file than the experiment's own.
    pub config: Option<PathBuf>,
    /// Overrides of the run file; those of arms come after them.
    pub set: Vec<String>,
    /// Seeds, one after the other.
    pub seeds: Vec<u64>,
    /// Another number of pairs than the experiment's own.
    pub pairs: Option<usize>,
}

/// Does the experiment `name`, which is its own or its file's, in the folder `root`.
///
/// # Errors
/// The run file does not take an override, or a stage or a measure fails.
pub fn run(
    name: &str,
    experiment: &Experiment,
    setting: &Setting,
    root: &Path,
    interrupt: &Interrupt,
) -> Result<Outcome> {
    let mut experiment = experiment.clone();
    experiment.pairs = setting.pairs.unwrap_or(experiment.pairs);
    experiment.config = setting.config.clone().unwrap_or(experiment.config);
    experiment.set.extend(setting.set.clone());
    experiment.validate()?;
    if setting.seeds.is_empty() {
        return Err(Error::field("seeds", "empty", "at least one seed"));
    }
    // All run files are checked before anything is done.
    for &seed in &setting.seeds {
        configs(&experiment, seed)?;
    }
    let mut found: Vec<Vec<Vec<Cell>>> = vec![Vec::new(); experiment.measures.len()];
    for &seed in &setting.seeds {
        let root = root.join(format!("seed-{seed}"));
        let cells = of_seed(&experiment, seed, &root, interrupt)?;
        for (all, cells) in found.iter_mut().zip(cells) {
            all.push(cells);
        }
    }
    let table = |(measure, cells): (&Measure, Vec<Vec<Cell>>)| Table::of(measure.kind, &cells);
    Ok(Outcome {
        name: name_of(name),
        command: command(name, setting),
        seeds: setting.seeds.clone(),
        tables: experiment.measures.iter().zip(found).map(table).collect(),
        experiment,
    })
}

/// The command that does this, but for its folder.
fn command(name: &str, setting: &Setting) -> String {
    let mut words = vec![format!("rlaif experiment {name} --run DIR")];
    let seeds: Vec<String> = setting.seeds.iter().map(u64::to_string).collect();
    words.push(format!("--seeds {}", seeds.join(",")));
    let config = setting.config.as_ref();
    words.extend(config.map(|config| format!("--config {}", config.display())));
    words.extend(setting.pairs.map(|pairs| format!("--pairs {pairs}")));
    words.extend(setting.set.iter().map(|set| format!("--set \"{set}\"")));
    words.join(" ")
}

/// The run file of a seed, and that of each arm.
fn configs(experiment: &Experiment, seed: u64) -> Result<(Config, Vec<(Arm, Config)>)> {
    let read = |set: &[String]| {
        let seed = [format!("seed={seed}")];
        let set: Vec<String> = experiment
            .set
            .iter()
            .chain(set)
            .chain(&seed)
            .cloned()
            .collect();
        Config::read(&experiment.config, &set)
    };
    let of_arm = |arm: Arm| {
        let config = read(&arm.set);
        let named = |e: Error| Error::Usage(format!("arm `{}`: {e}", arm.name));
        let config = config.map_err(named)?;
        Ok((arm, config))
    };
    let arms = experiment.all_arms().into_iter().map(of_arm);
    Ok((read(&[])?, arms.collect::<Result<_>>()?))
}

/// The cells of each measure.
fn of_seed(
    experiment: &Experiment,
    seed: u64,
    root: &Path,
    interrupt: &Interrupt,
) -> Result<Vec<Vec<Cell>>> {
    let (config, arms) = configs(experiment, seed)?;
    let base = Pipeline::new(config, root)?.ended_by(interrupt);
    let branch = |(arm, changed): (Arm, Config)| {
        let run = base.branch(&format!("arms/{}", arm.name), |config| *config = changed)?;
        Ok((arm, run))
    };
    let arms = arms.into_iter().map(branch).collect::<Result<_>>()?;
    let bench = Bench::new(experiment, &base, arms);
    let measures = experiment.measures.iter();
    measures.map(|measure| bench.measure(measure)).collect()
}
