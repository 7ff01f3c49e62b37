//! Intervals that ask nothing of the shape of a distribution: the prompts are drawn anew.

use rand::RngExt;
use rand::rngs::StdRng;

use super::stats::Interval;

/// Draws that an interval is made of where nothing else is said.
pub const N_RESAMPLES: usize = 10_000;

/// 95% percentile interval of the mean: that of `n_resamples` samples of as many values, drawn with
/// replacement. Efron 1979, Ann. Stat. 7, 1. Unknown (NaN) without values or resamples.
///
/// One value per prompt: a difference of two policies on the same prompts is a list of differences,
/// so that what makes a prompt hard for both does not count.
pub fn bootstrap_mean(values: &[f64], n_resamples: usize, rng: &mut StdRng) -> Interval {
    if values.is_empty() || n_resamples == 0 {
        return Interval {
            low: f64::NAN,
            high: f64::NAN,
        };
    }
    let n = values.len();
    let mut draw = || (0..n).map(|_| values[rng.random_range(0..n)]).sum::<f64>() / n as f64;
    let mut means: Vec<f64> = (0..n_resamples).map(|_| draw()).collect();
    means.sort_by(f64::total_cmp);
    Interval {
        low: quantile(&means, 0.025),
        high: quantile(&means, 0.975),
    }
}

/// Linear interpolation between the two nearest of sorted values.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let place = q * (sorted.len() - 1) as f64;
    let (below, share) = (place.floor() as usize, place.fract());
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + share * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::stats::mean_interval;
    use rand::SeedableRng;

    // scipy 1.17.1, stats.bootstrap(values, mean, n_resamples=200000, method="percentile"):
    // [0.375, 0.703125]. One resampled mean is a multiple of 1/64 there, so near is near enough.
    #[test]
    fn matches_scipy() {
        let wins = [
            1., 0., 1., 1., 0.5, 0., 1., 0.5, 0., 1., 0., 0., 1., 0., 0.5, 1., 0., 0., 0., 1., 1.,
            0., 1., 1., 0., 0., 1., 1., 1., 1., 1., 0.,
        ];
        let found = bootstrap_mean(&wins, 20_000, &mut StdRng::seed_from_u64(1));
        assert!((found.low - 0.375).abs() <= 1.0 / 64.0, "{found:?}");
        assert!((found.high - 0.703_125).abs() <= 1.0 / 64.0, "{found:?}");
    }

    #[test]
    fn many_values_give_the_normal_interval() {
        let values: Vec<f64> = (0..2_000).map(|i| f64::from(i % 7)).collect();
        let found = bootstrap_mean(&values, N_RESAMPLES, &mut StdRng::seed_from_u64(2));
        let normal = mean_interval(&values).1;
        assert!(
            (found.low - normal.low).abs() < 5e-3,
            "{found:?}, {normal:?}"
        );
        assert!(
            (found.high - normal.high).abs() < 5e-3,
            "{found:?}, {normal:?}"
        );
        assert!(
            bootstrap_mean(&[], 10, &mut StdRng::seed_from_u64(3))
                .low
                .is_nan()
        );
    }

    #[test]
    fn quantiles_lie_between_values() {
        // Place 0.25 * 4 = 1; 0.9 * 4 = 3.6: 4 + 0.6 * 4.
        let sorted = [1.0, 2.0, 3.0, 4.0, 8.0];
        assert_eq!(quantile(&sorted, 0.25), 2.0);
        assert!((quantile(&sorted, 0.9) - 6.4).abs() < 1e-12);
    }
}
