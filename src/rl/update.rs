//! Optimizer steps on a rollout batch: passes over it, in minibatches, in micro-batches.
//!
//! A minibatch is what one optimizer step learns from; a micro-batch is the part of it that goes
//! through a network at once. Losses and statistics of a micro-batch are sums with the weights of
//! its minibatch, so that adding those of all its micro-batches gives what one piece would have
//! given.

use std::collections::BTreeMap;
use std::ops::Range;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::prelude::*;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::loss::{Clip, high_clipped, low_clipped, weighted_sum};
use super::rollout::same_prompt;
use super::value::padded;
use super::{RlConfig, Rollout, UpdateStats, trees};
use crate::batch::Batch;
use crate::error::Result;
use crate::log_prob::{Recording, Scores, gradients, gradients_with_entropy};
use crate::micro_batch::MicroBatches;
use crate::model::{Activations, CausalLm, device_of};
use crate::optim::{Learner, grad_norm};

/// How often and in what pieces an update goes through its rollouts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passes {
    /// Passes over the rollouts.
    pub(super) epochs: usize,
    /// Optimizer steps of a pass.
    pub(super) num_mini_batches: usize,
    /// How much goes through the network at once.
    pieces: MicroBatches,
    /// What the networks keep for their backward pass.
    pub(super) activations: Activations,
    /// What the policy's logits are divided by.
    pub(super) temperature: f32,
    /// What the policy's losses have gradients by.
    recording: Recording,
}

/// Completions that go through a network at once.
pub(super) struct MicroBatch {
    /// Their tokens.
    pub(super) batch: Batch,
    /// Which of the rollouts they are.
    pub(super) rows: Vec<usize>,
    /// Which rollouts the whole minibatch has.
    pub(super) mini_batch: Vec<usize>,
    /// Tokens of the minibatch.
    n_tokens: usize,
}

/// Names and values of what a loss has to tell.
pub(super) type Told = Vec<(&'static str, Tensor<1>)>;

/// What is minimised, with what is to be told of it.
pub(super) struct Losses {
    pub(super) loss: Tensor<1>,
    pub(super) stats: Told,
}

impl MicroBatch {
    /// The rows of this micro-batch among those of all rollouts, padded, `[completions, len]`.
    pub(super) fn tensor(&self, rows: &[Vec<f32>]) -> Tensor<2> {
        let rows: Vec<Vec<f32>> = self.rows.iter().map(|&i| rows[i].clone()).collect();
        padded(&rows, &self.batch)
    }

    /// One number for each completion of this micro-batch, among those of all rollouts,
    /// `[completions, 1]`.
    pub(super) fn column(&self, values: &[f32]) -> Tensor<2> {
        let values: Vec<f32> = self.rows.iter().map(|&i| values[i]).collect();
        let shape = [values.len(), 1];
        Tensor::from_data(TensorData::new(values, shape), &self.batch.mask.device())
    }

    /// This micro-batch's part of the mean of `x` over the tokens of the minibatch.
    pub(super) fn mean(&self, x: Tensor<2>) -> Tensor<1> {
        let weights = self.batch.mask.clone() / self.n_tokens.max(1) as f32;
        weighted_sum(x, weights)
    }

    /// This micro-batch's part of the mean of `x`, `[completions, 1]`, over the minibatch.
    pub(super) fn mean_of_completions(&self, x: Tensor<2>) -> Tensor<1> {
        x.sum() / self.mini_batch.len() as f32
    }
}

/// TRL's `clip_ratio/*`: shares of the tokens whose ratio is cut.
pub(super) fn clip_ratios(
    part: &MicroBatch,
    log_ratio: Tensor<2>,
    advantages: Tensor<2>,
    clip: &Clip,
) -> Vec<(&'static str, Tensor<1>)> {
    let low = part.mean(low_clipped(log_ratio.clone(), advantages.clone(), clip));
    let high = part.mean(high_clipped(log_ratio, advantages, clip));
    vec![
        ("clip_ratio/region_mean", low.clone() + high.clone()),
        ("clip_ratio/low_mean", low),
        ("clip_ratio/high_mean", high),
    ]
}

/// Tokens, padding included, of some of the rollouts: those that follow each other with one prompt
/// share it, as in [`trees`].
fn padded_tokens(rollouts: &[Rollout], rows: &[usize]) -> usize {
    let picked: Vec<&Rollout> = rows.iter().map(|&i| &rollouts[i]).collect();
    let trees = picked.chunk_by(|a, b| same_prompt(a, b));
    let len = |group: &[&Rollout]| {
        let completions: usize = group.iter().map(|rollout| rollout.tokens.len()).sum();
        group[0].prompt_tokens.len() + completions
    };
    trees.clone().count() * trees.map(len).max().unwrap_or(0)
}

impl Passes {
    /// `epochs` passes of `num_mini_batches` steps, in the pieces that `rl` names.
    pub(super) fn new(epochs: usize, num_mini_batches: usize, rl: &RlConfig) -> Self {
        Self {
            epochs,
            num_mini_batches,
            pieces: rl.micro_batches(),
            activations: rl.activations(),
            temperature: rl.sampling.temperature,
            recording: Recording::LogProbs,
        }
    }

    /// The same for losses that have a term of the entropy.
    pub(super) fn with_entropy(mut self) -> Self {
        self.recording = Recording::WithEntropy;
        self
    }

    /// The minibatches of all passes in their order, as sorted indices of the rollouts; their sizes
    /// differ by one at most.
    pub(super) fn mini_batches(&self, n: usize, rng: &mut StdRng) -> Vec<Vec<usize>> {
        let pieces = self.num_mini_batches;
        let mut all = Vec::new();
        for _ in 0..self.epochs {
            let mut order: Vec<usize> = (0..n).collect();
            order.shuffle(rng);
            for i in 0..pieces {
                let mut picked = order[i * n / pieces..(i + 1) * n / pieces].to_vec();
                // In rollout order, samples of one prompt stand together and share its encoding.
                picked.sort_unstable();
                all.push(picked);
            }
        }
        all
    }

    /// Builds the tensors of a minibatch on the device of `model`.
    pub(super) fn micro_batches<M: CausalLm>(
        &self,
        model: &M,
        rollouts: &[Rollout],
        mini_batch: &[usize],
    ) -> Result<Vec<MicroBatch>> {
        let device = device_of(model);
        let n_tokens = mini_batch.iter().map(|&i| rollouts[i].tokens.len()).sum();
        let build = |rows: Range<usize>| {
            let rows = &mini_batch[rows];
            let picked: Vec<Rollout> = rows.iter().map(|&i| rollouts[i].clone()).collect();
            let trees = trees(&picked);
            Ok(MicroBatch {
                batch: Batch::new(&trees, model.vocab_size(), model.max_len(), &device)?,
                rows: rows.to_vec(),
                mini_batch: mini_batch.to_vec(),
                n_tokens,
            })
        };
        let padded = |rows: Range<usize>| padded_tokens(rollouts, &mini_batch[rows]);
        let pieces = self.pieces.split(mini_batch.len(), padded);
        pieces.into_iter().map(build).collect()
    }

    /// Goes through the rollouts, one optimizer step per minibatch; the means of what the steps
    /// told.
    pub(super) fn run<M: CausalLm>(
        &self,
        mut policy: Learner<M>,
        rollouts: &[Rollout],
        rng: &mut StdRng,
        losses: impl Fn(Scores, &MicroBatch) -> Losses,
    ) -> Result<(Learner<M>, UpdateStats)> {
        let mut means = Means::default();
        for mini_batch in self.mini_batches(rollouts.len(), rng) {
            let parts = self.micro_batches(&policy.model, rollouts, &mini_batch)?;
            let (next, told) = self.step(policy, &parts, &losses)?;
            policy = next;
            means.add(told);
        }
        Ok((policy, means.finish()))
    }

    /// One optimizer step of a policy down the sum of the losses of `parts`; see [`step`].
    pub(super) fn step<M: CausalLm>(
        &self,
        policy: Learner<M>,
        parts: &[MicroBatch],
        losses: impl Fn(Scores, &MicroBatch) -> Losses,
    ) -> Result<(Learner<M>, UpdateStats)> {
        let way = policy.backward(self.activations);
        step(policy, parts, |model, part| {
            let (batch, temperature) = (&part.batch, self.temperature);
            let loss = |scores| {
                let Losses { loss, stats } = losses(scores, part);
                (loss, stats)
            };
            match self.recording {
                Recording::LogProbs => gradients(model, batch, temperature, way, loss),
                Recording::WithEntropy => {
                    gradients_with_entropy(model, batch, temperature, way, loss)
                }
            }
        })
    }
}

/// One optimizer step against the sum of the gradients of `parts`; tells the sums of their
/// statistics and, unless it was skipped, `grad_norm`, read from the device at once.
pub(super) fn step<N: Module>(
    learner: Learner<N>,
    parts: &[MicroBatch],
    mut gradients: impl FnMut(&N, &MicroBatch) -> (GradientsParams, Told),
) -> Result<(Learner<N>, UpdateStats)> {
    let (learner, norm, stats) = learner.step_over(parts, |model, part| {
        let (found, stats) = gradients(model, part);
        let detached = stats
            .into_iter()
            .map(|(name, value)| (name, value.detach()));
        Ok((found, detached.collect::<Told>()))
    })?;
    let (names, values): (Vec<_>, Vec<_>) = stats.into_iter().flatten().unzip();
    let mut told = UpdateStats::from_iter(grad_norm(norm));
    if !values.is_empty() {
        let values = Tensor::cat(values, 0).try_into_vec_as::<f32>()?;
        for (name, value) in names.into_iter().zip(values.into_iter().map(f64::from)) {
            match told.iter_mut().find(|(told, _)| *told == name) {
                Some((_, sum)) => *sum += value,
                None => told.push((name, value)),
            }
        }
    }
    Ok((learner, told))
}

/// Means of what the optimizer steps of an update told.
#[derive(Default)]
pub(super) struct Means(BTreeMap<&'static str, (f64, usize)>);

impl Means {
    pub(super) fn add(&mut self, told: UpdateStats) {
        for (name, value) in told {
            let (sum, n) = self.0.entry(name).or_default();
            *sum += value;
            *n += 1;
        }
    }

    pub(super) fn finish(self) -> UpdateStats {
        let mean = |(name, (sum, n))| (name, sum / n as f64);
        self.0.into_iter().map(mean).collect()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn each_pass_sees_every_rollout_once() {
        let passes = Passes {
            epochs: 2,
            num_mini_batches: 4,
            pieces: MicroBatches::default(),
            activations: Activations::Kept,
            temperature: 1.0,
            recording: Recording::LogProbs,
        };
        let picked = passes.mini_batches(9, &mut StdRng::seed_from_u64(1));
        let sizes: Vec<usize> = picked.iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 2, 2, 3, 2, 2, 2, 3]);
        for pass in picked.chunks(4) {
            let mut seen = pass.concat();
            seen.sort_unstable();
            assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        }
        assert_ne!(picked[..4], picked[4..]);
    }

    #[test]
    fn means_are_over_the_steps_that_told() {
        let mut means = Means::default();
        means.add(vec![("a", 1.0), ("b", 5.0)]);
        means.add(vec![("a", 2.0)]);
        assert_eq!(means.finish(), [("a", 1.5), ("b", 5.0)]);
    }
}
