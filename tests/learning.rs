//! Each algorithm must learn a toy task: to write one word of a dozen, on a policy of random weights.
#![cfg(feature = "flex")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use burn::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rlaif::config::PolicyConfig;
use rlaif::generate::SamplingConfig;
use rlaif::model::{CausalLm, LlamaConfig, Transformer, randomize};
use rlaif::optim::{OptimConfig, OptimKind, Schedule};
use rlaif::record::{Completion, Prompt, read_jsonl};
use rlaif::reward::Reward;
use rlaif::rl::{AlgorithmConfig, PpoConfig, ReinforceConfig, RewardKind, RlConfig, RlRun, train};
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
    let optim = OptimConfig {
        learning_rate: 1e-2,
        lr_scheduler_type: Schedule::Constant,
        ..Default::default()
    };
    RlConfig {
        reward: RewardKind::Direct,
        steps: 30,
        batch_size: 32,
        num_generations: 2,
        sampling: SamplingConfig {
            max_new_tokens: 8,
            ..Default::default()
        },
        kl_coef: 0.02,
        missing_eos_penalty: 0.0,
        optim: optim.clone(),
        value_optim: optim,
        algorithm,
    }
}

/// Optimises a policy of random weights; returns the rows of the log.
fn learn(config: &RlConfig) -> Vec<Metric> {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::create(folder.path()).unwrap();
    let tokenizer = tokenizer(folder.path());
    let shape = LlamaConfig::small(WORDS.len(), 32, 2, 2, 32);
    let model: Transformer = randomize(shape.init(&Device::flex()), &mut StdRng::seed_from_u64(5));
    assert_eq!(model.vocab_size(), WORDS.len());
    let prompts: Vec<Prompt> = (0..24)
        .map(|i| Prompt {
            id: i.to_string(),
            prompt: format!("{} {}", WORDS[3 + i % 8], WORDS[3 + i / 3]),
        })
        .collect();
    let policy = PolicyConfig {
        model: folder.path().into(),
        prompt_template: "{prompt}".into(),
    };
    let mut metrics = run.metrics().unwrap();
    let mut algorithm = config.init(model.clone());
    let mut rl = RlRun {
        config,
        policy: &policy,
        tokenizer: &tokenizer,
        prompts: &prompts,
        reward: &mut Gold,
        metrics: &mut metrics,
    };
    train(&mut rl, model, algorithm.as_mut(), 17).unwrap();
    read_jsonl(run.path("metrics.jsonl")).unwrap()
}

fn value(row: &Metric, name: &str) -> f64 {
    row.values[name].unwrap()
}

/// One word of ten is a tenth of the reward by chance.
#[track_caller]
fn check_learns(config: &RlConfig, at_least: f64) -> Vec<Metric> {
    let rows = learn(config);
    let score = |row: &Metric| value(row, "objective/scores");
    let (first, last) = (score(&rows[0]), score(&rows[rows.len() - 1]));
    assert!(first < 0.25, "starts at {first}");
    assert!(last > at_least, "ends at {last}");
    rows
}

#[test]
fn ppo_learns() {
    let ppo = PpoConfig {
        num_ppo_epochs: 2,
        ..Default::default()
    };
    check_learns(&config(AlgorithmConfig::Ppo(ppo)), 0.8);
}

#[test]
fn reinforce_learns() {
    check_learns(&config(AlgorithmConfig::Reinforce(ReinforceConfig {})), 0.8);
}

/// With one epoch and one minibatch the policy that is updated is the one that sampled: the
/// probability ratio is 1, so nothing is clipped and the old policy is not left.
#[test]
fn the_first_ratio_is_one() {
    let mut config = config(AlgorithmConfig::Ppo(PpoConfig {
        num_ppo_epochs: 1,
        ..Default::default()
    }));
    config.steps = 4;
    for row in learn(&config) {
        assert!((value(&row, "val/ratio") - 1.0).abs() < 1e-5, "{row:?}");
        assert!(value(&row, "policy/approxkl_avg") < 1e-9, "{row:?}");
        assert_eq!(value(&row, "policy/clipfrac_avg"), 0.0);
    }
}

/// Every optimizer lowers the same loss in a few steps.
#[test]
fn every_optimizer_learns() {
    for (kind, learning_rate) in [
        (OptimKind::Adamw, 1e-2),
        (OptimKind::Adafactor, 1e-2),
        (OptimKind::Lion, 1e-3),
        (OptimKind::Muon, 1e-2),
    ] {
        let mut config = config(AlgorithmConfig::Reinforce(ReinforceConfig {}));
        config.steps = 20;
        config.optim = OptimConfig {
            kind,
            learning_rate,
            ..config.optim
        };
        let rows = learn(&config);
        let score = |row: &Metric| value(row, "objective/scores");
        let (first, last) = (score(&rows[0]), score(&rows[rows.len() - 1]));
        assert!(last > first + 0.2, "{kind:?}: {first} to {last}");
    }
}
