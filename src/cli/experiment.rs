//! `rlaif experiment`: an experiment that comes with the crate, or one of a file.

use std::path::PathBuf;

use clap::Args;

use super::{interrupt_on_ctrl_c, print};
use crate::error::Result;
use crate::experiment::{self, BUILT_IN, Setting};
use crate::report;

/// Do an experiment: a run file varied, several seeds, a table and a plot.
#[derive(Debug, Args)]
pub(super) struct Experiment {
    /// Name of one that comes with the program, or a TOML file.
    #[arg(required_unless_present = "list")]
    name: Option<String>,
    /// Folder for its runs, tables and plot; what is finished there is not done again.
    #[arg(long, value_name = "DIR", required_unless_present = "list")]
    run: Option<PathBuf>,
    /// Run file, instead of the experiment's own.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Seeds, one after the other.
    #[arg(long, value_delimiter = ',', default_value = "17")]
    seeds: Vec<u64>,
    /// Pairs to measure on, instead of the experiment's own number.
    #[arg(long)]
    pairs: Option<usize>,
    /// Override a key of the run file, such as `rl.steps=10`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// List the experiments that come with the program.
    #[arg(long)]
    list: bool,
}

impl Experiment {
    pub(super) fn run(self) -> Result<()> {
        if self.list {
            for (name, _) in BUILT_IN {
                let title = experiment::Experiment::load(name)?.title;
                print(format_args!("{name:16} {title}"))?;
            }
            return Ok(());
        }
        let (Some(name), Some(dir)) = (self.name, self.run) else {
            return Ok(());
        };
        let setting = Setting {
            config: self.config,
            set: self.overrides,
            seeds: self.seeds,
            pairs: self.pairs,
        };
        let experiment = experiment::Experiment::load(&name)?;
        let interrupt = interrupt_on_ctrl_c()?;
        let found = experiment::run(&name, &experiment, &setting, &dir, &interrupt)?;
        report::write_experiment(&dir, &found)?;
        print(report::experiment_page(&found))
    }
}
