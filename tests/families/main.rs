//! Every family against `transformers`: small random checkpoints with the logits and greedy texts
//! that it computes from them. `tests/fixtures/make_families.py` writes the folders.
//!
//! `numbers` holds what a model computes against them, `gradients` what it learns from,
//! `classifiers` the scores of reward models, `files` and `pickles` what is read and written,
//! `configs` what a published `config.json` means, `precision` what 16 bits change.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod classifiers;
mod configs;
mod files;
mod gradients;
mod numbers;
#[cfg(feature = "pytorch")]
mod pickles;
mod precision;

use std::fs;
use std::path::{Path, PathBuf};

use burn::prelude::*;
use rlaif::model::{self, CausalLm, Input, Transformer};
use serde::Deserialize;

/// Folders of `tests/fixtures/families`.
const FAMILIES: [&str; 17] = [
    "gemma2",
    "gemma3",
    "gpt2",
    "gpt_neox",
    "gpt_neox_sequential",
    "llama",
    "llama3",
    "llama_dynamic",
    "llama_linear",
    "llama_tied",
    "mistral",
    "phi3",
    "phi3_longrope",
    "qwen2",
    "qwen2_window",
    "qwen3",
    "smollm3",
];

/// What `transformers` computes.
#[derive(Deserialize)]
struct Expected {
    prompts: Vec<Vec<u32>>,
    /// After each token of the first prompt, `[seq][vocab]`.
    logits: Vec<Vec<f32>>,
    /// 32 tokens after each prompt.
    greedy: Vec<Vec<u32>>,
}

fn folder(family: &str) -> PathBuf {
    Path::new("tests/fixtures/families").join(family)
}

fn load(family: &str) -> Transformer {
    model::load(&folder(family), &Device::flex()).unwrap()
}

fn expected(family: &str) -> Expected {
    let text = fs::read_to_string(folder(family).join("expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn input(prompt: &[u32]) -> Input {
    let n = prompt.len();
    let row =
        |values: Vec<i32>| Tensor::from_data(TensorData::new(values, [1, n]), &Device::flex());
    Input {
        tokens: row(prompt.iter().map(|&id| id as i32).collect()),
        positions: row((0..n as i32).collect()),
        hidden_keys: None,
    }
}

/// Logits after every token, `[seq * vocab]`.
fn logits(model: &Transformer, prompt: &[u32]) -> TensorData {
    let hidden = model.hidden(input(prompt), None);
    let [_, seq, width] = hidden.dims();
    model.logits(hidden.reshape([seq, width])).into_data()
}

fn check_logits(family: &str, model: &Transformer) {
    let Expected {
        prompts,
        logits: golden,
        ..
    } = expected(family);
    let found = logits(model, &prompts[0]).try_to_vec::<f32>().unwrap();
    let golden: Vec<f32> = golden.into_iter().flatten().collect();
    assert_eq!(found.len(), golden.len());
    for (i, (found, golden)) in found.iter().zip(golden).enumerate() {
        let apart = (found - golden).abs();
        assert!(
            apart < 1e-4,
            "{family}: logit {i} is {found}, expected {golden}"
        );
    }
}

#[test]
fn no_folder_is_forgotten() {
    let mut found: Vec<String> = fs::read_dir(folder(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, FAMILIES);
}
