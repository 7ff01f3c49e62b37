//! How far the probabilities that a model gives to preferences can be taken at their word, and how
//! much of its reward is length. Pure arithmetic, in f64.

use serde::Serialize;

use super::reliability::{self, Reliability};

/// Predicted probabilities against what happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibration {
    /// Expected calibration error: the mean distance of accuracy from confidence over bins, weighed
    /// by their sizes. 0 is calibrated.
    pub ece: f64,
    /// Bins that are not empty, by rising confidence.
    pub reliability: Vec<Bin>,
}

/// Predictions of similar confidence.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bin {
    /// Mean confidence.
    pub confidence: f64,
    /// Share that was right.
    pub accuracy: f64,
    /// How many.
    pub n: usize,
}

/// Calibration of pairwise predictions: `differences` of the rewards of chosen and rejected.
///
/// The confidence of a prediction is `sigmoid(|d|)`, from 0.5 to 1, and it is right where `d > 0`;
/// a tie is half right. Ten bins of equal width. Guo et al. 2017, arXiv:1706.04599, section 3. An
/// error of 0 without pairs.
pub fn calibration(differences: &[f64]) -> Calibration {
    let mut table = Reliability::default();
    for &difference in differences {
        let confidence = 1.0 / (1.0 + (-difference.abs()).exp());
        let right = match difference.total_cmp(&0.0) {
            _ if difference == 0.0 => 0.5,
            std::cmp::Ordering::Greater => 1.0,
            _ => 0.0,
        };
        table.add(confidence, right);
    }
    let bin = |bin: reliability::Bin| {
        Some(Bin {
            confidence: bin.confidence?,
            accuracy: bin.accuracy?,
            n: bin.n,
        })
    };
    Calibration {
        ece: table.expected_error().unwrap_or(0.0),
        reliability: table.bins().into_iter().filter_map(bin).collect(),
    }
}

/// Pearson's correlation of two columns of equal length; NaN where one of them does not vary.
pub fn correlation(x: &[f64], y: &[f64]) -> f64 {
    let n = x.len() as f64;
    let (mean_x, mean_y) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    let covariance: f64 = x
        .iter()
        .zip(y)
        .map(|(x, y)| (x - mean_x) * (y - mean_y))
        .sum();
    let squares =
        |values: &[f64], mean: f64| values.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
    covariance / (squares(x, mean_x) * squares(y, mean_y)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    // sigmoid(ln 3) = .75 in bin [.75, .8): three of four right, so accuracy .75, gap 0.
    // sigmoid(ln 9) = .9: one of two right, gap .4. A tie: confidence .5, half right.
    // ECE = 4/7 * 0 + 2/7 * .4 + 1/7 * 0 = .114286.
    #[test]
    fn confidence_is_held_against_accuracy() {
        let (low, high) = (3.0_f64.ln() + 1e-9, 9.0_f64.ln() + 1e-9);
        let found = calibration(&[low, -low, low, low, high, -high, 0.0]);
        assert!((found.ece - 0.114_286).abs() < 1e-6, "{found:?}");
        let sizes: Vec<usize> = found.reliability.iter().map(|bin| bin.n).collect();
        assert_eq!(sizes, [1, 4, 2]);
        assert_eq!(found.reliability[0].accuracy, 0.5);
        assert!((found.reliability[1].accuracy - 0.75).abs() < 1e-12);
        assert!((found.reliability[2].confidence - 0.9).abs() < 1e-6);
        assert!(calibration(&[]).ece == 0.0 && calibration(&[]).reliability.is_empty());
    }

    // x - 2 = -1, 0, 1; y - 3 = -2, 1, 1: 3 / sqrt(2 * 6) = .866025.
    #[test]
    fn correlation_is_pearsons() {
        let found = correlation(&[1.0, 2.0, 3.0], &[1.0, 4.0, 4.0]);
        assert!((found - 0.866_025).abs() < 1e-6, "{found}");
        assert!(correlation(&[1.0, 1.0], &[1.0, 2.0]).is_nan());
    }
}
