//! The transformer against independent golden values: llama2.c's `stories260K` in Hugging Face
//! layout.
//!
//! The checkpoint is not part of the repository: its folder is taken from `RLAIF_DATA` (default
//! `../shared/data`), and a test says when it is not there.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use burn::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rlaif::generate::{SamplingConfig, generate};
use rlaif::model::{self, CausalLm, Input, Transformer};
use rlaif::tokenizer::Tokenizer;

fn stories() -> Option<(Transformer, Tokenizer)> {
    let data = std::env::var("RLAIF_DATA").unwrap_or_else(|_| "../shared/data".into());
    let dir = PathBuf::from(data).join("stories260k");
    if !dir.exists() {
        eprintln!("skipped: {} is not there", dir.display());
        return None;
    }
    let model = model::load(&dir, &Device::flex()).unwrap();
    Some((model, Tokenizer::load(&dir).unwrap()))
}

#[test]
fn stories260k_logits_match_llama2c() {
    let Some((model, tokenizer)) = stories() else {
        return;
    };
    let ids = tokenizer.encode_prompt("Once upon a time").unwrap();
    assert_eq!(ids, [1, 403, 407, 261, 378]);
    let device = Device::flex();
    let tokens: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
    let input = Input {
        tokens: Tensor::from_data(TensorData::new(tokens, [1, 5]), &device),
        positions: Tensor::from_data(TensorData::new(vec![0, 1, 2, 3, 4], [1, 5]), &device),
        hidden_keys: None,
    };
    let hidden = model.hidden(input, None);
    let logits: Vec<f32> = model
        .logits(hidden.reshape([5, 64]))
        .into_data()
        .try_to_vec()
        .unwrap();
    let last = &logits[4 * 512..];
    let golden = [-10.1366, -5.3295, -10.1381, -10.1369, -10.1372, -10.1383];
    for (found, expected) in last.iter().zip(golden) {
        assert!((found - expected).abs() < 1e-4, "{found} is not {expected}");
    }
    let best = (0..512)
        .max_by(|&a, &b| last[a].total_cmp(&last[b]))
        .unwrap();
    assert_eq!(best, 432);
    let log_sum_exp = last.iter().map(|x| x.exp()).sum::<f32>().ln();
    assert!((log_sum_exp - 17.8311).abs() < 1e-4, "{log_sum_exp}");
}

#[test]
fn stories260k_greedy_text_matches_llama2c() {
    let Some((model, tokenizer)) = stories() else {
        return;
    };
    let config = SamplingConfig {
        temperature: 0.0,
        max_new_tokens: 60,
        ..Default::default()
    };
    let mut rng = StdRng::seed_from_u64(0);
    let samples = generate(&model, &[vec![1]], 1, tokenizer.eos(), &config, &mut rng).unwrap();
    let text = tokenizer.decode(&samples[0].tokens).unwrap();
    let golden = "Once upon a time, there was a little girl named Lily. She loved to play outside in the \
        park. One day, she saw a big, red ball. She wanted to play with it, but it was too high";
    assert!(text.trim_start().starts_with(golden), "{text}");
}
