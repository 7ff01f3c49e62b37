//! What a run file says about the reward model.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::at_least;
use crate::dpo::Labels;
use crate::error::{Error, Result};
use crate::micro_batch::MicroBatches;
use crate::optim::OptimConfig;
use crate::validation::ValidationConfig;

/// Reward model training. Names as in TRL's `RewardConfig`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewardConfig {
    /// Folder of the model that it starts from; the fine-tuned policy when absent. The paper's
    /// reward models of people's labels start from the pretrained one (appendix G).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<PathBuf>,
    /// Uses at most so many of the pairs, the first ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_pairs: Option<usize>,
    /// How the labeler's probabilities count.
    #[serde(default, skip_serializing_if = "is_default")]
    pub labels: Labels,
    /// Pairs per step (the paper: 128 for summarization).
    pub batch_size: usize,
    /// Pairs that go through the network at once; all of a step when absent. Changes memory and
    /// speed, not the numbers.
    pub micro_batch_size: Option<usize>,
    /// Tokens, padding included, that go through the network at once; no bound when absent.
    pub micro_batch_tokens: Option<usize>,
    /// Keeps only the input of each block for the backward pass and computes the rest again.
    #[serde(default)]
    pub gradient_checkpointing: bool,
    /// Passes over the pairs (the paper: 2 to 3).
    #[serde(default = "one")]
    pub num_train_epochs: usize,
    /// Leaves out pairs with a prompt and completion of more tokens; when absent, none may be
    /// longer than the model reads.
    pub max_length: Option<usize>,
    /// Weight of the mean of `(r_chosen + r_rejected)^2`, which keeps rewards around 0 (0.01 is
    /// usual); none when absent.
    pub center_rewards_coefficient: Option<f32>,
    /// Share of each label that is given to the other completion, below 0.5.
    #[serde(default)]
    pub label_smoothing: f32,
    /// Saves the mean and the deviation of the rewards of the training texts with the model, so
    /// that its rewards have mean 0 and deviation 1 there; without, they are what the head says.
    #[serde(default = "yes")]
    pub normalize_rewards: bool,
    /// Share of the pairs that is held out to measure the model.
    #[serde(default = "default_holdout")]
    pub holdout: f64,
    /// What the held-out pairs are used for during the training.
    #[serde(default)]
    pub validation: ValidationConfig,
    /// Optimizer.
    #[serde(default)]
    pub optim: OptimConfig,
}

fn one() -> usize {
    1
}

fn is_default(labels: &Labels) -> bool {
    *labels == Labels::default()
}

fn yes() -> bool {
    true
}

fn default_holdout() -> f64 {
    0.1
}

impl RewardConfig {
    pub(super) fn micro_batches(&self) -> MicroBatches {
        MicroBatches {
            size: self.micro_batch_size,
            tokens: self.micro_batch_tokens,
        }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn validate(&self) -> Result<()> {
        at_least("reward.batch_size", self.batch_size, 1)?;
        at_least("reward.num_train_epochs", self.num_train_epochs, 1)?;
        at_least("reward.max_pairs", self.max_pairs.unwrap_or(1), 1)?;
        self.micro_batches().validate("reward")?;
        if let Some(max_length) = self.max_length {
            at_least("reward.max_length", max_length, 2)?;
        }
        if let Some(x) = self.center_rewards_coefficient
            && !(x >= 0.0 && x.is_finite())
        {
            let field = "reward.center_rewards_coefficient";
            return Err(Error::field(field, x, "a number >= 0"));
        }
        let smoothing = self.label_smoothing;
        if !(0.0..0.5).contains(&smoothing) {
            let expected = "a number in [0, 0.5)";
            return Err(Error::field("reward.label_smoothing", smoothing, expected));
        }
        if !(0.0..1.0).contains(&self.holdout) {
            let expected = "a number in [0, 1)";
            return Err(Error::field("reward.holdout", self.holdout, expected));
        }
        let validation = &self.validation;
        validation.validate("reward.validation", self.holdout)?;
        self.optim.validate("reward.optim")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_checked() {
        let read = |line: &str| -> Result<()> {
            let config: RewardConfig = toml::from_str(&format!("batch_size = 4\n{line}")).unwrap();
            config.validate()
        };
        assert!(read("").is_ok());
        assert!(read("validation = { eval_steps = 5 }").is_ok());
        for (line, field) in [
            ("label_smoothing = 0.5", "reward.label_smoothing"),
            ("holdout = 1.0", "reward.holdout"),
            ("max_length = 1", "reward.max_length"),
            ("max_pairs = 0", "reward.max_pairs"),
            ("micro_batch_size = 0", "reward.micro_batch_size"),
            (
                "center_rewards_coefficient = -0.1",
                "reward.center_rewards_coefficient",
            ),
            (
                "holdout = 0.0\nvalidation = { eval_steps = 5 }",
                "reward.validation",
            ),
        ] {
            let error = read(line).unwrap_err().to_string();
            assert!(error.contains(field), "{error}");
        }
    }
}
