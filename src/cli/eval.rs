//! `rlaif eval`: the stage of a run, or a suite of any contenders.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::screen::ScreenArg;
use super::{Stage, print};
use crate::backend::Backend;
use crate::error::Result;
use crate::eval::suite::{SuiteConfig, evaluate};
use crate::pipeline::Pipeline;
use crate::report;
use crate::run::RunDir;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["run", "suite"]))]
pub(super) struct Eval {
    /// Run file.
    #[arg(long, value_name = "FILE", conflicts_with = "suite")]
    config: Option<PathBuf>,
    /// Run folder whose policies are compared.
    #[arg(long, value_name = "DIR", requires = "config")]
    run: Option<PathBuf>,
    /// File that says who is evaluated, and by whom: models, files of completions, verdicts.
    #[arg(long, value_name = "FILE", requires = "output")]
    suite: Option<PathBuf>,
    /// Folder for what the suite finds.
    #[arg(long, value_name = "DIR", requires = "suite")]
    output: Option<PathBuf>,
    /// Backend, instead of the file's.
    #[arg(long, value_enum)]
    backend: Option<Backend>,
    /// Override a key of the file, such as `seed=2`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

impl Eval {
    pub(super) fn run(self) -> Result<()> {
        if let (Some(config), Some(run)) = (self.config, self.run) {
            let stage = Stage {
                config,
                run,
                backend: self.backend,
                overrides: self.overrides,
                screen: ScreenArg::default(),
            };
            return stage.perform(Pipeline::eval);
        }
        let (Some(suite), Some(output)) = (self.suite, self.output) else {
            return Ok(());
        };
        let mut config = SuiteConfig::read(&suite, &self.overrides)?;
        config.backend = self.backend.unwrap_or(config.backend);
        let answers = output.join("answers.jsonl");
        RunDir::create(&output)?;
        let found = evaluate(&config, &answers)?;
        report::write_suite(&output, &found)?;
        print(report::suite_table(&found.report))
    }
}
