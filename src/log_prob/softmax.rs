//! The softmax of a chunk of logits: log-probabilities and entropies, and their gradient by hand,
//! so that none of its steps is recorded.

use burn::prelude::*;
use burn::tensor::IndexingUpdateOp;

/// `softmax(logits)` of some rows, in the parts that log-probabilities and gradients are made of.
pub(super) struct Softmax {
    /// Logits less the largest of their row, `[rows, vocab]`.
    shifted: Tensor<2>,
    /// `exp(shifted)`, `[rows, vocab]`.
    exp: Tensor<2>,
    /// Sum of a row of `exp`, `[rows, 1]`.
    total: Tensor<2>,
}

/// What is read from the distributions of some rows, each `[rows, 1]`.
pub(super) struct Readings {
    /// Log-probability of the target in nats.
    pub(super) log_prob: Tensor<2>,
    /// Entropy in nats.
    pub(super) entropy: Tensor<2>,
    /// 1.0 where no token is likelier than the target.
    pub(super) top: Tensor<2>,
}

impl Softmax {
    /// Of logits `[rows, vocab]` without gradients, in 32-bit numbers.
    pub(super) fn new(logits: Tensor<2>) -> Self {
        let largest = logits.clone().max_dim(1);
        let shifted = logits - largest;
        let exp = shifted.clone().exp();
        let total = exp.clone().sum_dim(1);
        Self {
            shifted,
            exp,
            total,
        }
    }

    /// Reads the distributions at `targets`, `[rows, 1]`.
    pub(super) fn read(&self, targets: Tensor<2, Int>) -> Readings {
        let target = self.shifted.clone().gather(1, targets);
        Readings {
            log_prob: target.clone() - self.total.clone().log(),
            entropy: self.entropy(),
            top: target.greater_equal_scalar(0.0).float(),
        }
    }

    /// `log sum_v e_v - sum_v e_v s_v / sum_v e_v` with `s` the shifted logits and `e = exp(s)`.
    fn entropy(&self) -> Tensor<2> {
        let weighted = (self.exp.clone() * self.shifted.clone()).sum_dim(1);
        self.total.clone().log() - weighted / self.total.clone()
    }

    /// Gradient of a loss by the logits, `[rows, vocab]`, from that by the log-probabilities of
    /// `targets` and, if there is one, by the entropies, each `[rows, 1]`.
    ///
    /// `d log p_y / d z_v = [v = y] - p_v` and `d H / d z_v = -p_v (log p_v + H)`.
    pub(super) fn gradient(
        self,
        targets: Tensor<2, Int>,
        by_log_prob: Tensor<2>,
        by_entropy: Option<Tensor<2>>,
    ) -> Tensor<2> {
        let weight = match by_entropy {
            None => by_log_prob.clone() / self.total.clone(),
            Some(by_entropy) => {
                let surprise = self.shifted.clone() + (self.entropy() - self.total.clone().log());
                (surprise * by_entropy + by_log_prob.clone()) / self.total
            }
        };
        let by_others = self.exp * weight.neg();
        by_others.scatter(1, targets, by_log_prob, IndexingUpdateOp::Add)
    }
}
