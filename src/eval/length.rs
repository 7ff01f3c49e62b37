//! The win rate that would be seen if both sides wrote equally long: a judge who likes length must
//! not decide.
//!
//! A logistic regression of the outcome on the lengths, read where they are equal. Pure arithmetic
//! in f64.

use super::stats::mean;

/// Weight of `(intercept^2 + slope^2) / 2` in the length regression.
///
/// With perfectly separated outcomes the maximum-likelihood fit runs to infinity; this keeps it
/// finite, and moves an ordinary fit of tens of comparisons by under 1e-4.
const RIDGE: f64 = 1e-4;

/// Newton steps of the length regression; ten suffice unless the outcomes are separated.
const MAX_NEWTON_STEPS: usize = 100;

/// Length ratios that differ by less than this say nothing about the effect of length.
const MIN_RATIO_SPREAD: f64 = 1e-9;

/// The win rate of A over B that would be seen if both wrote equally long completions.
///
/// Fits `P(A wins) = sigmoid(b0 + b1 (length_a / length_b - 1))` and reads it at ratio 1. Lee et
/// al. 2024, arXiv:2309.00267v2, appendix J. The fit has a tiny ridge (see the source) and takes
/// ties and soft preferences as fractions. Lengths, in any one unit, count as at least 1. Where the
/// ratio never varies, length cannot be told from quality and the result is the mean of `wins`.
/// NaN without comparisons.
///
/// # Panics
/// If the three slices differ in length.
pub fn length_controlled_win_rate(wins: &[f64], length_a: &[f64], length_b: &[f64]) -> f64 {
    assert_eq!(wins.len(), length_a.len(), "one length_a per comparison");
    assert_eq!(wins.len(), length_b.len(), "one length_b per comparison");
    let ratio = |(a, b): (&f64, &f64)| a.max(1.0) / b.max(1.0);
    let excess: Vec<f64> = length_a
        .iter()
        .zip(length_b)
        .map(|pair| ratio(pair) - 1.0)
        .collect();
    let (low, high) = excess
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &x| {
            (low.min(x), high.max(x))
        });
    // The negation also catches no comparisons at all, where the difference is -inf.
    if high - low < MIN_RATIO_SPREAD {
        return mean(wins);
    }
    sigmoid(Logistic::fit(&excess, wins).intercept)
}

/// AlpacaEval's length-controlled win rate in its form without instructions' difficulties: fits
/// `P(A wins) = sigmoid(b0 + b1 tanh((length_a - length_b) / sd))` with the unbiased deviation `sd` of the
/// differences, and reads it at a difference of 0. Dubois et al. 2024, arXiv:2404.04475.
///
/// Lengths are in characters there. The leaderboard's regression has a term for the difficulty of
/// each of its 805 instructions and is pulled by gamed baselines, from two files that AlpacaEval
/// publishes apart; without them its figures are near, not equal. Otherwise as
/// [`length_controlled_win_rate`].
///
/// # Panics
/// If the three slices differ in length.
pub fn alpaca_length_controlled(wins: &[f64], length_a: &[f64], length_b: &[f64]) -> f64 {
    assert_eq!(wins.len(), length_a.len(), "one length_a per comparison");
    assert_eq!(wins.len(), length_b.len(), "one length_b per comparison");
    let difference: Vec<f64> = length_a.iter().zip(length_b).map(|(a, b)| a - b).collect();
    let center = mean(&difference);
    let squares: f64 = difference.iter().map(|x| (x - center).powi(2)).sum();
    let deviation = (squares / (difference.len() as f64 - 1.0)).sqrt();
    // Fewer than two comparisons have no deviation.
    if deviation.is_nan() || deviation == 0.0 {
        return mean(wins);
    }
    let x: Vec<f64> = difference.iter().map(|x| (x / deviation).tanh()).collect();
    sigmoid(Logistic::fit(&x, wins).intercept)
}

/// A logistic regression on one variable, maximising the ridge-penalised log-likelihood.
#[derive(Debug, Clone, Copy)]
struct Logistic {
    intercept: f64,
    slope: f64,
}

impl Logistic {
    /// Newton's method from zero; a step is halved until it does not lower the objective.
    fn fit(x: &[f64], y: &[f64]) -> Self {
        let mut model = Self {
            intercept: 0.0,
            slope: 0.0,
        };
        let mut objective = model.objective(x, y);
        for _ in 0..MAX_NEWTON_STEPS {
            let (step_intercept, step_slope) = model.newton_step(x, y);
            let mut scale = 1.0;
            let (next, next_objective) = loop {
                let next = Self {
                    intercept: model.intercept + scale * step_intercept,
                    slope: model.slope + scale * step_slope,
                };
                let next_objective = next.objective(x, y);
                if next_objective >= objective {
                    break (next, next_objective);
                }
                scale /= 2.0;
                // Only rounding is left to gain.
                if scale < 1e-6 {
                    return model;
                }
            };
            let gain = next_objective - objective;
            (model, objective) = (next, next_objective);
            if gain <= 1e-14 * (1.0 + objective.abs()) {
                break;
            }
        }
        model
    }

    fn logit(&self, x: f64) -> f64 {
        self.intercept + self.slope * x
    }

    /// `sum(y log p + (1 - y) log(1 - p)) - ridge / 2 (intercept^2 + slope^2)`.
    fn objective(&self, x: &[f64], y: &[f64]) -> f64 {
        let log_likelihood: f64 = x
            .iter()
            .zip(y)
            .map(|(&x, y)| {
                let logit = self.logit(x);
                // log p = -softplus(-logit) and log(1 - p) = log p - logit.
                let log_p = logit.min(0.0) - (-logit.abs()).exp().ln_1p();
                log_p - (1.0 - y) * logit
            })
            .sum();
        log_likelihood - RIDGE / 2.0 * (self.intercept.powi(2) + self.slope.powi(2))
    }

    /// Solves the 2x2 system `hessian step = gradient` by Cramer's rule.
    fn newton_step(&self, x: &[f64], y: &[f64]) -> (f64, f64) {
        let (mut g0, mut g1) = (-RIDGE * self.intercept, -RIDGE * self.slope);
        let (mut h00, mut h01, mut h11) = (RIDGE, 0.0, RIDGE);
        for (&x, y) in x.iter().zip(y) {
            let p = sigmoid(self.logit(x));
            let weight = p * (1.0 - p);
            g0 += y - p;
            g1 += (y - p) * x;
            h00 += weight;
            h01 += weight * x;
            h11 += weight * x * x;
        }
        let det = h00 * h11 - h01 * h01;
        ((h11 * g0 - h01 * g1) / det, (h00 * g1 - h01 * g0) / det)
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(actual: f64, expected: f64, rtol: f64) {
        let error = (actual - expected).abs();
        assert!(
            error <= rtol * expected.abs().max(1e-300),
            "{actual}, expected {expected}"
        );
    }

    const WINS: [f64; 12] = [1., 0., 1., 1., 0., 0., 1., 0., 1., 1., 0.5, 0.];
    const LENGTH_A: [f64; 12] = [
        120., 80., 150., 90., 70., 100., 140., 110., 95., 160., 100., 130.,
    ];
    const LENGTH_B: [f64; 12] = [
        100., 100., 110., 100., 90., 95., 100., 120., 100., 105., 100., 100.,
    ];

    // statsmodels 0.15.0, GLM(wins, [1, a / b], Binomial()): -5.09964 + 4.87625 * 1, so 0.444383,
    // where the mean is 0.541667. No ridge there, hence the tolerance.
    #[test]
    fn length_control_matches_statsmodels() {
        let rate = length_controlled_win_rate(&WINS, &LENGTH_A, &LENGTH_B);
        close(rate, 0.444_382_800_929_130_8, 2e-4);
    }

    // Swapping the two sides is not exactly symmetric (1 / ratio is not linear in the ratio), but
    // swapping the outcomes alone is.
    #[test]
    fn length_control_mirrors_the_outcomes() {
        let losses = WINS.map(|win| 1.0 - win);
        let rate = length_controlled_win_rate(&losses, &LENGTH_A, &LENGTH_B);
        close(rate, 1.0 - 0.444_382_800_929_130_8, 2e-4);
    }

    #[test]
    fn length_control_without_variation_is_the_mean() {
        let (wins, lengths) = ([1.0, 0.0, 1.0, 0.5], [50.0; 4]);
        close(
            length_controlled_win_rate(&wins, &lengths, &lengths),
            0.625,
            0.0,
        );
        close(
            length_controlled_win_rate(&wins, &lengths, &[40.0; 4]),
            0.625,
            0.0,
        );
        assert!(length_controlled_win_rate(&[], &[], &[]).is_nan());
    }

    // The outcomes are perfectly separated at ratio 1, or all alike: no finite unpenalised fit.
    #[test]
    fn length_control_survives_separation() {
        let (a, b) = ([80.0, 90.0, 110.0, 120.0], [100.0; 4]);
        close(
            length_controlled_win_rate(&[0.0, 0.0, 1.0, 1.0], &a, &b),
            0.5,
            1e-6,
        );
        let rate = length_controlled_win_rate(&[1.0; 4], &a, &b);
        assert!((0.999..=1.0).contains(&rate), "{rate}");
        let rate = length_controlled_win_rate(&[1.0; 4], &[0.0, 5.0, 9.0, 400.0], &[0.0; 4]);
        assert!((0.99..=1.0).contains(&rate), "{rate}");
    }

    // statsmodels 0.15.0, GLM(wins, [1, tanh((a - b) / std)], Binomial()): intercept -0.0995874.
    // scikit-learn's L1 with C = 100, which AlpacaEval uses without folds: 0.476636.
    #[test]
    fn alpaca_length_control_matches_statsmodels() {
        let rate = alpaca_length_controlled(&WINS, &LENGTH_A, &LENGTH_B);
        close(rate, 0.475_123_693_023_247, 2e-4);
        close(
            alpaca_length_controlled(&WINS, &LENGTH_A, &LENGTH_A),
            6.5 / 12.0,
            1e-12,
        );
        assert!(alpaca_length_controlled(&[], &[], &[]).is_nan());
    }
}
