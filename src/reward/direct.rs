//! d-RLAIF: the labeler's score of 1 to 10, mapped to `[-1, 1]`, is the reward. No reward model, so
//! none that grows stale as the policy moves. Lee et al. 2023, arXiv:2309.00267, section 2.2.2.

use super::Reward;
use crate::error::{Error, Result};
use crate::label::{Candidate, Labeler, Scored};
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
        let candidates: Vec<Candidate> = completions.iter().map(Candidate::of).collect();
        let scored = self.labeler.score(&candidates)?;
        or_mean(&scored)
    }
}

/// The scores; where one is missing, the mean of the others, so that nothing is learned from a
/// completion that nobody judged.
fn or_mean(scored: &[Scored]) -> Result<Vec<f32>> {
    let known: Vec<f32> = scored
        .iter()
        .filter_map(|row| row.score.clone().ok())
        .collect();
    let missing = scored.iter().find_map(|row| row.score.as_ref().err());
    let mean = known.iter().sum::<f32>() / known.len().max(1) as f32;
    if let Some(why) = missing {
        let n = scored.len() - known.len();
        if known.is_empty() {
            return Err(Error::Usage(format!(
                "none of {n} completions has a score: {why}"
            )));
        }
        tracing::warn!(
            "{n} of {} completions have no score, the first: {why}",
            scored.len()
        );
    }
    Ok(scored
        .iter()
        .map(|row| row.score.clone().unwrap_or(mean))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::NoAnswer;
    use crate::record::Method;

    #[test]
    fn a_missing_score_is_the_mean_of_the_others() {
        let missing = || Scored {
            score: Err(NoAnswer::TooLong { found: 9, limit: 8 }),
            ..Scored::of(0.0, Method::LogProbs)
        };
        let scored = [0.5, -1.0].map(|score| Scored::of(score, Method::LogProbs));
        let [a, b] = scored;
        assert_eq!(or_mean(&[a, missing(), b]).unwrap(), [0.5, -0.25, -1.0]);
        let error = or_mean(&[missing()]).unwrap_err().to_string();
        assert_eq!(
            error,
            "none of 1 completions has a score: 9 tokens, the model takes at most 8"
        );
    }
}
