//! What a loss is made of, as leaves of a graph of its own, and its gradient by them.

use burn::prelude::*;

use super::Scores;
use super::head::{Recording, placed};
use crate::batch::Batch;

/// Log-probabilities and entropies as leaves of a graph, each `[tokens]`.
pub(super) struct Leaves {
    log_probs: Tensor<1>,
    entropy: Tensor<1>,
    /// `top` and the mean logits.
    told: [Tensor<1>; 2],
}

/// Gradient of a loss by what it was made of, each `[tokens, 1]`.
pub(super) struct ByScores {
    pub(super) log_prob: Tensor<2>,
    pub(super) entropy: Option<Tensor<2>>,
}

impl Leaves {
    pub(super) fn new(
        [log_probs, entropy, told @ ..]: [Tensor<1>; 4],
        recording: Recording,
    ) -> Self {
        let entropy = entropy.autodiff();
        Self {
            log_probs: log_probs.autodiff().require_grad(),
            entropy: match recording {
                Recording::LogProbs => entropy,
                Recording::WithEntropy => entropy.require_grad(),
            },
            told: told.map(Tensor::autodiff),
        }
    }

    pub(super) fn scores(&self, batch: &Batch) -> Scores {
        let [top, mean_logits] = self.told.clone();
        let columns = [
            self.log_probs.clone(),
            self.entropy.clone(),
            top,
            mean_logits,
        ];
        placed(columns, batch)
    }

    pub(super) fn gradient(self, loss: &Tensor<1>) -> ByScores {
        let mut grads = loss.backward();
        let log_prob = self.log_probs.grad_remove(&mut grads);
        let log_prob = log_prob.unwrap_or_else(|| self.log_probs.zeros_like().inner());
        ByScores {
            log_prob: log_prob.unsqueeze_dim(1),
            entropy: (self.entropy.grad_remove(&mut grads)).map(|by| by.unsqueeze_dim(1)),
        }
    }
}
