//! Position bias: labelers favour the completion in one place (section 2.1.1 of the paper).

use serde::Serialize;

use super::report::{PositionReport, Rate};
use crate::eval::stats::{Interval, two_sided_binomial_p, wilson};
use crate::record::Preference;

/// What the position of the completions did to verdicts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Positions {
    /// Pairs asked in both orders.
    pub both_orders: usize,
    /// Of those, the share where the same position won both times; a tie is no win.
    pub same_position: f64,
    /// 95% interval of it.
    pub same_position_ci: Interval,
    /// Of the latter, the share where it was the first.
    pub first_position: f64,
    /// Of all verdicts of a single order, the share that the first position won, ties counting
    /// half; without bias it is a half when both orders are asked.
    pub first_wins: f64,
}

/// Verdicts counted by the position that won.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PositionCounts {
    n_both: usize,
    n_first: usize,
    n_second: usize,
    n_asked: usize,
    first_wins: f64,
    /// Sum over both orders of the pairs asked in both.
    p_first: f64,
}

impl PositionCounts {
    /// Counts the verdicts of one pair: the probability that a completion is better when it is
    /// shown first, and when it is shown second.
    pub fn add(&mut self, shown_first: Option<f32>, shown_second: Option<f32>) {
        let of_first = [shown_first, shown_second.map(|p| 1.0 - p)];
        for p in of_first.into_iter().flatten() {
            self.n_asked += 1;
            self.first_wins += points(p);
        }
        let [Some(one), Some(other)] = of_first else {
            return;
        };
        self.n_both += 1;
        self.n_first += usize::from(one > 0.5 && other > 0.5);
        self.n_second += usize::from(one < 0.5 && other < 0.5);
        self.p_first += f64::from(one) + f64::from(other);
    }

    /// What it comes to, for `label.json`.
    pub fn positions(&self) -> Positions {
        let n_same = self.n_first + self.n_second;
        let share = |part: f64, whole: usize| part / whole.max(1) as f64;
        Positions {
            both_orders: self.n_both,
            same_position: share(n_same as f64, self.n_both),
            same_position_ci: wilson(n_same as f64, self.n_both),
            first_position: share(self.n_first as f64, n_same),
            first_wins: share(self.first_wins, self.n_asked),
        }
    }

    /// What it comes to, for a report on labels; `None` where no pair was asked in both orders.
    pub fn report(&self) -> Option<PositionReport> {
        let n_same = self.n_first + self.n_second;
        (self.n_both > 0).then(|| PositionReport {
            same_position: Rate::of(n_same as f64, self.n_both),
            first: Rate::of(self.n_first as f64, n_same),
            p_value: two_sided_binomial_p(self.n_first, n_same),
            mean_p_first: self.p_first / (2 * self.n_both) as f64,
        })
    }
}

/// A win is 1, a tie half of it.
pub(super) fn points(p: f32) -> f64 {
    match p.total_cmp(&0.5) {
        std::cmp::Ordering::Greater => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Less => 0.0,
    }
}

impl Positions {
    /// Counts the verdicts of preferences that carry them.
    pub fn of(preferences: &[Preference]) -> Self {
        let mut counts = PositionCounts::default();
        for row in preferences {
            counts.add(row.p_first, row.p_second);
        }
        counts.positions()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Verdict of the chosen completion shown first, and second.
    fn row((p_first, p_second): (Option<f32>, Option<f32>)) -> Preference {
        Preference {
            prompt_id: "1".into(),
            prompt: "p".into(),
            chosen: "x".into(),
            rejected: "y".into(),
            p_chosen: 0.75,
            p_first,
            p_second,
            margin: None,
            labeler: None,
            method: None,
            rationales: Vec::new(),
        }
    }

    /// Consistent; first place both times; second place both times; asked once (second place, won
    /// by the chosen one, which stood there); a human's. First place wins 1 + 2 + 0 of 6 verdicts
    /// of pairs asked twice, and 0 of 1.
    #[test]
    fn the_same_position_is_counted() {
        let rows = [
            (Some(0.9), Some(0.7)),
            (Some(0.9), Some(0.3)),
            (Some(0.4), Some(0.8)),
            (None, Some(0.6)),
            (None, None),
        ];
        let found = Positions::of(&rows.map(row));
        assert_eq!(found.both_orders, 3);
        assert!((found.same_position - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(found.first_position, 0.5);
        assert!((found.first_wins - 3.0 / 7.0).abs() < 1e-12);
    }
}
