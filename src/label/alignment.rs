//! Preferences held against a truth: how often they are right, and as often as they say.

use serde::Serialize;

use super::{Labeler, Pair};
use crate::error::Result;
use crate::eval::reliability::{Bin, Reliability};
use crate::eval::stats::{Interval, wilson};
use crate::record::Preference;

/// How far a labeler agrees with gold labels (section 2.3 of the paper).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Alignment {
    /// Share of pairs on which both prefer the same completion; the labeler's ties count half.
    pub alignment: f64,
    /// 95% interval of it.
    pub ci: Interval,
    /// The same share when a pair is asked once, averaged over the orders that were.
    pub one_order: f64,
    /// Pairs on which the gold labeler has a preference.
    pub n: usize,
    /// Reliability table: whether labels given with a confidence are right that often.
    pub reliability: Vec<Bin>,
    /// Expected calibration error of it.
    pub ece: Option<f64>,
    /// Brier score.
    pub brier: Option<f64>,
}

/// Agreement with gold labels, counted some preferences at a time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AlignmentCounts {
    n: usize,
    agreed: f64,
    n_alone: usize,
    agreed_alone: f64,
    reliability: Reliability,
}

/// Holds preferences against a labeler whose word is the truth; pairs that it calls a tie, or gives
/// no verdict on, do not count.
///
/// # Errors
/// The gold labeler fails.
pub fn alignment(preferences: &[Preference], gold: &mut dyn Labeler) -> Result<Alignment> {
    let mut counts = AlignmentCounts::default();
    counts.add(preferences, gold)?;
    Ok(counts.alignment())
}

impl AlignmentCounts {
    /// Counts preferences.
    ///
    /// # Errors
    /// The gold labeler fails.
    pub fn add(&mut self, preferences: &[Preference], gold: &mut dyn Labeler) -> Result<()> {
        let pairs: Vec<Pair> = preferences
            .iter()
            .map(|row| Pair {
                prompt_id: &row.prompt_id,
                prompt: &row.prompt,
                a: &row.chosen.text,
                b: &row.rejected.text,
            })
            .collect();
        let truth = gold.compare(&pairs)?;
        for (row, gold) in preferences.iter().zip(&truth) {
            let Some(gold) = gold.p_a().filter(|&p| p != 0.5) else {
                continue;
            };
            let agreed = agreement(row.p_chosen, gold);
            self.n += 1;
            self.agreed += agreed;
            let confidence = row.p_chosen.max(1.0 - row.p_chosen);
            self.reliability.add(confidence.into(), agreed);
            // Shown second, `p_second` is the chosen one's probability all the same.
            for p in [row.p_first, row.p_second].into_iter().flatten() {
                self.n_alone += 1;
                self.agreed_alone += agreement(p, gold);
            }
        }
        Ok(())
    }

    /// What it comes to.
    pub fn alignment(&self) -> Alignment {
        Alignment {
            alignment: self.agreed / self.n.max(1) as f64,
            ci: wilson(self.agreed, self.n),
            one_order: self.agreed_alone / self.n_alone.max(1) as f64,
            n: self.n,
            reliability: self.reliability.bins(),
            ece: self.reliability.expected_error(),
            brier: self.reliability.brier(),
        }
    }
}

fn agreement(p_chosen: f32, gold: f32) -> f64 {
    match p_chosen {
        0.5 => 0.5,
        _ if (p_chosen > 0.5) == (gold > 0.5) => 1.0,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::{Candidate, Judgement, Scored};
    use crate::record::Method;

    /// Knows how good the first of each pair is.
    struct Gold(Vec<f32>);

    impl Labeler for Gold {
        fn name(&self) -> &str {
            "gold"
        }

        fn compare(&mut self, pairs: &[Pair]) -> Result<Vec<Judgement>> {
            let known = self.0.drain(..pairs.len());
            Ok(known
                .map(|p| Judgement::of_both(p, p, Method::Truth))
                .collect())
        }

        fn score(&mut self, candidates: &[Candidate]) -> Result<Vec<Scored>> {
            Ok(vec![Scored::of(0.0, Method::Truth); candidates.len()])
        }
    }

    fn preference(p_first: f32, p_second: f32) -> Preference {
        let row = serde_json::json!({
            "prompt": "q", "chosen": "x", "rejected": "y", "p_chosen": (p_first + p_second) / 2.0,
            "p_first": p_first, "p_second": p_second,
        });
        serde_json::from_value(row).unwrap()
    }

    #[test]
    fn agreement_is_counted_with_its_confidence() {
        // Clear for x; the first position wins both times, x by a little; clear for x.
        let rows = [(0.9, 0.7), (0.9, 0.3), (0.9, 0.9)];
        let rows = rows.map(|(first, second)| preference(first, second));
        // The truth: x, y, a tie.
        let found = alignment(&rows, &mut Gold(vec![1.0, 0.0, 0.5])).unwrap();
        assert_eq!((found.n, found.alignment), (2, 0.5));
        // Asked once: both orders of pair 1 agree; pair 2 says y as it should when x is second.
        assert_eq!(found.one_order, 0.75);
        // 0.8 right, 0.6 wrong: (0.2 + 0.6) / 2, and (0.04 + 0.36) / 2.
        assert!((found.ece.unwrap() - 0.4).abs() < 1e-6);
        assert!((found.brier.unwrap() - 0.2).abs() < 1e-6);
        let filled = found.reliability.iter().filter(|bin| bin.n > 0);
        let filled: Vec<_> = filled.map(|bin| (bin.low, bin.accuracy)).collect();
        assert_eq!(filled, [(0.6, Some(0.0)), (0.8, Some(1.0))]);
    }
}
