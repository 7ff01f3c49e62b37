//! Log-probabilities that a model gives to given completions: the one primitive under SFT, labeling
//! and RL.
//!
//! The logits of a batch, `[tokens, vocab]`, are the largest tensor of a training step by far, so
//! they are never held whole, neither forward nor backward: [`scores`] goes through the head in
//! chunks, and [`gradients`] once more when the loss has said what each log-probability is worth.
//! What fits into one chunk is computed once.

mod head;
mod leaves;
mod softmax;

use burn::optim::GradientsParams;
use burn::prelude::*;

pub(crate) use self::head::Recording;
pub(crate) use self::head::rows_at_once;
use self::head::{Head, chunk_rows};
use crate::batch::{Batch, Tree};
use crate::error::Result;
use crate::model::{Backward, CausalLm, Forward, device_of};

/// What a model says of the completion tokens of a batch; each `[completions, len]`, 0 where the
/// mask is 0.
#[derive(Debug, Clone)]
pub struct Scores {
    /// Log-probability of each token, in nats.
    pub log_probs: Tensor<2>,
    /// Entropy of the distribution that the token was drawn from, in nats; part of a graph in
    /// [`gradients_with_entropy`] alone.
    pub entropy: Tensor<2>,
    /// 1.0 where no token was likelier; never part of a graph.
    pub top: Tensor<2>,
    /// Mean of the logits of all tokens; never part of a graph.
    pub mean_logits: Tensor<2>,
}

/// Log-probabilities of the completion tokens in nats, `[completions, len]`, 0 where the mask is 0;
/// without gradients, for which there is [`gradients`].
///
/// Logits are computed for completion tokens only and divided by `temperature` first, so that the
/// numbers are those of the distribution that was sampled from.
pub fn token_log_probs<M: CausalLm>(model: &M, batch: &Batch, temperature: f32) -> Tensor<2> {
    scores(model, batch, temperature).log_probs
}

/// [`token_log_probs`] and what else the distributions tell; without gradients.
pub fn scores<M: CausalLm>(model: &M, batch: &Batch, temperature: f32) -> Scores {
    let plain = model.valid();
    let head = Head {
        model: &plain,
        temperature,
    };
    head.scores(batch, chunk_rows(model))
}

/// Gradient by the weights of `model` of a loss of its [`Scores`], and what else `loss` returns.
///
/// `loss` is given scores that are leaves of a graph of their own. Its gradient by them goes by
/// hand through the softmax and, chunk by chunk, through the head, then once through the rest of
/// the model. The outcome is that of recording everything. The entropy is no part of a graph; for
/// a loss with a term of it there is [`gradients_with_entropy`].
///
/// `way` is that of [`Learner::backward`](crate::optim::Learner::backward), or [`Activations`]
/// alone, which in f16 loses small gradients.
///
/// [`Activations`]: crate::model::Activations
pub fn gradients<M: CausalLm, T>(
    model: &M,
    batch: &Batch,
    temperature: f32,
    way: impl Into<Backward>,
    loss: impl FnOnce(Scores) -> (Tensor<1>, T),
) -> (GradientsParams, T) {
    let head = Head { model, temperature };
    let (way, chunks) = (way.into(), (chunk_rows(model), Recording::LogProbs));
    let pass = Forward::new(model, batch.input.clone(), way.activations);
    head.gradients(pass, batch, (chunks, way.loss_scale), loss)
}

/// [`gradients`] of a loss of log-probabilities and entropies.
pub fn gradients_with_entropy<M: CausalLm, T>(
    model: &M,
    batch: &Batch,
    temperature: f32,
    way: impl Into<Backward>,
    loss: impl FnOnce(Scores) -> (Tensor<1>, T),
) -> (GradientsParams, T) {
    let head = Head { model, temperature };
    let (way, chunks) = (way.into(), (chunk_rows(model), Recording::WithEntropy));
    let pass = Forward::new(model, batch.input.clone(), way.activations);
    head.gradients(pass, batch, (chunks, way.loss_scale), loss)
}

/// [`gradients`] with something else on top of the same hidden states: `beside` is given the final
/// ones without gradients, `[batch, seq, hidden]`, and answers with the gradient by them of what it
/// adds to the loss, scaled as `way` says, so that one pass through the model serves both.
pub(crate) fn gradients_beside<M: CausalLm, T>(
    model: &M,
    batch: &Batch,
    temperature: f32,
    way: impl Into<Backward>,
    loss: impl FnOnce(Scores) -> (Tensor<1>, T),
    beside: impl FnOnce(Tensor<3>) -> Tensor<3>,
) -> (GradientsParams, T) {
    let head = Head { model, temperature };
    let (way, chunks) = (way.into(), (chunk_rows(model), Recording::LogProbs));
    let pass = Forward::new(model, batch.input.clone(), way.activations);
    let how = (chunks, way.loss_scale);
    head.gradients_beside(pass, batch, how, loss, |hidden| Some(beside(hidden)))
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
