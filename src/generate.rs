//! Batched sampling with a key/value cache: prompt tokens in, completion tokens and their
//! log-probabilities out.
//!
//! The prompt of several samples is encoded once, and rows that have finished leave the batch.
//! Tokens are drawn on the host from the caller's random numbers, one stream per completion, so
//! that a completion does not depend on what else is in the batch.

mod stream;

use burn::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

pub use stream::stream;

use crate::error::{Error, Result};
use crate::model::{CausalLm, DecodeCache, Input, device_of};

/// How completions are drawn. Names as in TRL and `transformers`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SamplingConfig {
    /// Divides the logits; 0 takes the most probable token.
    pub temperature: f32,
    /// Keeps the most probable tokens that together have this probability; 1 keeps all.
    pub top_p: f32,
    /// Keeps this many most probable tokens; 0 keeps all.
    pub top_k: usize,
    /// Longest completion in tokens.
    pub max_new_tokens: usize,
    /// Completions that are generated at the same time.
    pub batch_size: usize,
}

impl Default for SamplingConfig {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            max_new_tokens: 64,
            batch_size: 64,
        }
    }
}

impl SamplingConfig {
    /// Checks the ranges; `field` is the path of this table in the run file.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn validate(&self, field: &str) -> Result<()> {
        let bad = |name: &str, found: String, expected: &str| {
            Err(Error::field(format!("{field}.{name}"), found, expected))
        };
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return bad("temperature", self.temperature.to_string(), "a number >= 0");
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return bad("top_p", self.top_p.to_string(), "a number in (0, 1]");
        }
        for (name, n) in [
            ("max_new_tokens", self.max_new_tokens),
            ("batch_size", self.batch_size),
        ] {
            if n == 0 {
                return bad(name, "0".into(), "at least 1");
            }
        }
        Ok(())
    }
}

/// A completion as token ids.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Tokens, the end-of-text token included when it was drawn.
    pub tokens: Vec<u32>,
    /// Log-probability of each token in nats, under the distribution at the sampling temperature
    /// over all tokens (before `top_k` and `top_p` cut it). At temperature 0, under
    /// temperature 1.
    pub log_probs: Vec<f32>,
    /// Whether it ended by an end-of-text token rather than by length.
    pub finished: bool,
}

/// Draws `n_samples` completions of each prompt; the answer lists the samples of the first prompt,
/// then those of the second, and so on.
///
/// # Errors
/// A prompt is empty, holds an unknown token or leaves no room for `max_new_tokens`; the device
/// fails.
pub fn generate<M: CausalLm>(
    model: &M,
    prompts: &[Vec<u32>],
    n_samples: usize,
    eos: &[u32],
    config: &SamplingConfig,
    rng: &mut StdRng,
) -> Result<Vec<Sample>> {
    let seeds: Vec<u64> = (0..prompts.len() * n_samples)
        .map(|_| rng.random())
        .collect();
    generate_seeded(model, prompts, &seeds, eos, config)
}

/// [`generate`] with a seed for each completion, of which every prompt has an equal number: those
/// of the first prompt come first.
///
/// # Errors
/// As [`generate`].
pub fn generate_seeded<M: CausalLm>(
    model: &M,
    prompts: &[Vec<u32>],
    seeds: &[u64],
    eos: &[u32],
    config: &SamplingConfig,
) -> Result<Vec<Sample>> {
    for prompt in prompts {
        check(prompt, model, config)?;
    }
    let n_samples = seeds.len() / prompts.len().max(1);
    let mut samples: Vec<Option<Sample>> = vec![None; seeds.len()];
    let mut order: Vec<usize> = (0..prompts.len()).collect();
    order.sort_by_key(|&i| prompts[i].len());
    for group in order.chunks((config.batch_size / n_samples.max(1)).max(1)) {
        let rows = group
            .iter()
            .flat_map(|&i| (0..n_samples).map(move |k| i * n_samples + k));
        let rows: Vec<Row> = rows.map(|id| Row::new(id, seeds[id])).collect();
        let group: Vec<&[u32]> = group.iter().map(|&i| prompts[i].as_slice()).collect();
        for row in decode(model, &group, rows, eos, config)? {
            samples[row.id] = Some(row.sample);
        }
    }
    Ok(samples.into_iter().flatten().collect())
}

fn check<M: CausalLm>(prompt: &[u32], model: &M, config: &SamplingConfig) -> Result<()> {
    if prompt.is_empty() {
        return Err(Error::Usage("a prompt has no tokens".into()));
    }
    if let Some(&id) = prompt.iter().find(|&&id| id as usize >= model.vocab_size()) {
        return Err(Error::TokenId {
            id,
            vocab: model.vocab_size(),
        });
    }
    let found = prompt.len() + config.max_new_tokens;
    if found > model.max_len() {
        let what = format!("a prompt of {} tokens with its completion", prompt.len());
        return Err(Error::TooLong {
            what,
            found,
            limit: model.max_len(),
        });
    }
    Ok(())
}

/// A completion being written.
struct Row {
    id: usize,
    rng: StdRng,
    sample: Sample,
}

impl Row {
    fn new(id: usize, seed: u64) -> Self {
        let sample = Sample {
            tokens: Vec::new(),
            log_probs: Vec::new(),
            finished: false,
        };
        Self {
            id,
            rng: StdRng::seed_from_u64(seed),
            sample,
        }
    }

    fn is_done(&self, config: &SamplingConfig) -> bool {
        self.sample.finished || self.sample.tokens.len() >= config.max_new_tokens
    }
}

/// Writes the completions of one batch; `rows` holds an equal number for each of `prompts`, in
/// order.
fn decode<M: CausalLm>(
    model: &M,
    prompts: &[&[u32]],
    mut rows: Vec<Row>,
    eos: &[u32],
    config: &SamplingConfig,
) -> Result<Vec<Row>> {
    let device = device_of(model).inner();
    let longest = prompts.iter().map(|prompt| prompt.len()).max().unwrap_or(0);
    let mut cache = model.cache(prompts.len(), longest + config.max_new_tokens);
    let hidden = model.hidden(prompt_input(prompts, longest, &device), Some(&mut cache));
    let n_samples = rows.len() / prompts.len();
    let prompt_of: Vec<usize> = (0..rows.len()).map(|row| row / n_samples).collect();
    // Padding on the left of each row's prompt: its keys stay hidden and its positions start after
    // it.
    let mut pads: Vec<usize> = prompt_of
        .iter()
        .map(|&p| longest - prompts[p].len())
        .collect();

    let last = hidden
        .slice(s![.., longest - 1..longest, ..])
        .squeeze_dim::<2>(1);
    let mut logits = model.logits(last).select(0, indices(&prompt_of, &device));
    if n_samples > 1 {
        cache = cache.select(indices(&prompt_of, &device));
    }
    let mut done = Vec::new();
    let mut seen = longest;
    loop {
        let values = logits.try_into_vec_as::<f32>()?;
        for (row, logits) in rows.iter_mut().zip(values.chunks(model.vocab_size())) {
            draw(row, logits, eos, config);
        }
        let alive: Vec<usize> = (0..rows.len())
            .filter(|&i| !rows[i].is_done(config))
            .collect();
        if alive.len() < rows.len() {
            let (finished, rest): (Vec<Row>, Vec<Row>) =
                rows.into_iter().partition(|row| row.is_done(config));
            done.extend(finished);
            rows = rest;
            pads = alive.iter().map(|&i| pads[i]).collect();
            if rows.is_empty() {
                return Ok(done);
            }
            cache = cache.select(indices(&alive, &device));
        }
        let input = next_input(&rows, &pads, seen, &device);
        seen += 1;
        let hidden = model.hidden(input, Some(&mut cache));
        logits = model.logits(hidden.squeeze_dim::<2>(1));
    }
}

fn indices(values: &[usize], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = values.iter().map(|&i| i as i32).collect();
    Tensor::from_data(values.as_slice(), device)
}

/// Prompts padded on the left to the longest.
fn prompt_input(prompts: &[&[u32]], longest: usize, device: &Device) -> Input {
    let shape = [prompts.len(), longest];
    let (mut tokens, mut positions) = (Vec::new(), Vec::new());
    for prompt in prompts {
        let pad = longest - prompt.len();
        tokens.extend(std::iter::repeat_n(0, pad).chain(prompt.iter().map(|&t| t as i32)));
        positions.extend(std::iter::repeat_n(0, pad).chain(0..prompt.len() as i32));
    }
    let pads: Vec<usize> = prompts
        .iter()
        .map(|prompt| longest - prompt.len())
        .collect();
    let hidden_keys = hidden_pads(&pads, longest, device)
        .map(|hidden| hidden.expand([prompts.len(), 1, longest, longest]));
    Input {
        tokens: Tensor::from_data(TensorData::new(tokens, shape), device),
        positions: Tensor::from_data(TensorData::new(positions, shape), device),
        hidden_keys,
    }
}

/// The last token of each row, to be read after `seen` tokens.
fn next_input(rows: &[Row], pads: &[usize], seen: usize, device: &Device) -> Input {
    let tokens: Vec<i32> = rows
        .iter()
        .map(|row| row.sample.tokens.last().map_or(0, |&t| t as i32))
        .collect();
    let positions: Vec<i32> = pads.iter().map(|pad| (seen - pad) as i32).collect();
    let shape = [rows.len(), 1];
    Input {
        tokens: Tensor::from_data(TensorData::new(tokens, shape), device),
        positions: Tensor::from_data(TensorData::new(positions, shape), device),
        hidden_keys: hidden_pads(pads, seen + 1, device),
    }
}

/// Hides the first `pads[row]` of `keys` keys, `[rows, 1, 1, keys]`; `None` when there is nothing
/// to hide.
fn hidden_pads(pads: &[usize], keys: usize, device: &Device) -> Option<Tensor<4, Bool>> {
    if pads.iter().all(|&pad| pad == 0) {
        return None;
    }
    let hidden: Vec<bool> = pads
        .iter()
        .flat_map(|&pad| (0..keys).map(move |key| key < pad))
        .collect();
    Some(Tensor::from_data(
        TensorData::new(hidden, [pads.len(), 1, 1, keys]),
        device,
    ))
}

/// Draws the next token of a row from its logits and appends it.
fn draw(row: &mut Row, logits: &[f32], eos: &[u32], config: &SamplingConfig) {
    let temperature = if config.temperature == 0.0 {
        1.0
    } else {
        config.temperature
    };
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut probs: Vec<f32> = logits
        .iter()
        .map(|&x| ((x - max) / temperature).exp())
        .collect();
    let sum: f32 = probs.iter().sum();
    probs.iter_mut().for_each(|p| *p /= sum);
    let token = if config.temperature == 0.0 {
        arg_max(logits)
    } else {
        pick(&probs, config, &mut row.rng)
    };
    row.sample.tokens.push(token as u32);
    row.sample
        .log_probs
        .push((logits[token] - max) / temperature - sum.ln());
    row.sample.finished = eos.contains(&(token as u32));
}

fn arg_max(logits: &[f32]) -> usize {
    (0..logits.len())
        .max_by(|&a, &b| logits[a].total_cmp(&logits[b]).then(b.cmp(&a)))
        .unwrap_or(0)
}

/// Draws an index by inverse transform, among the tokens that `top_k` and `top_p` keep.
fn pick(probs: &[f32], config: &SamplingConfig, rng: &mut StdRng) -> usize {
    let uniform: f32 = rng.random();
    if config.top_k == 0 && config.top_p >= 1.0 {
        return invert(probs.iter().copied().enumerate(), uniform);
    }
    let mut order: Vec<usize> = (0..probs.len()).collect();
    order.sort_by(|&a, &b| probs[b].total_cmp(&probs[a]).then(a.cmp(&b)));
    if config.top_k > 0 {
        order.truncate(config.top_k);
    }
    let mut total = 0.0;
    let kept = order.iter().take_while(|&&i| {
        let keep = total < config.top_p;
        total += probs[i];
        keep
    });
    let kept: Vec<usize> = kept.copied().collect();
    let mass: f32 = kept.iter().map(|&i| probs[i]).sum();
    invert(kept.iter().map(|&i| (i, probs[i] / mass)), uniform)
}

fn invert(probs: impl Iterator<Item = (usize, f32)>, uniform: f32) -> usize {
    let (mut total, mut last) = (0.0, 0);
    for (i, p) in probs {
        total += p;
        if p > 0.0 {
            last = i;
        }
        if uniform < total {
            return i;
        }
    }
    // Rounding can leave the sum a little below one.
    last
}
