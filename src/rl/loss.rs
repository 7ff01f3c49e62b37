//! The losses and their statistics, as pure functions of tensors.
//!
//! Every loss is to be minimised. Those of RL give one number per token: what a token weighs in the
//! mean is a choice of its own, made by [`masked_mean`], or by [`weighted_sum`] with the weights of
//! a [`Normalizer`]. Either way padding counts nothing. Values under a mask or weight of `0.0` must
//! be finite (zero, say): they are multiplied away, and `0 * inf` is NaN. Nothing here knows of
//! models, settings or devices. Start at [`masked_mean`].

mod aggregate;
mod dpo;
mod kl;
mod kto;
mod policy;
mod preference;
mod reference_free;
mod value;

use burn::prelude::*;

pub use aggregate::{LossType, Normalizer};
pub use dpo::{DpoLoss, DpoLossType, PairRatios};
pub use kl::{KlEstimator, kl};
pub use kto::{KtoLoss, reference_point};
pub use policy::{
    Clip, cispo, clipped_surrogate, high_clipped, low_clipped, mean_log_ratio, policy_gradient,
    token_log_ratio, total_log_ratio,
};
pub use preference::{centering, soft_bradley_terry};
pub use reference_free::{log_odds_ratio, odds_ratio, simpo};
pub use value::{clipped_value_loss, value_loss};

/// Log-ratios are held within +-this before `exp`, and pass no gradient beyond it.
///
/// `exp(20) = 4.9e8` stays finite in f32 even when summed over a batch, where one token that the
/// old policy had all but ruled out would otherwise turn the loss into infinity. NeMo-RL's
/// `calculate_kl` uses the same bound.
const MAX_LOG_RATIO: f32 = 20.0;

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

/// `sum(x * weights)`: a mean whose divisor is already in the weights, so that a batch may be
/// worked off in parts and the parts added.
///
/// # Shapes
/// - all tensors: `[batch, seq]`
/// - output: `[1]`
pub fn weighted_sum(x: Tensor<2>, weights: Tensor<2>) -> Tensor<1> {
    let [batch, seq] = x.dims();
    assert_shape!(weights, [batch, seq]);
    (x * weights).sum()
}

/// Negative log-likelihood per token, in nats: `mean(-log_probs)`.
///
/// # Shapes
/// - all tensors: `[batch, seq]`
/// - output: `[1]`
pub fn nll(log_probs: Tensor<2>, mask: Tensor<2>) -> Tensor<1> {
    masked_mean(log_probs.neg(), mask)
}

/// What the tests of all losses share.
#[cfg(test)]
mod check {
    use burn::prelude::*;

    pub(super) fn device() -> Device {
        Device::flex()
    }

    pub(super) fn row(values: &[f32]) -> Tensor<2> {
        Tensor::<1>::from_floats(values, &device()).unsqueeze()
    }

    pub(super) fn check<const D: usize>(actual: Tensor<D>, expected: &[f32]) {
        let actual = actual.into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(actual.len(), expected.len());
        for (a, e) in actual.iter().zip(expected) {
            assert!(
                (a - e).abs() <= 1e-5 * e.abs().max(1.0),
                "{actual:?}, expected {expected:?}"
            );
        }
    }

    pub(super) fn tensor(values: &[f32]) -> Tensor<1> {
        Tensor::from_floats(values, &device())
    }

    /// A case of `tests/fixtures/losses.json`, which says what made it.
    pub(super) struct Case(serde_json::Value);

    /// The cases of one kind of loss.
    pub(super) fn recorded(kind: &str) -> Vec<Case> {
        let text = include_str!("../../tests/fixtures/losses.json");
        let mut file: serde_json::Value = serde_json::from_str(text).unwrap();
        let cases: Vec<serde_json::Value> = serde_json::from_value(file[kind].take()).unwrap();
        assert!(!cases.is_empty(), "{kind}");
        cases.into_iter().map(Case).collect()
    }

    impl Case {
        pub(super) fn value(&self, name: &str) -> serde_json::Value {
            self.0[name].clone()
        }

        pub(super) fn number(&self, name: &str) -> f32 {
            self.0[name].as_f64().unwrap() as f32
        }

        pub(super) fn numbers(&self, name: &str) -> Vec<f32> {
            serde_json::from_value(self.value(name)).unwrap()
        }

        pub(super) fn tracked(&self, name: &str) -> Tensor<1> {
            let values = self.numbers(name);
            Tensor::<1>::from_floats(values.as_slice(), &device().autodiff()).require_grad()
        }

        /// Checks `loss`, and its gradient by the tensor beside each name.
        pub(super) fn check(&self, loss: Tensor<1>, by: &[(&str, Tensor<1>)]) {
            check(loss.clone(), &[self.number("loss")]);
            let grads = loss.backward();
            for (name, tensor) in by {
                check(tensor.grad(&grads).unwrap(), &self.numbers(name));
            }
        }
    }

    /// Checks the gradient of `loss` at `at`.
    pub(super) fn check_grad(at: &[f32], loss: impl Fn(Tensor<2>) -> Tensor<1>, expected: &[f32]) {
        let device = device().autodiff();
        let x = Tensor::<1>::from_floats(at, &device)
            .unsqueeze::<2>()
            .require_grad();
        let grads = loss(x.clone()).backward();
        check(x.grad(&grads).unwrap(), expected);
    }
}

#[cfg(test)]
mod tests {
    use super::check::{check, row};
    use super::*;

    // TRL, tests/experimental/test_ppo_trainer.py, TestCore.
    #[test]
    fn masked_mean_ignores_what_does_not_count() {
        let x = row(&[1.0, 2.0, 3.0, 4.0]);
        check(masked_mean(x.clone(), row(&[0.0, 1.0, 1.0, 0.0])), &[2.5]);
        check(masked_mean(x, row(&[0.0; 4])), &[0.0]);
        check(nll(row(&[-1.0, -3.0, -9.0]), row(&[1.0, 1.0, 0.0])), &[2.0]);
    }
}
