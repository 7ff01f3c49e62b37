//! `rlaif plan`: what a run will take.

use std::path::PathBuf;

use clap::Args;

use super::print;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::plan::{self, Plan, Work};

/// Say what a run will take, stage by stage, without doing it: tokens, hours, memory and money.
#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// Run file; its table `plan` has the rates.
    config: PathBuf,
    /// File of rates, with the keys of the table `plan`, in its place.
    #[arg(long, value_name = "FILE")]
    rates: Option<PathBuf>,
    /// Measure the rates of this machine with the run's models, write them into this file and plan
    /// by them.
    #[arg(long, value_name = "FILE", conflicts_with = "rates")]
    measure: Option<PathBuf>,
    /// Override a key of the run file, such as `rl.steps=10`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl PlanArgs {
    pub(super) fn run(self) -> Result<()> {
        let config = Config::read(&self.config, &self.overrides)?;
        if let Some(path) = &self.measure {
            let measured = plan::measure(&config)?;
            let text = toml::to_string(&measured).map_err(|e| Error::Usage(e.to_string()))?;
            std::fs::write(path, text).map_err(Error::io("write", path))?;
        }
        let rates = plan::rates(&config, self.measure.as_deref().or(self.rates.as_deref()))?;
        let planned = plan::plan(&config, &rates)?;
        if self.json {
            let json = serde_json::to_string_pretty(&planned);
            return print(json.map_err(|e| Error::Usage(e.to_string()))?);
        }
        lines(&planned).into_iter().try_for_each(print)
    }
}

fn lines(planned: &Plan) -> Vec<String> {
    let head = [
        "",
        "generated",
        "scored",
        "trained",
        "asked",
        "time",
        "memory",
        "US$",
    ];
    let mut rows = vec![row(head.map(str::to_string))];
    for stage in &planned.stages {
        let devices = match stage.devices {
            Some(n) if n > 1 => format!("{} ({n} devices)", bytes(stage.memory)),
            _ => bytes(stage.memory),
        };
        rows.push(work(stage.stage, &stage.work, devices));
    }
    let most = planned.stages.iter().map(|stage| stage.memory).max();
    rows.push(work("all", &planned.total(), bytes(most.unwrap_or(0))));
    rows
}

fn work(name: &str, work: &Work, memory: String) -> String {
    row([
        name.into(),
        count(work.generated),
        count(work.scored),
        count(work.trained),
        count(work.asked),
        time(work.seconds),
        memory,
        format!("{:.2}", work.usd),
    ])
}

fn row(cells: [String; 8]) -> String {
    let [name, generated, scored, trained, asked, time, memory, usd] = cells;
    let tokens = format!("{generated:>10} {scored:>10} {trained:>10} {asked:>10}");
    format!("{name:8} {tokens} {time:>9} {memory:>20} {usd:>10}")
}

/// Tokens in thousands, millions or thousand millions.
fn count(n: f64) -> String {
    match n {
        n if n >= 1e9 => format!("{:.2} G", n / 1e9),
        n if n >= 1e6 => format!("{:.2} M", n / 1e6),
        n if n >= 1e3 => format!("{:.1} k", n / 1e3),
        n => format!("{n:.0}"),
    }
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s >= 3600.0 => format!("{:.1} h", s / 3600.0),
        s if s >= 60.0 => format!("{:.1} min", s / 60.0),
        s => format!("{s:.1} s"),
    }
}

fn bytes(n: u64) -> String {
    match n as f64 {
        n if n >= 1e9 => format!("{:.1} GB", n / 1e9),
        n => format!("{:.0} MB", n / 1e6),
    }
}
