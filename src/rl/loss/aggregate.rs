//! What a token weighs in the loss of a batch of completions of unequal lengths.

use serde::{Deserialize, Serialize};

/// How the losses of tokens become one number; TRL's `loss_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossType {
    /// Mean over completions of the mean over a completion's tokens: short completions weigh more
    /// per token. Shao et al. 2024, arXiv:2402.03300, eq. 3.
    Grpo,
    /// Mean over the tokens of the minibatch.
    Bnpo,
    /// Sum over tokens, divided by a number that no completion changes: completions times the
    /// longest length that sampling allows. Liu et al. 2025, arXiv:2503.20783, section 3.
    DrGrpo,
    /// Mean over the tokens of the whole rollout batch, so that all of them weigh the same whatever
    /// minibatch they are in. Yu et al. 2025, arXiv:2503.14476, section 3.3.
    #[default]
    Dapo,
    /// The loss of [`cispo`](super::cispo), averaged as in `Dapo`.
    Cispo,
}

/// What the loss of a minibatch is divided by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalizer {
    /// Completions of the minibatch.
    pub n_completions: usize,
    /// Tokens of the minibatch that count.
    pub n_tokens: usize,
    /// Tokens that count in a minibatch on average: those of the rollout batch, divided by the
    /// minibatches of a pass.
    pub mean_n_tokens: f32,
    /// Tokens of the longest completion that sampling allows.
    pub max_len: usize,
}

impl Normalizer {
    /// Weight of each token of a completion with `length` tokens; the loss of the minibatch is the
    /// weighted sum over all its tokens. Divisors are 1 at least, so that nothing weighs nothing.
    pub fn weight(&self, loss_type: LossType, length: usize) -> f32 {
        let divisor = match loss_type {
            LossType::Grpo => (self.n_completions * length.max(1)) as f32,
            LossType::Bnpo => self.n_tokens as f32,
            LossType::DrGrpo => (self.n_completions * self.max_len) as f32,
            LossType::Dapo | LossType::Cispo => self.mean_n_tokens,
        };
        1.0 / divisor.max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loss of two completions, token losses [4] and [1, 2, 3], at most 5 tokens long; the other
    /// minibatch of the rollout batch has 6 tokens.
    fn loss(loss_type: LossType) -> f32 {
        let normalizer = Normalizer {
            n_completions: 2,
            n_tokens: 4,
            mean_n_tokens: 5.0,
            max_len: 5,
        };
        4.0 * normalizer.weight(loss_type, 1) + (1.0 + 2.0 + 3.0) * normalizer.weight(loss_type, 3)
    }

    #[test]
    fn tokens_weigh_as_the_loss_type_says() {
        let check = |loss_type, expected: f32| {
            let found = loss(loss_type);
            assert!((found - expected).abs() < 1e-6, "{loss_type:?}: {found}");
        };
        check(LossType::Grpo, 3.0); // (4 + 2) / 2
        check(LossType::Bnpo, 2.5); // 10 / 4
        check(LossType::DrGrpo, 1.0); // 10 / (2 * 5)
        check(LossType::Dapo, 2.0); // 10 / 5
        check(LossType::Cispo, 2.0);
    }

    #[test]
    fn nothing_that_counts_is_no_division_by_zero() {
        let normalizer = Normalizer {
            n_completions: 1,
            n_tokens: 0,
            mean_n_tokens: 0.0,
            max_len: 5,
        };
        for loss_type in [LossType::Grpo, LossType::Bnpo, LossType::Dapo] {
            assert_eq!(normalizer.weight(loss_type, 0), 1.0);
        }
    }
}
