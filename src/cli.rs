//! The command line: one verb per stage. It can do nothing that a few lines of library code cannot.
//!
//! This file, those in `cli/` and `main.rs` are the only ones of the crate that print.

mod chat;
mod eval;
mod experiment;
mod inspect;
mod label;
mod model;
mod out;
mod plan;
mod revise;
mod run;
mod score;
mod screen;
mod watch;

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

pub use self::out::print;
use self::screen::ScreenArg;

use crate::backend::Backend;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::model::Loader;
use crate::pipeline::Pipeline;
use crate::precision::Precision;
use crate::run::{Interrupt, RunDir};

/// Exit code of an interrupted process: 128 and the number of SIGINT.
pub const INTERRUPTED: u8 = 130;

/// Aligns language models with AI feedback: label, reward model, RL, judged evaluation.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Fine-tune the policy on demonstrations.
    Sft(Stage),
    /// Sample completions of the fine-tuned policy.
    Sample(Stage),
    /// Label pairs of completions: those of a run, or a file's.
    Label(Box<label::Label>),
    /// Let a model answer prompts, criticise its answers by principles and revise them.
    Revise(revise::Revise),
    /// Train the reward model on the labels.
    Reward(Stage),
    /// Optimise the policy against a reward.
    Rl(Stage),
    /// Optimise the policy on the preferences themselves.
    Dpo(Stage),
    /// Compare the optimised policy with the one it started from, or any models and completions.
    Eval(Box<eval::Eval>),
    /// Do an experiment: a run file varied, several seeds, a table and a plot.
    Experiment(experiment::Experiment),
    /// Write the report page of a run folder.
    Report {
        /// Run folder.
        #[arg(long)]
        run: PathBuf,
    },
    /// Show runs in a browser, while they run.
    Watch(watch::Watch),
    /// Do all stages, skipping those that are finished.
    Run(run::Run),
    /// Write an adapter and the model under it as one model.
    Merge {
        /// Folder of the adapter.
        adapter: PathBuf,
        /// Folder to write; must not exist.
        #[arg(long)]
        out: PathBuf,
        /// Backend that computes it.
        #[arg(long, value_enum, default_value_t)]
        backend: Backend,
        /// Number format of the model that is written.
        #[arg(long, value_enum, default_value_t)]
        dtype: Precision,
    },
    /// Talk to a model, or answer the prompts of a file.
    Chat(chat::Chat),
    /// Score given completions: log-probabilities, or rewards.
    Score(score::Score),
    /// Say what a model folder holds and how much memory its uses need.
    Inspect(inspect::Inspect),
    /// Say what a run will take: tokens, hours, memory and money.
    Plan(plan::PlanArgs),
    /// List the backends and whether this binary holds them.
    Devices,
}

#[derive(Debug, Args)]
struct Stage {
    /// Run file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Run folder.
    #[arg(long, value_name = "DIR")]
    run: PathBuf,
    /// Backend, instead of the run file's.
    #[arg(long, value_enum)]
    backend: Option<Backend>,
    /// Override a key of the run file, such as `rl.steps=10`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    #[command(flatten)]
    screen: ScreenArg,
}

impl Stage {
    fn perform(&self, work: impl FnOnce(&Pipeline) -> Result<()>) -> Result<()> {
        let interrupt = interrupt_on_ctrl_c()?;
        screen::with(self.screen, &interrupt, || {
            let pipeline = Pipeline::new(self.config()?, &self.run)?;
            work(&pipeline.ended_by(&interrupt))
        })
    }

    fn config(&self) -> Result<Config> {
        let mut config = Config::read(&self.config, &self.overrides)?;
        config.backend = self.backend.unwrap_or(config.backend);
        Ok(config)
    }
}

/// Lets the library's log go to the standard error: `RUST_LOG` says how much, `info` without it.
pub fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| screen::Log)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .without_time()
        .init();
}

/// A flag that Ctrl-C (also SIGTERM, where there is one) raises. The second time ends the process
/// at once, with the exit code of an interrupted one.
///
/// # Errors
/// The system refuses to handle signals.
pub fn interrupt_on_ctrl_c() -> Result<Interrupt> {
    let interrupt = Interrupt::default();
    let flag = interrupt.clone();
    let handler = move || {
        if flag.request() {
            screen::release();
            std::process::exit(INTERRUPTED.into());
        }
        tracing::warn!("saving at the next step; interrupt again to end at once");
    };
    let failed = |e: ctrlc::Error| Error::Usage(format!("Ctrl-C cannot be handled: {e}"));
    ctrlc::set_handler(handler).map_err(failed)?;
    Ok(interrupt)
}

/// Does what the command line asks for.
///
/// # Errors
/// Those of the stage.
pub fn run(cli: Cli) -> Result<()> {
    match cli.verb {
        Verb::Sft(stage) => stage.perform(Pipeline::sft),
        Verb::Sample(stage) => stage.perform(Pipeline::sample),
        Verb::Label(label) => label.run(),
        Verb::Revise(revise) => revise.run(),
        Verb::Reward(stage) => stage.perform(Pipeline::reward),
        Verb::Rl(stage) => stage.perform(Pipeline::rl),
        Verb::Dpo(stage) => stage.perform(Pipeline::dpo),
        Verb::Eval(eval) => eval.run(),
        Verb::Experiment(experiment) => experiment.run(),
        Verb::Report { run } => crate::report::write(&RunDir::open(run)?),
        Verb::Watch(watch) => watch.run(),
        Verb::Merge {
            adapter,
            out,
            backend,
            dtype,
        } => {
            let loader = Loader::new(&backend.device()?).in_precision(dtype)?;
            crate::merge::merge(&adapter, &out, loader)
        }
        Verb::Run(run) => run.run(),
        Verb::Chat(chat) => chat.run(),
        Verb::Score(score) => score.run(),
        Verb::Inspect(inspect) => inspect.run(),
        Verb::Plan(plan) => plan.run(),
        Verb::Devices => list_devices(),
    }
}

fn list_devices() -> Result<()> {
    for backend in Backend::ALL {
        let name = backend.name();
        match backend.device() {
            Ok(device) => print(format_args!("{name:8} {device:?}"))?,
            Err(error) => print(format_args!("{name:8} {error}"))?,
        }
    }
    Ok(())
}
