//! The loss of a reward model on preferences.

use burn::prelude::*;
use burn::tensor::activation::log_sigmoid;

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

/// Mean over the batch of `(chosen_rewards + rejected_rewards)^2`: 0 for rewards around 0, which
/// pairs alone leave open. Eisenstein et al. 2023, arXiv:2312.09244; TRL, `reward_trainer.py`.
///
/// # Shapes
/// - all tensors: `[batch]`
/// - output: `[1]`
pub fn centering(chosen_rewards: Tensor<1>, rejected_rewards: Tensor<1>) -> Tensor<1> {
    let [batch] = chosen_rewards.dims();
    assert_shape!(rejected_rewards, [batch]);
    (chosen_rewards + rejected_rewards).square().mean()
}

#[cfg(test)]
mod tests {
    use std::f32::consts::LN_2;

    use super::super::check::{check, check_grad, device};
    use super::*;

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
