//! The value model: what reward a completion can still expect, at each of its tokens.

use burn::module::Module;
use burn::prelude::*;

use super::update::{Losses, Means, MicroBatch, step};
use super::{RlConfig, Rollout, trees};
use crate::batch::{Batch, Tree};
use crate::error::{Error, Result};
use crate::log_prob::chunks_by_length;
use crate::model::{Activations, CausalLm, ScalarHead, device_of};
use crate::optim::Learner;

/// Padded tokens in one forward pass without gradients.
pub(crate) const MAX_TOKENS: usize = 16_384;

/// A value model under its optimizer. It is a network of its own, as in the paper, and starts from
/// the initial policy.
pub struct ValueModel<M: Module>(pub Learner<ScalarHead<M>>);

impl<M: CausalLm> ValueModel<M> {
    /// Puts a zero value head on a copy of `initial`.
    pub fn new(config: &RlConfig, initial: M) -> Self {
        let updates = config.steps * config.algorithm.updates_per_step();
        let optim = config.value_optim.clone().unwrap_or_default();
        Self(optim.init(ScalarHead::new(initial), updates))
    }

    /// One optimizer step down the losses of the values of `parts`, `[completions, len]`; what they
    /// tell goes into `means`, but for the norm of the gradient, which is the policy's; and their
    /// scale, if they have one.
    pub(super) fn step(
        self,
        parts: &[MicroBatch],
        activations: Activations,
        losses: impl Fn(Tensor<2>, &MicroBatch) -> Losses,
        means: &mut Means,
    ) -> Result<Self> {
        let way = self.0.backward(activations);
        let gradients = |model: &ScalarHead<M>, part: &MicroBatch| {
            let Batch {
                input, predictors, ..
            } = part.batch.clone();
            model.gradients(input, predictors, way, |values| {
                let values = values.reshape(part.batch.targets.dims());
                let Losses { loss, stats } = losses(values, part);
                (loss, stats)
            })
        };
        let (learner, mut told) = step(self.0, parts, gradients)?;
        told.retain(|(name, _)| *name != "grad_norm");
        let scaling = learner.scaling().into_iter();
        told.extend(scaling.filter_map(|(name, value)| match name {
            "loss_scale" => Some(("critic/loss_scale", value)),
            _ => None,
        }));
        means.add(told);
        Ok(Self(learner))
    }

    /// Values of the state before each token of each rollout, on the host and without gradients.
    ///
    /// # Errors
    /// The device fails or a text does not fit.
    pub fn values(&self, rollouts: &[Rollout]) -> Result<Vec<Vec<f32>>> {
        let model = self.0.model.valid();
        values_of(&model.backbone, rollouts, |batch| {
            model.forward(batch.input, batch.predictors)
        })
    }
}

/// Values of the state before each token of each rollout, on the host: what `forward` gives for the
/// predictors of each batch, on the device of `backbone`.
pub(super) fn values_of<M: CausalLm>(
    backbone: &M,
    rollouts: &[Rollout],
    forward: impl Fn(Batch) -> Tensor<1>,
) -> Result<Vec<Vec<f32>>> {
    let (device, trees) = (device_of(backbone), trees(rollouts));
    let mut answers: Vec<Vec<Vec<f32>>> = vec![Vec::new(); trees.len()];
    for chunk in chunks_by_length(&trees, MAX_TOKENS) {
        let picked: Vec<Tree> = chunk.iter().map(|&i| trees[i].clone()).collect();
        let (vocab, max_len) = (backbone.vocab_size(), backbone.max_len());
        let batch = Batch::new(&picked, vocab, max_len, &device)?;
        let len = batch.targets.dims()[1];
        let values = forward(batch).try_into_vec_as::<f32>()?;
        let mut rows = values.chunks(len.max(1));
        for (&i, tree) in chunk.iter().zip(&picked) {
            let completions = tree.completions.iter().zip(rows.by_ref());
            answers[i] = completions
                .map(|(tokens, row)| row[..tokens.len()].to_vec())
                .collect();
        }
    }
    Ok(answers.into_iter().flatten().collect())
}

/// A value model between two updates: gone while one is under way, and after one that failed.
pub(super) struct Held<T>(Option<T>);

impl<T> Held<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Some(value))
    }

    pub(super) fn get(&self) -> Result<&T> {
        self.0.as_ref().ok_or_else(gone)
    }

    pub(super) fn take(&mut self) -> Result<T> {
        self.0.take().ok_or_else(gone)
    }
}

fn gone() -> Error {
    Error::Usage("the value model is gone: an update of it failed".into())
}

/// Puts one row per completion into a padded tensor `[completions, len]` beside the mask of
/// `batch`.
pub(super) fn padded(rows: &[Vec<f32>], batch: &Batch) -> Tensor<2> {
    let [n, len] = batch.targets.dims();
    let mut values = vec![0.0; n * len];
    for (row, out) in rows.iter().zip(values.chunks_mut(len.max(1))) {
        out[..row.len()].copy_from_slice(row);
    }
    Tensor::from_data(TensorData::new(values, [n, len]), &batch.mask.device())
}

/// `1 - Var(returns - values) / (Var(returns) + 1e-5)` over all tokens, as verl defines it: 1 is a
/// perfect value model, 0 one that knows only the mean.
pub(super) fn explained_variance(values: &[Vec<f32>], returns: &[Vec<f32>]) -> f64 {
    let pairs = || values.iter().flatten().zip(returns.iter().flatten());
    let residual = variance(pairs().map(|(value, z)| f64::from(z - value)));
    let total = variance(pairs().map(|(_, z)| f64::from(*z)));
    1.0 - residual / (total + 1e-5)
}

fn variance(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let n = values.clone().count().max(1) as f64;
    let mean = values.clone().sum::<f64>() / n;
    values.map(|x| (x - mean).powi(2)).sum::<f64>() / n
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns 0, 2, 4 (variance 8/3); values 0, 2, 1 leave residuals 0, 0, 3 (variance 2): 1 - 2 /
    /// (8/3) = 0.25.
    #[test]
    fn explained_variance_of_a_half_right_model() {
        let found = explained_variance(&[vec![0.0, 2.0], vec![1.0]], &[vec![0.0, 2.0], vec![4.0]]);
        assert!((found - 0.25).abs() < 1e-5, "{found}");
    }
}
