//! How many prompts an evaluation needs before it is run.

use statrs::function::erf::erfc_inv;

use super::stats::wilson;

/// Prompts beyond which nobody asks.
const MAX_PROMPTS: usize = 1 << 40;

/// Fewest prompts whose 95% Wilson interval of a win rate `rate` is at most `half_width` to each
/// side, on average of both. `None` for a rate outside `0..=1` or a width that is not above 0.
pub fn prompts_for_interval(rate: f64, half_width: f64) -> Option<usize> {
    let valid = (0.0..=1.0).contains(&rate) && half_width > 0.0;
    let fits = |n: usize| {
        let interval = wilson(rate * n as f64, n);
        interval.high - interval.low <= 2.0 * half_width
    };
    valid.then(|| fewest(fits)).flatten()
}

/// Prompts with which a win rate of `rate` is told from 0.5 at the 5% level with probability
/// `power`: `((z_0.975 / 2 + z_power sqrt(r (1 - r))) / (r - 1/2))^2`, the normal approximation of
/// the test of a proportion. `None` for a rate of 0.5, or where one is no probability.
pub fn prompts_to_tell(rate: f64, power: f64) -> Option<usize> {
    let valid = (0.0..=1.0).contains(&rate) && rate != 0.5 && power > 0.0 && power < 1.0;
    let spread =
        normal_quantile(0.975) / 2.0 + normal_quantile(power) * (rate * (1.0 - rate)).sqrt();
    let n = (spread.max(0.0) / (rate - 0.5)).powi(2).ceil();
    (valid && n < MAX_PROMPTS as f64).then_some(n as usize)
}

/// `sqrt(2) erf^-1(2 p - 1)`.
fn normal_quantile(p: f64) -> f64 {
    -std::f64::consts::SQRT_2 * erfc_inv(2.0 * p)
}

/// The least number that fits, where all greater ones do.
fn fewest(fits: impl Fn(usize) -> bool) -> Option<usize> {
    let mut high = 1;
    while !fits(high) {
        high *= 2;
        if high > MAX_PROMPTS {
            return None;
        }
    }
    let mut low = high / 2;
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if fits(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Some(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    // statsmodels 0.15.0: the least n for which proportion_confint(n / 2, n, method="wilson") is
    // no wider than 2 * 0.05 is 381; the normal approximation says 1.96^2 / (4 * 0.05^2) = 384.1.
    #[test]
    fn intervals_need_prompts() {
        assert_eq!(prompts_for_interval(0.5, 0.05), Some(381));
        assert_eq!(prompts_for_interval(0.5, 0.0), None);
        assert_eq!(prompts_for_interval(1.5, 0.1), None);
        assert_eq!(
            prompts_for_interval(0.5, 1e-9),
            None,
            "more than anybody has"
        );
    }

    // p = 0.6, power 0.8: ((0.979982 + 0.841621 * 0.489898) / 0.1)^2 = 193.85.
    #[test]
    fn differences_need_prompts() {
        assert_eq!(prompts_to_tell(0.6, 0.8), Some(194));
        assert_eq!(prompts_to_tell(0.4, 0.8), Some(194));
        assert_eq!(prompts_to_tell(0.5, 0.8), None);
        assert!((normal_quantile(0.975) - 1.959_963_984_540_054).abs() < 1e-12);
    }
}
