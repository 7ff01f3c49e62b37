//! Advantages and returns of finished completions, as plain host arithmetic.
//!
//! Every slice is one completion with its padding already removed, so nothing here takes a mask.
//! A completion is a finished episode: the value after its last token is 0 (Huang et al. 2024,
//! arXiv:2403.17031, "GAE with next value 0"). Unlike the loops described there, padding never
//! takes part, so a completion's advantages do not depend on the other rows of its batch.

/// Added to the variance before the square root, so that equal values whiten to 0 instead of NaN.
///
/// TRL, `trl/experimental/ppo/ppo_trainer.py`, `masked_whiten`.
const WHITEN_EPS: f64 = 1e-8;

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

/// Shifts and scales the tokens of all rows together to mean 0 and unbiased variance 1, in place.
///
/// `(x - mean) / sqrt(var + 1e-8)`, `var` with denominator `n - 1`; every token weighs the same,
/// whatever the length of its row. Fewer than two tokens have no spread and become 0.
pub fn whiten(rows: &mut [Vec<f32>]) {
    // In f64 the mean of equal f32 values is exactly that value, so a batch without spread gives
    // exact zeros rather than rounding noise divided by a tiny number.
    let tokens = || rows.iter().flatten().map(|&x| f64::from(x));
    let n_tokens = tokens().count() as f64;
    let mean = tokens().sum::<f64>() / n_tokens;
    let squares: f64 = tokens().map(|x| (x - mean).powi(2)).sum();
    let scale = (squares / (n_tokens - 1.0).max(1.0) + WHITEN_EPS).sqrt();
    for x in rows.iter_mut().flatten() {
        *x = ((f64::from(*x) - mean) / scale) as f32;
    }
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
    }
}
