//! What a completion is worth beside the others of its prompt: the labeler compares each with each,
//! in both orders. A labeler that is unsure on a scale of 1 to 10 may still tell two texts apart.

use super::Reward;
use crate::error::Result;
use crate::label::{Labeler, Pair};
use crate::record::Completion;

/// Mean probability that the labeler prefers a completion to another of its prompt, in `[0, 1]`.
///
/// The completions of a prompt stand together. Equal texts are even; so is a pair without a verdict
/// and a completion without others.
pub struct WinRateReward {
    labeler: Box<dyn Labeler>,
}

impl WinRateReward {
    /// Asks `labeler` about every pair of completions of a prompt: `n (n - 1) / 2` of them.
    pub fn new(labeler: Box<dyn Labeler>) -> Self {
        Self { labeler }
    }
}

impl Reward for WinRateReward {
    fn reward(&mut self, completions: &[Completion]) -> Result<Vec<f32>> {
        let mut asked: Vec<(usize, usize)> = Vec::new();
        let mut others = vec![0.0_f32; completions.len()];
        let mut start = 0;
        for group in completions.chunk_by(|a, b| a.prompt_id == b.prompt_id) {
            let members = start..start + group.len();
            for a in members.clone() {
                others[a] = group.len().saturating_sub(1) as f32;
                asked.extend((a + 1..members.end).map(|b| (a, b)));
            }
            start = members.end;
        }
        asked.retain(|&(a, b)| completions[a].completion != completions[b].completion);
        let pairs: Vec<Pair> = asked
            .iter()
            .map(|&(a, b)| Pair::of(&completions[a], &completions[b]))
            .collect();
        // Half a point for each other completion, corrected by what the labeler says of them.
        let mut points: Vec<f32> = others.iter().map(|n| 0.5 * n).collect();
        for (&(a, b), judged) in asked.iter().zip(self.labeler.compare(&pairs)?) {
            let lead = judged.p_a().unwrap_or(0.5) - 0.5;
            points[a] += lead;
            points[b] -= lead;
        }
        let mean = |(points, others): (f32, f32)| match others {
            0.0 => 0.5,
            n => points / n,
        };
        Ok(points.into_iter().zip(others).map(mean).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::{Candidate, Judgement, Scored};
    use crate::record::Method;

    /// Prefers the longer text, with the probability that the difference gives; counts what it was
    /// asked.
    struct Longer(usize);

    impl Labeler for Longer {
        fn name(&self) -> &str {
            "longer"
        }

        fn compare(&mut self, pairs: &[Pair]) -> Result<Vec<Judgement>> {
            self.0 += pairs.len();
            let judge = |pair: &Pair| {
                let p = 0.5 + 0.1 * (pair.a.len() as f32 - pair.b.len() as f32);
                Judgement::of_both(p, p, Method::LogProbs)
            };
            Ok(pairs.iter().map(judge).collect())
        }

        fn score(&mut self, _: &[Candidate]) -> Result<Vec<Scored>> {
            Ok(Vec::new())
        }
    }

    fn completion(id: &str, text: &str) -> Completion {
        Completion {
            prompt_id: id.into(),
            prompt: "p".into(),
            index: 0,
            completion: text.into(),
            n_tokens: 1,
            log_prob: 0.0,
            finished: true,
        }
    }

    // Prompt 1: a, aa, aaa: .4 and .3; .6 and .4; .7 and .6. Prompt 2: equal texts and a longer
    // one: .5 and .4 twice, .6 and .6. Prompt 3 is alone.
    #[test]
    fn each_is_held_against_the_others_of_its_prompt() {
        let texts = [
            ("1", "a"),
            ("1", "aa"),
            ("1", "aaa"),
            ("2", "b"),
            ("2", "b"),
            ("2", "bb"),
            ("3", "c"),
        ];
        let rows: Vec<Completion> = texts.map(|(id, text)| completion(id, text)).into();
        let mut reward = WinRateReward::new(Box::new(Longer(0)));
        let found = reward.reward(&rows).unwrap();
        for (found, expected) in found.iter().zip([0.35, 0.5, 0.65, 0.45, 0.45, 0.6, 0.5]) {
            assert!((found - expected).abs() < 1e-6, "{found}, {expected}");
        }
    }
}
