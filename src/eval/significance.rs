//! Whether a difference could be chance, and how many comparisons change that.
//!
//! Pure arithmetic in f64. The distributions are those of `statrs`.

use serde::Serialize;
use statrs::function::beta::beta_reg;

use super::stats::two_sided_binomial_p;

/// A t-test against a mean of 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TTest {
    /// The mean in units of its standard error.
    pub t: f64,
    /// Degrees of freedom.
    pub degrees: f64,
    /// Two-sided p-value.
    pub p: f64,
}

/// Whether differences between paired observations have a mean other than 0: Student's t-test.
/// `None` for fewer than two, or where they do not vary.
pub fn paired_t_test(differences: &[f64]) -> Option<TTest> {
    let (mean, variance) = moments(differences)?;
    let n = differences.len() as f64;
    t_test(mean, variance / n, n - 1.0)
}

/// Whether two independent samples have different means: Welch's t-test, which does not take their
/// variances for equal. `None` where one has fewer than two values, or neither varies.
pub fn two_sample_t_test(x: &[f64], y: &[f64]) -> Option<TTest> {
    let ((mean_x, variance_x), (mean_y, variance_y)) = (moments(x)?, moments(y)?);
    let (n_x, n_y) = (x.len() as f64, y.len() as f64);
    let (error_x, error_y) = (variance_x / n_x, variance_y / n_y);
    let error = error_x + error_y;
    // Welch-Satterthwaite.
    let degrees = error.powi(2) / (error_x.powi(2) / (n_x - 1.0) + error_y.powi(2) / (n_y - 1.0));
    t_test(mean_x - mean_y, error, degrees)
}

/// McNemar's exact test of paired yes/no outcomes: the pairs where only the first, and only the
/// second, says yes are a fair coin's. Pairs that agree say nothing.
pub fn mcnemar(only_first: usize, only_second: usize) -> f64 {
    two_sided_binomial_p(only_first, only_first + only_second)
}

/// p-values of several tests such that, of all that are true by chance alone, none falls below the
/// level but with that probability. Holm 1979, Scand. J. Stat. 6, 65. In the order given.
///
/// `p_(i) -> max_{j <= i} min(1, (m - j + 1) p_(j))` over the sorted values.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let m = p.len();
    let mut greatest = 0.0_f64;
    let mut adjusted = vec![0.0; m];
    for (rank, i) in ascending(p).into_iter().enumerate() {
        greatest = greatest.max((m - rank) as f64 * p[i]).min(1.0);
        adjusted[i] = greatest;
    }
    adjusted
}

/// p-values of several tests such that of those below the level at most that share is chance's.
/// Benjamini and Hochberg 1995, J. R. Stat. Soc. B 57, 289. In the order given.
///
/// `p_(i) -> min_{j >= i} min(1, m p_(j) / j)` over the sorted values.
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let m = p.len();
    let mut least = 1.0_f64;
    let mut adjusted = vec![0.0; m];
    for (rank, i) in ascending(p).into_iter().enumerate().rev() {
        least = least.min(m as f64 * p[i] / (rank + 1) as f64);
        adjusted[i] = least;
    }
    adjusted
}

fn ascending(p: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&i, &j| p[i].total_cmp(&p[j]));
    order
}

/// Mean and unbiased variance.
fn moments(values: &[f64]) -> Option<(f64, f64)> {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    (values.len() > 1).then(|| (mean, squares / (n - 1.0)))
}

fn t_test(mean: f64, squared_error: f64, degrees: f64) -> Option<TTest> {
    let t = mean / squared_error.sqrt();
    // P(|T| > t) = I_{v / (v + t^2)}(v / 2, 1 / 2).
    (squared_error > 0.0).then(|| TTest {
        t,
        degrees,
        p: beta_reg(degrees / 2.0, 0.5, degrees / (degrees + t * t)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
    }

    // scipy 1.17.1, stats.ttest_rel(a, b).
    #[test]
    fn paired_test_matches_scipy() {
        let a = [1.0, 0.0, 1.0, 1.0, 0.5, 0.0, 1.0, 0.5, 0.0, 1.0];
        let b = [0.0, 0.0, 1.0, 0.0, 0.5, 1.0, 0.0, 0.0, 0.0, 1.0];
        let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
        let found = paired_t_test(&differences).unwrap();
        close(found.t, 1.245_682_197_806_099_5);
        close(found.degrees, 9.0);
        close(found.p, 0.244_333_143_867_479_42);
        assert_eq!(paired_t_test(&[1.0]), None);
        assert_eq!(paired_t_test(&[1.0, 1.0]), None);
    }

    // scipy 1.17.1, stats.ttest_ind(x, y, equal_var=False).
    #[test]
    fn two_sample_test_matches_scipy() {
        let x = [1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0];
        let y = [0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0];
        let found = two_sample_t_test(&x, &y).unwrap();
        close(found.t, 1.757_318_142_330_599_2);
        close(found.degrees, 19.420_171_261_844_35);
        close(found.p, 0.094_618_011_983_916_46);
        assert_eq!(two_sample_t_test(&x, &y[..1]), None);
    }

    // statsmodels 0.15.0, mcnemar([[10, 5], [14, 20]], exact=True).
    #[test]
    fn mcnemar_matches_statsmodels() {
        close(mcnemar(5, 14), 0.063_568_115_234_375);
        close(mcnemar(0, 0), 1.0);
    }

    // statsmodels 0.15.0, multipletests(p, method="holm" | "fdr_bh").
    #[test]
    fn corrections_match_statsmodels() {
        let p = [0.001, 0.02, 0.03, 0.04, 0.2, 0.9, 0.012];
        let expected = [0.007, 0.1, 0.12, 0.12, 0.4, 0.9, 0.072];
        holm(&p)
            .into_iter()
            .zip(expected)
            .for_each(|(found, expected)| close(found, expected));
        let expected = [0.007, 0.14 / 3.0, 0.0525, 0.056, 0.7 / 3.0, 0.9, 0.042];
        let found = benjamini_hochberg(&p);
        found
            .into_iter()
            .zip(expected)
            .for_each(|(found, expected)| close(found, expected));
        assert!(holm(&[]).is_empty());
    }
}
