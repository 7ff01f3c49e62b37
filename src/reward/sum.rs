//! Several rewards as one, each with a weight, none hidden by the sum.

use super::Reward;
use crate::error::{Error, Result};
use crate::record::Completion;

/// `sum_i weight_i reward_i`; tells its terms as the parts of the reward.
#[derive(Default)]
pub struct RewardSum {
    terms: Vec<(String, f32, Box<dyn Reward>)>,
    parts: Vec<(String, Vec<f32>)>,
}

impl RewardSum {
    /// Adds `weight` times `reward`, which the metrics call `name`.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, weight: f32, reward: Box<dyn Reward>) -> Self {
        self.terms.push((name.into(), weight, reward));
        self
    }
}

impl Reward for RewardSum {
    fn reward(&mut self, completions: &[Completion]) -> Result<Vec<f32>> {
        let mut sum = vec![0.0; completions.len()];
        self.parts.clear();
        for (name, weight, reward) in &mut self.terms {
            let values = reward.reward(completions)?;
            if values.len() != sum.len() {
                let (found, expected) = (values.len(), sum.len());
                let message = format!("reward `{name}`: {found} for {expected} completions");
                return Err(Error::Usage(message));
            }
            for (sum, value) in sum.iter_mut().zip(&values) {
                *sum += *weight * value;
            }
            self.parts.push((name.clone(), values));
        }
        Ok(sum)
    }

    fn parts(&self) -> &[(String, Vec<f32>)] {
        &self.parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(Vec<f32>);

    impl Reward for Fixed {
        fn reward(&mut self, _: &[Completion]) -> Result<Vec<f32>> {
            Ok(self.0.clone())
        }
    }

    #[test]
    fn terms_are_weighed_and_told() {
        let row = Completion {
            prompt_id: "1".into(),
            prompt: "p".into(),
            index: 0,
            completion: "c".into(),
            n_tokens: 1,
            log_prob: 0.0,
            finished: true,
        };
        let rows = [row.clone(), row];
        let (a, b) = (vec![1.0, 2.0], vec![4.0, -2.0]);
        let mut sum = RewardSum::default()
            .with("a", 1.0, Box::new(Fixed(a.clone())))
            .with("b", 0.5, Box::new(Fixed(b.clone())));
        for _ in 0..2 {
            assert_eq!(sum.reward(&rows).unwrap(), [3.0, 1.0]);
            assert_eq!(
                sum.parts(),
                [("a".into(), a.clone()), ("b".into(), b.clone())]
            );
        }
        let error = sum.reward(&rows[..1]).unwrap_err().to_string();
        assert_eq!(error, "reward `a`: 2 for 1 completions");
    }
}
