//! A real pretrained model, llama2.c's `stories260K`, fine-tuned on Grimm's tales: all its weights,
//! and low-rank adapters on it.
//!
//! Neither is part of the repository: both are taken from `RLAIF_DATA` (default `../shared/data`),
//! and the test says when they are not there.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use burn::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rlaif::config::PolicyConfig;
use rlaif::model::{self, LoraConfig, Transformer};
use rlaif::record::{Demonstration, read_jsonl};
use rlaif::run::{Metric, RunDir};
use rlaif::sft::{self, SftConfig};
use rlaif::tokenizer::Tokenizer;
use serde_json::json;

const STEPS: usize = 50;
const BATCH_SIZE: usize = 4;

/// The first pieces of 400 letters.
fn rows(text: &str, folder: &Path) -> Vec<Demonstration> {
    let letters: Vec<char> = text.chars().collect();
    let pieces = letters.chunks(400).take(STEPS * BATCH_SIZE);
    let line = |piece: &[char]| json!({"text": piece.iter().collect::<String>()}).to_string();
    let lines: Vec<String> = pieces.map(line).collect();
    let path = folder.join("grimm.jsonl");
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    read_jsonl(path).unwrap()
}

/// Mean loss of the first and of the last ten steps.
fn tune(model: Transformer, rows: &[Demonstration], dir: &Path, learning_rate: f64) -> [f64; 2] {
    let tokenizer = Tokenizer::load(dir).unwrap();
    let run = tempfile::tempdir().unwrap();
    let run = RunDir::create(run.path()).unwrap();
    let config: SftConfig = serde_json::from_value(json!({
        "batch_size": BATCH_SIZE, "optim": {"learning_rate": learning_rate},
    }))
    .unwrap();
    let policy: PolicyConfig = serde_json::from_value(json!({ "model": dir })).unwrap();
    let mut journal = run.journal("sft", "sft").unwrap();
    sft::train(
        &config,
        &policy,
        (model, &tokenizer),
        rows,
        &mut journal,
        17,
    )
    .unwrap();
    let rows: Vec<Metric> = read_jsonl(run.path("metrics.jsonl")).unwrap();
    let losses: Vec<f64> = rows.iter().map(|row| row.values["loss"].unwrap()).collect();
    assert_eq!(losses.len(), STEPS);
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    [mean(&losses[..10]), mean(&losses[STEPS - 10..])]
}

#[test]
fn fifty_steps_on_fairy_tales_lower_the_loss() {
    let data = std::env::var("RLAIF_DATA").unwrap_or_else(|_| "../shared/data".into());
    let [dir, text] = ["stories260k", "text/grimm.txt"].map(|name| PathBuf::from(&data).join(name));
    if !dir.exists() || !text.exists() {
        eprintln!(
            "skipped: {} or {} is not there",
            dir.display(),
            text.display()
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let rows = rows(&fs::read_to_string(text).unwrap(), folder.path());
    let model = model::load(&dir, &Device::flex()).unwrap();
    let lora = LoraConfig {
        lora_r: 8,
        lora_target_modules: serde_json::from_value(json!("all-linear")).unwrap(),
        ..Default::default()
    };
    let adapted = lora
        .apply(model.clone(), &dir, &mut StdRng::seed_from_u64(1))
        .unwrap();
    for (name, model, learning_rate) in [("weights", model, 1e-3), ("LoRA", adapted, 5e-3)] {
        let [first, last] = tune(model, &rows, &dir, learning_rate);
        eprintln!("{name}: {first:.3} over the first ten steps, {last:.3} over the last ten");
        assert!(last < first - 0.2, "{name}: {first} {last}");
    }
}
