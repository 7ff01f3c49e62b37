//! One number on top of a language model: the reward of a text, or the value of each of its tokens.

use burn::module::{Module, Param};
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::prelude::*;
use burn::tensor::DType;

use super::{Backward, CausalLm, Forward, Input, device_of};
use crate::precision::gradients_in_f32;

/// Backbone and a bias-free linear map to one number, as in `*ForSequenceClassification` with one
/// label.
///
/// The map starts at zero, so that a fresh reward is 0 for every text and a fresh value function
/// predicts 0. It and its numbers are in 32 bits whatever the backbone computes in.
#[derive(Module, Debug)]
pub struct ScalarHead<M: Module> {
    /// The language model; its own head is unused.
    pub backbone: M,
    score: Linear,
    /// Mean of the rewards on the training texts; what is reported has mean 0 and deviation 1
    /// there.
    #[module(skip)]
    pub mean: f32,
    /// Their standard deviation.
    #[module(skip)]
    pub std: f32,
}

impl<M: CausalLm> ScalarHead<M> {
    /// Puts a zero head on `backbone`.
    pub fn new(backbone: M) -> Self {
        let score = LinearConfig::new(backbone.hidden_size(), 1)
            .with_bias(false)
            .with_initializer(Initializer::Zeros)
            .init(&device_of(&backbone));
        Self {
            backbone,
            score,
            mean: 0.0,
            std: 1.0,
        }
    }

    /// Puts a head with these weights, `[hidden]`, on `backbone`.
    pub(super) fn with_score(backbone: M, score: Vec<f32>) -> Self {
        let mut head = Self::new(backbone);
        let weight = TensorData::new(score, [head.backbone.hidden_size(), 1]);
        let device = head.score.weight.lazy_device();
        head.score.weight = Param::from_data(weight, &device);
        head
    }

    /// The head's number at the tokens listed in `rows` of the flattened `[batch * seq]`, `[rows]`;
    /// not normalised.
    pub fn forward(&self, input: Input, rows: Tensor<1, Int>) -> Tensor<1> {
        self.score(self.backbone.hidden(input, None), rows)
    }

    /// Gradient by the weights of a loss of what [`ScalarHead::forward`] gives, and what else
    /// `loss` returns; `way` as in [`gradients`](crate::log_prob::gradients).
    pub fn gradients<T>(
        &self,
        input: Input,
        rows: Tensor<1, Int>,
        way: impl Into<Backward>,
        loss: impl FnOnce(Tensor<1>) -> (Tensor<1>, T),
    ) -> (GradientsParams, T) {
        let Backward {
            activations,
            loss_scale: scale,
        } = way.into();
        let pass = Forward::new(&self.backbone, input, activations);
        let hidden = pass.hidden().autodiff().require_grad();
        let (loss, told) = loss(self.score(hidden.clone(), rows));
        let mut found = scale.scale(loss).backward();
        let by_hidden = hidden.grad_remove(&mut found);
        let by_hidden = by_hidden.unwrap_or_else(|| hidden.inner().zeros_like());
        let mut grads = GradientsAccumulator::new();
        let found = GradientsParams::from_grads(found, self);
        grads.accumulate(self, gradients_in_f32(self, found));
        grads.accumulate(self, pass.backward(&self.backbone, by_hidden));
        (scale.unscale(self, grads.grads()), told)
    }

    fn score(&self, hidden: Tensor<3>, rows: Tensor<1, Int>) -> Tensor<1> {
        let [batch, seq, width] = hidden.dims();
        let hidden = hidden.reshape([batch * seq, width]).select(0, rows);
        self.score
            .forward(hidden.cast(DType::F32))
            .squeeze_dim::<1>(1)
    }
}
