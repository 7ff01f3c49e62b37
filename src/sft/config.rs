//! What a run file says about supervised fine-tuning.

use serde::{Deserialize, Serialize};

use super::PackingStrategy;
use crate::config::at_least;
use crate::error::{Error, Result};
use crate::micro_batch::MicroBatches;
use crate::optim::OptimConfig;
use crate::validation::ValidationConfig;

/// Supervised fine-tuning. Names as in TRL's `SFTConfig`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SftConfig {
    /// Rows per step: demonstrations, or what `packing` makes of them.
    pub batch_size: usize,
    /// Rows that go through the network at once; all of a step when absent. Changes memory and
    /// speed, not the numbers.
    pub micro_batch_size: Option<usize>,
    /// Tokens, padding included, that go through the network at once; no bound when absent.
    pub micro_batch_tokens: Option<usize>,
    /// Keeps only the input of each block for the backward pass and computes the rest again.
    #[serde(default)]
    pub gradient_checkpointing: bool,
    /// Passes over the demonstrations.
    #[serde(default = "one")]
    pub num_train_epochs: usize,
    /// Cuts longer texts at their end; when absent, none may be longer than the model reads. With
    /// `packing`, the length of a row.
    pub max_length: Option<usize>,
    /// Puts several demonstrations into a row; none sees another.
    #[serde(default)]
    pub packing: bool,
    /// How they are put there.
    #[serde(default)]
    pub packing_strategy: PackingStrategy,
    /// For rows of `prompt` and `completion`: whether the completion alone counts in the loss.
    #[serde(default = "yes")]
    pub completion_only_loss: bool,
    /// For rows of `messages`: whether what the assistant wrote alone counts in the loss.
    #[serde(default)]
    pub assistant_only_loss: bool,
    /// Share of the rows that is held out to measure the model.
    #[serde(default)]
    pub holdout: f64,
    /// What the held-out rows are used for during the training.
    #[serde(default)]
    pub validation: ValidationConfig,
    /// Optimizer.
    #[serde(default)]
    pub optim: OptimConfig,
}

fn one() -> usize {
    1
}

fn yes() -> bool {
    true
}

impl SftConfig {
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
        at_least("sft.batch_size", self.batch_size, 1)?;
        at_least("sft.num_train_epochs", self.num_train_epochs, 1)?;
        self.micro_batches().validate("sft")?;
        if let Some(max_length) = self.max_length {
            at_least("sft.max_length", max_length, 2)?;
        }
        if !self.packing && self.packing_strategy != PackingStrategy::default() {
            let expected = "absent: `sft.packing` is not set";
            return Err(Error::field("sft.packing_strategy", "given", expected));
        }
        if !(0.0..1.0).contains(&self.holdout) {
            let expected = "a number in [0, 1)";
            return Err(Error::field("sft.holdout", self.holdout, expected));
        }
        let measured = self.validation.eval_steps.is_some();
        if self.holdout > 0.0 && !measured {
            let expected = "0 without `sft.validation.eval_steps`: nothing would be measured";
            return Err(Error::field("sft.holdout", self.holdout, expected));
        }
        self.validation.validate("sft.validation", self.holdout)?;
        self.optim.validate("sft.optim")
    }
}
