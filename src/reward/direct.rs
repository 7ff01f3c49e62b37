//! d-RLAIF: the labeler's score of 1 to 10, mapped to `[-1, 1]`, is the reward. No reward model, so
//! none that grows stale as the policy moves. Lee et al. 2023, arXiv:2309.00267, section 2.2.2.

use super::Reward;
use crate::error::Result;
use crate::label::{Candidate, Labeler};
use crate::record::Completion;

/// A labeler as the reward.
pub struct DirectReward {
    labeler: Box<dyn Labeler>,
}

impl DirectReward {
    /// Asks `labeler` for every completion.
    pub fn new(labeler: Box<dyn Labeler>) -> Self {
        Self { labeler }
    }
}

impl Reward for DirectReward {
    fn reward(&mut self, completions: &[Completion]) -> Result<Vec<f32>> {
        let candidates: Vec<Candidate> = completions
            .iter()
            .map(|row| Candidate {
                prompt_id: &row.prompt_id,
                prompt: &row.prompt,
                completion: &row.completion,
            })
            .collect();
        self.labeler.score(&candidates)
    }
}
