//! Labels counted one by one.

use std::collections::BTreeMap;

use super::position::{PositionCounts, points};
use super::report::{GoldReport, LabelerReport, LengthReport, Prices, Rate, RatioBin};
use crate::eval::agreement::PairCorrelation;
use crate::eval::reliability::Reliability;
use crate::record::{Label, Method};

/// Where the bins of length ratios begin.
const RATIOS: [f64; 5] = [1.0, 1.25, 1.5, 2.0, 4.0];

/// What has been counted so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    n: usize,
    n_ties: usize,
    n_from_text: usize,
    tokens: [u64; 2],
    confidence: Reliability,
    gold: Gold,
    position: PositionCounts,
    length: Length,
}

#[derive(Debug, Default)]
struct Gold {
    n_ties: usize,
    aligned: Share,
    better_first: Share,
    better_second: Share,
    calibration: Reliability,
}

#[derive(Debug, Default)]
struct Length {
    longer: [Share; RATIOS.len()],
    gold_longer: [Share; RATIOS.len()],
    correlation: PairCorrelation,
}

/// Successes out of cases.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    successes: f64,
    n: usize,
}

impl Tally {
    /// Counts a label.
    pub(crate) fn add(&mut self, label: &Label) {
        let row = &label.preference;
        let p = f64::from(row.p_chosen);
        self.n += 1;
        self.n_ties += usize::from(row.p_chosen == 0.5);
        self.n_from_text += usize::from(row.method == Some(Method::Text));
        self.tokens[0] += label.prompt_tokens;
        self.tokens[1] += label.completion_tokens;
        self.confidence.add(p.max(1.0 - p), 1.0);
        self.position.add(row.p_first, row.p_second);
        // Which answer is better according to gold: the chosen one, or the other.
        let gold = label
            .p_gold
            .filter(|&p_gold| p_gold != 0.5)
            .map(|p_gold| p_gold > 0.5);
        match gold {
            Some(gold) => self.gold.add(label, gold),
            None => self.gold.n_ties += usize::from(label.p_gold.is_some()),
        }
        let lengths = [&row.chosen, &row.rejected].map(|answer| answer.text.chars().count());
        self.length.add(lengths, p, gold);
    }

    /// What it comes to.
    pub(crate) fn report(&self, name: String, prices: Option<Prices>) -> LabelerReport {
        let cost = |[read, written]: Prices| {
            (read * self.tokens[0] as f64 + written * self.tokens[1] as f64) / 1e6
        };
        LabelerReport {
            name,
            n: self.n,
            n_ties: self.n_ties,
            n_from_text: self.n_from_text,
            no_verdict: BTreeMap::new(),
            gold: (self.gold.aligned.n + self.gold.n_ties > 0).then(|| self.gold.report()),
            position: self.position.report(),
            length: self.length.report(),
            tokens: self.tokens,
            cost_usd: prices.map(cost),
            confidence: self.confidence.bins().iter().map(|bin| bin.n).collect(),
        }
    }
}

impl Gold {
    fn add(&mut self, label: &Label, chosen_is_better: bool) {
        let row = &label.preference;
        // The probability that the better answer is better.
        let of_better = |p: f32| if chosen_is_better { p } else { 1.0 - p };
        let p = of_better(row.p_chosen);
        self.aligned.add(points(p));
        let confidence = f64::from(row.p_chosen.max(1.0 - row.p_chosen));
        self.calibration.add(confidence, points(p));
        // The rejected answer is first where the chosen one is second.
        let (first, second) = if chosen_is_better {
            (row.p_first, row.p_second)
        } else {
            (row.p_second, row.p_first)
        };
        first
            .into_iter()
            .for_each(|p| self.better_first.add(points(of_better(p))));
        second
            .into_iter()
            .for_each(|p| self.better_second.add(points(of_better(p))));
    }

    fn report(&self) -> GoldReport {
        GoldReport {
            alignment: self.aligned.rate(),
            better_first: self.better_first.rate(),
            better_second: self.better_second.rate(),
            calibration: self.calibration.bins(),
            ece: self.calibration.expected_error(),
            brier: self.calibration.brier(),
            n_ties: self.n_ties,
        }
    }
}

impl Length {
    fn add(&mut self, [chosen, rejected]: [usize; 2], p: f64, gold: Option<bool>) {
        if chosen == rejected {
            return;
        }
        let (a, b) = (chosen as f64, rejected as f64);
        self.correlation.add((a - b) / (a + b), p);
        let ratio = a.max(b) / a.min(b).max(1.0);
        let bin = RATIOS.iter().rposition(|&low| ratio >= low).unwrap_or(0);
        let of_longer = |p: f64| if a > b { p } else { 1.0 - p };
        self.longer[bin].add(points(of_longer(p) as f32));
        if let Some(gold) = gold {
            self.gold_longer[bin].add(of_longer(f64::from(u8::from(gold))));
        }
    }

    fn report(&self) -> LengthReport {
        let bin = |i: usize| RatioBin {
            low: RATIOS[i],
            high: RATIOS.get(i + 1).copied(),
            longer_wins: self.longer[i].rate(),
            gold_longer_wins: self.gold_longer[i].rate(),
        };
        let gold = Share::sum(&self.gold_longer);
        LengthReport {
            longer_wins: Share::sum(&self.longer).rate(),
            gold_longer_wins: (gold.n > 0).then(|| gold.rate()),
            correlation: self.correlation.coefficient(),
            by_ratio: (0..RATIOS.len()).map(bin).collect(),
        }
    }
}

impl Share {
    fn add(&mut self, points: f64) {
        self.successes += points;
        self.n += 1;
    }

    fn sum(shares: &[Self]) -> Self {
        shares.iter().fold(Self::default(), |sum, share| Self {
            successes: sum.successes + share.successes,
            n: sum.n + share.n,
        })
    }

    fn rate(&self) -> Rate {
        Rate::of(self.successes, self.n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(answers: [&str; 2], p: [f32; 3], p_gold: Option<f32>) -> Label {
        let [chosen, rejected] = answers;
        let [p_chosen, p_first, p_second] = p;
        let mut row = serde_json::json!({
            "prompt": "q", "chosen": chosen, "rejected": rejected, "p_chosen": p_chosen,
            "p_first": p_first, "p_second": p_second, "prompt_tokens": 10, "completion_tokens": 1,
        });
        row["p_gold"] = p_gold.into();
        serde_json::from_value(row).unwrap()
    }

    /// 1: gold agrees, both orders right, the longer wins (3 to 2: ratio 1.5).
    /// 2: gold disagrees; the first position wins both times; the shorter wins (1 to 4: ratio 4).
    /// 3: gold calls a tie; the second position wins both times; equal lengths.
    /// 4: a tie of the labeler (0.9 and 0.1: the first position), gold for the rejected; the
    ///    longer is the chosen one (2 to 1: ratio 2).
    fn tally() -> Tally {
        let mut tally = Tally::default();
        let rows = [
            label(["xxx", "yy"], [0.75, 0.9, 0.6], Some(1.0)),
            label(["x", "yyyy"], [0.55, 0.8, 0.3], Some(0.0)),
            label(["x", "y"], [0.5625, 0.25, 0.875], Some(0.5)),
            label(["xx", "y"], [0.5, 0.9, 0.1], Some(0.0)),
        ];
        rows.iter().for_each(|row| tally.add(row));
        tally
    }

    fn check(rate: Rate, expected: f64, n: usize) {
        assert!(
            (rate.rate.unwrap() - expected).abs() < 1e-9 && rate.n == n,
            "{rate:?}"
        );
    }

    #[test]
    fn gold_labels_are_met_by_order_and_on_average() {
        let found = tally().report("l".into(), Some([2.0, 8.0]));
        let gold = found.gold.unwrap();
        // Right, wrong, half.
        check(gold.alignment, 0.5, 3);
        // The better one is first: 1 with 0.9; 2 the rejected, first when the chosen is second:
        // 1 - 0.3 = 0.7; 4 likewise 1 - 0.1 = 0.9. Second: 0.6; 1 - 0.8 = 0.2; 1 - 0.9 = 0.1.
        check(gold.better_first, 1.0, 3);
        check(gold.better_second, 1.0 / 3.0, 3);
        assert_eq!(gold.n_ties, 1);
        // 0.75 right, 0.55 wrong, 0.5 half: (|1 - 0.75| + |0 - 0.55| + |0.5 - 0.5|) / 3, and the
        // squares (0.0625 + 0.3025 + 0) / 3.
        assert!((gold.ece.unwrap() - 0.8 / 3.0).abs() < 1e-6);
        assert!((gold.brier.unwrap() - 0.365 / 3.0).abs() < 1e-6);
        assert_eq!((found.n, found.n_ties, found.tokens), (4, 1, [40, 4]));
        // 40 at $2 and 4 at $8 a million.
        assert!((found.cost_usd.unwrap() - 112e-6).abs() < 1e-12);
        // 0.5; 0.55 and 0.5625 in the second bin; 0.75.
        assert_eq!(found.confidence[..6], [1, 2, 0, 0, 0, 1]);
    }

    #[test]
    fn positions_that_win_in_both_orders_are_counted() {
        let found = tally().report("l".into(), None).position.unwrap();
        // 2 and 4 the first, 3 the second. Two of three: p = 1 (4/8 of the splits lie below).
        check(found.same_position, 0.75, 4);
        check(found.first, 2.0 / 3.0, 3);
        assert!((found.p_value - 1.0).abs() < 1e-12);
        // P(first): 0.9, 0.4; 0.8, 0.7; 0.25, 0.125; 0.9, 0.9: 4.975 / 8.
        assert!((found.mean_p_first - 0.621_875).abs() < 1e-6);
    }

    #[test]
    fn longer_answers_that_win_are_counted() {
        let found = tally().report("l".into(), None).length;
        // 1 wins, 2 loses, 4 ties.
        check(found.longer_wins, 0.5, 3);
        // Gold: 1 the longer; 2 the rejected, which is longer; 4 the rejected, which is shorter.
        check(found.gold_longer_wins.unwrap(), 2.0 / 3.0, 3);
        let n: Vec<_> = found.by_ratio.iter().map(|bin| bin.longer_wins.n).collect();
        assert_eq!(n, [0, 0, 1, 1, 1]);
        assert_eq!(
            (found.by_ratio[2].low, found.by_ratio[2].high),
            (1.5, Some(2.0))
        );
        assert_eq!(found.by_ratio[4].high, None);
        // d = 0.2, -0.6, 1/3; p - 1/2 = 0.25, 0.05, 0: products 0.05 - 0.03 = 0.02; squares
        // 0.04 + 0.36 + 0.111111 = 0.511111 and 0.0625 + 0.0025 = 0.065; 0.02 / 0.182270 =
        // 0.109727.
        assert!((found.correlation.unwrap() - 0.109_727).abs() < 1e-5);
    }
}
