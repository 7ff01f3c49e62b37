//! The statistics behind every number that an evaluation reports, in f64.
//!
//! Win rates come with a 95% interval, position bias with an exact test. A win is 1, a loss 0, a tie 0.5. Pure arithmetic: no records, no files.

use serde::{Deserialize, Serialize};
use statrs::function::beta::inv_beta_reg;

/// Two-sided 95% quantile of the standard normal distribution.
const Z_95: f64 = 1.959_963_984_540_054;

/// A 95% confidence interval, written as `[low, high]`; an unknown bound is NaN, written `null`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "[Option<f64>; 2]", into = "[f64; 2]")]
pub struct Interval {
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

impl From<[Option<f64>; 2]> for Interval {
    fn from([low, high]: [Option<f64>; 2]) -> Self {
        Self {
            low: low.unwrap_or(f64::NAN),
            high: high.unwrap_or(f64::NAN),
        }
    }
}

impl From<Interval> for [f64; 2] {
    fn from(interval: Interval) -> Self {
        [interval.low, interval.high]
    }
}

/// Wilson score interval of a proportion: `successes` (within `0..=n`, ties count 0.5) out
/// of `n`.
///
/// `(p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)`; `[0, 1]` for `n = 0`.
/// Wilson 1927, J. Am. Stat. Assoc. 22, 209. Half points shrink the true variance, so with many
/// ties the interval is wider than it need be.
pub fn wilson(successes: f64, n: usize) -> Interval {
    if n == 0 {
        return Interval {
            low: 0.0,
            high: 1.0,
        };
    }
    let n = n as f64;
    let p = successes / n;
    let z2_n = Z_95 * Z_95 / n;
    let half = Z_95 * (p * (1.0 - p) / n + z2_n / (4.0 * n)).sqrt();
    let (center, scale) = (p + z2_n / 2.0, 1.0 + z2_n);
    Interval {
        low: ((center - half) / scale).max(0.0),
        high: ((center + half) / scale).min(1.0),
    }
}

/// Mean of `values` and its normal-approximation interval, `mean +- z s / sqrt(n)`.
///
/// `s` is the unbiased standard deviation. The interval of fewer than two values, and the mean of
/// none, are unknown: NaN.
pub fn mean_interval(values: &[f64]) -> (f64, Interval) {
    let n = values.len() as f64;
    let mean = mean(values);
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    // For one value this is 0 / 0: NaN, as documented.
    let half = Z_95 * (squares / (n - 1.0) / n).sqrt();
    (
        mean,
        Interval {
            low: mean - half,
            high: mean + half,
        },
    )
}

/// Student's 95% interval of the mean of `values`, few as they may be: `mean +- t s / sqrt(n)` with
/// the quantile `t` of `n - 1` degrees of freedom. NaN for fewer than two.
pub fn student_interval(values: &[f64]) -> Interval {
    let (mean, normal) = mean_interval(values);
    let degrees = values.len() as f64 - 1.0;
    let mut half = normal.high - mean;
    if degrees >= 1.0 {
        // P(|T| > t) = I_x(degrees / 2, 1 / 2) with x = degrees / (degrees + t^2).
        let x = inv_beta_reg(degrees / 2.0, 0.5, 0.05);
        half *= (degrees * (1.0 - x) / x).sqrt() / Z_95;
    }
    Interval {
        low: mean - half,
        high: mean + half,
    }
}

/// Exact two-sided binomial test of a fair coin: the chance of a split at least as uneven as this.
///
/// `min(1, 2 P(X <= min(successes, n - successes)))`, `X ~ Binomial(n, 1/2)`; 1 for `n = 0`. Lee et
/// al. 2024, arXiv:2309.00267v2, appendix B tests position bias so.
///
/// # Panics
/// If `successes > n`.
pub fn two_sided_binomial_p(successes: usize, n: usize) -> f64 {
    assert!(successes <= n, "{successes} successes in {n} trials");
    // In logarithms, because 2^-n underflows beyond n = 1074.
    let mut log_term = -(n as f64) * std::f64::consts::LN_2;
    let mut tail = log_term.exp();
    for i in 0..successes.min(n - successes) {
        log_term += ((n - i) as f64 / (i + 1) as f64).ln();
        tail += log_term.exp();
    }
    (2.0 * tail).min(1.0)
}

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
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

    fn check_wilson(successes: f64, n: usize, [low, high]: [f64; 2]) {
        let interval = wilson(successes, n);
        assert!((interval.low - low).abs() < 1e-12, "{interval:?}");
        assert!((interval.high - high).abs() < 1e-12, "{interval:?}");
    }

    // statsmodels 0.15.0, proportion_confint(k, n, method="wilson").
    #[test]
    fn wilson_matches_statsmodels() {
        check_wilson(0.0, 10, [0.0, 0.277_532_799_862_889_26]);
        check_wilson(7.0, 10, [0.396_778_147_461_145_37, 0.892_208_732_593_699_1]);
        check_wilson(10.0, 10, [0.722_467_200_137_110_6, 1.0]);
        check_wilson(
            71.0,
            100,
            [0.614_611_088_244_288_7, 0.789_851_642_508_777_3],
        );
        check_wilson(3.5, 8, [0.174_498_631_238_342_53, 0.741_052_314_372_142_5]);
        check_wilson(0.0, 0, [0.0, 1.0]);
    }

    // Mean 4, s^2 = 50 / 4, half width 1.959964 * sqrt(12.5 / 5) = 3.098975.
    #[test]
    fn mean_interval_is_the_normal_approximation() {
        let (mean, interval) = mean_interval(&[1.0, 2.0, 3.0, 4.0, 10.0]);
        close(mean, 4.0, 1e-15);
        close(interval.low, 0.901_024_838_477_192_2, 1e-12);
        close(interval.high, 7.098_975_161_522_808, 1e-12);
    }

    // t of 2 degrees of freedom is 4.302653, of 1 12.706205; of 1, 2, 3: s = 1, half width
    // 4.302653 / sqrt(3) = 2.484138.
    #[test]
    fn few_values_have_a_wide_interval() {
        let found = student_interval(&[1.0, 2.0, 3.0]);
        close(found.low, 2.0 - 2.484_137_7, 1e-6);
        close(found.high, 2.0 + 2.484_137_7, 1e-6);
        let found = student_interval(&[0.0, 2.0]);
        close(found.high, 1.0 + 12.706_204_7, 1e-6);
        assert_eq!(student_interval(&[1.0, 1.0]).low, 1.0);
        assert!(student_interval(&[1.0]).low.is_nan());
    }

    #[test]
    fn intervals_without_data_are_unknown_and_survive_json() {
        let (mean, interval) = mean_interval(&[3.0]);
        close(mean, 3.0, 0.0);
        let text = serde_json::to_string(&interval).unwrap();
        assert_eq!(text, "[null,null]");
        assert!(
            serde_json::from_str::<Interval>(&text)
                .unwrap()
                .low
                .is_nan()
        );
        assert!(mean_interval(&[]).0.is_nan());
        let half = serde_json::to_string(&Interval {
            low: 0.25,
            high: 0.5,
        })
        .unwrap();
        assert_eq!(half, "[0.25,0.5]");
    }

    // scipy 1.17.1, stats.binomtest(k, n).pvalue; 112 / 1024 and 2 / 8 are exact.
    #[test]
    fn binomial_test_matches_scipy() {
        close(two_sided_binomial_p(2, 10), 0.109_375, 1e-12);
        close(two_sided_binomial_p(8, 10), 0.109_375, 1e-12);
        close(two_sided_binomial_p(0, 3), 0.25, 1e-12);
        close(two_sided_binomial_p(5, 10), 1.0, 0.0);
        close(
            two_sided_binomial_p(94, 100),
            2.005_959_521_923_613e-21,
            1e-9,
        );
        close(
            two_sided_binomial_p(5300, 10_000),
            2.076_033_695_920_612e-9,
            1e-9,
        );
        close(
            two_sided_binomial_p(900, 2000),
            8.457_089_535_503_81e-6,
            1e-9,
        );
        close(two_sided_binomial_p(0, 0), 1.0, 0.0);
    }
}
