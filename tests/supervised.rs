//! Supervised fine-tuning and reward models, on models of random weights and a dozen short texts.
#![cfg(feature = "flex")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use burn::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rlaif::config::{PolicyConfig, RewardConfig, SftConfig};
use rlaif::dpo::DpoConfig;
use rlaif::model::{LlamaConfig, Transformer, randomize};
use rlaif::record::{Demonstration, Preference, read_jsonl};
use rlaif::run::{Metric, RunDir};
use rlaif::tokenizer::Tokenizer;
use rlaif::{dpo, reward, sft};

const FOLDER: &str = "models/labeler-xs";

const ANSWERS: [&str; 8] = [
    "yes",
    "no, I never was",
    "my dog ate it",
    "I",
    "a week in the mountains with my sister",
    "ask him",
    "not yet, but soon",
    "work",
];

fn tokenizer() -> Tokenizer {
    Tokenizer::load(Path::new(FOLDER)).unwrap()
}

fn model(tokenizer: &Tokenizer) -> Transformer {
    let shape = LlamaConfig::small(tokenizer.vocab_size(), 16, 2, 2, 64);
    randomize(shape.init(&Device::flex()), &mut StdRng::seed_from_u64(5))
}

fn policy() -> PolicyConfig {
    read(&format!(
        "model = \"{FOLDER}\"\nprompt_template = \"{{prompt}}\\n\""
    ))
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> T {
    toml::from_str(text).unwrap()
}

/// Trains a reward model with the settings of `text`; the rows of the log.
fn train_reward(text: &str) -> Vec<Metric> {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::create(folder.path()).unwrap();
    let tokenizer = tokenizer();
    let row = |pair: &[&str]| -> Preference {
        let json = serde_json::json!({
            "prompt": "what?", "chosen": pair[0], "rejected": pair[1], "p_chosen": 0.75,
        });
        serde_json::from_value(json).unwrap()
    };
    let rows: Vec<Preference> = ANSWERS.windows(2).map(row).collect();
    let config: RewardConfig = read(text);
    let start = (model(&tokenizer), &tokenizer);
    let mut journal = run.journal("reward", "reward").unwrap();
    reward::train(&config, &policy(), start, &rows, &mut journal, 1).unwrap();
    read_jsonl(run.path("metrics.jsonl")).unwrap()
}

/// The validation is in the log under TRL's names, and ends a training that gets no better.
#[test]
fn a_reward_model_stops_early() {
    let settings = "batch_size = 2\nnum_train_epochs = 30\nholdout = 0.3\n\
        optim = { learning_rate = 0.1, lr_scheduler_type = \"constant\" }\n";
    let validation = "validation = { eval_steps = 1, early_stopping_patience = 2 }";
    let rows = train_reward(&format!("{settings}{validation}"));
    let loss = |row: &Metric| row.values["eval_loss"].unwrap();
    assert!(rows.len() < 90, "{} steps", rows.len());
    let n = rows.len();
    let best = rows[..n - 2].iter().map(loss).fold(f64::INFINITY, f64::min);
    assert!(rows[n - 2..].iter().all(|row| loss(row) >= best));
    for name in [
        "num_tokens",
        "accuracy",
        "min_reward",
        "mean_reward",
        "max_reward",
        "margin",
        "eval_accuracy",
        "eval_margin",
        "eval_mean_reward",
    ] {
        assert!(rows[0].values.contains_key(name), "{name}");
    }
}

/// Fine-tunes on `rows` with the settings of `text`; the rows of the log.
fn fine_tune_on(rows: serde_json::Value, text: &str) -> Vec<Metric> {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::create(folder.path()).unwrap();
    let tokenizer = tokenizer();
    let rows: Vec<Demonstration> = serde_json::from_value(rows).unwrap();
    let config: SftConfig = read(text);
    config.validate().unwrap();
    let start = (model(&tokenizer), &tokenizer);
    let mut journal = run.journal("sft", "sft").unwrap();
    sft::train(&config, &policy(), start, &rows, &mut journal, 1).unwrap();
    read_jsonl(run.path("metrics.jsonl")).unwrap()
}

fn texts() -> serde_json::Value {
    let text = |answer: &&str| serde_json::json!({"text": answer});
    ANSWERS.iter().map(text).collect()
}

/// With all demonstrations in every step, how they are put into rows changes no number.
#[test]
fn packed_rows_fine_tune_like_rows_of_one() {
    let alone = fine_tune_on(texts(), "batch_size = 8\nnum_train_epochs = 3");
    let packed = "batch_size = 8\nnum_train_epochs = 3\npacking = true\nmax_length = 24";
    let packed = fine_tune_on(texts(), packed);
    assert_eq!(alone.len(), packed.len());
    for (alone, packed) in alone.iter().zip(&packed) {
        for (name, expected) in &alone.values {
            let (expected, found) = (expected.unwrap(), packed.values[name].unwrap());
            let near = (found - expected).abs() < 1e-5 * expected.abs().max(1.0);
            assert!(near, "{name}: {found}, expected {expected}");
        }
    }
}

/// The prompt counts where it is asked to, and texts count from their second token on.
#[test]
fn what_counts_is_what_was_asked() {
    let rows = serde_json::json!([{"prompt": "what?", "completion": "yes"}]);
    let loss = |rows, text: &str| fine_tune_on(rows, text)[0].values["loss"].unwrap();
    let completion = loss(rows.clone(), "batch_size = 1");
    let all = loss(rows, "batch_size = 1\ncompletion_only_loss = false");
    let text = serde_json::json!([{"text": "what?\nyes"}]);
    let text = loss(text, "batch_size = 1");
    assert!((all - text).abs() < 1e-6, "{all} and {text}");
    assert!((all - completion).abs() > 1e-3, "{all} and {completion}");
}

/// The best model at a measurement is the one that is kept, under TRL's names in the log.
#[test]
fn fine_tuning_stops_early() {
    let settings = "batch_size = 2\nnum_train_epochs = 30\nholdout = 0.25\n\
        optim = { learning_rate = 0.1, lr_scheduler_type = \"constant\" }\n\
        validation = { eval_steps = 2, early_stopping_patience = 2, load_best_model_at_end = true }";
    let rows = fine_tune_on(texts(), settings);
    assert!(rows.len() < 90, "{} steps", rows.len());
    let measured: Vec<usize> = (rows.iter())
        .filter(|row| row.values.contains_key("eval_loss"))
        .map(|row| row.step)
        .collect();
    assert!(measured.iter().all(|step| step % 2 == 0), "{measured:?}");
    assert!(rows[1].values.contains_key("eval_mean_token_accuracy"));
}

/// Held-out pairs are measured under TRL's names, by every kind of loss, and end the training.
#[test]
fn preference_optimisation_stops_early() {
    let frozen = "kind = \"frozen\"";
    let synced = "kind = \"synced\", ref_model_mixup_alpha = 0.6, ref_model_sync_steps = 2";
    for (loss, reference) in [
        ("dpo", frozen),
        ("dpo", synced),
        ("kto", frozen),
        ("orpo", frozen),
        ("simpo", frozen),
    ] {
        let rows = prefer(&format!(
            "batch_size = 2\nnum_train_epochs = 30\nholdout = 0.25\nloss = {{ kind = \"{loss}\" }}\n\
             reference = {{ {reference} }}\n\
             optim = {{ learning_rate = 0.1, lr_scheduler_type = \"constant\" }}\n\
             validation = {{ eval_steps = 2, early_stopping_patience = 2, load_best_model_at_end = true }}"
        ));
        let measured: Vec<_> = (rows.iter())
            .filter_map(|row| row.values.get("eval_loss").copied().flatten())
            .collect();
        // Two measurements in a row were no better than the best, which came before them.
        let best = measured.iter().copied().fold(f64::INFINITY, f64::min);
        let at = measured.iter().position(|loss| *loss == best).unwrap();
        assert_eq!(at + 3, measured.len(), "{loss}, {reference}: {measured:?}");
        assert_eq!(rows.len(), 2 * measured.len(), "{loss}, {reference}");
        assert!(rows[1].values.contains_key("eval_rewards/accuracies"));
        assert!(!rows[0].values.contains_key("eval_loss"));
    }
}

/// Optimises a policy on preferences with the settings of `text`; the rows of the log.
fn prefer(text: &str) -> Vec<Metric> {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::create(folder.path()).unwrap();
    let tokenizer = tokenizer();
    let config: DpoConfig = read(text);
    config.validate().unwrap();
    let pair = |(i, answers): (usize, &[&str])| {
        serde_json::json!({
            "prompt": format!("what {}?", i % 3), "chosen": answers[0], "rejected": answers[1],
        })
    };
    let rows: serde_json::Value = ANSWERS.windows(2).enumerate().map(pair).collect();
    let rows: Vec<Preference> = serde_json::from_value(rows).unwrap();
    let start = (model(&tokenizer), &tokenizer);
    let mut journal = run.journal("dpo", "policy").unwrap();
    dpo::train(&config, &policy(), start, &rows, &mut journal, 1).unwrap();
    read_jsonl(run.path("metrics.jsonl")).unwrap()
}
