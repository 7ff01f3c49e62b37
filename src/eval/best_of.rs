//! Best-of-n: a policy writes `n` completions of a prompt, and the one of the highest reward is its
//! answer. No training, `n` times the cost of an answer: what an optimised policy has to beat.

use std::cmp::Ordering;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::at_least;
use crate::error::{Error, Result};
use crate::label::LabelerConfig;
use crate::record::Completion;
use crate::reward::{Reward, RewardKind, RewardTerms};

/// Best-of-n of a run file or of a contender.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BestOfConfig {
    /// Completions of each prompt.
    pub n: usize,
    /// What decides, as `rl.reward`.
    #[serde(default = "model")]
    pub reward: RewardTerms,
    /// Folder of the reward model; that of the run when absent.
    pub reward_model: Option<PathBuf>,
    /// Who is asked where the reward asks a labeler; that of the run when absent.
    pub labeler: Option<LabelerConfig>,
}

fn model() -> RewardTerms {
    RewardKind::Model {}.into()
}

impl BestOfConfig {
    /// Checks the ranges; `field` is the path of this table in its file.
    ///
    /// # Errors
    /// Names the field that is out of range, or that would do nothing.
    pub fn validate(&self, field: &str) -> Result<()> {
        at_least(&format!("{field}.n"), self.n, 2)?;
        self.reward.validate(&format!("{field}.reward"), self.n)?;
        let idle = |name: &str, expected: &str| {
            Err(Error::field(format!("{field}.{name}"), "given", expected))
        };
        if self.reward_model.is_some() && !self.reward.has_model() {
            return idle("reward_model", "absent: no term of the reward is a model");
        }
        match &self.labeler {
            Some(_) if !self.reward.has_labeler() => {
                idle("labeler", "absent: no term of the reward asks a labeler")
            }
            Some(labeler) => labeler.validate(&format!("{field}.labeler")),
            None => Ok(()),
        }
    }
}

/// An upper bound of the KL divergence of best-of-n from the policy that it draws from, in nats:
/// `log n - (n - 1) / n`.
///
/// It is the divergence itself where no two completions have an equal reward and no completion
/// comes twice; otherwise the divergence is lower. Stiennon et al. 2020, arXiv:2009.01325, appendix
/// G.3; Beirami et al. 2024, arXiv:2401.01879, who show that it is a bound.
pub fn kl_bound(n: usize) -> f64 {
    let n = n.max(1) as f64;
    n.ln() - (n - 1.0) / n
}

/// The completion of the highest reward of every `n`, the first of equals; `completions` holds `n`
/// of each prompt side by side.
///
/// # Errors
/// The reward fails, or one is no number.
pub fn best_of(
    completions: &[Completion],
    n: usize,
    reward: &mut dyn Reward,
) -> Result<Vec<Completion>> {
    let rewards = reward.reward(completions)?;
    if rewards.iter().any(|reward| reward.is_nan()) {
        return Err(Error::Usage("best of n: a reward is no number".into()));
    }
    let rows: Vec<(&Completion, f32)> = completions.iter().zip(rewards).collect();
    let better = |a: &&(&Completion, f32), b: &&(&Completion, f32)| match a.1.total_cmp(&b.1) {
        // `max_by` takes the last of equals.
        Ordering::Equal => Ordering::Greater,
        order => order,
    };
    let groups = rows.chunks(n.max(1));
    Ok(groups
        .filter_map(|group| group.iter().max_by(better).map(|(row, _)| (*row).clone()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The length of the text.
    struct Length;

    impl Reward for Length {
        fn reward(&mut self, completions: &[Completion]) -> Result<Vec<f32>> {
            let length = |row: &Completion| row.completion.len() as f32;
            Ok(completions.iter().map(length).collect())
        }
    }

    #[test]
    fn the_first_of_the_best_is_chosen() {
        let row = |(id, index, text): (&str, usize, &str)| Completion {
            prompt_id: id.into(),
            prompt: "p".into(),
            index,
            completion: text.into(),
            n_tokens: 1,
            log_prob: 0.0,
            finished: true,
        };
        let rows = [
            ("a", 0, "x"),
            ("a", 1, "xyz"),
            ("a", 2, "xy"),
            ("b", 0, "x"),
            ("b", 1, "uv"),
            ("b", 2, "xy"),
        ];
        let rows: Vec<Completion> = rows.into_iter().map(row).collect();
        let found = best_of(&rows, 3, &mut Length).unwrap();
        let found: Vec<_> = found.iter().map(|row| row.completion.as_str()).collect();
        assert_eq!(found, ["xyz", "uv"]);
    }

    // ln 2 - 1/2, ln 8 - 7/8.
    #[test]
    fn the_bound_grows_with_the_logarithm() {
        for (n, expected) in [(1, 0.0), (2, 0.193_147_180_6), (8, 1.204_441_541_7)] {
            assert!(
                (kl_bound(n) - expected).abs() < 1e-9,
                "{n}: {}",
                kl_bound(n)
            );
        }
    }

    #[test]
    fn what_would_do_nothing_is_refused() {
        let check = |text: &str, said: &str| {
            let config: BestOfConfig = toml::from_str(text).unwrap();
            let error = config.validate("eval.best_of").unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        };
        check("n = 1", "`eval.best_of.n` is 1");
        check(
            "n = 2\nreward = \"direct\"\nreward_model = \"m\"",
            "eval.best_of.reward_model",
        );
        check(
            "n = 2\nlabeler = { kind = \"oracle\" }",
            "eval.best_of.labeler",
        );
        check(
            "n = 2\nreward = { kind = \"pattern\", regex = \"(\" }",
            "eval.best_of.reward.pattern",
        );
    }
}
