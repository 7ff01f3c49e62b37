//! A value head on the policy's own hidden states: no second network, and one pass for both.
//!
//! The loss is that of the policy plus `vf_coef` times that of the values, and both move the
//! policy's weights. The head has an optimizer of its own, `rl.value_optim`, and its gradient is
//! clipped by itself. Both losses are scaled as the policy's is, and a step that it skips is
//! skipped by the head too.

use std::path::Path;

use burn::module::Module;
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::prelude::*;
use burn::tensor::DType;

use super::update::{Losses, MicroBatch, Passes, step};
use super::value::values_of;
use super::{RlConfig, Rollout, UpdateStats};
use crate::error::Result;
use crate::log_prob::{Scores, gradients_beside};
use crate::model::{CausalLm, device_of};
use crate::optim::Learner;
use crate::precision::LossScale;

/// A bias-free linear map from hidden states to one number, as on top of a value model. It starts at
/// zero.
#[derive(Module, Debug)]
pub struct ValueHead {
    score: Linear,
}

impl ValueHead {
    /// A head for hidden states of this width.
    pub fn new(width: usize, device: &Device) -> Self {
        let score = LinearConfig::new(width, 1)
            .with_bias(false)
            .with_initializer(Initializer::Zeros);
        Self {
            score: score.init(device),
        }
    }

    /// Values at the tokens listed in `rows` of the flattened `[batch * seq]`, `[rows]`.
    pub fn forward(&self, hidden: Tensor<3>, rows: Tensor<1, Int>) -> Tensor<1> {
        let [batch, seq, width] = hidden.dims();
        // In 32-bit numbers, as the losses, whatever the model computes in.
        let hidden = hidden.cast(DType::F32);
        let hidden = hidden.reshape([batch * seq, width]).select(0, rows);
        self.score.forward(hidden).squeeze_dim(1)
    }

    /// Gradients of a loss of the values: by the weights of the head, and by `hidden`, which comes
    /// without gradients, the latter scaled; and what else `loss` returns.
    pub fn gradients<T>(
        &self,
        hidden: Tensor<3>,
        rows: Tensor<1, Int>,
        scale: LossScale,
        loss: impl FnOnce(Tensor<1>) -> (Tensor<1>, T),
    ) -> (GradientsParams, Tensor<3>, T) {
        let hidden = hidden.autodiff().require_grad();
        let (loss, told) = loss(self.forward(hidden.clone(), rows));
        let mut found = scale.scale(loss).backward();
        let by_hidden = hidden.grad_remove(&mut found);
        let by_hidden = by_hidden.unwrap_or_else(|| hidden.inner().zeros_like());
        let found = GradientsParams::from_grads(found, self);
        (scale.unscale(self, found), by_hidden, told)
    }
}

/// The head under its optimizer.
pub(super) struct SharedValue {
    pub(super) head: Learner<ValueHead>,
    /// Weight of the loss of the values.
    vf_coef: f32,
}

impl SharedValue {
    /// A zero head for a policy like `model`.
    pub(super) fn new<M: CausalLm>(rl: &RlConfig, vf_coef: f32, model: &M) -> Self {
        let updates = rl.steps * rl.algorithm.updates_per_step();
        let optim = rl.value_optim.clone().unwrap_or_default();
        let head = ValueHead::new(model.hidden_size(), &device_of(model));
        Self {
            head: optim.init(head, updates),
            vf_coef,
        }
    }

    /// Takes over a head and its optimizer that were saved in `dir`.
    pub(super) fn load(self, dir: &Path) -> Result<Self> {
        Ok(Self {
            head: self.head.load(dir)?,
            ..self
        })
    }

    /// Values of the state before each token of each rollout, on the host and without gradients.
    pub(super) fn values<M: CausalLm>(
        &self,
        policy: &M,
        rollouts: &[Rollout],
    ) -> Result<Vec<Vec<f32>>> {
        let (policy, head) = (policy.valid(), self.head.model.valid());
        values_of(&policy, rollouts, |batch| {
            head.forward(policy.hidden(batch.input, None), batch.predictors)
        })
    }

    /// One optimizer step of the policy and of the head down the sum of both losses.
    pub(super) fn step<M: CausalLm>(
        self,
        policy: Learner<M>,
        (passes, parts): (&Passes, &[MicroBatch]),
        policy_losses: impl Fn(Scores, &MicroBatch) -> Losses,
        value_losses: impl Fn(Tensor<2>, &MicroBatch) -> Losses,
    ) -> Result<(Learner<M>, Self, UpdateStats)> {
        let (head, vf_coef) = (&self.head.model, self.vf_coef);
        let mut by_head = GradientsAccumulator::new();
        let (way, skipped) = (policy.backward(passes.activations), policy.skipped_steps());
        let (policy, told) = step(policy, parts, |model, part| {
            let batch = &part.batch;
            let mut of_values = Vec::new();
            let beside = |hidden| {
                let rows = batch.predictors.clone();
                let (found, by_hidden, told) =
                    head.gradients(hidden, rows, way.loss_scale, |values| {
                        let values = values.reshape(batch.targets.dims());
                        let Losses { loss, stats } = value_losses(values, part);
                        (loss * vf_coef, stats)
                    });
                by_head.accumulate(head, found);
                of_values = told;
                by_hidden
            };
            let loss = |scores| {
                let Losses { loss, stats } = policy_losses(scores, part);
                (loss, stats)
            };
            let (found, mut told) =
                gradients_beside(model, batch, passes.temperature, way, loss, beside);
            told.extend(of_values);
            (found, told)
        })?;
        let head = if policy.skipped_steps() > skipped {
            self.head.skip()
        } else {
            self.head.apply(by_head.grads())?.0
        };
        Ok((policy, Self { head, vf_coef }, told))
    }
}

#[cfg(test)]
mod tests {
    use burn::module::{ModuleVisitor, Param};
    use burn::tensor::Tolerance;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::batch::{Batch, Tree};
    use crate::model::{Activations, Backward, LlamaConfig, Transformer, randomize};
    use crate::rl::loss::value_loss;

    fn head(weights: &[f32]) -> ValueHead {
        let mut head = ValueHead::new(weights.len(), &Device::flex());
        let data = TensorData::new(weights.to_vec(), [weights.len(), 1]);
        head.score.weight = Param::from_data(data, &Device::flex());
        head.train()
    }

    // States [3, 4] and [7, 7], of which the first is read; weights [1, -1]: v = -1. With a return
    // of 2 and a weight of .1, the loss is .1 (v - 2)^2 / 2 = .45, by v -.3: by the weights
    // -.3 [3, 4], by the state -.3 [1, -1], and nothing by the other state.
    #[test]
    fn the_head_and_the_states_get_their_gradients() {
        let head = head(&[1.0, -1.0]);
        let hidden = Tensor::<3>::from_floats([[[3.0, 4.0], [7.0, 7.0]]], &Device::flex());
        let rows = Tensor::from_ints([0], &Device::flex());
        let (found, by_hidden, loss) =
            head.gradients(hidden, rows, LossScale::default(), |values| {
                let values = values.unsqueeze::<2>();
                let returns = values.ones_like() * 2.0;
                let loss = value_loss(values, returns).sum() * 0.1;
                (loss.clone(), loss.into_scalar::<f32>())
            });
        assert!((loss - 0.45).abs() < 1e-6);
        let by_weights = found.get::<2>(head.score.weight.id).unwrap();
        let close = |found: TensorData, expected: &[f32]| {
            let found = found.try_to_vec::<f32>().unwrap();
            for (x, y) in found.iter().zip(expected) {
                assert!((x - y).abs() < 1e-6, "{found:?}");
            }
        };
        close(by_weights.into_data(), &[-0.9, -1.2]);
        close(by_hidden.into_data(), &[-0.3, 0.3, 0.0, 0.0]);
    }

    struct Flat<'a>(&'a GradientsParams, Vec<TensorData>);

    impl ModuleVisitor for Flat<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let grad = self.0.get::<D>(param.id);
            self.1.extend(grad.map(Tensor::into_data));
        }
    }

    fn flat(model: &Transformer, grads: &GradientsParams) -> Vec<TensorData> {
        let mut flat = Flat(grads, Vec::new());
        model.visit(&mut flat);
        flat.1
    }

    /// One pass gives the policy what recording both losses whole would have given it.
    #[test]
    fn both_losses_reach_the_policy() {
        let (device, mut rng) = (Device::flex(), StdRng::seed_from_u64(3));
        let shape = LlamaConfig::small(11, 8, 2, 2, 16);
        let model: Transformer = randomize(shape.init(&device), &mut rng).train();
        let head = head(&[0.5, -1.0, 0.25, 0.0, 1.0, 0.75, -0.5, 0.1]);
        let trees = [
            Tree {
                prompt: vec![1, 2],
                completions: vec![vec![3, 4, 10], vec![5]],
            },
            Tree::single(vec![6], vec![7, 8]),
        ];
        let batch = Batch::new(&trees, 11, 16, &device).unwrap();
        let of_values = |values: Tensor<1>| {
            let values = values.reshape(batch.targets.dims());
            let returns = values.ones_like();
            (value_loss(values, returns) * batch.mask.clone()).sum() * 0.1
        };
        let of_scores = |scores: Scores| scores.log_probs.square().sum();

        let hidden = model.hidden(batch.input.clone(), None);
        let values = head.forward(hidden, batch.predictors.clone());
        let recorded = of_values(values).backward();
        let mut expected = GradientsAccumulator::new();
        expected.accumulate(&model, GradientsParams::from_grads(recorded, &model));
        let way = Activations::Kept;
        let loss = |scores| (of_scores(scores), ());
        let (alone, ()) = crate::log_prob::gradients(&model, &batch, 1.0, way, loss);
        expected.accumulate(&model, alone);
        let expected = flat(&model, &expected.grads());

        for activations in [Activations::Kept, Activations::Recomputed] {
            let way = Backward {
                activations,
                loss_scale: LossScale::new(1024.0),
            };
            let beside = |hidden| {
                let rows = batch.predictors.clone();
                let of_values = |values| (of_values(values), ());
                head.gradients(hidden, rows, way.loss_scale, of_values).1
            };
            let (found, ()) = gradients_beside(&model, &batch, 1.0, way, loss, beside);
            let found = flat(&model, &found);
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                found.assert_approx_eq::<f32>(expected, Tolerance::absolute(1e-5));
            }
        }
    }
}
