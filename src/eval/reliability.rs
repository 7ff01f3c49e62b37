//! Whether probabilities mean what they say: of the verdicts given with 80%, are 80% right?
//!
//! Pure arithmetic in f64, gathered one verdict at a time, so that it takes no memory.

use serde::{Deserialize, Serialize};

/// Bins of equal width into which confidences of 0.5 to 1 fall.
pub const N_BINS: usize = 10;

/// What an f32 may lie below the edge of its bin: 0.95 is 0.94999999.
const EDGE: f64 = 1e-6;

/// Verdicts by their confidence, and how many of each were right.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reliability {
    bins: [Sums; N_BINS],
    squares: f64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sums {
    n: usize,
    confidence: f64,
    correct: f64,
}

/// One row of a reliability table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Least confidence of the bin.
    pub low: f64,
    /// Greatest confidence; it belongs to the next bin, but for 1.
    pub high: f64,
    /// Verdicts in it.
    pub n: usize,
    /// Their mean confidence; `None` without any.
    pub confidence: Option<f64>,
    /// The share of them that is right; `None` without any.
    pub accuracy: Option<f64>,
}

impl Reliability {
    /// Adds a verdict of a confidence in `[0.5, 1]` that is right (1), wrong (0), or half (a tie).
    pub fn add(&mut self, confidence: f64, correct: f64) {
        let place = ((confidence - 0.5 + EDGE) * 2.0 * N_BINS as f64).max(0.0) as usize;
        let bin = &mut self.bins[place.min(N_BINS - 1)];
        bin.n += 1;
        bin.confidence += confidence;
        bin.correct += correct;
        self.squares += (confidence - correct).powi(2);
    }

    /// Verdicts added.
    pub fn n(&self) -> usize {
        self.bins.iter().map(|bin| bin.n).sum()
    }

    /// The reliability table, all bins in order.
    pub fn bins(&self) -> Vec<Bin> {
        let bin = |(i, sums): (usize, &Sums)| {
            let edge = |i: usize| 0.5 + 0.5 * i as f64 / N_BINS as f64;
            let mean = |sum: f64| (sums.n > 0).then(|| sum / sums.n as f64);
            Bin {
                low: edge(i),
                high: edge(i + 1),
                n: sums.n,
                confidence: mean(sums.confidence),
                accuracy: mean(sums.correct),
            }
        };
        self.bins.iter().enumerate().map(bin).collect()
    }

    /// Expected calibration error, `sum_b n_b / n |accuracy_b - confidence_b|`; `None` without
    /// verdicts. Guo et al. 2017, arXiv:1706.04599, eq. 3, here over confidences of 0.5 to 1.
    pub fn expected_error(&self) -> Option<f64> {
        let gap = |bin: &Sums| (bin.correct - bin.confidence).abs();
        let total: f64 = self.bins.iter().map(gap).sum();
        self.mean(total)
    }

    /// Brier score, the mean of `(confidence - correct)^2`; 0.25 is what a coin gets that knows it
    /// is one. `None` without verdicts.
    pub fn brier(&self) -> Option<f64> {
        self.mean(self.squares)
    }

    fn mean(&self, total: f64) -> Option<f64> {
        let n = self.n();
        (n > 0).then(|| total / n as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // In [0.6, 0.65): 0.6 right, 0.64 wrong: mean 0.62, half right. In [0.95, 1]: 0.95 and 1, both
    // right: mean 0.975. ECE = 2/4 |0.5 - 0.62| + 2/4 |1 - 0.975| = 0.06 + 0.0125. Brier =
    // (0.4^2 + 0.64^2 + 0.05^2 + 0) / 4 = (0.16 + 0.4096 + 0.0025) / 4 = 0.143025.
    #[test]
    fn confidences_are_held_against_outcomes() {
        let mut found = Reliability::default();
        assert_eq!((found.expected_error(), found.brier()), (None, None));
        for (confidence, correct) in [(0.6, 1.0), (0.64, 0.0), (0.95, 1.0), (1.0, 1.0)] {
            found.add(confidence, correct);
        }
        assert!((found.expected_error().unwrap() - 0.0725).abs() < 1e-12);
        assert!((found.brier().unwrap() - 0.143_025).abs() < 1e-12);
        let bins = found.bins();
        assert_eq!(bins.len(), N_BINS);
        assert_eq!((bins[2].n, bins[2].accuracy), (2, Some(0.5)));
        assert!((bins[2].confidence.unwrap() - 0.62).abs() < 1e-12);
        assert_eq!((bins[9].n, bins[9].high, bins[0].accuracy), (2, 1.0, None));
    }
}
