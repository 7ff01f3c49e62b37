//! What the examples of the paper's tasks share: fine-tuning, then RLAIF, d-RLAIF and RLHF from one
//! start, and the table that compares them.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Parser, ValueEnum};
use rlaif::cli::{interrupt_on_ctrl_c, log_to_stderr, print};
use rlaif::config::{Config, LabelerConfig};
use rlaif::eval::{self, EvalReport};
use rlaif::label::config::AskConfig;
use rlaif::label::{
    self, Asking, LocalAnswerer, OracleLabeler, Positions, PromptedLabeler, held_out_pairs,
};
use rlaif::pipeline::Pipeline;
use rlaif::record::{Completion, read_jsonl};
use rlaif::report;
use rlaif::reward::RewardKind;
use rlaif::rl::{AlgorithmConfig, ReinforceConfig};
use serde_json::{Map, Value, json};

/// Pairs of the policy on which the labelers are measured, and held-out pairs of the world.
const POLICY_PAIRS: usize = 500;
const HELD_OUT_PAIRS: usize = 1_000;

#[derive(Parser)]
struct Args {
    /// Run folder; one of the example's own in `runs/` when absent.
    #[arg(long)]
    run: Option<PathBuf>,
    /// Run file; the example's own when absent.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Seed of every random number.
    #[arg(long, default_value_t = 17)]
    seed: u64,
    /// How the policy is optimised.
    #[arg(long, value_enum, default_value_t = Algorithm::Ppo)]
    algorithm: Algorithm,
    /// Override a key of the run file, such as `rl.steps=10`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Algorithm {
    /// Proximal policy optimisation.
    Ppo,
    /// The paper's REINFORCE with a value baseline.
    Reinforce,
}

/// What an example compares its policies on.
pub(crate) struct Comparison {
    /// The paper's task, as a summary names it.
    pub(crate) task: &'static str,
    /// Run file.
    pub(crate) config: &'static str,
    /// Run folder.
    pub(crate) run: &'static str,
    /// Names in the table and folders of the labelers that are measured.
    pub(crate) labelers: &'static [(&'static str, &'static str)],
}

/// Three policies from one start, compared with it and each other.
pub(crate) fn run(comparison: &Comparison) -> rlaif::Result<()> {
    log_to_stderr();
    let args = Args::parse();
    let started = Instant::now();
    let file = args.config.unwrap_or_else(|| comparison.config.into());
    let mut config = Config::read(&file, &args.overrides)?;
    config.seed = args.seed;
    if args.algorithm == Algorithm::Reinforce {
        let rl = config.rl.as_mut();
        let missing = || rlaif::Error::Usage("the run file has no table `rl`".into());
        rl.ok_or_else(missing)?.algorithm = AlgorithmConfig::Reinforce(ReinforceConfig {});
    }

    let folder = args.run.unwrap_or_else(|| comparison.run.into());
    let rlaif = Pipeline::new(config, &folder)?.ended_by(&interrupt_on_ctrl_c()?);
    let [d_rlaif, rlhf] = train(&rlaif)?;

    let eval_started = Instant::now();
    let evaluated = evaluate(&rlaif, &d_rlaif, &rlhf)?;
    let labelers = labelers(&rlaif, comparison.labelers)?;
    let eval_secs = eval_started.elapsed().as_secs_f64();

    let mut summary = summary(&rlaif, evaluated, labelers)?;
    summary["task"] = json!(comparison.task);
    summary["seconds"] = seconds(
        &rlaif,
        &d_rlaif,
        &rlhf,
        eval_secs,
        started.elapsed().as_secs_f64(),
    );
    rlaif.run.write_json("summary.json", &summary)?;
    report::write(&rlaif.run)?;
    print(report::table(&summary))?;
    print_samples(&rlaif)?;
    print(format_args!(
        "\nwrote {}",
        rlaif.run.path("report.html").display()
    ))?;
    Ok(())
}

/// Trains RLAIF in the run itself, d-RLAIF and RLHF in branches of it.
fn train(rlaif: &Pipeline) -> rlaif::Result<[Pipeline; 2]> {
    rlaif.sft()?;
    rlaif.sample()?;
    rlaif.label()?;
    rlaif.reward()?;
    rlaif.rl()?;
    let d_rlaif = rlaif.branch("d_rlaif", |config| {
        if let Some(rl) = &mut config.rl {
            rl.reward = RewardKind::Direct {}.into();
        }
    })?;
    d_rlaif.rl()?;
    let rlhf = rlaif.branch("rlhf", |config| config.labeler = LabelerConfig::Oracle {})?;
    rlhf.label()?;
    rlhf.reward()?;
    rlhf.rl()?;
    Ok([d_rlaif, rlhf])
}

/// All four policies on the held-out prompts, before the judges of the run file.
fn evaluate(rlaif: &Pipeline, d_rlaif: &Pipeline, rlhf: &Pipeline) -> rlaif::Result<EvalReport> {
    let policy = Path::new("policy/model");
    let contenders = [
        rlaif.contender("sft", &rlaif.initial_policy()?)?,
        rlaif.contender("rlaif", &rlaif.run.path(policy))?,
        rlaif.contender("d_rlaif", &d_rlaif.run.path(policy))?,
        rlaif.contender("rlhf", &rlhf.run.path(policy))?,
    ];
    for contender in &contenders {
        let rel = format!("eval/{}.jsonl", contender.name);
        rlaif.run.write_records(rel, &contender.completions)?;
    }
    let pairs = [(1, 0), (2, 0), (3, 0), (1, 3)];
    let oracle = rlaif.config.data.oracle();
    let mut judges = rlaif.judges()?;
    let (comparisons, report) = eval::run(&contenders, &pairs, &mut judges, oracle.as_ref())?;
    rlaif.run.write_records("comparisons.jsonl", &comparisons)?;
    Ok(report)
}

/// Alignment of each shipped labeler with the oracle: on held-out pairs of mixed quality, and on
/// those that the fine-tuned policy wrote.
fn labelers(rlaif: &Pipeline, shipped: &[(&str, &str)]) -> rlaif::Result<Map<String, Value>> {
    let unknown = || rlaif::Error::Usage("the run file's texts are of no embedded world".into());
    let world = rlaif.config.data.world().ok_or_else(unknown)?;
    let written: Vec<Completion> = read_jsonl(rlaif.run.path("completions.jsonl"))?;
    let written = &written[..written.len().min(2 * POLICY_PAIRS)];
    let held_out = held_out_pairs(world, HELD_OUT_PAIRS);
    let device = rlaif.config.backend.device()?;
    let mut oracle = OracleLabeler::new(world);
    let mut found = Map::new();
    for (name, dir) in shipped {
        let answerer = LocalAnswerer::load(Path::new(dir), &device)?;
        let asking = Asking::new(&AskConfig::of_world(world), rlaif.config.seed)?;
        let mut labeler = PromptedLabeler::new(answerer, asking);
        let mut measure = |pairs: &[Completion]| -> rlaif::Result<_> {
            let labels = label::label(&mut labeler, pairs)?;
            let found = label::alignment(&labels.preferences, &mut oracle)?;
            Ok((found, Positions::of(&labels.preferences)))
        };
        let (held_out, positions) = measure(&held_out)?;
        let (written, written_positions) = measure(written)?;
        let row = json!({
            "alignment": held_out.alignment,
            "ci": held_out.ci,
            "same_position": positions.same_position,
            "first_position": positions.first_position,
            "n": held_out.n,
            "policy_alignment": written.alignment,
            "policy_ci": written.ci,
            "policy_same_position": written_positions.same_position,
            "policy_n": written.n,
        });
        found.insert((*name).into(), row);
    }
    Ok(found)
}

fn summary(
    rlaif: &Pipeline,
    evaluated: EvalReport,
    labelers: Map<String, Value>,
) -> rlaif::Result<Value> {
    let read = |name: &str| -> rlaif::Result<Value> {
        let path = rlaif.run.path(name);
        let text = std::fs::read_to_string(&path).map_err(rlaif::Error::io("read", &path))?;
        serde_json::from_str(&text).map_err(|e| rlaif::Error::file(&path, e.to_string()))
    };
    let mut win_rate = Map::new();
    for (judge, rates) in evaluated.win_rate {
        let judge = if judge == "oracle" {
            judge
        } else {
            "labeler".into()
        };
        win_rate.insert(judge, json!(rates));
    }
    Ok(json!({
        "seed": rlaif.config.seed,
        "algorithm": rlaif.config.rl.as_ref().map(|rl| &rl.algorithm),
        "labeler": labelers,
        "reward_model": read("reward.json")?,
        "policies": evaluated.policies,
        "win_rate": win_rate,
        "tokens_per_second": {
            "generate": read("rl.json")?["generate_tokens_per_second"],
            "train": read("sft.json")?["tokens_per_second"],
        },
        "peak_memory_mb": peak_memory_mb(),
    }))
}

/// Time per stage; a stage that an earlier run of this folder finished keeps its time.
fn seconds(rlaif: &Pipeline, d_rlaif: &Pipeline, rlhf: &Pipeline, eval: f64, total: f64) -> Value {
    let of = |pipeline: &Pipeline, stages: &[&str]| -> f64 {
        stages
            .iter()
            .filter_map(|stage| pipeline.run.stage_seconds(stage))
            .sum()
    };
    json!({
        "sft": of(rlaif, &["sft"]),
        "sample": of(rlaif, &["sample"]),
        "label": of(rlaif, &["label"]),
        "reward": of(rlaif, &["reward"]),
        "rlaif": of(rlaif, &["rl"]),
        "d_rlaif": of(d_rlaif, &["rl"]),
        "rlhf": of(rlhf, &["label", "reward", "rl"]),
        "eval": eval,
        "total": total,
    })
}

/// Largest resident memory of this process so far, where the operating system tells.
#[cfg(unix)]
fn peak_memory_mb() -> Option<f64> {
    use nix::sys::resource::{UsageWho, getrusage};
    // Kibibytes, but on Apple's systems bytes.
    let unit = if cfg!(target_vendor = "apple") {
        1.0
    } else {
        1024.0
    };
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    Some(usage.max_rss() as f64 * unit / 1e6)
}

#[cfg(not(unix))]
fn peak_memory_mb() -> Option<f64> {
    None
}

/// The first held-out prompts with every policy's answer.
fn print_samples(rlaif: &Pipeline) -> rlaif::Result<()> {
    let names = ["sft", "rlaif", "d_rlaif", "rlhf"];
    let mut all: Vec<Vec<Completion>> = Vec::new();
    for name in names {
        all.push(read_jsonl(rlaif.run.path(format!("eval/{name}.jsonl")))?);
    }
    for i in 0..all[0].len().min(3) {
        print(format_args!("\n{}", all[0][i].prompt.transcript()))?;
        for (name, completions) in names.iter().zip(&all) {
            print(format_args!("  {name:8} {}", completions[i].completion))?;
        }
    }
    Ok(())
}
