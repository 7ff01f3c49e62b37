//! Losses on preferences between completions, straight on the policy: direct preference
//! optimisation (Rafailov et al. 2023, arXiv:2305.18290) and what was published on top of it.

use burn::prelude::*;
use burn::tensor::activation::{log_sigmoid, relu, sigmoid};
use serde::{Deserialize, Serialize};

/// How far a policy has moved from its reference on the completions of pairs: what the losses of
/// this file are functions of. All tensors `[pairs]`.
#[derive(Debug, Clone)]
pub struct PairRatios {
    /// `log(pi(y) / pi_ref(y))` of the chosen completion, summed over its tokens, in nats.
    pub chosen: Tensor<1>,
    /// The same of the rejected one.
    pub rejected: Tensor<1>,
    /// Tokens of the chosen completion.
    pub chosen_lengths: Tensor<1>,
    /// Tokens of the rejected one.
    pub rejected_lengths: Tensor<1>,
}

impl PairRatios {
    /// The same pairs with the opposite preference.
    #[must_use]
    pub fn swapped(self) -> Self {
        Self {
            chosen: self.rejected,
            rejected: self.chosen,
            chosen_lengths: self.rejected_lengths,
            rejected_lengths: self.chosen_lengths,
        }
    }

    /// Difference of the log-ratios per token.
    fn mean_delta(&self) -> Tensor<1> {
        let mean =
            |total: &Tensor<1>, lengths: &Tensor<1>| total.clone() / lengths.clone().clamp_min(1.0);
        mean(&self.chosen, &self.chosen_lengths) - mean(&self.rejected, &self.rejected_lengths)
    }
}

/// The loss of a pair; names as TRL's `loss_type`. With `c` and `r` the log-ratios of the chosen
/// and the rejected completion, `d = c - r`, `s` the logistic function and `e` the label smoothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DpoLossType {
    /// `-log s(beta d)`: DPO as published.
    #[default]
    Sigmoid,
    /// `max(0, 1 - beta d)`: SLiC, Zhao et al. 2023, arXiv:2305.10425; RSO, Liu et al. 2023,
    /// arXiv:2309.06657.
    Hinge,
    /// `(d - 1 / (2 beta))^2` with log-ratios per token, which a certain label cannot drive to
    /// infinity. Azar et al. 2023, arXiv:2310.12036, eq. 17.
    Ipo,
    /// `(-(1 - e) log s(beta d) + e log s(-beta d)) / (1 - 2 e)`: unbiased where a share `e` of the
    /// labels is wrong. Chowdhury et al. 2024, arXiv:2403.00409.
    Robust,
    /// The reverse KL from `(1 - e, e)`. Ji et al. 2024, arXiv:2402.00856, eq. 16.
    ExoPair,
    /// `-log s(beta c) - log s(-beta c) / 2 - log s(-beta r) / 2`. Chen et al. 2024,
    /// arXiv:2402.05369.
    NcaPair,
    /// `-log s(beta c) - log s(-beta r)`: BCO without its shift. Jung et al. 2024,
    /// arXiv:2404.04656.
    BcoPair,
    /// `(c - 1 / (2 beta))^2 + (r + 1 / (2 beta))^2`. Wu et al. 2024, arXiv:2405.00675.
    SppoHard,
    /// `1 - s(beta c) + s(beta r)`: raises the chosen completion, for pairs better than the
    /// policy. D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 7.
    ApoZero,
    /// `s(beta c) + 1 - s(beta d)`: lowers both, for pairs worse than the policy. Eq. 8.
    ApoDown,
    /// `-log s(beta d)` with log-ratios per token.
    SigmoidNorm,
}

/// Direct preference optimisation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DpoLoss {
    /// The loss of a pair.
    pub loss_type: DpoLossType,
    /// How strongly the policy is held to its reference.
    pub beta: f32,
    /// Share of the labels taken to be wrong, below one half; of `Robust` and `ExoPair` alone.
    pub label_smoothing: f32,
}

impl DpoLoss {
    /// Loss of each pair whose chosen completion is better for sure.
    ///
    /// # Shapes
    /// - output: `[pairs]`
    pub fn hard(&self, ratios: &PairRatios) -> Tensor<1> {
        let [pairs] = ratios.chosen.dims();
        assert_shape!(ratios.rejected, [pairs]);
        assert_shape!(ratios.chosen_lengths, [pairs]);
        assert_shape!(ratios.rejected_lengths, [pairs]);
        let (beta, e) = (self.beta, self.label_smoothing);
        let chosen = ratios.chosen.clone() * beta;
        let rejected = ratios.rejected.clone() * beta;
        let delta = chosen.clone() - rejected.clone();
        match self.loss_type {
            DpoLossType::Sigmoid => log_sigmoid(delta).neg(),
            DpoLossType::Hinge => relu(delta.neg() + 1.0),
            DpoLossType::Ipo => (ratios.mean_delta() - 0.5 / beta).square(),
            DpoLossType::Robust => {
                let right = log_sigmoid(delta.clone()) * (1.0 - e);
                let wrong = log_sigmoid(delta.neg()) * e;
                (wrong - right) / (1.0 - 2.0 * e)
            }
            DpoLossType::ExoPair => {
                let right = log_sigmoid(delta.clone()) - (1.0 - e).ln();
                let wrong = log_sigmoid(delta.clone().neg()) - e.ln();
                sigmoid(delta.clone()) * right + sigmoid(delta.neg()) * wrong
            }
            DpoLossType::NcaPair => {
                let lower = log_sigmoid(chosen.clone().neg()) + log_sigmoid(rejected.neg());
                (log_sigmoid(chosen) + lower * 0.5).neg()
            }
            DpoLossType::BcoPair => (log_sigmoid(chosen) + log_sigmoid(rejected.neg())).neg(),
            DpoLossType::SppoHard => {
                let won = (ratios.chosen.clone() - 0.5 / beta).square();
                won + (ratios.rejected.clone() + 0.5 / beta).square()
            }
            DpoLossType::ApoZero => sigmoid(chosen.neg()) + sigmoid(rejected),
            DpoLossType::ApoDown => sigmoid(chosen) + sigmoid(delta.neg()),
            DpoLossType::SigmoidNorm => log_sigmoid(ratios.mean_delta() * beta).neg(),
        }
    }

    /// Loss of each pair whose chosen completion is better with probability `p_chosen`: the
    /// expectation of the hard loss, `p l(chosen, rejected) + (1 - p) l(rejected, chosen)`.
    ///
    /// For `Sigmoid` that is the cross-entropy `-p log s(beta d) - (1 - p) log s(-beta d)` between
    /// the label and the policy's own preference, as a reward model is trained (Lee et al. 2024,
    /// arXiv:2309.00267v2, section 2.2.1); with `p = 1 - e` it is the conservative DPO of
    /// Mitchell 2023.
    ///
    /// # Shapes
    /// - `p_chosen`: `[pairs]`, within `0..=1`
    /// - output: `[pairs]`
    pub fn soft(&self, ratios: &PairRatios, p_chosen: Tensor<1>) -> Tensor<1> {
        let [pairs] = ratios.chosen.dims();
        assert_shape!(p_chosen, [pairs]);
        let right = self.hard(ratios) * p_chosen.clone();
        right + self.hard(&ratios.clone().swapped()) * (p_chosen.neg() + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use std::f32::consts::LN_2;

    use super::super::check::{check, recorded, tensor};
    use super::*;

    fn loss(loss_type: DpoLossType, beta: f32, label_smoothing: f32) -> DpoLoss {
        DpoLoss {
            loss_type,
            beta,
            label_smoothing,
        }
    }

    fn ratios(chosen: &[f32], rejected: &[f32]) -> PairRatios {
        PairRatios {
            chosen: tensor(chosen),
            rejected: tensor(rejected),
            chosen_lengths: tensor(&vec![2.0; chosen.len()]),
            rejected_lengths: tensor(&vec![4.0; chosen.len()]),
        }
    }

    // log(1 + exp(-.1 d)) for d = 0, 10, 20. torchtune, rlhf/loss/test_dpo_loss.py.
    #[test]
    fn dpo_matches_the_hand_worked_values() {
        let at = ratios(&[0.0, 4.0, 5.0], &[0.0, -6.0, -15.0]);
        let sigmoid = loss(DpoLossType::Sigmoid, 0.1, 0.0);
        check(sigmoid.hard(&at), &[LN_2, 0.313_262, 0.126_928]);
        // 1 - 0, 1 - 1, 1 - 2 cut at 0.
        check(
            loss(DpoLossType::Hinge, 0.1, 0.0).hard(&at),
            &[1.0, 0.0, 0.0],
        );
        // Per token 0 - 0, 2 + 1.5, 2.5 + 3.75; each minus 1 / .2 = 5, squared.
        let ipo = loss(DpoLossType::Ipo, 0.1, 0.0);
        check(ipo.hard(&at), &[25.0, 2.25, 1.5625]);
        // (.8 * .313262 - .2 * 1.313262) / .6 for d = 10; LN_2 and (.8 * .126928 - .2 * 2.126928) /
        // .6 beside it.
        let robust = loss(DpoLossType::Robust, 0.1, 0.2);
        check(robust.hard(&at), &[LN_2, -0.020_071, -0.539_739]);
    }

    // .75 * .313262 + .25 * 1.313262; at p = 1 the hard loss; at p = 0 that of the opposite.
    #[test]
    fn a_soft_label_is_the_expected_loss() {
        let at = ratios(&[4.0; 3], &[-6.0; 3]);
        let sigmoid = loss(DpoLossType::Sigmoid, 0.1, 0.0);
        let p = tensor(&[0.75, 1.0, 0.0]);
        check(sigmoid.soft(&at, p), &[0.563_262, 0.313_262, 1.313_262]);
        // The completions have 2 and 4 tokens: 3.5 - 5 and -3.5 - 5, squared.
        let ipo = loss(DpoLossType::Ipo, 0.1, 0.0);
        check(ipo.soft(&at, tensor(&[0.5; 3])), &[37.25; 3]);
    }

    #[test]
    fn losses_and_gradients_are_those_of_trl() {
        for case in recorded("dpo") {
            let loss_type = serde_json::from_value(case.value("loss_type")).unwrap();
            let loss = loss(
                loss_type,
                case.number("beta"),
                case.number("label_smoothing"),
            );
            let (chosen, rejected) = (case.tracked("chosen"), case.tracked("rejected"));
            let at = PairRatios {
                chosen: chosen.clone(),
                rejected: rejected.clone(),
                chosen_lengths: tensor(&case.numbers("chosen_lengths")),
                rejected_lengths: tensor(&case.numbers("rejected_lengths")),
            };
            let sure = chosen.ones_like();
            case.check(
                loss.soft(&at, sure).mean(),
                &[("grad_chosen", chosen), ("grad_rejected", rejected)],
            );
        }
    }
}
