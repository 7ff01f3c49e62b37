//! Log-probabilities that a model gives to given completions: the one primitive under SFT, labeling
//! and RL.

use burn::prelude::*;
use burn::tensor::activation::log_softmax;

use crate::batch::{Batch, Tree};
use crate::error::Result;
use crate::model::{CausalLm, device_of};

/// Log-probabilities of the completion tokens in nats, `[completions, len]`, 0 where the mask is 0.
///
/// Logits are computed for completion tokens only and divided by `temperature` first, so that the
/// numbers are those of the distribution that was sampled from.
pub fn token_log_probs<M: CausalLm>(model: &M, batch: &Batch, temperature: f32) -> Tensor<2> {
    chosen(&distributions(model, batch, temperature), batch)
}

/// [`token_log_probs`], and the entropy of the distribution at each of those tokens in nats,
/// `[completions, len]`; the entropy is no part of the graph.
pub fn token_log_probs_and_entropy<M: CausalLm>(
    model: &M,
    batch: &Batch,
    temperature: f32,
) -> (Tensor<2>, Tensor<2>) {
    let log_probs = distributions(model, batch, temperature);
    let entropy = entropy(
        log_probs.clone().detach().inner(),
        batch.mask.clone().inner(),
    );
    (chosen(&log_probs, batch), entropy)
}

/// [`token_log_probs_and_entropy`] with the entropy in the graph, for a bonus on it; that keeps the
/// probabilities of all tokens of the vocabulary until the backward pass.
pub fn token_log_probs_and_tracked_entropy<M: CausalLm>(
    model: &M,
    batch: &Batch,
    temperature: f32,
) -> (Tensor<2>, Tensor<2>) {
    let log_probs = distributions(model, batch, temperature);
    let entropy = entropy(log_probs.clone(), batch.mask.clone());
    (chosen(&log_probs, batch), entropy)
}

/// Entropy of each row of log-probabilities, laid out like `mask` and 0 where it is 0.
fn entropy(log_probs: Tensor<2>, mask: Tensor<2>) -> Tensor<2> {
    let entropy = (log_probs.clone().exp() * log_probs).sum_dim(1).neg();
    entropy.reshape(mask.dims()) * mask
}

/// Log-probabilities of every token at every place of a completion, `[completions * len, vocab]`.
fn distributions<M: CausalLm>(model: &M, batch: &Batch, temperature: f32) -> Tensor<2> {
    let hidden = model.hidden(batch.input.clone(), None);
    let [rows, seq, width] = hidden.dims();
    let hidden = hidden
        .reshape([rows * seq, width])
        .select(0, batch.predictors.clone());
    log_softmax(model.logits(hidden) / temperature, 1)
}

fn chosen(log_probs: &Tensor<2>, batch: &Batch) -> Tensor<2> {
    let [n, len] = batch.targets.dims();
    let chosen = log_probs
        .clone()
        .gather(1, batch.targets.clone().reshape([n * len, 1]));
    chosen.reshape([n, len]) * batch.mask.clone()
}

/// Log-probabilities of the completion tokens of `trees` on the host, one row per completion,
/// unpadded.
///
/// Works through the trees in chunks of at most `max_tokens` padded tokens, shortest first, so that
/// memory is bounded and little is spent on padding; the answer is in the order asked.
///
/// # Errors
/// As [`Batch::new`], and when the device fails.
pub fn log_probs_of<M: CausalLm>(
    model: &M,
    trees: &[Tree],
    temperature: f32,
    max_tokens: usize,
) -> Result<Vec<Vec<f32>>> {
    let device = device_of(model).inner();
    let mut answers: Vec<Vec<Vec<f32>>> = vec![Vec::new(); trees.len()];
    for chunk in chunks_by_length(trees, max_tokens) {
        let picked: Vec<Tree> = chunk.iter().map(|&i| trees[i].clone()).collect();
        let batch = Batch::new(&picked, model.vocab_size(), model.max_len(), &device)?;
        let log_probs = token_log_probs(model, &batch, temperature);
        let len = log_probs.dims()[1];
        let values = log_probs.try_into_vec_as::<f32>()?;
        let mut rows = values.chunks(len.max(1));
        for (&i, tree) in chunk.iter().zip(&picked) {
            for completion in &tree.completions {
                let row = rows.next().unwrap_or_default();
                answers[i].push(row[..completion.len()].to_vec());
            }
        }
    }
    Ok(answers.into_iter().flatten().collect())
}

/// Groups the indices of `trees` into chunks of similar length, each at most `max_tokens` padded
/// tokens (one tree at least).
pub fn chunks_by_length(trees: &[Tree], max_tokens: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..trees.len()).collect();
    order.sort_by_key(|&i| trees[i].len());
    let mut chunks: Vec<Vec<usize>> = Vec::new();
    for i in order {
        match chunks.last_mut() {
            Some(chunk) if (chunk.len() + 1) * trees[i].len() <= max_tokens => chunk.push(i),
            _ => chunks.push(vec![i]),
        }
    }
    chunks
}
