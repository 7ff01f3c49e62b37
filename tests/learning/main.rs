//! Policy optimisation on a toy task: to write one word of a dozen, on a policy of random weights.
//!
//! In `learns` each algorithm and each optimizer must get somewhere; in `settings` each setting of
//! the loop must do what it says.
#![cfg(feature = "flex")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod dpo;
mod learns;
mod online;
mod settings;

use std::path::Path;

use burn::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rlaif::config::PolicyConfig;
use rlaif::generate::SamplingConfig;
use rlaif::model::{CausalLm, LlamaConfig, Transformer, randomize};
use rlaif::optim::{OptimConfig, Schedule};
use rlaif::record::{Completion, LoggedRollout, Prompt, read_jsonl};
use rlaif::reward::{Reward, RewardKind};
use rlaif::rl::{AlgorithmConfig, HealthConfig, ReferenceConfig, RlConfig, RlRun, train};
use rlaif::run::{Metric, RunDir};
use rlaif::tokenizer::Tokenizer;

const WORDS: [&str; 12] = [
    "<pad>", "<s>", "</s>", "red", "blue", "green", "black", "white", "pink", "gray", "brown",
    "gold",
];

/// Share of the words of a completion that are `gold`.
struct Gold;

impl Reward for Gold {
    fn reward(&mut self, completions: &[Completion]) -> rlaif::Result<Vec<f32>> {
        let share = |row: &Completion| {
            let words = row.completion.split_whitespace();
            let (gold, all) = words.fold((0, 0), |(gold, all), word| {
                (gold + usize::from(word == "gold"), all + 1)
            });
            gold as f32 / all.max(1) as f32
        };
        Ok(completions.iter().map(share).collect())
    }
}

fn tokenizer(dir: &Path) -> Tokenizer {
    let vocab: serde_json::Map<String, serde_json::Value> = (0..)
        .zip(WORDS)
        .map(|(id, word)| (word.into(), serde_json::json!(id)))
        .collect();
    let special = |id: usize| {
        serde_json::json!({"id": id, "content": WORDS[id], "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true})
    };
    let file = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [special(0), special(1), special(2)],
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<pad>"},
    });
    std::fs::write(dir.join("tokenizer.json"), file.to_string()).unwrap();
    std::fs::write(dir.join("config.json"), r#"{"eos_token_id": 2}"#).unwrap();
    Tokenizer::load(dir).unwrap()
}

fn config(algorithm: AlgorithmConfig) -> RlConfig {
    let has_value_model = matches!(
        algorithm,
        AlgorithmConfig::Ppo(_) | AlgorithmConfig::Reinforce(_)
    );
    let has_beta = matches!(
        algorithm,
        AlgorithmConfig::Grpo(_) | AlgorithmConfig::Rloo(_) | AlgorithmConfig::OnlineDpo(_)
    );
    let optim = OptimConfig {
        learning_rate: 1e-2,
        lr_scheduler_type: Schedule::Constant,
        ..Default::default()
    };
    RlConfig {
        reward: RewardKind::Direct {}.into(),
        steps: 30,
        batch_size: 32,
        num_generations: 4,
        sampling: SamplingConfig {
            max_new_tokens: 8,
            ..Default::default()
        },
        micro_batch_size: None,
        micro_batch_tokens: None,
        gradient_checkpointing: false,
        self_rewarding: None,
        overlap: false,
        kl_coef: (!has_beta).then_some(0.02),
        adaptive_kl: None,
        reference: ReferenceConfig::default(),
        validation: None,
        health: HealthConfig::default(),
        missing_eos_penalty: 0.0,
        optim: optim.clone(),
        value_optim: has_value_model.then_some(optim),
        algorithm,
    }
}

/// Optimises a policy of random weights; returns the rows of the log.
fn learn(config: &RlConfig) -> Vec<Metric> {
    let (outcome, rows) = run(config);
    outcome.unwrap();
    rows
}

/// A policy of random weights.
fn initial() -> Transformer {
    let shape = LlamaConfig::small(WORDS.len(), 32, 2, 2, 32);
    let model: Transformer = randomize(shape.init(&Device::flex()), &mut StdRng::seed_from_u64(5));
    assert_eq!(model.vocab_size(), WORDS.len());
    model
}

fn prompts() -> Vec<Prompt> {
    let prompt = |i: usize| Prompt {
        id: i.to_string(),
        prompt: format!("{} {}", WORDS[3 + i % 8], WORDS[3 + i / 3]).into(),
    };
    (0..24).map(prompt).collect()
}

fn policy_config(dir: &Path) -> PolicyConfig {
    PolicyConfig {
        model: dir.into(),
        prompt_template: "{prompt}".into(),
        dtype: Default::default(),
        lora: None,
        chat_template_kwargs: Default::default(),
    }
}

/// Optimises a policy of random weights; returns the rollouts that are kept or how it failed, and the
/// rows of the log.
fn run(config: &RlConfig) -> (rlaif::Result<Vec<LoggedRollout>>, Vec<Metric>) {
    run_against(config, &mut Gold)
}

/// The same against another reward.
fn run_against(
    config: &RlConfig,
    reward: &mut dyn Reward,
) -> (rlaif::Result<Vec<LoggedRollout>>, Vec<Metric>) {
    config.validate().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::create(folder.path()).unwrap();
    let tokenizer = tokenizer(folder.path());
    let (model, prompts, policy) = (initial(), prompts(), policy_config(folder.path()));
    let mut journal = run.journal("rl", "policy").unwrap();
    let mut algorithm = config.init(model.clone());
    let mut rl = RlRun {
        config,
        policy: &policy,
        tokenizer: &tokenizer,
        prompts: &prompts,
        reward,
        journal: &mut journal,
    };
    let outcome = train(&mut rl, model, algorithm.as_mut(), 17).map(|trained| trained.rollouts);
    (outcome, read_jsonl(run.path("metrics.jsonl")).unwrap())
}

fn value(row: &Metric, name: &str) -> f64 {
    row.values[name].unwrap()
}
