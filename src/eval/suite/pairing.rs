//! What verdicts on one pair of contenders by one judge amount to.

use rand::rngs::StdRng;
use serde::Serialize;

use super::measure::Mean;
use crate::eval::bootstrap::{N_RESAMPLES, bootstrap_mean};
use crate::eval::length::{alpaca_length_controlled, length_controlled_win_rate};
use crate::eval::points;
use crate::eval::power::prompts_to_tell;
use crate::eval::significance::holm;
use crate::eval::stats::{Interval, two_sided_binomial_p, wilson};
use crate::record::Comparison;

/// One contender against another before one judge.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairReport {
    /// Who judged.
    pub judge: String,
    /// The first contender.
    pub a: String,
    /// The second.
    pub b: String,
    /// Prompts with a verdict.
    pub n: usize,
    /// Prompts on which the judge gave none.
    pub no_verdict: usize,
    /// Prompts that `a` wins.
    pub wins: usize,
    /// Prompts on which neither wins.
    pub ties: usize,
    /// Prompts that `b` wins.
    pub losses: usize,
    /// Share of prompts that `a` wins; ties count half. AlpacaEval's `discrete_win_rate`.
    pub win_rate: f64,
    /// Its 95% Wilson interval.
    pub ci: Interval,
    /// Its 95% bootstrap interval over prompts.
    pub bootstrap: Interval,
    /// Mean of the probabilities that `a` is better. AlpacaEval's `win_rate`.
    pub preference: Mean,
    /// The win rate at equal lengths after appendix J of the paper.
    pub length_controlled: f64,
    /// The preference at equal lengths after AlpacaEval, without instructions' difficulties.
    pub alpaca_length_controlled: f64,
    /// Characters of `a`'s completions over those of `b`'s, means.
    pub length_ratio: f64,
    /// Exact two-sided sign test: would a fair coin split the prompts so? Ties say nothing.
    pub p: f64,
    /// The same, corrected for all pairs of the report (Holm).
    pub p_holm: f64,
    /// Prompts with which a rate like this is told from 0.5 with a probability of 80%.
    pub prompts_to_tell: Option<usize>,
}

impl PairReport {
    /// From the verdicts on one pair by one judge; the correction for other pairs is left to
    /// the report.
    pub fn of(rows: &[Comparison], no_verdict: usize, rng: &mut StdRng) -> Option<Self> {
        let first = rows.first()?;
        let points: Vec<f64> = rows.iter().map(points).collect();
        let count = |worth: f64| points.iter().filter(|&&found| found == worth).count();
        let p_wins: Vec<f64> = rows.iter().map(|row| row.p_win.into()).collect();
        let lengths = |length: fn(&Comparison) -> usize| -> Vec<f64> {
            rows.iter().map(|row| length(row) as f64).collect()
        };
        let (length_a, length_b) = (lengths(|row| row.length_a), lengths(|row| row.length_b));
        let (wins, losses, n) = (count(1.0), count(0.0), rows.len());
        let total: f64 = points.iter().sum();
        let win_rate = total / n as f64;
        let p = two_sided_binomial_p(wins, wins + losses);
        Some(Self {
            judge: first.judge.clone(),
            a: first.a.clone(),
            b: first.b.clone(),
            n,
            no_verdict,
            wins,
            ties: n - wins - losses,
            losses,
            win_rate,
            ci: wilson(total, n),
            bootstrap: bootstrap_mean(&points, N_RESAMPLES, rng),
            preference: Mean::of(&p_wins),
            length_controlled: length_controlled_win_rate(&points, &length_a, &length_b),
            alpaca_length_controlled: alpaca_length_controlled(&p_wins, &length_a, &length_b),
            length_ratio: length_a.iter().sum::<f64>() / length_b.iter().sum::<f64>().max(1.0),
            p,
            p_holm: p,
            prompts_to_tell: prompts_to_tell(win_rate, 0.8),
        })
    }
}

/// Corrects the p-values of all pairs for their number.
pub(super) fn correct(pairs: &mut [PairReport]) {
    let p: Vec<f64> = pairs.iter().map(|pair| pair.p).collect();
    for (pair, p_holm) in pairs.iter_mut().zip(holm(&p)) {
        pair.p_holm = p_holm;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn row(p_win: f32) -> Comparison {
        Comparison {
            prompt_id: "1".into(),
            judge: "j".into(),
            a: "a".into(),
            b: "b".into(),
            p_win,
            length_a: 12,
            length_b: 10,
        }
    }

    // Three wins, a tie, a loss: 3.5 / 5; the sign test of 3 to 1: 2 (1 + 4) / 16 = 0.625; the mean
    // preference (0.9 + 0.8 + 0.6 + 0.5 + 0.2) / 5 = 0.6.
    #[test]
    fn a_pair_has_its_counts() {
        let rows = [0.9, 0.8, 0.6, 0.5, 0.2].map(row);
        let mut found = PairReport::of(&rows, 2, &mut StdRng::seed_from_u64(1)).unwrap();
        assert_eq!(
            (found.wins, found.ties, found.losses, found.n),
            (3, 1, 1, 5)
        );
        assert_eq!((found.win_rate, found.p, found.no_verdict), (0.7, 0.625, 2));
        assert!((found.preference.mean - 0.6).abs() < 1e-6);
        assert!((found.length_ratio - 1.2).abs() < 1e-12);
        // Lengths that never vary tell nothing.
        assert_eq!(found.length_controlled, 0.7);
        assert!((found.alpaca_length_controlled - 0.6).abs() < 1e-6);
        let mut other = found.clone();
        (found.p, other.p) = (0.01, 0.03);
        let mut both = [found, other];
        correct(&mut both);
        assert_eq!(both.map(|pair| pair.p_holm), [0.02, 0.03]);
        assert_eq!(PairReport::of(&[], 0, &mut StdRng::seed_from_u64(1)), None);
    }
}
