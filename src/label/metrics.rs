//! The labeler's line in `metrics.jsonl`.

use super::{LabelReport, Usage};

impl LabelReport {
    /// What the labeler cost and how it behaved:
    ///
    /// - `judge/cost_usd`: US dollars paid for these labels, without what a cache answered;
    /// - `judge/cache_hit_rate`: share of the questions that a cache answered;
    /// - `judge/parse_failure_rate`: share of the pairs whose answer could not be read;
    /// - `judge/position_consistency`: share of the verdicts on which both orders agree;
    /// - `judge/tie_rate`: share of the verdicts that hold both for equally good.
    pub fn metrics(&self) -> [(&'static str, f64); 5] {
        let share = |part: f64, whole: usize| part / whole.max(1) as f64;
        let unlabeled: usize = self.no_verdict.values().sum();
        let unreadable = self.no_verdict.get("unreadable").copied().unwrap_or(0);
        let Usage {
            requests,
            cached,
            cost_usd,
            ..
        } = self.usage;
        [
            ("judge/cost_usd", cost_usd),
            (
                "judge/cache_hit_rate",
                share(cached as f64, requests as usize),
            ),
            (
                "judge/parse_failure_rate",
                share(unreadable as f64, self.labeled + unlabeled),
            ),
            (
                "judge/position_consistency",
                1.0 - self.positions.same_position,
            ),
            ("judge/tie_rate", share(self.ties as f64, self.labeled)),
        ]
    }
}
