//! Estimates of the Kullback-Leibler divergence from sampled tokens.

use burn::prelude::*;
use serde::{Deserialize, Serialize};

use super::MAX_LOG_RATIO;

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

impl KlEstimator {
    /// The estimate at one token on the host, the formulas of [`kl`] with
    /// `delta = log_prob - ref_log_prob` in nats.
    pub fn estimate(self, delta: f32) -> f32 {
        match self {
            Self::K1 => delta,
            Self::K2 => delta * delta * 0.5,
            Self::K3 => {
                let log_ratio = (-delta).min(MAX_LOG_RATIO);
                log_ratio.exp() - 1.0 - log_ratio
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use super::super::check::{check, check_grad, row};
    use super::*;

    const OLD: [f32; 3] = [-1.0, -1.0, -1.0];

    // delta = [-1, 14, 29]. exp(1) - 2; exp(-14) + 13; exp(-29) + 28.
    // NeMo-RL, test_loss_functions.py, test_calculate_kl.
    #[test]
    fn kl_estimators_match_the_hand_worked_values() {
        let at = |estimator| kl(row(&OLD), row(&[0.0, -15.0, -30.0]), estimator);
        check(at(KlEstimator::K1), &[-1.0, 14.0, 29.0]);
        check(at(KlEstimator::K2), &[0.5, 98.0, 420.5]);
        check(at(KlEstimator::K3), &[0.718_282, 13.000_001, 28.0]);
        // The same on the host.
        let host = |estimator: KlEstimator| [-1.0, 14.0, 29.0].map(|d| estimator.estimate(d));
        assert_eq!(host(KlEstimator::K1), [-1.0, 14.0, 29.0]);
        assert_eq!(host(KlEstimator::K2), [0.5, 98.0, 420.5]);
        check(row(&host(KlEstimator::K3)), &[0.718_282, 13.000_001, 28.0]);
    }

    // d k3 / d log_prob = 1 - exp(ref - log_prob): 1 - e^2, 0, 1 - e^-2, and 0 beyond the clamp.
    #[test]
    fn k3_gradient_points_to_the_reference() {
        let at = [-3.0, -1.0, 1.0, -40.0];
        let loss = |x| kl(x, row(&[-1.0; 4]), KlEstimator::K3).sum();
        check_grad(&at, loss, &[-6.389_056, 0.0, 0.864_665, 0.0]);
    }
}
