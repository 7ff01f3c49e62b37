//! What a reward model is trained on: pairs, and the loss of the rewards that it gives them.

use burn::prelude::*;
use serde::Serialize;

use super::RewardConfig;
use super::model::tree;
use crate::batch::Tree;
use crate::config::PolicyConfig;
use crate::dpo::Labels;
use crate::error::Result;
use crate::eval::calibration::{Calibration, calibration, correlation};
use crate::eval::stats::{Interval, wilson};
use crate::record::Preference;
use crate::rl::loss::{centering, soft_bradley_terry};
use crate::tokenizer::Tokenizer;

/// A preference as tokens.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    /// The prompt with the chosen completion and the rejected one.
    pub(super) tree: Tree,
    /// How sure the labeler is of the order.
    p_chosen: f32,
    /// By how much the chosen completion's reward should be higher.
    margin: f32,
}

impl Pair {
    pub(super) fn new(
        row: &Preference,
        policy: &PolicyConfig,
        tokenizer: &Tokenizer,
        config: &RewardConfig,
    ) -> Result<Self> {
        let smoothing = config.label_smoothing;
        let p_chosen = match config.labels {
            Labels::Soft => row.p_chosen,
            Labels::Hard => 1.0,
        };
        Ok(Self {
            tree: tree(
                tokenizer,
                policy,
                &row.prompt,
                &[row.chosen.clone(), row.rejected.clone()],
            )?,
            p_chosen: p_chosen * (1.0 - smoothing) + (1.0 - p_chosen) * smoothing,
            margin: row.margin.unwrap_or(0.0),
        })
    }

    /// Tokens of the prompt and the longer completion.
    pub(super) fn len(&self) -> usize {
        let longest = self.tree.completions.iter().map(Vec::len).max();
        self.tree.prompt.len() + longest.unwrap_or(0)
    }
}

/// Mean loss of `pairs`; `rewards` lists chosen, rejected, chosen, ...
///
/// Cross-entropy between the labels and the preferences that the rewards imply, the margin taken
/// off the difference first, and `center_rewards_coefficient` times the mean of the squared sums.
pub(super) fn pair_loss(rewards: Tensor<1>, pairs: &[Pair], config: &RewardConfig) -> Tensor<1> {
    let column = |of: fn(&Pair) -> f32| {
        let values: Vec<f32> = pairs.iter().map(of).collect();
        Tensor::<1>::from_data(values.as_slice(), &rewards.device())
    };
    let (p_chosen, margin) = (column(|pair| pair.p_chosen), column(|pair| pair.margin));
    let rewards = rewards.clone().reshape([pairs.len(), 2]);
    let chosen = rewards.clone().slice(s![.., 0..1]).squeeze_dim::<1>(1);
    let rejected = rewards.slice(s![.., 1..2]).squeeze_dim::<1>(1);
    let loss = soft_bradley_terry(chosen.clone() - margin, rejected.clone(), p_chosen);
    match config.center_rewards_coefficient {
        Some(coefficient) => loss + centering(chosen, rejected) * coefficient,
        None => loss,
    }
}

/// Names and values of what the rewards of pairs tell, as in TRL; chosen, rejected, chosen, ...
pub(super) fn statistics(rewards: &[f32]) -> [(&'static str, f64); 5] {
    let values = || rewards.iter().copied().map(f64::from);
    let n_pairs = (rewards.len() / 2).max(1) as f64;
    let differences = differences(rewards);
    let right = differences.iter().filter(|&&d| d > 0.0).count();
    [
        ("accuracy", right as f64 / n_pairs),
        ("margin", differences.iter().sum::<f64>() / n_pairs),
        ("min_reward", values().fold(f64::INFINITY, f64::min)),
        ("mean_reward", values().sum::<f64>() / (2.0 * n_pairs)),
        ("max_reward", values().fold(f64::NEG_INFINITY, f64::max)),
    ]
}

/// By how much each pair's chosen completion has the higher reward.
fn differences(rewards: &[f32]) -> Vec<f64> {
    let difference = |pair: &[f32]| f64::from(pair[0]) - f64::from(pair[1]);
    rewards.chunks_exact(2).map(difference).collect()
}

/// How good a reward model came out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RewardReport {
    /// Share of held-out pairs whose chosen completion has the higher reward; a tie is half of one.
    pub accuracy: f64,
    /// 95% interval of it.
    pub ci: Interval,
    /// Held-out pairs.
    pub n: usize,
    /// How far the preferences that the rewards imply can be taken at their word, on those pairs.
    #[serde(flatten)]
    pub calibration: Calibration,
    /// Correlation of the reward of a completion with its number of tokens, on those pairs; NaN
    /// (in the file: `null`) where one of them does not vary.
    pub length_correlation: f64,
    /// Share of those pairs where the chosen completion is the longer one, a tie half of one: the
    /// accuracy of a model that knows only lengths.
    pub longer_chosen: f64,
    /// Mean reward on the training texts, before normalisation.
    pub mean: f32,
    /// Its standard deviation.
    pub std: f32,
}

impl RewardReport {
    /// From the rewards of the pairs held out, and the mean and deviation of the others.
    pub(super) fn new(held: &[Pair], rewards: &[f32], (mean, std): (f32, f32)) -> Self {
        let n = held.len();
        let lengths: Vec<f64> = (held.iter().flat_map(|pair| &pair.tree.completions))
            .map(|completion| completion.len() as f64)
            .collect();
        let differences = differences(rewards);
        let right: f64 = differences.iter().copied().map(points).sum();
        let longer: f64 = lengths
            .chunks_exact(2)
            .map(|pair| points(pair[0] - pair[1]))
            .sum();
        let rewards: Vec<f64> = rewards.iter().copied().map(f64::from).collect();
        Self {
            accuracy: right / n.max(1) as f64,
            ci: wilson(right, n),
            n,
            calibration: calibration(&differences),
            length_correlation: correlation(&rewards, &lengths),
            longer_chosen: longer / n.max(1) as f64,
            mean,
            std,
        }
    }
}

/// 1 for a positive difference, 0.5 for none.
fn points(difference: f64) -> f64 {
    match difference {
        d if d > 0.0 => 1.0,
        0.0 => 0.5,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(p_chosen: f32, margin: f32) -> Pair {
        let completions = vec![vec![1, 2], vec![3]];
        Pair {
            tree: Tree {
                prompt: vec![1],
                completions,
            },
            p_chosen,
            margin,
        }
    }

    // Rewards 1 and 0, margin .5: log(1 + exp(-.5)) = .474077, TRL's formula; centering .01 * 1^2.
    // With p = .75 and no margin: .75 * .313262 + .25 * 1.313262 = .563262.
    #[test]
    fn margin_and_centering_enter_the_loss() {
        let check = |center, pair: Pair, expected: f32| {
            let mut config: RewardConfig = toml::from_str("batch_size = 1").unwrap();
            config.center_rewards_coefficient = center;
            let rewards = Tensor::<1>::from_data([1.0, 0.0], &Device::flex());
            let loss: f32 = pair_loss(rewards, &[pair], &config).into_scalar();
            assert!(
                (loss - expected).abs() < 1e-5,
                "{loss}, expected {expected}"
            );
        };
        check(None, pair(1.0, 0.5), 0.474_077);
        check(Some(0.01), pair(1.0, 0.5), 0.484_077);
        check(None, pair(0.75, 0.0), 0.563_262);
    }

    // Differences 1, -2, 0: one of three is right for TRL, one and a half with ties.
    #[test]
    fn pairs_are_summed_up() {
        let rewards = [2.0, 1.0, -1.0, 1.0, 0.0, 0.0];
        let found = statistics(&rewards).map(|(_, value)| value);
        let expected = [1.0 / 3.0, -1.0 / 3.0, -1.0, 0.5, 2.0];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-9, "{found} and {expected}");
        }
        let held = [pair(1.0, 0.0), pair(1.0, 0.0), pair(1.0, 0.0)];
        let report = RewardReport::new(&held, &rewards, (0.0, 1.0));
        assert_eq!((report.accuracy, report.n), (0.5, 3));
        assert_eq!(report.longer_chosen, 1.0);
        // Lengths 2 1 2 1 2 1 against 2 1 -1 1 0 0: means 1.5 and .5, covariance sum -.5, squares
        // 1.5 and 5.5.
        let expected = -0.5 / (1.5_f64 * 5.5).sqrt();
        assert!((report.length_correlation - expected).abs() < 1e-9);
    }
}
