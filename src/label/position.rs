//! Position bias: labelers favour the completion in one place (section 2.1.1 of the paper).

use serde::Serialize;

use crate::eval::stats::{Interval, wilson};
use crate::record::Preference;

/// What the position of the completions did to verdicts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Positions {
    /// Pairs asked in both orders.
    pub both_orders: usize,
    /// Of those, the share where the same position won both times.
    pub same_position: f64,
    /// 95% interval of it.
    pub same_position_ci: Interval,
    /// Of the latter, the share where it was the first.
    pub first_position: f64,
    /// Of all verdicts of a single order, the share that the first position won, ties counting
    /// half; without bias it is a half when both orders are asked.
    pub first_wins: f64,
}

impl Positions {
    /// Counts the verdicts of preferences that carry them.
    pub fn of(preferences: &[Preference]) -> Self {
        let orders = || {
            preferences
                .iter()
                .filter_map(|row| Some((row.p_first?, row.p_second?)))
        };
        let n = orders().count();
        let first = orders().filter(|&(shown_first, shown_second)| {
            // The chosen completion wins in the first place, the other one does so too.
            shown_first > 0.5 && shown_second <= 0.5
        });
        let second = orders()
            .filter(|&(shown_first, shown_second)| shown_first <= 0.5 && shown_second > 0.5);
        let (first, second) = (first.count(), second.count());
        let singles = preferences.iter().flat_map(|row| {
            let by_second = row.p_second.map(|p| 1.0 - p);
            [row.p_first, by_second].into_iter().flatten()
        });
        let (mut wins, mut asked) = (0.0, 0);
        for p_of_first in singles {
            wins += match p_of_first.total_cmp(&0.5) {
                std::cmp::Ordering::Less => 0.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Greater => 1.0,
            };
            asked += 1;
        }
        let share = |part: f64, whole: usize| part / whole.max(1) as f64;
        Self {
            both_orders: n,
            same_position: share((first + second) as f64, n),
            same_position_ci: wilson((first + second) as f64, n),
            first_position: share(first as f64, first + second),
            first_wins: share(wins, asked),
        }
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
