//! A step over pieces is the step over the whole batch: (1 x 8) = (8 x 1) to 1e-5, for every loss.
//!
//! The table is [`RL`], [`PREFERENCES`] and the two supervised trainings. Two steps each, so that
//! what the second one tells depends on where the first has gone. Model, rows and rollouts are those
//! of `tests/fixtures/trajectories`: texts of 1 to 8 tokens, so that a loss which averages pieces
//! instead of tokens shows itself.
#![cfg(feature = "flex")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use burn::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rlaif::config::PolicyConfig;
use rlaif::model::Transformer;
use rlaif::record::{Completion, Demonstration, Preference, read_jsonl};
use rlaif::rl::{RlConfig, Rollout};
use rlaif::run::{Journal, Metric, RunDir};
use rlaif::tokenizer::Tokenizer;
use rlaif::{dpo, reward, sft};
use serde_json::Value;

const FOLDER: &str = "tests/fixtures/trajectories";

/// Eight rows at once, then in these pieces.
const PIECES: [&str; 5] = [
    "micro_batch_size = 8",
    "micro_batch_size = 1",
    "micro_batch_size = 3\ngradient_checkpointing = true",
    "micro_batch_tokens = 20",
    "micro_batch_size = 2\nmicro_batch_tokens = 30",
];

const OPTIM: &str = "{ learning_rate = 1e-3, lr_scheduler_type = \"constant\" }";

const PREFERENCES: [&str; 19] = [
    "kind = \"dpo\", loss_type = \"sigmoid\"",
    "kind = \"dpo\", loss_type = \"hinge\"",
    "kind = \"dpo\", loss_type = \"ipo\"",
    "kind = \"dpo\", loss_type = \"robust\", label_smoothing = 0.2",
    "kind = \"dpo\", loss_type = \"exo_pair\", label_smoothing = 0.1",
    "kind = \"dpo\", loss_type = \"nca_pair\"",
    "kind = \"dpo\", loss_type = \"bco_pair\"",
    "kind = \"dpo\", loss_type = \"sppo_hard\"",
    "kind = \"dpo\", loss_type = \"apo_zero\"",
    "kind = \"dpo\", loss_type = \"apo_down\"",
    "kind = \"dpo\", loss_type = \"sigmoid_norm\"",
    "kind = \"dpo\", rpo_alpha = 0.5",
    "kind = \"kto\"",
    "kind = \"kto\", desirable_weight = 1.5, undesirable_weight = 0.5",
    "kind = \"orpo\"",
    "kind = \"simpo\"",
    "kind = \"cpo\"",
    "kind = \"cpo\", loss_type = \"hinge\"",
    "kind = \"cpo\", loss_type = \"ipo\", cpo_alpha = 0.0",
];

const RL: [&str; 24] = [
    "kind = \"ppo\", num_ppo_epochs = 1",
    "kind = \"ppo\", num_ppo_epochs = 2, num_mini_batches = 2, dual_clip = 3.0",
    "kind = \"ppo\", kl_estimator = \"k2\", whiten_rewards = true",
    "kind = \"ppo\", kl_estimator = \"k3\", normalize_rewards = true",
    "kind = \"ppo\", value_model = \"shared\"",
    "kind = \"online_dpo\"",
    "kind = \"reinforce\"",
    "kind = \"reinforce_batch\"",
    "kind = \"reinforce_batch\", num_iterations = 2, num_mini_batches = 2",
    "kind = \"rloo\"",
    "kind = \"rloo\", num_iterations = 2, normalize_advantages = true",
    "kind = \"grpo\", loss_type = \"grpo\", beta = 0.04",
    "kind = \"grpo\", loss_type = \"bnpo\", beta = 0.04",
    "kind = \"grpo\", loss_type = \"dr_grpo\", scale_rewards = \"none\"",
    "kind = \"grpo\", loss_type = \"dapo\", epsilon_high = 0.28",
    "kind = \"grpo\", loss_type = \"cispo\", epsilon = 1.0, epsilon_high = 4.0",
    "kind = \"grpo\", loss_type = \"grpo\", importance_sampling_level = \"sequence\"",
    "kind = \"grpo\", importance_sampling_level = \"sequence\", num_mini_batches = 2",
    "kind = \"grpo\", delta = 2.0, scale_rewards = \"batch\"",
    "kind = \"grpo\", beta = 0.04, kl_estimator = \"k1\"",
    "kind = \"grpo\", beta = 0.04, kl_estimator = \"k2\"",
    "kind = \"grpo\", mask_truncated_completions = true, loss_type = \"bnpo\"",
    "kind = \"grpo\", entropy_coef = 0.1",
    "kind = \"grpo\", num_iterations = 2, num_mini_batches = 2, beta = 0.04",
];

fn recorded(name: &str) -> Value {
    let text = fs::read_to_string(format!("{FOLDER}/{name}.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn model() -> Transformer {
    rlaif::model::load(&Path::new(FOLDER).join("model"), &Device::flex()).unwrap()
}

/// What the steps of a training tell, a list of names and values each.
type Told = Vec<Vec<(String, f64)>>;

/// Trains with each way of cutting a batch, which must all tell the same.
#[track_caller]
fn check(loss: &str, train: impl Fn(&str) -> Told) {
    let whole = train(PIECES[0]);
    assert!(whole.len() >= 2, "{loss}: {whole:?}");
    for pieces in &PIECES[1..] {
        let parts = train(pieces);
        assert_eq!(whole.len(), parts.len());
        for (step, (whole, parts)) in whole.iter().zip(&parts).enumerate() {
            assert_eq!(whole.len(), parts.len());
            for ((name, expected), (same, found)) in whole.iter().zip(parts) {
                assert_eq!(name, same);
                let near = (found - expected).abs() <= 1e-5 * expected.abs().max(1.0);
                let at = format!("{loss}; {pieces}; update {step}, {name}");
                assert!(near, "{at}: {found}, whole {expected}");
            }
        }
    }
}

/// Runs a training of the pipeline with the settings of `text`; the rows of its log.
fn logged<C: serde::de::DeserializeOwned>(
    text: &str,
    train: impl Fn(&C, &PolicyConfig, (Transformer, &Tokenizer), &mut Journal),
) -> Told {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::create(folder.path()).unwrap();
    let mut journal = run.journal("stage", "stage").unwrap();
    let tokenizer = Tokenizer::load(&Path::new(FOLDER).join("model")).unwrap();
    let policy: PolicyConfig = toml::from_str(&format!("model = \"{FOLDER}/model\"")).unwrap();
    let text = format!("batch_size = 8\nnum_train_epochs = 2\noptim = {OPTIM}\n{text}");
    let config = toml::from_str(&text).unwrap();
    train(&config, &policy, (model(), &tokenizer), &mut journal);
    let rows: Vec<Metric> = read_jsonl(run.path("metrics.jsonl")).unwrap();
    let values = |row: Metric| row.values.into_iter().map(|(name, x)| (name, x.unwrap()));
    rows.into_iter().map(|row| values(row).collect()).collect()
}

/// Pairs with labels between a doubt and a certainty.
fn preferences(name: &str) -> Vec<Preference> {
    let mut rows = recorded(name)["rows"].take();
    for (i, row) in rows.as_array_mut().unwrap().iter_mut().enumerate() {
        row["p_chosen"] = (0.5 + i as f64 / 16.0).into();
    }
    serde_json::from_value(rows).unwrap()
}

#[test]
fn fine_tuning() {
    let rows: Vec<Demonstration> = serde_json::from_value(recorded("sft")["rows"].take()).unwrap();
    for settings in ["", "completion_only_loss = false"] {
        check(&format!("sft {settings}"), |pieces| {
            logged(
                &format!("{settings}\n{pieces}"),
                |config, policy, start, journal| {
                    sft::train(config, policy, start, &rows, journal, 1).unwrap();
                },
            )
        });
    }
}

#[test]
fn the_reward_model() {
    let rows = preferences("reward");
    for settings in [
        "",
        "center_rewards_coefficient = 0.1\nlabel_smoothing = 0.1",
    ] {
        let settings = format!("holdout = 0.0\n{settings}");
        check(&format!("reward {settings}"), |pieces| {
            logged(
                &format!("{settings}\n{pieces}"),
                |config, policy, start, journal| {
                    reward::train(config, policy, start, &rows, journal, 1).unwrap();
                },
            )
        });
    }
}

#[test]
fn every_loss_on_preferences() {
    let rows = preferences("dpo");
    for loss in PREFERENCES {
        check(loss, |pieces| {
            logged(
                &format!("{pieces}\nloss = {{ {loss} }}"),
                |config, policy, start, journal| {
                    dpo::train(config, policy, start, &rows, journal, 1).unwrap();
                },
            )
        });
    }
}

/// Completions of two prompts, some of them cut, by a policy that has moved since they were
/// sampled: by up to 0.35 nats a token, so that every clip and every penalty has something to do.
fn rollouts() -> Vec<Rollout> {
    let batch = recorded("grpo")["batches"][0].take();
    let rollout = |(i, row): (usize, &Value)| {
        let tokens: Vec<u32> = serde_json::from_value(row["tokens"].clone()).unwrap();
        let completion = serde_json::json!({
            "prompt_id": row["prompt"].to_string(), "prompt": "", "index": i, "completion": "",
            "n_tokens": tokens.len(), "log_prob": 0.0, "finished": i % 3 != 0,
        });
        let completion: Completion = serde_json::from_value(completion).unwrap();
        Rollout {
            completion,
            prompt_tokens: serde_json::from_value(row["prompt"].clone()).unwrap(),
            log_probs: vec![0.0; tokens.len()],
            tokens,
            old_log_probs: Vec::new(),
            ref_log_probs: Vec::new(),
            reward: row["reward"].as_f64().unwrap() as f32,
        }
    };
    let rows = batch.as_array().unwrap().iter().enumerate();
    let mut rollouts: Vec<Rollout> = rows.map(rollout).collect();
    let trees = rlaif::rl::trees(&rollouts);
    let log_probs = rlaif::log_prob::log_probs_of(&model(), &trees, 1.0, 1 << 14).unwrap();
    for (rollout, now) in rollouts.iter_mut().zip(log_probs) {
        let moved = |x: &f32, t: usize, scale: f32| x + scale * ((t % 5) as f32 - 2.0);
        let moved = |scale| now.iter().enumerate().map(move |(t, x)| moved(x, t, scale));
        (rollout.old_log_probs, rollout.ref_log_probs) =
            (moved(0.175).collect(), moved(-0.1).collect());
    }
    rollouts
}

#[test]
fn every_algorithm() {
    let rollouts = rollouts();
    for algorithm in RL {
        check(algorithm, |pieces| {
            let text = format!(
                "reward = \"direct\"\nsteps = 2\nbatch_size = 8\nnum_generations = 4\n\
                sampling = {{ max_new_tokens = 8 }}\noptim = {OPTIM}\n{pieces}\n\
                algorithm = {{ {algorithm} }}"
            );
            let config: RlConfig = toml::from_str(&text).unwrap();
            config.validate().unwrap();
            let mut algorithm = config.init(model());
            let mut policy = Some(config.optim.init(model(), 10));
            let mut rng = StdRng::seed_from_u64(1);
            let update = |_| {
                let coef = config.initial_kl_coef();
                let taken = policy.take().unwrap();
                let (next, stats) = algorithm.update(taken, &rollouts, coef, &mut rng).unwrap();
                policy = Some(next);
                stats
                    .into_iter()
                    .map(|(name, x)| (name.to_owned(), x))
                    .collect()
            };
            (0..2).map(update).collect()
        });
    }
}
