//! How long completions are, and what it takes to write them in batches.
//!
//! Rows that have finished leave the batch, so a batch takes as many steps as its longest row, and a
//! step as long as the rows that are left ask for. Of independent lengths the expectation of that is
//! a sum, and nothing has to be drawn.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How long completions are, in tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Lengths {
    /// Each token may be the last, with one probability; the mean that they have when they are cut at
    /// the longest allowed.
    Mean(f64),
    /// Any of these, all as likely.
    Sample(Vec<usize>),
}

/// Expected tokens and seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Written {
    pub(super) tokens: f64,
    pub(super) seconds: f64,
}

impl Lengths {
    pub(super) fn validate(&self, field: &str) -> Result<()> {
        match self {
            Self::Mean(mean) if *mean >= 1.0 && mean.is_finite() => Ok(()),
            Self::Mean(mean) => Err(Error::field(field, mean, "a number >= 1")),
            Self::Sample(lengths) if lengths.is_empty() || lengths.contains(&0) => {
                let expected = "lengths of at least 1";
                Err(Error::field(field, format!("{lengths:?}"), expected))
            }
            Self::Sample(_) => Ok(()),
        }
    }

    /// The chance that a completion has more than `t` tokens, for `t` below `longest`.
    pub(super) fn survival(&self, longest: usize) -> Vec<f64> {
        match self {
            Self::Mean(mean) => {
                let goes_on = goes_on(*mean, longest);
                let powers = std::iter::successors(Some(1.0), |power| Some(power * goes_on));
                powers.take(longest).collect()
            }
            Self::Sample(lengths) => {
                let longer = |t: usize| lengths.iter().filter(|length| **length > t).count();
                let n = lengths.len() as f64;
                (0..longest).map(|t| longer(t) as f64 / n).collect()
            }
        }
    }

    /// Their mean, cut at `longest`.
    pub(super) fn mean(&self, longest: usize) -> f64 {
        self.survival(longest).iter().sum()
    }
}

/// The probability that a text goes on after a token with which lengths of at most `longest` have
/// this mean; all reach the longest where the mean asks for that.
fn goes_on(mean: f64, longest: usize) -> f64 {
    /// Halvings of [0, 1]: as near as numbers of 64 bits come.
    const HALVINGS: usize = 60;
    let mean_of =
        |p: f64| (0..longest).fold((0.0, 1.0), |(sum, power), _| (sum + power, power * p));
    let (mut low, mut high) = (0.0, 1.0);
    if mean >= longest as f64 {
        return high;
    }
    for _ in 0..HALVINGS {
        let middle = (low + high) / 2.0;
        if mean_of(middle).0 < mean {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// What it takes to write `n` completions, `batch` at a time: a step of decoding takes `step`
/// seconds and `row` more for each row that is left.
///
/// `sum_t step (1 - (1 - S_t)^batch) + row batch S_t` for each batch, where `S_t` is `survival`.
pub(super) fn write(n: usize, batch: usize, survival: &[f64], (step, row): (f64, f64)) -> Written {
    let batch = batch.clamp(1, n.max(1));
    let of_batch = |rows: usize| {
        let seconds = |alive: &f64| {
            let any = 1.0 - (1.0 - alive).powf(rows as f64);
            step * any + row * rows as f64 * alive
        };
        survival.iter().map(seconds).sum::<f64>()
    };
    let whole = (n / batch) as f64 * of_batch(batch);
    Written {
        tokens: n as f64 * survival.iter().sum::<f64>(),
        seconds: whole + of_batch(n % batch),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found}, {expected}");
    }

    // Lengths 1, 2, 2 and 5, cut at 3: more than 0 all, more than 1 three of four, more than 2 one.
    #[test]
    fn a_sample_is_cut_at_the_longest() {
        let lengths = Lengths::Sample(vec![1, 2, 2, 5]);
        assert_eq!(lengths.survival(3), [1.0, 0.75, 0.25]);
        assert_eq!(lengths.mean(3), 2.0);
    }

    // 1 + p + p^2 = 1.75 at p = 1/2. A mean of 3 of at most 3 tokens takes all of them.
    #[test]
    fn a_mean_is_that_of_lengths_as_they_are_cut() {
        let survival = Lengths::Mean(1.75).survival(3);
        for (found, expected) in survival.iter().zip([1.0, 0.5, 0.25]) {
            close(*found, expected);
        }
        assert_eq!(Lengths::Mean(3.0).survival(3), [1.0; 3]);
        assert_eq!(Lengths::Mean(9.0).survival(3), [1.0; 3]);
        close(Lengths::Mean(40.0).mean(128), 40.0);
    }

    // Two rows of 1 or 2 tokens, as likely: the first step has both, the second is needed 3 times of
    // 4 and has one row on average. Steps of 1 s and 0.1 s a row: 1.2 + 0.75 + 0.1 = 2.05 s. Five
    // rows: twice that, and one alone, 1.1 + 0.5 + 0.05 = 1.65 s.
    #[test]
    fn a_batch_takes_as_long_as_its_longest_row() {
        let survival = Lengths::Sample(vec![1, 2]).survival(10);
        let found = write(2, 2, &survival, (1.0, 0.1));
        close(found.tokens, 3.0);
        close(found.seconds, 2.05);
        close(
            write(5, 2, &survival, (1.0, 0.1)).seconds,
            2.0 * 2.05 + 1.65,
        );
        close(write(2, 64, &survival, (1.0, 0.1)).seconds, 2.05);
        assert_eq!(write(0, 64, &survival, (1.0, 0.1)), Written::default());
    }

    #[test]
    fn what_is_no_length_is_refused() {
        for lengths in [
            Lengths::Mean(0.5),
            Lengths::Mean(f64::NAN),
            Lengths::Sample(vec![]),
            Lengths::Sample(vec![3, 0]),
        ] {
            assert!(lengths.validate("lengths").is_err(), "{lengths:?}");
        }
    }
}
