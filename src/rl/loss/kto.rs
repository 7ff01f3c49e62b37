//! The loss on single completions that are desirable or not: Kahneman-Tversky optimisation.
//! Ethayarajh et al. 2024, arXiv:2402.01306.

use burn::prelude::*;
use burn::tensor::activation::sigmoid;

/// Kahneman-Tversky optimisation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KtoLoss {
    /// How strongly the policy is held to its reference.
    pub beta: f32,
    /// Weight of a desirable completion.
    pub desirable_weight: f32,
    /// Weight of an undesirable one.
    pub undesirable_weight: f32,
}

impl KtoLoss {
    /// Loss of each completion, which is desirable with probability `p_desirable`.
    ///
    /// `p w_d (1 - s(beta (x - kl))) + (1 - p) w_u (1 - s(beta (kl - x)))` with `x` the log-ratio
    /// `log(pi(y) / pi_ref(y))`, `s` the logistic function and `kl` the reference point, see
    /// [`reference_point`]. Eq. 8 of the paper at `p` of 0 and 1.
    ///
    /// # Shapes
    /// - `log_ratios`, `p_desirable`: `[completions]`
    /// - output: `[completions]`
    pub fn soft(&self, log_ratios: Tensor<1>, kl: f32, p_desirable: Tensor<1>) -> Tensor<1> {
        let [completions] = log_ratios.dims();
        assert_shape!(p_desirable, [completions]);
        let above = (log_ratios - kl) * self.beta;
        let gained = sigmoid(above.clone().neg()) * self.desirable_weight;
        let lost = sigmoid(above) * self.undesirable_weight;
        gained * p_desirable.clone() + lost * (p_desirable.neg() + 1.0)
    }
}

/// Estimate of `KL(pi || pi_ref)`, `max(0, mean(log(pi(y') / pi_ref(y'))))` over completions `y'`
/// that answer other prompts than those they are put after; 0 of none. Section 4.1 of the paper.
pub fn reference_point(mismatched_log_ratios: &[f32]) -> f32 {
    let sum: f32 = mismatched_log_ratios.iter().sum();
    (sum / mismatched_log_ratios.len().max(1) as f32).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::super::check::{check, recorded, tensor};
    use super::*;

    // beta (x - kl) = .1 (11 - 1) = 1: 1 - s(1) = .268941 where desirable, s(1) = .731059 where
    // not. Weights 2 and .5; .75 * 2 * .268941 + .25 * .5 * .731059 = .494794.
    #[test]
    fn kto_matches_the_hand_worked_values() {
        let loss = KtoLoss {
            beta: 0.1,
            desirable_weight: 2.0,
            undesirable_weight: 0.5,
        };
        let found = loss.soft(tensor(&[11.0; 3]), 1.0, tensor(&[1.0, 0.0, 0.75]));
        check(found, &[0.537_883, 0.365_529, 0.494_794]);
    }

    #[test]
    fn the_reference_point_is_never_negative() {
        assert_eq!(reference_point(&[3.0, -1.0]), 1.0);
        assert_eq!(reference_point(&[1.0, -3.0]), 0.0);
        assert_eq!(reference_point(&[]), 0.0);
    }

    #[test]
    fn losses_and_gradients_are_those_of_trl() {
        for case in recorded("kto") {
            let loss = KtoLoss {
                beta: case.number("beta"),
                desirable_weight: case.number("desirable_weight"),
                undesirable_weight: case.number("undesirable_weight"),
            };
            let kl = reference_point(&case.numbers("mismatched"));
            check(tensor(&[kl]), &[case.number("kl")]);
            let log_ratios = case.tracked("log_ratios");
            let labels = tensor(&case.numbers("labels"));
            let found = loss.soft(log_ratios.clone(), kl, labels).mean();
            case.check(found, &[("grad", log_ratios)]);
        }
    }
}
