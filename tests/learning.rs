//! Each algorithm must learn a toy task: to write one word of a dozen, on a policy of random
//! weights.
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
use rlaif::rl::advantage::ScaleRewards;
use rlaif::rl::loss::{KlEstimator, LossType};
use rlaif::rl::{
    AdaptiveKlConfig, AlgorithmConfig, GrpoConfig, HealthConfig, PpoConfig, RatioLevel,
    ReinforceBatchConfig, ReinforceConfig, RewardKind, RlConfig, RlRun, RlooConfig, train,
};
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
        AlgorithmConfig::Grpo(_) | AlgorithmConfig::Rloo(_)
    );
    let optim = OptimConfig {
        learning_rate: 1e-2,
        lr_scheduler_type: Schedule::Constant,
        ..Default::default()
    };
    RlConfig {
        reward: RewardKind::Direct,
        steps: 30,
        batch_size: 32,
        num_generations: 4,
        sampling: SamplingConfig {
            max_new_tokens: 8,
            ..Default::default()
        },
        micro_batch_size: None,
        kl_coef: (!has_beta).then_some(0.02),
        adaptive_kl: None,
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

/// Optimises a policy of random weights; returns how it ended and the rows of the log.
fn run(config: &RlConfig) -> (rlaif::Result<()>, Vec<Metric>) {
    config.validate().unwrap();
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
    let outcome = train(&mut rl, model, algorithm.as_mut(), 17).map(|_| ());
    (outcome, read_jsonl(run.path("metrics.jsonl")).unwrap())
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

#[test]
fn reinforce_with_a_batch_baseline_learns() {
    let algorithm = AlgorithmConfig::ReinforceBatch(ReinforceBatchConfig {
        num_iterations: 2,
        ..Default::default()
    });
    check_learns(&config(algorithm), 0.8);
}

#[test]
fn rloo_learns() {
    let rloo = RlooConfig {
        beta: 0.02,
        ..Default::default()
    };
    check_learns(&config(AlgorithmConfig::Rloo(rloo)), 0.8);
    let rloo = RlooConfig {
        beta: 0.02,
        num_iterations: 2,
        normalize_advantages: true,
        reward_clip_range: Some([0.0, 1.0]),
        ..Default::default()
    };
    check_learns(&config(AlgorithmConfig::Rloo(rloo)), 0.8);
}

#[test]
fn grpo_and_its_variants_learn() {
    let grpo = GrpoConfig::default;
    let variants = [
        grpo(),
        GrpoConfig {
            beta: 0.04,
            loss_type: LossType::Grpo,
            num_iterations: 2,
            ..grpo()
        },
        GrpoConfig {
            epsilon_high: Some(0.28),
            delta: Some(3.0),
            num_mini_batches: 2,
            entropy_coef: 1e-3,
            ..grpo()
        },
        GrpoConfig {
            loss_type: LossType::DrGrpo,
            scale_rewards: ScaleRewards::None,
            ..grpo()
        },
        GrpoConfig {
            loss_type: LossType::Bnpo,
            scale_rewards: ScaleRewards::Batch,
            kl_estimator: KlEstimator::K2,
            beta: 0.02,
            ..grpo()
        },
        GrpoConfig {
            loss_type: LossType::Grpo,
            importance_sampling_level: RatioLevel::Sequence,
            num_iterations: 2,
            ..grpo()
        },
        GrpoConfig {
            loss_type: LossType::Cispo,
            epsilon: 1.0,
            epsilon_high: Some(4.0),
            num_iterations: 2,
            ..grpo()
        },
    ];
    for variant in variants {
        check_learns(&config(AlgorithmConfig::Grpo(variant)), 0.7);
    }
}

#[test]
fn ppo_learns_with_all_its_options() {
    let ppo = PpoConfig {
        num_ppo_epochs: 2,
        num_mini_batches: 2,
        dual_clip: Some(3.0),
        kl_estimator: KlEstimator::K3,
        normalize_rewards: true,
        reward_clip_range: Some([-3.0, 3.0]),
        whiten_rewards: true,
        ..Default::default()
    };
    check_learns(&config(AlgorithmConfig::Ppo(ppo)), 0.8);
}

/// The policy moves away from where it started, past the target: the weight of the penalty rises.
#[test]
fn an_adaptive_penalty_follows_the_kl() {
    let mut config = config(AlgorithmConfig::Rloo(RlooConfig::default()));
    config.adaptive_kl = Some(AdaptiveKlConfig {
        target: 0.5,
        horizon: 320,
    });
    let rows = learn(&config);
    let coef = |row: &Metric| value(row, "objective/kl_coef");
    assert!((coef(&rows[0]) - 0.05).abs() < 1e-6);
    // The first policy is its own reference: the error of its KL of 0 counts as -0.2, and
    // 0.05 (1 - 0.2 * 32 / 320) = 0.049.
    assert!((coef(&rows[1]) - 0.049).abs() < 1e-6, "{:?}", rows[1]);
    assert!(coef(&rows[rows.len() - 1]) > 0.05);
}

/// A heavy KL penalty outweighs the reward, in the reward as in the loss; a policy without one goes
/// farther. Whitened noise makes PPO's wander a little.
#[test]
fn a_heavy_penalty_holds_the_policy() {
    let kl = |row: &Metric| value(row, "objective/kl");
    let free = learn(&config(AlgorithmConfig::Grpo(GrpoConfig::default())));
    let free = kl(&free[free.len() - 1]);
    assert!(free > 5.0, "{free}");
    let grpo = |kl_estimator| GrpoConfig {
        beta: 10.0,
        kl_estimator,
        num_iterations: 2,
        ..Default::default()
    };
    let rloo = RlooConfig {
        beta: 10.0,
        ..Default::default()
    };
    let ppo = PpoConfig::default();
    for algorithm in [
        AlgorithmConfig::Ppo(ppo),
        AlgorithmConfig::ReinforceBatch(ReinforceBatchConfig::default()),
        AlgorithmConfig::Rloo(rloo),
        AlgorithmConfig::Grpo(grpo(KlEstimator::K2)),
        AlgorithmConfig::Grpo(grpo(KlEstimator::K3)),
    ] {
        let mut config = config(algorithm);
        config.kl_coef = config.kl_coef.map(|_| 10.0);
        let rows = learn(&config);
        let last = &rows[rows.len() - 1];
        assert!(kl(last) < 4.0, "{last:?}: {:?}", config.algorithm);
        assert!(value(last, "reward") < 0.5, "{last:?}");
    }
}

/// A bonus on the entropy keeps the policy from settling on one word.
#[test]
fn an_entropy_bonus_keeps_the_entropy() {
    let last_entropy = |entropy_coef| {
        let algorithm = AlgorithmConfig::Grpo(GrpoConfig {
            entropy_coef,
            ..Default::default()
        });
        let rows = learn(&config(algorithm));
        value(&rows[rows.len() - 1], "entropy")
    };
    let (without, with) = (last_entropy(0.0), last_entropy(1.0));
    assert!(without < 0.5, "{without}");
    assert!(with > 1.5, "{with}");
}

/// A policy without a penalty leaves its reference; the run ends when it is too far, and says so.
#[test]
fn an_unhealthy_run_can_be_stopped() {
    let mut config = config(AlgorithmConfig::Grpo(GrpoConfig::default()));
    config.health = HealthConfig {
        stop: true,
        window: 2,
        max_kl: 1.0,
        ..Default::default()
    };
    let (outcome, rows) = run(&config);
    let message = outcome.unwrap_err().to_string();
    assert!(message.contains("KL explosion"), "{message}");
    assert!(message.contains("rl.adaptive_kl"), "{message}");
    let ill = |row: &Metric| value(row, "health/kl_explosion");
    assert!(rows.len() < config.steps);
    assert_eq!((ill(&rows[0]), ill(&rows[rows.len() - 1])), (0.0, 1.0));
}

/// Completions that were cut count in the baseline only: with all of them cut nothing is learned.
#[test]
fn truncated_completions_can_be_masked() {
    let mut config = config(AlgorithmConfig::Grpo(GrpoConfig {
        mask_truncated_completions: true,
        ..Default::default()
    }));
    config.steps = 2;
    config.sampling.max_new_tokens = 1;
    for row in learn(&config) {
        let clipped = value(&row, "completions/clipped_ratio");
        let norm = value(&row, "grad_norm");
        assert!(clipped < 1.0 || norm == 0.0, "{row:?}");
        // Only those that ended at once are left, one token each.
        assert!(clipped > 0.5 && norm.is_finite(), "{row:?}");
    }
}

/// What is logged of a rollout batch, whatever the algorithm.
#[test]
fn sampler_and_trainer_agree() {
    let mut config = config(AlgorithmConfig::Grpo(GrpoConfig::default()));
    config.steps = 3;
    for row in learn(&config) {
        let difference = value(&row, "sampling/sampling_logp_difference/max");
        assert!(difference < 1e-4, "{row:?}");
        for name in [
            "reward",
            "reward_std",
            "frac_reward_zero_std",
            "entropy",
            "kl",
        ] {
            assert!(row.values.contains_key(name), "{name} in {row:?}");
        }
        // One optimizer step: the policy that learns is the one that sampled.
        for side in ["low", "high", "region"] {
            assert_eq!(value(&row, &format!("clip_ratio/{side}_mean")), 0.0);
        }
    }
}

/// Gradients of micro-batches add up to that of the whole batch, groups torn apart or not.
#[test]
fn micro_batches_change_nothing() {
    let grpo = |loss_type| {
        AlgorithmConfig::Grpo(GrpoConfig {
            loss_type,
            beta: 0.04,
            entropy_coef: 0.01,
            ..Default::default()
        })
    };
    for algorithm in [
        AlgorithmConfig::Ppo(PpoConfig::default()),
        AlgorithmConfig::Reinforce(ReinforceConfig {}),
        AlgorithmConfig::ReinforceBatch(ReinforceBatchConfig::default()),
        AlgorithmConfig::Rloo(RlooConfig::default()),
        grpo(LossType::Grpo),
        grpo(LossType::Bnpo),
        grpo(LossType::DrGrpo),
        grpo(LossType::Dapo),
        grpo(LossType::Cispo),
    ] {
        let mut config = config(algorithm);
        config.steps = 1;
        let whole = learn(&config).remove(0);
        config.micro_batch_size = Some(5);
        let parts = learn(&config).remove(0);
        let timed = |name: &str| name.starts_with("time/");
        for name in whole.values.keys().filter(|name| !timed(name)) {
            let (whole, parts) = (value(&whole, name), value(&parts, name));
            let kind = &config.algorithm;
            assert!(
                (whole - parts).abs() < 1e-5,
                "{kind:?}, {name}: {whole} and {parts}"
            );
        }
    }
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
