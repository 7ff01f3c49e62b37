//! How far two judges, or two quantities, go together.
//!
//! Pure arithmetic in f64, gathered one observation at a time, so that it takes no memory.

use std::cmp::Ordering;

/// Counts of what two judges said of the same pairs: `a` is better, neither, `b` is better.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Agreement {
    /// By the first judge's word, then by the second's.
    counts: [[usize; 3]; 3],
}

impl Agreement {
    /// Adds a pair by each judge's probability that `a` is better; 0.5 is a tie.
    pub fn add(&mut self, p_a: [f32; 2]) {
        let [first, second] = p_a.map(|p| match p.total_cmp(&0.5) {
            Ordering::Greater => 0,
            Ordering::Equal => 1,
            Ordering::Less => 2,
        });
        self.counts[first][second] += 1;
    }

    /// Pairs added.
    pub fn n(&self) -> usize {
        self.counts.iter().flatten().sum()
    }

    /// Pairs of which both said the same.
    pub fn n_agreed(&self) -> usize {
        (0..3).map(|i| self.counts[i][i]).sum()
    }

    /// Cohen's kappa, `(p_o - p_e) / (1 - p_e)`: agreement beyond what chance gives judges who say
    /// each word as often as these do. 1 is full agreement, 0 chance; `None` when chance alone
    /// explains everything (`p_e = 1`) or there is no pair. Cohen 1960, Educ. Psychol. Meas. 20,
    /// 37.
    pub fn kappa(&self) -> Option<f64> {
        let n = self.n() as f64;
        let row = |i: usize| self.counts[i].iter().sum::<usize>() as f64;
        let column = |i: usize| self.counts.iter().map(|row| row[i]).sum::<usize>() as f64;
        let observed = self.n_agreed() as f64 / n;
        let expected: f64 = (0..3).map(|i| row(i) * column(i) / (n * n)).sum();
        (n > 0.0 && expected < 1.0).then(|| (observed - expected) / (1.0 - expected))
    }
}

/// Correlation of the lengths of answers with how sure it is that they are better.
///
/// Which answer of a pair is named first is arbitrary, so each pair counts in both directions:
/// `(d, p - 1/2)` and `(-d, 1/2 - p)`. The means are then 0 and Pearson's coefficient is
/// `sum d (p - 1/2) / sqrt(sum d^2 sum (p - 1/2)^2)`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PairCorrelation {
    products: f64,
    differences: f64,
    preferences: f64,
}

impl PairCorrelation {
    /// Adds a pair: by how much `a` exceeds `b`, and the probability that `a` is better.
    pub fn add(&mut self, difference: f64, p_a: f64) {
        let preference = p_a - 0.5;
        self.products += difference * preference;
        self.differences += difference * difference;
        self.preferences += preference * preference;
    }

    /// The coefficient; `None` where one of the two never varies.
    pub fn coefficient(&self) -> Option<f64> {
        let scale = (self.differences * self.preferences).sqrt();
        (scale > 0.0).then(|| self.products / scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Cohen's example in the form of a 2 x 2 table: both yes 20, yes-no 5, no-yes 10, both no 15.
    // p_o = 35 / 50 = 0.7; p_e = (25 * 30 + 25 * 20) / 2500 = 0.5; kappa = 0.2 / 0.5 = 0.4.
    #[test]
    fn kappa_is_agreement_beyond_chance() {
        let mut found = Agreement::default();
        assert_eq!(found.kappa(), None);
        for (p_a, n) in [
            ([0.9, 0.6], 20),
            ([0.9, 0.1], 5),
            ([0.2, 0.8], 10),
            ([0.0, 0.4], 15),
        ] {
            (0..n).for_each(|_| found.add(p_a));
        }
        assert_eq!((found.n(), found.n_agreed()), (50, 35));
        assert!((found.kappa().unwrap() - 0.4).abs() < 1e-12);
    }

    // Ties are a word of their own: of a-a, tie-tie, tie-b: p_o = 2/3; the first says a, tie, tie,
    // the second a, tie, b: p_e = (1 * 1 + 2 * 1 + 0 * 1) / 9 = 1/3; kappa = (1/3) / (2/3) = 1/2.
    #[test]
    fn ties_are_a_word_of_their_own() {
        let mut found = Agreement::default();
        for p_a in [[0.9, 0.9], [0.5, 0.5], [0.5, 0.1]] {
            found.add(p_a);
        }
        assert!((found.kappa().unwrap() - 0.5).abs() < 1e-12);
        let mut always = Agreement::default();
        always.add([0.9, 0.9]);
        assert_eq!(always.kappa(), None, "chance explains it");
    }

    // d = 2, -1, 3; p - 1/2 = 0.5, 0.25, -0.1: products 1 - 0.25 - 0.3 = 0.45; squares 14 and
    // 0.25 + 0.0625 + 0.01 = 0.3225; 0.45 / sqrt(4.515) = 0.211779.
    #[test]
    fn correlation_does_not_depend_on_who_is_named_first() {
        let rows = [(2.0, 1.0), (-1.0, 0.75), (3.0, 0.4)];
        let mut found = PairCorrelation::default();
        assert_eq!(found.coefficient(), None);
        rows.iter().for_each(|&(d, p)| found.add(d, p));
        assert!((found.coefficient().unwrap() - 0.211_779).abs() < 1e-6);
        let mut turned = PairCorrelation::default();
        rows.iter().for_each(|&(d, p)| turned.add(-d, 1.0 - p));
        assert!((found.coefficient().unwrap() - turned.coefficient().unwrap()).abs() < 1e-12);
    }
}
