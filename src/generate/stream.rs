//! One completion, told token by token.

use std::ops::ControlFlow;

use burn::prelude::*;
use rand::RngExt;
use rand::rngs::StdRng;

use super::{Row, Sample, SamplingConfig, check, draw, next_input, prompt_input};
use crate::error::Result;
use crate::model::{CausalLm, device_of};

/// Draws one completion of `prompt` and hands each token to `tell` as it is drawn; `tell` may break
/// off. The tokens are those that [`generate`](super::generate) draws with the same `seed`.
///
/// # Errors
/// As [`generate`](super::generate), and those of `tell`.
pub fn stream<M: CausalLm>(
    model: &M,
    prompt: &[u32],
    eos: &[u32],
    config: &SamplingConfig,
    rng: &mut StdRng,
    mut tell: impl FnMut(u32) -> Result<ControlFlow<()>>,
) -> Result<Sample> {
    check(prompt, model, config)?;
    let device = device_of(model).inner();
    let mut row = Row::new(0, rng.random());
    let mut cache = model.cache(1, prompt.len() + config.max_new_tokens);
    let mut seen = prompt.len();
    let input = prompt_input(&[prompt], seen, &device);
    let mut hidden = model.hidden(input, Some(&mut cache));
    loop {
        let end = hidden.dims()[1];
        let last = hidden.slice(s![.., end - 1..end, ..]).squeeze_dim::<2>(1);
        let logits = model.logits(last).try_into_vec_as::<f32>()?;
        draw(&mut row, &logits, eos, config);
        let token = row.sample.tokens.last().copied().unwrap_or_default();
        if tell(token)?.is_break() || row.is_done(config) {
            return Ok(row.sample);
        }
        let input = next_input(std::slice::from_ref(&row), &[0], seen, &device);
        seen += 1;
        hidden = model.hidden(input, Some(&mut cache));
    }
}
