//! Losses of the value model.

use burn::prelude::*;

/// Squared error of the values: `(v - R)^2 / 2`.
///
/// # Shapes
/// - all tensors: `[batch, seq]`
pub fn value_loss(values: Tensor<2>, returns: Tensor<2>) -> Tensor<2> {
    let [batch, seq] = values.dims();
    assert_shape!(returns, [batch, seq]);
    (values - returns).square() * 0.5
}

/// Squared error of the values, pessimistic about moves away from the sampling-time values.
///
/// `max((v - R)^2, (clip(v) - R)^2) / 2`, `clip(v)` within `old_values +- clip_eps`. Huang et al.
/// 2024, arXiv:2403.17031; TRL, `trl/experimental/ppo/ppo_trainer.py`.
///
/// # Shapes
/// - all tensors: `[batch, seq]`
pub fn clipped_value_loss(
    values: Tensor<2>,
    old_values: Tensor<2>,
    returns: Tensor<2>,
    clip_eps: f32,
) -> Tensor<2> {
    let [batch, seq] = values.dims();
    assert_shape!(old_values, [batch, seq]);
    assert_shape!(returns, [batch, seq]);
    let clipped = old_values.clone() + (values.clone() - old_values).clamp(-clip_eps, clip_eps);
    let error = (values - returns.clone()).square();
    let clipped_error = (clipped - returns).square();
    error.max_pair(clipped_error) * 0.5
}

#[cfg(test)]
mod tests {
    use super::super::check::{check, check_grad, row};
    use super::*;

    // (1 - 0)^2 / 2, (2 - 5)^2 / 2.
    #[test]
    fn value_loss_is_half_the_squared_error() {
        let loss = value_loss(row(&[1.0, 2.0]), row(&[0.0, 5.0]));
        check(loss, &[0.5, 4.5]);
    }

    // old 0, R 1, eps .2. v = .1: inside, .81 / 2. v = .5: clip .2, max(.25, .64) / 2. v = -1: clip
    // -.2, max(4, 1.44) / 2.
    #[test]
    fn clipped_value_loss_takes_the_larger_error() {
        let ones = || row(&[1.0; 3]);
        let loss = |x| clipped_value_loss(x, row(&[0.0; 3]), ones(), 0.2);
        check(loss(row(&[0.1, 0.5, -1.0])), &[0.405, 0.32, 2.0]);
        // v - R, and nothing for the token that already moved its allowance towards R.
        check_grad(&[0.1, 0.5, -1.0], |x| loss(x).sum(), &[-0.9, 0.0, -2.0]);
        // At v = old both errors are equal, and the gradient must count once.
        check_grad(&[0.0; 3], |x| loss(x).sum(), &[-1.0; 3]);
    }
}
