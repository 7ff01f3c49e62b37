//! Losses of the policy on completions that it sampled itself, some updates ago at most.
//!
//! A completion is seen as many actions, one per token (PPO, GRPO), or as one action (RLOO, GSPO):
//! that is the choice of a log-ratio, `log(pi / pi_old)`, and the losses take any of them.

use burn::prelude::*;

use super::MAX_LOG_RATIO;

/// How far a probability ratio may leave 1 before the loss stops to reward it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clip {
    /// The ratio counts as `1 - low` at least where the advantage is negative.
    pub low: f32,
    /// The ratio counts as `1 + high` at most where the advantage is positive. Larger than `low`
    /// in DAPO ("clip-higher"), Yu et al. 2025, arXiv:2503.14476, section 3.1.
    pub high: f32,
    /// The ratio itself is bounded where the advantage is negative, so that one token that the old
    /// policy had all but ruled out does not rule the batch: dual-clip PPO, Ye et al. 2020,
    /// arXiv:1912.09729; TRL's `delta`. Above `1 + high`.
    pub dual: Option<f32>,
}

impl Clip {
    /// The same distance on both sides, and no dual clip: PPO as published.
    pub fn symmetric(eps: f32) -> Self {
        Self {
            low: eps,
            high: eps,
            dual: None,
        }
    }
}

/// Policy-gradient loss: `-log_probs * A`.
///
/// The gradient flows into `advantages` too if they are tracked: pass constants. Williams 1992,
/// REINFORCE, as used by Lee et al. 2024, arXiv:2309.00267v2, section 3.3.
///
/// # Shapes
/// - all tensors: `[batch, seq]`, log-probabilities in nats
pub fn policy_gradient(log_probs: Tensor<2>, advantages: Tensor<2>) -> Tensor<2> {
    let [batch, seq] = log_probs.dims();
    assert_shape!(advantages, [batch, seq]);
    (log_probs * advantages).neg()
}

/// Log-ratio of each token, `log_probs - old_log_probs`, held within +-20.
///
/// # Shapes
/// - all tensors: `[batch, seq]`, log-probabilities in nats
pub fn token_log_ratio(log_probs: Tensor<2>, old_log_probs: Tensor<2>) -> Tensor<2> {
    let [batch, seq] = log_probs.dims();
    assert_shape!(old_log_probs, [batch, seq]);
    (log_probs - old_log_probs).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
}

/// Mean log-ratio of each completion, given to all its tokens: the log-ratio of the completions
/// brought to the scale of one token.
///
/// GSPO, Zheng et al. 2025, arXiv:2507.18071, section 4. Held within +-20.
///
/// # Shapes
/// - all tensors: `[batch, seq]`, log-probabilities in nats
pub fn mean_log_ratio(
    log_probs: Tensor<2>,
    old_log_probs: Tensor<2>,
    mask: Tensor<2>,
) -> Tensor<2> {
    let [batch, seq] = log_probs.dims();
    assert_shape!(old_log_probs, [batch, seq]);
    assert_shape!(mask, [batch, seq]);
    let total = ((log_probs - old_log_probs) * mask.clone()).sum_dim(1);
    let mean = total / mask.sum_dim(1).clamp_min(1.0);
    mean.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
        .expand([batch, seq])
}

/// Log-ratio of each completion as one action, the sum over its tokens, held within +-20.
///
/// RLOO, Ahmadian et al. 2024, arXiv:2402.14740; TRL, `trl/trainer/rloo_trainer.py`.
///
/// # Shapes
/// - all tensors: `[batch, seq]`, log-probabilities in nats
/// - output: `[batch, 1]`
pub fn total_log_ratio(
    log_probs: Tensor<2>,
    old_log_probs: Tensor<2>,
    mask: Tensor<2>,
) -> Tensor<2> {
    let [batch, seq] = log_probs.dims();
    assert_shape!(old_log_probs, [batch, seq]);
    assert_shape!(mask, [batch, seq]);
    let total = ((log_probs - old_log_probs) * mask).sum_dim(1);
    total.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
}

/// Clipped surrogate policy loss.
///
/// `-min(r A, clip(r, 1 - low, 1 + high) A)` with `r = exp(log_ratio)`: Schulman et al. 2017,
/// arXiv:1707.06347, eq. 7. With `clip.dual = c` the unclipped `r` counts as `c` at most, which
/// only tells where `A < 0`: there the loss is `-A min(r, c)` at most.
///
/// # Shapes
/// - all tensors: `[batch, seq]`
pub fn clipped_surrogate(log_ratio: Tensor<2>, advantages: Tensor<2>, clip: &Clip) -> Tensor<2> {
    let [batch, seq] = log_ratio.dims();
    assert_shape!(advantages, [batch, seq]);
    let ratio = log_ratio.exp();
    let clipped = ratio.clone().clamp(1.0 - clip.low, 1.0 + clip.high);
    let ratio = match clip.dual {
        Some(bound) => ratio.clamp_max(bound),
        None => ratio,
    };
    let objective = ratio * advantages.clone();
    objective.min_pair(clipped * advantages).neg()
}

/// Policy gradient with a clipped importance weight: every token keeps its gradient, clipped or
/// not.
///
/// `-stop_gradient(clip(r, 1 - low, 1 + high)) A log_probs` with `r = exp(log_ratio)`. CISPO,
/// MiniMax 2025, arXiv:2506.13585; there `low = 1`, no lower bound. TRL's `epsilon_high` is
/// the bound `1 + high` itself. `clip.dual` has no meaning here.
///
/// # Shapes
/// - all tensors: `[batch, seq]`, log-probabilities in nats
pub fn cispo(
    log_probs: Tensor<2>,
    log_ratio: Tensor<2>,
    advantages: Tensor<2>,
    clip: &Clip,
) -> Tensor<2> {
    let [batch, seq] = log_probs.dims();
    assert_shape!(log_ratio, [batch, seq]);
    assert_shape!(advantages, [batch, seq]);
    let weight = log_ratio
        .detach()
        .exp()
        .clamp(1.0 - clip.low, 1.0 + clip.high);
    policy_gradient(log_probs, weight * advantages)
}

/// 1.0 where the ratio is below its range and the advantage negative: the surrogate is clipped
/// there and gives no gradient. TRL's `clip_ratio/low_mean` is its mean. Without gradient.
///
/// # Shapes
/// - all tensors: `[batch, seq]`
pub fn low_clipped(log_ratio: Tensor<2>, advantages: Tensor<2>, clip: &Clip) -> Tensor<2> {
    let low = log_ratio.detach().exp().lower_scalar(1.0 - clip.low);
    low.float() * advantages.lower_scalar(0.0).float()
}

/// 1.0 where the ratio is above its range and the advantage positive; see [`low_clipped`]. TRL's
/// `clip_ratio/high_mean` is its mean. Without gradient.
///
/// # Shapes
/// - all tensors: `[batch, seq]`
pub fn high_clipped(log_ratio: Tensor<2>, advantages: Tensor<2>, clip: &Clip) -> Tensor<2> {
    let high = log_ratio.detach().exp().greater_scalar(1.0 + clip.high);
    high.float() * advantages.greater_scalar(0.0).float()
}

#[cfg(test)]
mod tests {
    use std::f32::consts::FRAC_1_SQRT_2;

    use super::super::check::{check, check_grad, row};
    use super::super::masked_mean;
    use super::*;

    const OLD: [f32; 3] = [-1.0, -1.0, -1.0];
    const ADVANTAGES: [f32; 3] = [1.0, -1.0, 2.0];

    /// Log-probabilities that give these ratios to [`OLD`].
    fn moved(ratios: [f32; 3]) -> [f32; 3] {
        ratios.map(|ratio| ratio.ln() - 1.0)
    }

    fn log_ratio(log_probs: Tensor<2>) -> Tensor<2> {
        token_log_ratio(log_probs, row(&OLD))
    }

    fn mean(x: Tensor<2>) -> Tensor<1> {
        let ones = x.ones_like();
        masked_mean(x, ones)
    }

    // -([-.5 * 1] + [-1 * -1] + [-1.5 * 2]) / 3 = 2.5 / 3.
    // NeMo-RL, test_loss_functions.py, test_clipped_pg_loss_reinforce_mode.
    #[test]
    fn policy_gradient_weighs_log_probs_by_advantage() {
        let loss = policy_gradient(row(&[-0.5, -1.0, -1.5]), row(&ADVANTAGES));
        check(mean(loss), &[0.833_333]);
    }

    // Per token -min: [-.5, 1, -min(3, 2.4)], mean -1.9 / 3.
    // NeMo-RL, test_loss_functions.py, test_clipped_pg_loss_ppo_clipping.
    #[test]
    fn clipped_surrogate_takes_the_pessimistic_side() {
        let clip = Clip::symmetric(0.2);
        let at = moved([0.5, 1.0, 1.5]);
        let loss = |x| clipped_surrogate(log_ratio(x), row(&ADVANTAGES), &clip);
        check(loss(row(&at)), &[-0.5, 1.0, -2.4]);
        check(mean(loss(row(&at))), &[-0.633_333]);
        // Only the last token: 1.2 * 2 < 1.5 * 2. The first is out of range but not clipped.
        let ratio = || log_ratio(row(&at));
        check(low_clipped(ratio(), row(&ADVANTAGES), &clip), &[0.0; 3]);
        check(
            high_clipped(ratio(), row(&ADVANTAGES), &clip),
            &[0.0, 0.0, 1.0],
        );
        check(
            low_clipped(ratio(), row(&[-1.0; 3]), &clip),
            &[1.0, 0.0, 0.0],
        );

        // d(-r A) = -r A / 3 for the unclipped: -.5 / 3, 1 / 3, and 0 for the clipped one.
        check_grad(&at, |x| mean(loss(x)), &[-0.166_667, 0.333_333, 0.0]);
    }

    #[test]
    fn clipped_surrogate_at_ratio_one_has_the_policy_gradient() {
        let expected = [-0.333_333, 0.333_333, -0.666_667];
        check_grad(
            &OLD,
            |x| mean(policy_gradient(x, row(&ADVANTAGES))),
            &expected,
        );
        let clip = Clip::symmetric(0.2);
        let surrogate = |x| clipped_surrogate(log_ratio(x), row(&ADVANTAGES), &clip);
        check_grad(&OLD, |x| mean(surrogate(x)), &expected);
    }

    #[test]
    fn clipped_surrogate_stays_finite_when_the_policy_has_left() {
        // Log-ratio 100 is held at 20: exp(20) = 485165195.4.
        let ratio = token_log_ratio(row(&[0.0]), row(&[-100.0]));
        let loss = clipped_surrogate(ratio, row(&[-1.0]), &Clip::symmetric(0.2));
        check(loss, &[4.851_652e8]);
    }

    // A = [1, -1, 2] with ratio 1.25: beyond 1.2, within 1.28. -1.2 against -1.25 for the first.
    #[test]
    fn asymmetric_clip_leaves_more_room_above() {
        let at = row(&[1.25f32.ln(); 3]);
        let loss = |high| {
            let clip = Clip {
                high,
                ..Clip::symmetric(0.2)
            };
            clipped_surrogate(at.clone(), row(&ADVANTAGES), &clip)
        };
        check(loss(0.2), &[-1.2, 1.25, -2.4]);
        check(loss(0.28), &[-1.25, 1.25, -2.5]);
    }

    // A = [1, -1, -4], ratios [.5, 1, 10], c = 3: [-.5, 1, 4 * 3], mean 12.5 / 3.
    // NeMo-RL, test_loss_functions.py, test_clipped_pg_loss_dual_clip.
    #[test]
    fn dual_clip_bounds_the_loss_of_bad_tokens() {
        let clip = Clip {
            dual: Some(3.0),
            ..Clip::symmetric(0.2)
        };
        let at = moved([0.5, 1.0, 10.0]);
        let loss = |x| clipped_surrogate(log_ratio(x), row(&[1.0, -1.0, -4.0]), &clip);
        check(loss(row(&at)), &[-0.5, 1.0, 12.0]);
        check(mean(loss(row(&at))), &[4.166_667]);
        // -r A / 3 for the first two, nothing for the bounded one.
        check_grad(&at, |x| mean(loss(x)), &[-0.166_667, 0.333_333, 0.0]);
    }

    // (.5 * 1 * 1.5)^(1/3) = .75^(1/3) = .908560; -.908560 * (1 - 1 + 2) / 3.
    // NeMo-RL, test_loss_functions.py, test_clipped_pg_loss_gspo.
    #[test]
    fn mean_log_ratio_is_the_ratio_of_gspo() {
        let ones = || row(&[1.0; 3]);
        let ratio = mean_log_ratio(row(&moved([0.5, 1.0, 1.5])), row(&OLD), ones());
        check(ratio.clone().exp(), &[0.908_560; 3]);
        let loss = clipped_surrogate(ratio, row(&ADVANTAGES), &Clip::symmetric(0.2));
        check(mean(loss), &[-0.605_707]);
        // The last token is padding: (.5 * 1)^(1/2).
        let mask = row(&[1.0, 1.0, 0.0]);
        let ratio = mean_log_ratio(row(&moved([0.5, 1.0, 1.5])), row(&OLD), mask);
        check(ratio.exp(), &[FRAC_1_SQRT_2; 3]);
    }

    // .5 * 1 * 1.5 = .75 < .8: clipped for A = -1, 1 * .8. For A = 1 it is not, -.75.
    #[test]
    fn total_log_ratio_is_the_ratio_of_rloo() {
        let ones = || row(&[1.0; 3]);
        let ratio = |x| total_log_ratio(x, row(&OLD), ones());
        let at = moved([0.5, 1.0, 1.5]);
        check(ratio(row(&at)).exp(), &[0.75]);
        let clip = Clip::symmetric(0.2);
        let loss = |x, advantage| clipped_surrogate(ratio(x), row(&[advantage]), &clip);
        check(loss(row(&at), -1.0), &[0.8]);
        check(loss(row(&at), 1.0), &[-0.75]);
        // Every token of the action gets the whole gradient, -r A.
        check_grad(&at, |x| loss(x, 1.0).sum(), &[-0.75; 3]);
    }

    // Weights clip([.5, 1, 1.5], .8, 1.2) = [.8, 1, 1.2]; -w A log pi with log pi = log r - 1:
    // .8 * 1.693147, -1 * 1, 2.4 * .594535; the gradient is -w A, for the clipped tokens too.
    #[test]
    fn cispo_keeps_the_gradient_of_clipped_tokens() {
        let clip = Clip::symmetric(0.2);
        let at = moved([0.5, 1.0, 1.5]);
        let loss = |x: Tensor<2>| cispo(x.clone(), log_ratio(x), row(&ADVANTAGES), &clip);
        check(loss(row(&at)), &[1.354_518, -1.0, 1.426_884]);
        check_grad(&at, |x| loss(x).sum(), &[-0.8, 1.0, -2.4]);
    }
}
