//! Advantages and returns of finished completions, as plain host arithmetic.
//!
//! Two kinds: one advantage per token, from rewards and values or returns ([`gae`], [`whiten`]),
//! and one per completion, from the other completions of its prompt ([`group_relative`],
//! [`leave_one_out`]). Padding is already removed, so nothing here takes a mask.
//!
//! A completion is a finished episode: the value after its last token is 0 (Huang et al. 2024,
//! arXiv:2403.17031, "GAE with next value 0"). Unlike the loops described there, padding never
//! takes part, so a completion's advantages do not depend on the other rows of its batch.

use serde::{Deserialize, Serialize};

/// Added to the variance before the square root, so that equal values whiten to 0 instead of NaN.
///
/// TRL, `trl/experimental/ppo/ppo_trainer.py`, `masked_whiten`.
const WHITEN_EPS: f64 = 1e-8;

/// Added to the deviation of a group of rewards. TRL, `trl/trainer/grpo_trainer.py`.
const GROUP_EPS: f64 = 1e-4;

/// What group-relative advantages are divided by; TRL's `scale_rewards`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScaleRewards {
    /// The deviation of the prompt's completions. Shao et al. 2024, arXiv:2402.03300.
    #[default]
    Group,
    /// The deviation of the whole batch. Liu et al. 2025, arXiv:2508.08221.
    Batch,
    /// Nothing: a deviation favours prompts that are nearly solved or nearly hopeless. Liu et al.
    /// 2025, arXiv:2503.20783 (Dr. GRPO).
    None,
}

/// Generalised advantage estimates of one completion, and the returns to regress values on.
///
/// `A_t = delta_t + gamma lambda A_{t+1}` with `delta_t = r_t + gamma V_{t+1} - V_t`, where both
/// `V` and `A` are 0 after the last token; `returns_t = A_t + V_t`.
/// Schulman et al. 2016, arXiv:1506.02438, eq. 16.
///
/// # Returns
/// `(advantages, returns)`, each as long as `rewards`
///
/// # Panics
/// If `rewards` and `values` differ in length.
pub fn gae(rewards: &[f32], values: &[f32], gamma: f32, lambda: f32) -> (Vec<f32>, Vec<f32>) {
    assert_eq!(rewards.len(), values.len(), "gae: one value per reward");
    let mut advantages = vec![0.0; rewards.len()];
    let (mut next_value, mut next_advantage) = (0.0, 0.0);
    for t in (0..rewards.len()).rev() {
        let delta = rewards[t] + gamma * next_value - values[t];
        next_advantage = delta + gamma * lambda * next_advantage;
        next_value = values[t];
        advantages[t] = next_advantage;
    }
    let returns = advantages.iter().zip(values).map(|(a, v)| a + v).collect();
    (advantages, returns)
}

/// Discounted sum of the rewards from each token to the end of one completion.
///
/// `Z_t = r_t + gamma Z_{t+1}`, with `Z = 0` after the last token. With a single reward at the end
/// and `gamma = 1` every token gets that reward (Lee et al. 2024, arXiv:2309.00267v2).
pub fn returns_to_go(rewards: &[f32], gamma: f32) -> Vec<f32> {
    let mut returns = rewards.to_vec();
    for t in (1..returns.len()).rev() {
        returns[t - 1] += gamma * returns[t];
    }
    returns
}

/// Rewards held against those of the same prompt: `(r - mean) / (std + 1e-4)`, deviations unbiased.
///
/// `rewards` lists `num_generations` completions of the first prompt, then those of the second, and
/// so on. A group without spread gets zeros: it says nothing about what is better. Shao et al.
/// 2024, arXiv:2402.03300, section 4.1.2.
pub fn group_relative(rewards: &[f32], num_generations: usize, scale: ScaleRewards) -> Vec<f32> {
    let of_batch = deviation(rewards);
    let advantages = rewards.chunks(num_generations.max(1)).flat_map(|group| {
        let divisor = match scale {
            ScaleRewards::Group => deviation(group) + GROUP_EPS,
            ScaleRewards::Batch => of_batch + GROUP_EPS,
            ScaleRewards::None => 1.0,
        };
        let mean = mean(group);
        group
            .iter()
            .map(move |&reward| ((f64::from(reward) - mean) / divisor) as f32)
    });
    advantages.collect()
}

/// Rewards minus the mean reward of the other completions of the same prompt, in the order of
/// [`group_relative`]. That is `k / (k - 1)` times the distance from the mean of all `k`; a
/// completion without others gets 0.
///
/// Ahmadian et al. 2024, arXiv:2402.14740 (RLOO); Kool et al. 2019.
pub fn leave_one_out(rewards: &[f32], num_generations: usize) -> Vec<f32> {
    let advantages = rewards.chunks(num_generations.max(1)).flat_map(|group| {
        let (n, mean) = (group.len() as f64, mean(group));
        let factor = if n > 1.0 { n / (n - 1.0) } else { 0.0 };
        group
            .iter()
            .map(move |&reward| (factor * (f64::from(reward) - mean)) as f32)
    });
    advantages.collect()
}

/// Unbiased standard deviation, 0 for fewer than two numbers.
pub fn deviation(values: &[f32]) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum();
    (squares / (values.len() as f64 - 1.0).max(1.0)).sqrt()
}

/// In f64 the mean of equal f32 values is exactly that value, so that a group without spread has a
/// deviation of exactly 0.
fn mean(values: &[f32]) -> f64 {
    values.iter().map(|&x| f64::from(x)).sum::<f64>() / values.len().max(1) as f64
}

/// Shifts and scales the tokens of all rows together to mean 0 and unbiased variance 1, in place.
///
/// `(x - mean) / sqrt(var + 1e-8)`, `var` with denominator `n - 1`; every token weighs the same,
/// whatever the length of its row. Fewer than two tokens have no spread and become 0. Applied to
/// [`returns_to_go`] this is the batch baseline of REINFORCE++, Hu et al. 2025, arXiv:2501.03262.
pub fn whiten(rows: &mut [Vec<f32>]) {
    let (mean, scale) = moments(rows);
    for x in rows.iter_mut().flatten() {
        *x = ((f64::from(*x) - mean) / scale) as f32;
    }
}

/// [`whiten`] that leaves the mean where it is: `mean + (x - mean) / sqrt(var + 1e-8)`.
///
/// TRL's `whiten_rewards`: `masked_whiten(rewards, mask, shift_mean=False)`.
pub fn rescale(rows: &mut [Vec<f32>]) {
    let (mean, scale) = moments(rows);
    for x in rows.iter_mut().flatten() {
        *x = (mean + (f64::from(*x) - mean) / scale) as f32;
    }
}

/// Mean of the tokens of all rows, and the root of their unbiased variance plus 1e-8.
fn moments(rows: &[Vec<f32>]) -> (f64, f64) {
    let tokens: Vec<f32> = rows.iter().flatten().copied().collect();
    let scale = (deviation(&tokens).powi(2) + WHITEN_EPS).sqrt();
    (mean(&tokens), scale)
}

#[cfg(test)]
mod tests {
    use std::f32::consts::FRAC_1_SQRT_2;

    use super::*;

    fn check(actual: &[f32], expected: &[f32]) {
        assert_eq!(actual.len(), expected.len());
        for (a, e) in actual.iter().zip(expected) {
            assert!((a - e).abs() < 1e-5, "{actual:?}, expected {expected:?}");
        }
    }

    // delta = [0 + 2 - 1, 0 + 3 - 2, 5 + 0 - 3] = [1, 1, 2], and lambda 0 keeps only delta.
    // NeMo-RL, tests/unit/algorithms/test_ppo.py, test_gae_gamma_lambda_zero.
    #[test]
    fn gae_with_lambda_zero_is_the_temporal_difference() {
        let (advantages, returns) = gae(&[0.0, 0.0, 5.0], &[1.0, 2.0, 3.0], 1.0, 0.0);
        check(&advantages, &[1.0, 1.0, 2.0]);
        check(&returns, &[2.0, 3.0, 5.0]);
    }

    // Same delta: A_2 = 2, A_1 = 1 + .95 * 2 = 2.9, A_0 = 1 + .95 * 2.9 = 3.755.
    #[test]
    fn gae_accumulates_backwards() {
        let (advantages, returns) = gae(&[0.0, 0.0, 5.0], &[1.0, 2.0, 3.0], 1.0, 0.95);
        check(&advantages, &[3.755, 2.9, 2.0]);
        check(&returns, &[4.755, 4.9, 5.0]);
    }

    // delta = [0, 0, .9, 0]; A = [.855 * .7695, .855 * .9, .9, 0].
    // torchtune, tests/torchtune/rlhf/test_rewards.py, TestEstimateAdvantages.
    #[test]
    fn gae_discounts() {
        let last_only = [0.0, 0.0, 0.0, 1.0];
        let (advantages, returns) = gae(&last_only, &last_only, 0.9, 0.95);
        check(&advantages, &[0.6579225, 0.7695, 0.9, 0.0]);
        check(&returns, &[0.6579225, 0.7695, 0.9, 1.0]);
    }

    // With gamma = lambda = 1 the values cancel: A_t is the sum of later rewards minus V_t.
    #[test]
    fn undiscounted_gae_is_the_return_minus_the_baseline() {
        let (advantages, returns) = gae(&[0.5, -1.0, 2.0], &[7.0, -3.0, 4.0], 1.0, 1.0);
        check(&advantages, &[-5.5, 4.0, -2.0]);
        check(&returns, &[1.5, 1.0, 2.0]);
    }

    // Z_2 = 4, Z_1 = 2 + .5 * 4 = 4, Z_0 = 1 + .5 * 4 = 3.
    #[test]
    fn returns_to_go_discounts_later_rewards() {
        check(&returns_to_go(&[1.0, 2.0, 4.0], 0.5), &[3.0, 4.0, 4.0]);
        check(&returns_to_go(&[0.0, 0.0, 0.7], 1.0), &[0.7, 0.7, 0.7]);
    }

    // Mean 2.5, unbiased variance .5: +-.5 / .7071068. TRL, TestCore::test_masked_whiten.
    #[test]
    fn whiten_uses_the_unbiased_variance() {
        let mut rows = vec![vec![2.0, 3.0]];
        whiten(&mut rows);
        check(&rows[0], &[-FRAC_1_SQRT_2, FRAC_1_SQRT_2]);
    }

    // All four tokens [1, 2, 3, 6] together: mean 3, unbiased std sqrt(14 / 3) = 2.160247.
    #[test]
    fn whiten_weighs_tokens_not_rows() {
        let mut rows = vec![vec![1.0], vec![], vec![2.0, 3.0, 6.0]];
        whiten(&mut rows);
        check(&rows[0], &[-0.925_820]);
        check(&rows[2], &[-0.462_910, 0.0, 1.388_73]);
    }

    // The same tokens: 3 + (x - 3) / 2.160247.
    #[test]
    fn rescale_keeps_the_mean() {
        let mut rows = vec![vec![1.0, 2.0], vec![3.0, 6.0]];
        rescale(&mut rows);
        check(&rows[0], &[2.074_18, 2.537_09]);
        check(&rows[1], &[3.0, 4.388_73]);
        let mut equal = vec![vec![0.1; 3]];
        rescale(&mut equal);
        check(&equal[0], &[0.1; 3]);
    }

    // Group [1, 2, 3, 6]: mean 3, unbiased std 2.160247, plus 1e-4. [5, 5, 5, 5] has no spread.
    // TRL, trl/trainer/grpo_trainer.py.
    #[test]
    fn group_relative_compares_within_a_prompt() {
        let rewards = [1.0, 2.0, 3.0, 6.0, 5.0, 5.0, 5.0, 5.0];
        let advantages = group_relative(&rewards, 4, ScaleRewards::Group);
        check(&advantages[..4], &[-0.925_777, -0.462_889, 0.0, 1.388_666]);
        assert_eq!(advantages[4..], [0.0; 4]);
        // 0.1 is no binary fraction, and still a group of it has no spread at all.
        let equal = group_relative(&[0.1; 7], 7, ScaleRewards::Group);
        assert_eq!(equal, [0.0; 7]);
    }

    // Batch [1, 2, 3, 6, 5, 5, 5, 5]: mean 4, squares 9+4+1+4+1+1+1+1 = 22, std sqrt(22 / 7) =
    // 1.772811, plus 1e-4: distances from the group means over 1.772911.
    #[test]
    fn group_relative_scales_as_asked() {
        let rewards = [1.0, 2.0, 3.0, 6.0, 5.0, 5.0, 5.0, 5.0];
        let by_batch = group_relative(&rewards, 4, ScaleRewards::Batch);
        check(&by_batch[..4], &[-1.128_088, -0.564_044, 0.0, 1.692_132]);
        assert_eq!(by_batch[4..], [0.0; 4]);
        let unscaled = group_relative(&rewards, 4, ScaleRewards::None);
        check(&unscaled, &[-2.0, -1.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0]);
    }

    // [1, 2, 3, 6]: 1 - 11/3, 2 - 10/3, 3 - 9/3, 6 - 6/3. TRL, trl/trainer/rloo_trainer.py.
    #[test]
    fn leave_one_out_compares_with_the_others() {
        let advantages = leave_one_out(&[1.0, 2.0, 3.0, 6.0, 0.1, 0.1, 0.1, 0.1], 4);
        check(&advantages[..4], &[-2.666_667, -1.333_333, 0.0, 4.0]);
        assert_eq!(advantages[4..], [0.0; 4]);
        check(&leave_one_out(&[1.0, 4.0], 2), &[-3.0, 3.0]);
        assert_eq!(leave_one_out(&[3.0], 2), [0.0]);
    }

    #[test]
    fn whiten_without_spread_gives_zeros() {
        let mut rows = vec![vec![0.1; 3], vec![0.1; 4]];
        whiten(&mut rows);
        assert!(rows.iter().flatten().all(|&x| x == 0.0), "{rows:?}");
        let mut single = vec![vec![4.0]];
        whiten(&mut single);
        check(&single[0], &[0.0]);
    }

    #[test]
    fn empty_input_gives_empty_output() {
        assert_eq!(gae(&[], &[], 1.0, 1.0), (vec![], vec![]));
        assert!(returns_to_go(&[], 1.0).is_empty());
        whiten(&mut []);
        assert!(group_relative(&[], 4, ScaleRewards::Group).is_empty());
        assert!(leave_one_out(&[], 4).is_empty());
    }
}
