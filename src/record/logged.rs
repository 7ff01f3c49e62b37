//! What is kept of the completions that a policy is trained on.

use serde::{Deserialize, Serialize};

use super::{Completion, Record, finite};
use crate::error::Result;

/// A completion that the policy was trained on, with its worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoggedRollout {
    /// Step of the training, counted from 1.
    pub step: usize,
    /// Its reward, before the KL penalty.
    pub reward: f32,
    /// The completion.
    #[serde(flatten)]
    pub completion: Completion,
}

impl Record for LoggedRollout {
    fn check(&self) -> Result<()> {
        finite("reward", self.reward)?;
        self.completion.check()
    }
}
