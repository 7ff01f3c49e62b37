//! The losses and their statistics, as pure functions of tensors.
//!
//! Every loss is to be minimised and is averaged over the tokens whose mask is `1.0`: all tokens of
//! the batch weigh the same, so padding and the lengths of other rows change nothing. Tensors under
//! a mask of `0.0` must be finite (zero, say): they are multiplied away, and `0 * inf` is NaN.
//! Nothing here knows of models, configuration or devices. Start at [`masked_mean`].

use burn::prelude::*;
use burn::tensor::activation::log_sigmoid;
use serde::{Deserialize, Serialize};

/// Log-ratios are held within +-this before `exp`, and pass no gradient beyond it.
///
/// `exp(20) = 4.9e8` stays finite in f32 even when summed over a batch, where one token that the
/// old policy had all but ruled out would otherwise turn the loss into infinity. NeMo-RL's
/// `calculate_kl` uses the same bound.
const MAX_LOG_RATIO: f32 = 20.0;

/// How to estimate `KL(policy || reference)` from the log-probabilities of sampled tokens.
///
/// With `d = log_probs - ref_log_probs`. Schulman 2020, "Approximating KL divergence",
/// <http://joschu.net/blog/kl-approx.html>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KlEstimator {
    /// `d`: unbiased, may be negative.
    K1,
    /// `d^2 / 2`: biased, low variance.
    K2,
    /// `exp(-d) - 1 + d`: unbiased, never negative.
    K3,
}

/// Mean of `x` over the positions that count: `sum(x * mask) / max(sum(mask), 1)`.
///
/// The floor of one token makes the mean of nothing 0 instead of NaN.
///
/// # Shapes
/// - all tensors: `[batch, seq]`
/// - output: `[1]`
pub fn masked_mean(x: Tensor<2>, mask: Tensor<2>) -> Tensor<1> {
    let [batch, seq] = x.dims();
    assert_shape!(mask, [batch, seq]);
    (x * mask.clone()).sum() / mask.sum().clamp_min(1.0)
}

/// Negative log-likelihood per token, in nats: `mean(-log_probs)`.
///
/// # Shapes
/// - all tensors: `[batch, seq]`
/// - output: `[1]`
pub fn nll(log_probs: Tensor<2>, mask: Tensor<2>) -> Tensor<1> {
    masked_mean(log_probs.neg(), mask)
}

/// Policy-gradient loss: `mean(-log_probs * A)`.
///
/// The gradient flows into `advantages` too if they are tracked: pass constants. Williams 1992,
/// REINFORCE, as used by Lee et al. 2024, arXiv:2309.00267v2, section 3.3.
///
/// # Shapes
/// - all tensors: `[batch, seq]`, log-probabilities in nats
/// - output: `[1]`
pub fn policy_gradient(log_probs: Tensor<2>, advantages: Tensor<2>, mask: Tensor<2>) -> Tensor<1> {
    let [batch, seq] = log_probs.dims();
    assert_shape!(advantages, [batch, seq]);
    masked_mean((log_probs * advantages).neg(), mask)
}

/// Clipped surrogate policy loss.
///
/// `mean(-min(r A, clip(r, 1 - eps, 1 + eps) A))` with `r = exp(log_probs - old_log_probs)`, the
/// log-ratio held within +-20. Schulman et al. 2017, arXiv:1707.06347, eq. 7.
///
/// # Shapes
/// - all tensors: `[batch, seq]`, log-probabilities in nats
/// - output: `[1]`
pub fn clipped_surrogate(
    log_probs: Tensor<2>,
    old_log_probs: Tensor<2>,
    advantages: Tensor<2>,
    mask: Tensor<2>,
    clip_eps: f32,
) -> Tensor<1> {
    let (objective, clipped) = surrogates(log_probs, old_log_probs, advantages, clip_eps);
    masked_mean(objective.min_pair(clipped).neg(), mask)
}

/// Fraction of tokens whose clipped objective is the smaller one, so that they give no gradient.
///
/// A ratio outside the clip range on the side that the advantage already favours; TRL's
/// `policy/clipfrac_avg`. Without gradient.
///
/// # Shapes
/// - all tensors: `[batch, seq]`, log-probabilities in nats
/// - output: `[1]`
pub fn clip_fraction(
    log_probs: Tensor<2>,
    old_log_probs: Tensor<2>,
    advantages: Tensor<2>,
    mask: Tensor<2>,
    clip_eps: f32,
) -> Tensor<1> {
    let (objective, clipped) = surrogates(log_probs.detach(), old_log_probs, advantages, clip_eps);
    masked_mean(clipped.lower(objective).float(), mask)
}

/// How far the policy has moved since sampling, in nats: `mean((log_probs - old_log_probs)^2 / 2)`.
///
/// TRL's `policy/approxkl_avg`, which is estimator K2, here over the counted tokens only. Without
/// gradient.
///
/// # Shapes
/// - all tensors: `[batch, seq]`, log-probabilities in nats
/// - output: `[1]`
pub fn approx_kl(log_probs: Tensor<2>, old_log_probs: Tensor<2>, mask: Tensor<2>) -> Tensor<1> {
    masked_mean(kl(log_probs.detach(), old_log_probs, KlEstimator::K2), mask)
}

/// Estimate of `KL(policy || reference)` at each sampled token, in nats; see [`KlEstimator`].
///
/// `K3` holds `ref_log_probs - log_probs` below 20 in both of its terms: clamping the exponential
/// alone would leave a linear term whose gradient points away from the reference.
///
/// # Shapes
/// - all tensors: `[batch, seq]`, log-probabilities in nats
pub fn kl(log_probs: Tensor<2>, ref_log_probs: Tensor<2>, estimator: KlEstimator) -> Tensor<2> {
    let [batch, seq] = log_probs.dims();
    assert_shape!(ref_log_probs, [batch, seq]);
    let delta = log_probs - ref_log_probs;
    match estimator {
        KlEstimator::K1 => delta,
        KlEstimator::K2 => delta.square() * 0.5,
        KlEstimator::K3 => {
            let log_ratio = delta.neg().clamp_max(MAX_LOG_RATIO);
            log_ratio.clone().exp() - 1.0 - log_ratio
        }
    }
}

/// Squared error of the values: `0.5 * mean((v - R)^2)`.
///
/// # Shapes
/// - all tensors: `[batch, seq]`
/// - output: `[1]`
pub fn value_loss(values: Tensor<2>, returns: Tensor<2>, mask: Tensor<2>) -> Tensor<1> {
    let [batch, seq] = values.dims();
    assert_shape!(returns, [batch, seq]);
    masked_mean((values - returns).square(), mask) * 0.5
}

/// Squared error of the values, pessimistic about moves away from the sampling-time values.
///
/// `0.5 * mean(max((v - R)^2, (clip(v) - R)^2))`, `clip(v)` within `old_values +- clip_eps`.
/// Huang et al. 2024, arXiv:2403.17031; TRL, `trl/experimental/ppo/ppo_trainer.py`.
///
/// # Shapes
/// - all tensors: `[batch, seq]`
/// - output: `[1]`
pub fn clipped_value_loss(
    values: Tensor<2>,
    old_values: Tensor<2>,
    returns: Tensor<2>,
    mask: Tensor<2>,
    clip_eps: f32,
) -> Tensor<1> {
    let [batch, seq] = values.dims();
    assert_shape!(old_values, [batch, seq]);
    assert_shape!(returns, [batch, seq]);
    let clipped = old_values.clone() + (values.clone() - old_values).clamp(-clip_eps, clip_eps);
    let error = (values - returns.clone()).square();
    let clipped_error = (clipped - returns).square();
    masked_mean(error.max_pair(clipped_error), mask) * 0.5
}

/// Cross-entropy between a labeler's preference and the one that two rewards imply.
///
/// Mean over the batch of `-(p log sigmoid(d) + (1 - p) log sigmoid(-d))` with
/// `d = chosen_rewards - rejected_rewards`. `p = 1` is the hard Bradley-Terry loss. Lee et al.
/// 2024, arXiv:2309.00267v2, section 2.2.1.
///
/// # Shapes
/// - all tensors: `[batch]`, `p_chosen` within `0..=1`
/// - output: `[1]`
pub fn soft_bradley_terry(
    chosen_rewards: Tensor<1>,
    rejected_rewards: Tensor<1>,
    p_chosen: Tensor<1>,
) -> Tensor<1> {
    let [batch] = chosen_rewards.dims();
    assert_shape!(rejected_rewards, [batch]);
    assert_shape!(p_chosen, [batch]);
    let delta = chosen_rewards - rejected_rewards;
    let chosen = p_chosen.clone() * log_sigmoid(delta.clone());
    let rejected = (p_chosen.neg() + 1.0) * log_sigmoid(delta.neg());
    (chosen + rejected).mean().neg()
}

/// The unclipped and the clipped surrogate objective of every token.
fn surrogates(
    log_probs: Tensor<2>,
    old_log_probs: Tensor<2>,
    advantages: Tensor<2>,
    clip_eps: f32,
) -> (Tensor<2>, Tensor<2>) {
    let [batch, seq] = log_probs.dims();
    assert_shape!(old_log_probs, [batch, seq]);
    assert_shape!(advantages, [batch, seq]);
    let log_ratio = (log_probs - old_log_probs).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO);
    let ratio = log_ratio.exp();
    let clipped = ratio.clone().clamp(1.0 - clip_eps, 1.0 + clip_eps);
    (ratio * advantages.clone(), clipped * advantages)
}

#[cfg(test)]
mod tests {
    use std::f32::consts::LN_2;

    use super::*;

    fn device() -> Device {
        Device::flex()
    }

    fn row(values: &[f32]) -> Tensor<2> {
        Tensor::<1>::from_floats(values, &device()).unsqueeze()
    }

    fn tracked(values: &[f32]) -> Tensor<2> {
        let device = device().autodiff();
        Tensor::<1>::from_floats(values, &device)
            .unsqueeze::<2>()
            .require_grad()
    }

    fn check<const D: usize>(actual: Tensor<D>, expected: &[f32]) {
        let actual = actual.into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(actual.len(), expected.len());
        for (a, e) in actual.iter().zip(expected) {
            assert!(
                (a - e).abs() <= 1e-5 * e.abs().max(1.0),
                "{actual:?}, expected {expected:?}"
            );
        }
    }

    /// Checks the gradient of `loss` at `at`.
    fn check_grad(at: &[f32], loss: impl Fn(Tensor<2>) -> Tensor<1>, expected: &[f32]) {
        let x = tracked(at);
        let grads = loss(x.clone()).backward();
        check(x.grad(&grads).unwrap(), expected);
    }

    const OLD: [f32; 3] = [-1.0, -1.0, -1.0];
    const ADVANTAGES: [f32; 3] = [1.0, -1.0, 2.0];
    const ALL: [f32; 3] = [1.0, 1.0, 1.0];

    // TRL, tests/experimental/test_ppo_trainer.py, TestCore.
    #[test]
    fn masked_mean_ignores_what_does_not_count() {
        let x = row(&[1.0, 2.0, 3.0, 4.0]);
        check(masked_mean(x.clone(), row(&[0.0, 1.0, 1.0, 0.0])), &[2.5]);
        check(masked_mean(x, row(&[0.0; 4])), &[0.0]);
        check(nll(row(&[-1.0, -3.0, -9.0]), row(&[1.0, 1.0, 0.0])), &[2.0]);
    }

    // -([-.5 * 1] + [-1 * -1] + [-1.5 * 2]) / 3 = 2.5 / 3.
    // NeMo-RL, test_loss_functions.py, test_clipped_pg_loss_reinforce_mode.
    #[test]
    fn policy_gradient_weighs_log_probs_by_advantage() {
        let loss = policy_gradient(row(&[-0.5, -1.0, -1.5]), row(&ADVANTAGES), row(&ALL));
        check(loss, &[0.833_333]);
    }

    // Per token -min: [-.5, 1, -min(3, 2.4)], mean -1.9 / 3.
    // NeMo-RL, test_loss_functions.py, test_clipped_pg_loss_ppo_clipping.
    #[test]
    fn clipped_surrogate_takes_the_pessimistic_side() {
        let moved = [0.5f32, 1.0, 1.5].map(|ratio| ratio.ln() - 1.0);
        let (new, old) = (row(&moved), row(&OLD));
        let loss = clipped_surrogate(new.clone(), old.clone(), row(&ADVANTAGES), row(&ALL), 0.2);
        check(loss, &[-0.633_333]);
        // Only the last token: 1.2 * 2 < 1.5 * 2. The first is out of range but not clipped.
        check(
            clip_fraction(new, old, row(&ADVANTAGES), row(&ALL), 0.2),
            &[0.333_333],
        );

        // d(-r A) = -r A / 3 for the unclipped: -.5 / 3, 1 / 3, and 0 for the clipped one.
        let loss = |x| clipped_surrogate(x, row(&OLD), row(&ADVANTAGES), row(&ALL), 0.2);
        check_grad(&moved, loss, &[-0.166_667, 0.333_333, 0.0]);
    }

    #[test]
    fn clipped_surrogate_at_ratio_one_has_the_policy_gradient() {
        let expected = [-0.333_333, 0.333_333, -0.666_667];
        check_grad(
            &OLD,
            |x| policy_gradient(x, row(&ADVANTAGES), row(&ALL)),
            &expected,
        );
        let surrogate = |x| clipped_surrogate(x, row(&OLD), row(&ADVANTAGES), row(&ALL), 0.2);
        check_grad(&OLD, surrogate, &expected);
    }

    #[test]
    fn clipped_surrogate_stays_finite_when_the_policy_has_left() {
        // Log-ratio 100 is held at 20: exp(20) = 485165195.4.
        let loss = clipped_surrogate(row(&[0.0]), row(&[-100.0]), row(&[-1.0]), row(&[1.0]), 0.2);
        check(loss, &[4.851_652e8]);
    }

    // delta = [-1, 14, 29]. exp(1) - 2; exp(-14) + 13; exp(-29) + 28.
    // NeMo-RL, test_loss_functions.py, test_calculate_kl.
    #[test]
    fn kl_estimators_match_the_hand_worked_values() {
        let at = |estimator| kl(row(&OLD), row(&[0.0, -15.0, -30.0]), estimator);
        check(at(KlEstimator::K1), &[-1.0, 14.0, 29.0]);
        check(at(KlEstimator::K2), &[0.5, 98.0, 420.5]);
        check(at(KlEstimator::K3), &[0.718_282, 13.000_001, 28.0]);
    }

    // d k3 / d log_prob = 1 - exp(ref - log_prob): 1 - e^2, 0, 1 - e^-2, and 0 beyond the clamp.
    #[test]
    fn k3_gradient_points_to_the_reference() {
        let at = [-3.0, -1.0, 1.0, -40.0];
        let loss = |x| kl(x, row(&[-1.0; 4]), KlEstimator::K3).sum();
        check_grad(&at, loss, &[-6.389_056, 0.0, 0.864_665, 0.0]);
    }

    // (0.5 * 1 + 0.5 * 9) / 2 = 2.5; the masked token would add 50.
    #[test]
    fn approx_kl_averages_counted_tokens() {
        let mask = row(&[1.0, 1.0, 0.0]);
        check(
            approx_kl(row(&[-1.0, -5.0, -10.0]), row(&[-2.0, -2.0, 0.0]), mask),
            &[2.5],
        );
    }

    // 0.5 * (1 + 9) / 2.
    #[test]
    fn value_loss_is_half_the_squared_error() {
        let mask = row(&[1.0, 1.0, 0.0]);
        check(
            value_loss(row(&[1.0, 2.0, 7.0]), row(&[0.0, 5.0, 0.0]), mask),
            &[2.5],
        );
    }

    // old 0, R 1, eps .2. v = .1: inside, .81. v = .5: clip .2, max(.25, .64). v = -1: clip -.2,
    // max(4, 1.44). 0.5 * (.81 + .64 + 4) / 3.
    #[test]
    fn clipped_value_loss_takes_the_larger_error() {
        let loss = |x| clipped_value_loss(x, row(&[0.0; 3]), row(&ALL), row(&ALL), 0.2);
        check(loss(row(&[0.1, 0.5, -1.0])), &[0.908_333]);
        // (v - R) / 3, and nothing for the token that already moved its allowance towards R.
        check_grad(&[0.1, 0.5, -1.0], loss, &[-0.3, 0.0, -0.666_667]);
        // At v = old both errors are equal, and the gradient must count once.
        check_grad(&[0.0; 3], loss, &[-0.333_333; 3]);
    }

    /// Checks the loss of one pair with reward difference `delta` and preference `p`.
    fn check_pair(delta: f32, p: f32, expected: f32) {
        let tensor = |x: f32| Tensor::<1>::from_floats([x], &device());
        check(
            soft_bradley_terry(tensor(delta), tensor(0.0), tensor(p)),
            &[expected],
        );
    }

    // log(1 + exp(-d)) for p = 1, as in TRL, reward_trainer.py, compute_loss.
    #[test]
    fn bradley_terry_matches_the_hand_worked_values() {
        check_pair(0.0, 1.0, LN_2);
        check_pair(1.0, 1.0, 0.313_262);
        check_pair(-2.0, 1.0, 2.126_928);
        check_pair(1.0, 0.0, 1.313_262);
        // .75 * .313262 + .25 * 1.313262.
        check_pair(1.0, 0.75, 0.563_262);
        check_pair(100.0, 1.0, 0.0);
        check_pair(-100.0, 1.0, 100.0);
        check_pair(100.0, 0.25, 75.0);
    }

    // d loss / d delta = (sigmoid(d) - p) / batch.
    #[test]
    fn bradley_terry_gradient_is_the_probability_error() {
        let p = Tensor::<1>::from_floats([1.0, 1.0, 0.6, 0.5], &device());
        let zeros = p.zeros_like();
        let loss = |x: Tensor<2>| soft_bradley_terry(x.squeeze(), zeros.clone(), p.clone());
        check_grad(
            &[-100.0, 100.0, 0.0, 1.0],
            loss,
            &[-0.25, 0.0, -0.025, 0.057_765],
        );
    }
}
