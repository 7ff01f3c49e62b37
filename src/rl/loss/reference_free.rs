//! Losses on preferences that need no reference policy. (CPO, Xu et al. 2024, arXiv:2401.08417, is
//! [`DpoLoss`](super::DpoLoss) with the log-probabilities themselves for log-ratios, beside a term
//! that imitates the chosen completion.)

use burn::prelude::*;
use burn::tensor::activation::log_sigmoid;

/// The log-probability per token of a completion counts as this at most: the odds of a certainty
/// are infinite.
const MAX_MEAN_LOG_PROB: f32 = -1e-6;

/// Loss of each pair in SimPO, `-log s(beta (c - r) - gamma)` with `c` and `r` the
/// log-probabilities per token of the chosen and the rejected completion; as an expectation over
/// the label,
/// `p l(c, r) + (1 - p) l(r, c)`. Meng et al. 2024, arXiv:2405.14734, eq. 6.
///
/// # Shapes
/// - all tensors: `[pairs]`, log-probabilities in nats per token, `p_chosen` within `0..=1`
pub fn simpo(
    chosen: Tensor<1>,
    rejected: Tensor<1>,
    p_chosen: Tensor<1>,
    beta: f32,
    gamma: f32,
) -> Tensor<1> {
    let [pairs] = chosen.dims();
    assert_shape!(rejected, [pairs]);
    assert_shape!(p_chosen, [pairs]);
    let delta = (chosen - rejected) * beta;
    let right = log_sigmoid(delta.clone() - gamma) * p_chosen.clone();
    let wrong = log_sigmoid(delta.neg() - gamma) * (p_chosen.neg() + 1.0);
    (right + wrong).neg()
}

/// Logarithm of how much larger the odds of the chosen completion are, `log(odds(c) / odds(r))`
/// with `odds(p) = p / (1 - p)` of probabilities per token. Hong et al. 2024, arXiv:2403.07691,
/// eq. 4.
///
/// # Shapes
/// - all tensors: `[pairs]`, log-probabilities in nats per token
pub fn log_odds_ratio(chosen: Tensor<1>, rejected: Tensor<1>) -> Tensor<1> {
    let [pairs] = chosen.dims();
    assert_shape!(rejected, [pairs]);
    log_odds(chosen) - log_odds(rejected)
}

fn log_odds(log_prob: Tensor<1>) -> Tensor<1> {
    let log_prob = log_prob.clamp_max(MAX_MEAN_LOG_PROB);
    // 1 - exp(x) = -tanh(x / 2) (exp(x) + 1), without cancellation near 0.
    let rest = (log_prob.clone() * 0.5).tanh().neg() * (log_prob.clone().exp() + 1.0);
    log_prob - rest.log()
}

/// Loss of each pair in ORPO, `-beta log s(x)` of the [`log_odds_ratio`] `x`, to be added to the
/// negative log-likelihood of the chosen completion; as an expectation over the label,
/// `-beta (p log s(x) + (1 - p) log s(-x))`. Eq. 6 and 7 of the paper.
///
/// # Shapes
/// - all tensors: `[pairs]`, `p_chosen` within `0..=1`
pub fn odds_ratio(log_odds_ratio: Tensor<1>, p_chosen: Tensor<1>, beta: f32) -> Tensor<1> {
    let [pairs] = log_odds_ratio.dims();
    assert_shape!(p_chosen, [pairs]);
    let right = log_sigmoid(log_odds_ratio.clone()) * p_chosen.clone();
    let wrong = log_sigmoid(log_odds_ratio.neg()) * (p_chosen.neg() + 1.0);
    (right + wrong) * -beta
}

#[cfg(test)]
mod tests {
    use std::f32::consts::LN_2;

    use super::super::check::{check, recorded, tensor};
    use super::super::{DpoLoss, DpoLossType, PairRatios};
    use super::*;

    // beta (c - r) - gamma = 2 (-1 + 1.75) - .5 = 1; the opposite is -2. .75 * .313262 + .25 *
    // 2.126928 = .766679.
    #[test]
    fn simpo_matches_the_hand_worked_values() {
        let found = simpo(
            tensor(&[-1.0; 3]),
            tensor(&[-1.75; 3]),
            tensor(&[1.0, 0.0, 0.75]),
            2.0,
            0.5,
        );
        check(found, &[0.313_262, 2.126_928, 0.766_679]);
    }

    // Probabilities 1/2 and 1/4 have odds 1 and 1/3: log 3, and s(log 3) = 3/4.
    #[test]
    fn orpo_matches_the_hand_worked_values() {
        let x = log_odds_ratio(tensor(&[-LN_2; 2]), tensor(&[-2.0 * LN_2; 2]));
        check(x.clone(), &[1.098_612; 2]);
        // .1 * .287682; .1 * (.287682 + 1.386294) / 2.
        check(
            odds_ratio(x, tensor(&[1.0, 0.5]), 0.1),
            &[0.028_768, 0.083_699],
        );
    }

    // The odds of exp(-1e-4) are exp(x) / -expm1(x) = .9999 / 9.9995e-5: log 9.210290. Those of a
    // certainty are finite.
    #[test]
    fn near_certainty_has_finite_odds() {
        check(log_odds(tensor(&[-1e-4])), &[9.210_29]);
        let certain = log_odds(tensor(&[0.0])).into_scalar::<f32>();
        assert!((certain - 13.815_51).abs() < 1e-3, "{certain}");
    }

    #[test]
    fn losses_and_gradients_are_those_of_trl() {
        for case in recorded("reference_free") {
            let (chosen, rejected) = (case.tracked("chosen"), case.tracked("rejected"));
            let (beta, sure) = (case.number("beta"), chosen.ones_like());
            let kind = case.value("kind");
            let losses = match kind.as_str().unwrap() {
                "simpo" => simpo(
                    chosen.clone(),
                    rejected.clone(),
                    sure,
                    beta,
                    case.number("gamma"),
                ),
                "orpo" => odds_ratio(log_odds_ratio(chosen.clone(), rejected.clone()), sure, beta),
                _ => DpoLoss {
                    loss_type: serde_json::from_value::<DpoLossType>(kind.clone()).unwrap(),
                    beta,
                    label_smoothing: 0.0,
                }
                .soft(
                    &PairRatios {
                        chosen: chosen.clone(),
                        rejected: rejected.clone(),
                        chosen_lengths: sure.clone(),
                        rejected_lengths: sure.clone(),
                    },
                    sure,
                ),
            };
            case.check(
                losses.mean(),
                &[("grad_chosen", chosen), ("grad_rejected", rejected)],
            );
        }
    }
}
