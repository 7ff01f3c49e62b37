//! How many copies of a model are in memory: with adapters, one serves as policy, reference, value
//! model and reward model.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;

use burn::module::Module;
use burn::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rlaif::config::PolicyConfig;
use rlaif::model::{self, LlamaConfig, Loader, LoraConfig, ScalarHead};
use rlaif::precision::Precision;
use rlaif::record::Prompt;
use rlaif::reward::ModelReward;
use rlaif::rl::{RlConfig, RlRun, train};
use rlaif::run::RunDir;
use rlaif::tokenizer::Tokenizer;

/// Highest resident memory of this process so far, in MiB.
fn peak() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<f64>().unwrap() / 1024.0
}

const TOKENIZER: &str = "models/labeler-xs";

/// A random model of 38 million weights in a folder, and an adapter on it that makes it a reward
/// model in another; their size in MiB.
fn write_models(base: &Path, reward: &Path, lora: &LoraConfig) -> f64 {
    let tokenizer = Tokenizer::load(Path::new(TOKENIZER)).unwrap();
    let mut rng = StdRng::seed_from_u64(1);
    let shape = LlamaConfig::small(tokenizer.vocab_size(), 512, 12, 8, 128);
    let model = model::randomize(shape.init(&Device::flex()), &mut rng);
    let bytes = 4.0 * model.num_params() as f64;
    model::save(&model, base).unwrap();
    let adapted = lora.apply(model, base, &mut rng).unwrap();
    model::save_head(&ScalarHead::new(adapted), reward).unwrap();
    bytes / 1024.0 / 1024.0
}

/// One step of PPO with a reward model.
fn optimise(base: &Path, reward: &Path, lora: &LoraConfig, run: &RunDir) {
    let tokenizer = Tokenizer::load(Path::new(TOKENIZER)).unwrap();
    let policy = PolicyConfig {
        model: base.into(),
        prompt_template: "{prompt}".into(),
        dtype: Default::default(),
        lora: Some(lora.clone()),
        chat_template_kwargs: Default::default(),
    };
    let mut loader = Loader::new(&Device::flex());
    let mut rng = StdRng::seed_from_u64(2);
    let initial = lora
        .apply(loader.base(base).unwrap(), base, &mut rng)
        .unwrap();
    let reward_model = loader.load_head(reward).unwrap().valid();
    let config: RlConfig = serde_json::from_value(serde_json::json!({
        "reward": "model", "steps": 1, "batch_size": 2, "algorithm": {"kind": "ppo"},
        "sampling": {"max_new_tokens": 4, "batch_size": 2}, "value_optim": {},
    }))
    .unwrap();
    let prompt = |id: usize| Prompt {
        id: id.to_string(),
        prompt: "i".into(),
    };
    let mut algorithm = config.init(initial.clone());
    let mut rl = RlRun {
        config: &config,
        policy: &policy,
        tokenizer: &tokenizer,
        prompts: &[prompt(0), prompt(1)],
        reward: &mut ModelReward::new(reward_model, tokenizer.clone(), policy.clone()),
        journal: &mut run.journal("rl", "policy").unwrap(),
    };
    train(&mut rl, initial, algorithm.as_mut(), 17).unwrap();
}

/// Set for the child of [`with_adapters_four_models_are_one_in_memory`]: the folder of its models.
const FOLDER: &str = "RLAIF_MEMORY_TEST";

/// Four models of full weights, with gradients and two moments for two of them, would be ten times
/// the weights.
///
/// The optimisation runs in a process of its own, for one that has held the model before keeps some
/// of the memory.
#[test]
fn with_adapters_four_models_are_one_in_memory() {
    let lora = LoraConfig {
        lora_r: 4,
        ..Default::default()
    };
    if let Ok(dir) = std::env::var(FOLDER) {
        let [base, reward, run] = ["base", "reward", "run"].map(|name| Path::new(&dir).join(name));
        let before = peak();
        optimise(&base, &reward, &lora, &RunDir::create(run).unwrap());
        println!("peak: {}", peak() - before);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let [base, reward] = ["base", "reward"].map(|name| {
        let path = dir.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    });
    let weights = write_models(&base, &reward, &lora);
    let child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--nocapture",
            "--exact",
            "with_adapters_four_models_are_one_in_memory",
        ])
        .env(FOLDER, dir.path())
        .output()
        .unwrap();
    let peak = said(&child.stdout, "peak: ");
    let copies = peak / weights;
    println!("{weights:.0} MiB of weights; at its peak, {copies:.2} times as much was in use");
    assert!((1.0..1.6).contains(&copies), "{copies}");
}

/// The number after `what` in the output of a child.
fn said(output: &[u8], what: &str) -> f64 {
    let said = String::from_utf8_lossy(output).into_owned();
    let found = said.lines().find_map(|line| line.strip_prefix(what));
    assert!(found.is_some(), "{said}");
    found.unwrap().parse().unwrap()
}

/// Resident memory of this process, in MiB.
fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<f64>().unwrap() / 1024.0
}

/// Weights of 32 bits in a file, loaded in 16: half the memory, and no whole copy in 32 bits on the
/// way.
#[test]
fn sixteen_bits_take_half_the_memory() {
    if let Ok(dir) = std::env::var(FOLDER) {
        let precision = match std::env::var("RLAIF_MEMORY_DTYPE").unwrap().as_str() {
            "bf16" => Precision::Bf16,
            _ => Precision::F32,
        };
        let (before, highest) = (resident(), peak());
        let loader = Loader::new(&Device::flex()).in_precision(precision);
        let model = loader.unwrap().load(&Path::new(&dir).join("base")).unwrap();
        println!("held: {}", resident() - before);
        println!("peak: {}", peak() - highest);
        assert_eq!(model.precision(), precision);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let [base, reward] = ["base", "reward"].map(|name| dir.path().join(name));
    fs::create_dir(&base).unwrap();
    fs::create_dir(&reward).unwrap();
    let weights = write_models(&base, &reward, &LoraConfig::default());
    let load = |dtype: &str| {
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--nocapture",
                "--exact",
                "sixteen_bits_take_half_the_memory",
            ])
            .env(FOLDER, dir.path())
            .env("RLAIF_MEMORY_DTYPE", dtype)
            .output()
            .unwrap();
        let [held, peak] = ["held: ", "peak: "].map(|what| said(&child.stdout, what) / weights);
        println!(
            "{dtype}: {held:.2} times the {weights:.0} MiB of the file held, {peak:.2} at most"
        );
        (held, peak)
    };
    let (held, peak) = load("f32");
    assert!((0.95..1.2).contains(&held) && peak < 1.35, "{held}, {peak}");
    let (held, peak) = load("bf16");
    assert!(
        (0.45..0.65).contains(&held) && peak < 0.85,
        "{held}, {peak}"
    );
}
