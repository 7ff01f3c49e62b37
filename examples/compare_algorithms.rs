//! The algorithms side by side on the embedded world: one fine-tuned policy, one set of labels, one
//! reward model, and from there every run file's own policy optimisation.
//!
//! Prints a table: win rate over the fine-tuned policy before the oracle, the KL that it cost (where
//! there are rollouts to measure it on), the seconds that it took.
//!
//! `cargo run --release --example compare_algorithms -- configs/rlaif.toml configs/grpo.toml`
//!
//! In a run folder that is there, what has not changed is not done again, so that further ways may be
//! added to it: `... -- configs/dpo.toml --name kto --set 'dpo.loss={ kind = "kto" }'`

use std::path::{Path, PathBuf};

use clap::Parser;
use rlaif::cli::{interrupt_on_ctrl_c, log_to_stderr, print};
use rlaif::config::{Config, LabelerConfig};
use rlaif::eval::{self, WinRate};
use rlaif::pipeline::Pipeline;
use rlaif::record::read_jsonl;
use rlaif::run::{Metric, RunDir};

// Training allocates and frees tensors of megabytes at every step (benches/RESULTS.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Steps at the end of a run over which the KL is averaged.
const LAST_STEPS: usize = 5;

#[derive(Parser)]
struct Args {
    /// Run files; what comes before the policy optimisation is the first one's.
    #[arg(required = true)]
    configs: Vec<PathBuf>,
    /// Run folder.
    #[arg(long, default_value = "runs/compare_algorithms")]
    run: PathBuf,
    /// Name of the folder in it, instead of the run file's.
    #[arg(long)]
    name: Option<String>,
    /// Override a key of every run file, such as `seed=18`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

fn main() -> rlaif::Result<()> {
    log_to_stderr();
    let args = Args::parse();
    let mut config = Config::read(&args.configs[0], &args.overrides)?;
    config.eval.judges = vec![LabelerConfig::Oracle {}];
    let start = Pipeline::new(config, &args.run)?.ended_by(&interrupt_on_ctrl_c()?);
    start.sft()?;
    start.sample()?;
    start.label()?;
    if start.config.reward.is_some() {
        start.reward()?;
    }

    print("| way | win rate over SFT, oracle | KL, nats per completion | seconds |")?;
    print("|---|---|---|---|")?;
    let sft = start.contender("sft", &start.initial_policy()?)?;
    for path in &args.configs {
        let own = Config::read(path, &args.overrides)?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = args.name.as_deref().unwrap_or(&stem);
        let stage = if own.dpo.is_some() { "dpo" } else { "rl" };
        let branch = start.branch(name, |config| {
            (config.reward, config.rl, config.dpo) = (own.reward, own.rl, own.dpo);
        })?;
        match stage {
            "dpo" => branch.dpo()?,
            _ => branch.rl()?,
        }
        let policy = branch.contender("policy", &branch.run.path("policy/model"))?;
        let (_, report) = eval::run(
            &[policy, sft.clone()],
            &[(0, 1)],
            &mut start.judges()?,
            start.config.data.oracle().as_ref(),
        )?;
        let rates = report.win_rate.values().flat_map(|rates| rates.values());
        for WinRate { rate, ci, .. } in rates {
            let [rate, low, high] = [*rate, ci.low, ci.high].map(|share| 100.0 * share);
            let kl = kl(&branch.run)?.map_or("-".into(), |kl| format!("{kl:.2}"));
            let seconds = branch.run.stage_seconds(stage).unwrap_or_default();
            print(format_args!(
                "| {name} | {rate:.1}% [{low:.1}, {high:.1}] | {kl} | {seconds:.0} |"
            ))?;
        }
    }
    Ok(())
}

/// Mean KL from the reference over the last steps, where it was measured.
fn kl(run: &RunDir) -> rlaif::Result<Option<f64>> {
    let rows: Vec<Metric> = read_jsonl(run.path(Path::new("metrics.jsonl")))?;
    let of_rl = rows.iter().filter(|row| row.stage == "rl");
    let found: Vec<f64> = of_rl
        .filter_map(|row| row.values.get("objective/kl").copied().flatten())
        .collect();
    let last = &found[found.len().saturating_sub(LAST_STEPS)..];
    let mean = last.iter().sum::<f64>() / last.len().max(1) as f64;
    Ok((!last.is_empty()).then_some(mean))
}
