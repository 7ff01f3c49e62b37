//! One number on top of a language model: the reward of a text, or the value of each of its tokens.

use burn::module::Module;
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::prelude::*;

use super::{CausalLm, Input, device_of};

/// Backbone and a bias-free linear map to one number, as in `*ForSequenceClassification` with one label.
///
/// The map starts at zero, so that a fresh reward is 0 for every text and a fresh value function predicts 0.
#[derive(Module, Debug)]
pub struct ScalarHead<M: Module> {
    /// The language model; its own head is unused.
    pub backbone: M,
    score: Linear,
}

impl<M: CausalLm> ScalarHead<M> {
    /// Puts a zero head on `backbone`.
    pub fn new(backbone: M) -> Self {
        let score = LinearConfig::new(backbone.hidden_size(), 1)
            .with_bias(false)
            .with_initializer(Initializer::Zeros)
            .init(&device_of(&backbone));
        Self { backbone, score }
    }

    /// The head's number at every token, `[batch * seq, 1]` in row order, beside nothing else.
    pub fn forward(&self, input: Input) -> Tensor<2> {
        let hidden = self.backbone.hidden(input, None);
        let [batch, seq, width] = hidden.dims();
        self.score.forward(hidden.reshape([batch * seq, width]))
    }
}
