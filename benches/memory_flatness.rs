//! Does memory grow with the number of steps? Every loop takes 200 steps, each in a process of its
//! own, on texts of one length, so that every step does the same work.
//!
//! ```sh
//! cargo bench --bench memory_flatness                # every loop, three times
//! cargo bench --bench memory_flatness -- reward 1    # one loop, once
//! FLATNESS_HIDDEN=512 cargo bench --bench memory_flatness -- kto 1    # of another width than 128
//! ```
//!
//! What is held around step 20 (11 to 20) and around step 200 (191 to 200), and their ratio:
//! - resident memory, the median: what the system sees (`RssAnon`: without the pages of the binary,
//!   which it takes away and brings back as it likes);
//! - live bytes, the least: what the program holds between two steps, counted by the allocator;
//! - live bytes, the most: the peak of a step.
//!
//! Ends with an error if the live bytes of a loop, the least or the most, rise above 1.05 times, the
//! median of the repetitions. Resident memory also has the pages that the allocator keeps for later:
//! where it gives them back, soon or late, the ratio depends on the moment (0.8 to 1.1 with live
//! bytes that stay the same). The processes run with `MIMALLOC_PURGE_DELAY=-1`, unless the variable
//! is set: nothing goes back, and resident memory is the most that was ever needed, in units of
//! megabytes. Linux only: it reads `/proc/self/status`.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that fails stops, and tells what it measured"
)]

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use burn::module::Module;
use burn::prelude::*;
use cap::Cap;
use mimalloc::MiMalloc;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rlaif::config::PolicyConfig;
use rlaif::model::{CausalLm, Input, KvCache, LlamaConfig, Transformer, randomize};
use rlaif::record::{Completion, Demonstration, Preference, Prompt};
use rlaif::reward::Reward;
use rlaif::rl::{RlConfig, RlRun};
use rlaif::run::RunDir;
use rlaif::tokenizer::Tokenizer;
use rlaif::{dpo, reward, rl, sft};

#[global_allocator]
static ALLOCATOR: Cap<MiMalloc> = Cap::new(MiMalloc, usize::MAX);

/// Loops: a name, the stage, its settings.
const LOOPS: [(&str, &str, &str); 14] = [
    ("sft", "sft", ""),
    (
        "sft, gradient checkpointing",
        "sft",
        "gradient_checkpointing = true",
    ),
    ("reward", "reward", "holdout = 0.0"),
    ("dpo", "dpo", ""),
    (
        "dpo, synced reference",
        "dpo",
        "reference = { kind = \"synced\", ref_model_sync_steps = 1 }",
    ),
    ("kto", "dpo", "loss = { kind = \"kto\" }"),
    ("ppo", "rl", "kind = \"ppo\", num_ppo_epochs = 2"),
    (
        "ppo, shared values",
        "rl",
        "kind = \"ppo\", value_model = \"shared\"",
    ),
    ("reinforce", "rl", "kind = \"reinforce\""),
    ("online_dpo", "rl", "kind = \"online_dpo\""),
    ("reinforce_batch", "rl", "kind = \"reinforce_batch\""),
    ("rloo", "rl", "kind = \"rloo\""),
    ("grpo", "rl", "kind = \"grpo\", beta = 0.04"),
    (
        "grpo, cispo, entropy",
        "rl",
        "kind = \"grpo\", loss_type = \"cispo\", entropy_coef = 0.01",
    ),
];
const STEPS: usize = 200;
const EARLY: usize = 20;
/// Steps that are looked at, up to `EARLY` and up to `STEPS`.
const WINDOW: usize = 10;
const MOST_GROWTH: f64 = 1.05;

/// A folder with a tokenizer of the words t2 to t63.
const TOKENIZER: &str = "tests/fixtures/trajectories/model";
const VOCAB: usize = 64;
const EOS: usize = 1;
const ROWS: usize = 64;
const BATCH: usize = 8;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    if let [child, name] = &args[..]
        && child == "child"
    {
        measure(name);
        return ExitCode::SUCCESS;
    }
    let picked = args.first().filter(|arg| arg.parse::<usize>().is_err());
    let repetitions = args.iter().find_map(|arg| arg.parse().ok()).unwrap_or(3);
    println!("| loop | resident, MiB | ratio | held, MiB | ratio | peak, MiB | ratio |");
    println!("|---|---|---|---|---|---|---|");
    let mut grown = Vec::new();
    for (name, ..) in LOOPS {
        if picked.is_some_and(|picked| picked != name) {
            continue;
        }
        let runs: Vec<Vec<f64>> = (0..repetitions).map(|_| run(name)).collect();
        if report(name, &runs) > MOST_GROWTH {
            grown.push(name);
        }
    }
    if grown.is_empty() {
        println!("flat: no loop holds more than {MOST_GROWTH} times as much at step {STEPS}");
        return ExitCode::SUCCESS;
    }
    println!("GROWS with the steps of: {}", grown.join("; "));
    ExitCode::FAILURE
}

/// A loop in a process of its own: resident, held and peak, each early and late, in MiB.
fn run(name: &str) -> Vec<f64> {
    let mut child = Command::new(std::env::current_exe().unwrap());
    if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
        child.env("MIMALLOC_PURGE_DELAY", "-1");
    }
    let output = child.args(["child", name]).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace()
        .map(|number| number.parse().unwrap())
        .collect()
}

/// Prints the row of a loop, medians and spreads over its runs; the larger ratio of live bytes.
fn report(name: &str, runs: &[Vec<f64>]) -> f64 {
    let spread = |of: &dyn Fn(&[f64]) -> f64| {
        let mut values: Vec<f64> = runs.iter().map(|run| of(run)).collect();
        values.sort_by(f64::total_cmp);
        (
            values[0],
            values[values.len() / 2],
            values[values.len() - 1],
        )
    };
    let (mut row, mut largest) = (format!("| {name} |"), 0.0_f64);
    for at in [0, 2, 4] {
        let (_, mib, _) = spread(&|run| run[at]);
        let (least, ratio, most) = spread(&|run| run[at + 1] / run[at]);
        row += &format!(" {mib:.1} | {ratio:.3} [{least:.3}, {most:.3}] |");
        if at > 0 {
            largest = largest.max(ratio);
        }
    }
    println!("{row}");
    largest
}

/// Runs a loop while another thread watches, and prints what it saw.
fn measure(name: &str) {
    let (_, stage, settings) = *LOOPS.iter().find(|(found, ..)| *found == name).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::create(folder.path()).unwrap();
    let done = AtomicBool::new(false);
    let log = run.path("metrics.jsonl");
    let samples = std::thread::scope(|scope| {
        let watch = scope.spawn(|| watch(&log, &done));
        train(stage, settings, &run);
        done.store(true, Ordering::Relaxed);
        watch.join().unwrap()
    });
    let around = |last: usize| {
        let window = last - WINDOW..last;
        let seen = samples
            .iter()
            .filter(move |sample| window.contains(&sample.step));
        let mut resident: Vec<f64> = seen.clone().map(|sample| sample.resident).collect();
        assert!(
            resident.len() >= WINDOW,
            "too few samples of {name}: a larger model is needed"
        );
        resident.sort_by(f64::total_cmp);
        let live = seen.map(|sample| sample.live);
        let least = live.clone().fold(f64::INFINITY, f64::min);
        [
            resident[resident.len() / 2],
            least,
            live.fold(0.0, f64::max),
        ]
    };
    for (early, late) in around(EARLY).into_iter().zip(around(STEPS)) {
        println!("{early} {late}");
    }
}

/// What is held at a moment, in MiB.
struct Sample {
    /// Steps done.
    step: usize,
    resident: f64,
    live: f64,
}

/// Looks again and again until `done`; keeps what it sees of the steps in question.
fn watch(log: &Path, done: &AtomicBool) -> Vec<Sample> {
    // All the room that is needed, so that watching takes no memory of its own later.
    let mut samples = Vec::with_capacity(1 << 13);
    let (mut file, mut bytes, mut step) = (None, vec![0; 1 << 16], 0);
    let counts = |step| {
        [EARLY, STEPS]
            .iter()
            .any(|last| (last - WINDOW..*last).contains(&step))
    };
    while !done.load(Ordering::Relaxed) {
        file = file.or_else(|| File::open(log).ok());
        if let Some(file) = &mut file {
            let n = file.read(&mut bytes).unwrap();
            step += bytes[..n].iter().filter(|&&byte| byte == b'\n').count();
        }
        let live = ALLOCATOR.allocated() as f64 / 1024.0 / 1024.0;
        let resident = resident();
        if counts(step) && samples.len() < samples.capacity() {
            samples.push(Sample {
                step,
                resident,
                live,
            });
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    samples
}

fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("RssAnon:"))
        .unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1024.0
}

/// A model that never ends a text by itself, so that all completions have one length.
#[derive(Module, Debug)]
struct Endless {
    model: Transformer,
}

impl CausalLm for Endless {
    type Cache = KvCache;

    fn vocab_size(&self) -> usize {
        self.model.vocab_size()
    }
    fn hidden_size(&self) -> usize {
        self.model.hidden_size()
    }
    fn max_len(&self) -> usize {
        self.model.max_len()
    }
    fn cache(&self, batch: usize, capacity: usize) -> KvCache {
        self.model.cache(batch, capacity)
    }
    fn hidden(&self, input: Input, cache: Option<&mut KvCache>) -> Tensor<3> {
        self.model.hidden(input, cache)
    }
    fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        let mut end = [0.0; VOCAB];
        end[EOS] = -1e4;
        let logits = self.model.logits(hidden);
        let end = Tensor::<1>::from_floats(end, &logits.device());
        logits + end.unsqueeze()
    }
    fn n_parts(&self) -> usize {
        self.model.n_parts()
    }
    fn part(&self, part: usize, input: &Input, states: Option<Tensor<3>>) -> Tensor<3> {
        self.model.part(part, input, states)
    }
}

fn model() -> Endless {
    let width = std::env::var("FLATNESS_HIDDEN").map_or(128, |width| width.parse().unwrap());
    let shape = LlamaConfig::small(VOCAB, width, 4, 4, 64);
    let model = randomize(shape.init(&Device::flex()), &mut StdRng::seed_from_u64(5));
    Endless { model }
}

/// `n` words, others for another row.
fn words(row: usize, n: usize) -> String {
    let word = |i| format!("t{}", 2 + (row * 7 + i * (row % 5 + 1)) % (VOCAB - 2));
    (0..n).map(word).collect::<Vec<_>>().join(" ")
}

/// The share of one word.
struct Share;

impl Reward for Share {
    fn reward(&mut self, completions: &[Completion]) -> rlaif::Result<Vec<f32>> {
        let share = |row: &Completion| row.completion.matches("t7").count() as f32 / 16.0;
        Ok(completions.iter().map(share).collect())
    }
}

/// Takes all steps of a loop.
fn train(stage: &str, settings: &str, run: &RunDir) {
    let tokenizer = Tokenizer::load(Path::new(TOKENIZER)).unwrap();
    let policy: PolicyConfig = toml::from_str(&format!("model = \"{TOKENIZER}\"")).unwrap();
    let mut journal = run.journal(stage, stage).unwrap();
    let epochs = STEPS * BATCH / ROWS;
    let text = format!("batch_size = {BATCH}\nnum_train_epochs = {epochs}\n{settings}");
    let start = (model(), &tokenizer);
    let prompts = (0..ROWS).map(|i| words(i, 8));
    match stage {
        "sft" => {
            let row = |(i, prompt): (usize, String)| {
                Demonstration::new(format!("{i}"), prompt, words(i + 99, 16))
            };
            let rows: Vec<Demonstration> = (0..).zip(prompts).map(row).collect();
            let config = toml::from_str(&text).unwrap();
            sft::train(&config, &policy, start, &rows, &mut journal, 1).unwrap();
        }
        "rl" => optimise(settings, &policy, start, run),
        _ => {
            let row = |(i, prompt): (usize, String)| -> Preference {
                let row = serde_json::json!({
                    "prompt": prompt, "chosen": words(i + 99, 16), "rejected": words(i + 200, 16),
                    "p_chosen": 0.75,
                });
                serde_json::from_value(row).unwrap()
            };
            let rows: Vec<Preference> = (0..).zip(prompts).map(row).collect();
            if stage == "dpo" {
                let config = toml::from_str(&text).unwrap();
                dpo::train(&config, &policy, start, &rows, &mut journal, 1).unwrap();
            } else {
                let config = toml::from_str(&text).unwrap();
                reward::train(&config, &policy, start, &rows, &mut journal, 1).unwrap();
            }
        }
    }
}

fn optimise(
    algorithm: &str,
    policy: &PolicyConfig,
    (initial, tokenizer): (Endless, &Tokenizer),
    run: &RunDir,
) {
    let text = format!(
        "reward = \"direct\"\nsteps = {STEPS}\nbatch_size = {BATCH}\nnum_generations = 2\n\
        sampling = {{ max_new_tokens = 16 }}\nalgorithm = {{ {algorithm} }}"
    );
    let config: RlConfig = toml::from_str(&text).unwrap();
    config.validate().unwrap();
    let prompt = |i: usize| Prompt {
        id: i.to_string(),
        prompt: words(i, 8).into(),
    };
    let prompts: Vec<Prompt> = (0..ROWS).map(prompt).collect();
    let mut algorithm = config.init(initial.clone());
    let mut rl = RlRun {
        config: &config,
        policy,
        tokenizer,
        prompts: &prompts,
        reward: &mut Share,
        journal: &mut run.journal("rl", "policy").unwrap(),
    };
    rl::train(&mut rl, initial, algorithm.as_mut(), 17).unwrap();
}
