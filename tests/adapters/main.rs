//! Low-rank adapters: read from and written to `peft`'s files, trained, shared and merged.
//! `tests/fixtures/make_adapters.py` writes the folders and what `peft` computes from them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod files;
mod pipeline;
mod training;

use std::fs;
use std::path::{Path, PathBuf};

use burn::prelude::*;
use rlaif::model::{CausalLm, Input, Transformer};
use serde::Deserialize;

/// What `peft` computes.
#[derive(Deserialize)]
struct Expected {
    prompts: Vec<Vec<u32>>,
    /// After each token of the first prompt, `[seq][vocab]`.
    logits: Option<Vec<Vec<f32>>>,
    /// Of each prompt.
    scores: Option<Vec<f32>>,
}

fn folder(name: &str) -> PathBuf {
    Path::new("tests/fixtures/adapters").join(name)
}

fn family(name: &str) -> PathBuf {
    Path::new("tests/fixtures/families").join(name)
}

fn expected(name: &str) -> Expected {
    let text = fs::read_to_string(folder(name).join("expected.json")).unwrap();
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
fn logits(model: &Transformer, prompt: &[u32]) -> Vec<f32> {
    let hidden = model.hidden(input(prompt), None);
    let [_, seq, width] = hidden.dims();
    let logits = model.logits(hidden.reshape([seq, width]));
    logits.try_into_vec_as().unwrap()
}

fn check_close(found: &[f32], golden: &[f32], bound: f32, what: &str) {
    assert_eq!(found.len(), golden.len());
    for (i, (found, golden)) in found.iter().zip(golden).enumerate() {
        assert!(
            (found - golden).abs() < bound,
            "{what}: number {i} is {found}, expected {golden}"
        );
    }
}
