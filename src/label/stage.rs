//! Completions become preferences.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Alignment, Labeler, Pair, PositionCounts, Positions, Usage, verdict};
use crate::error::Result;
use crate::progress::Progress;
use crate::record::kept::{Kept, resume};
use crate::record::{AnswerPair, Completion, Judged, Method, Preference, Unlabeled, Verdict};

/// What a labeler made of pairs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Labels {
    /// The pairs with a verdict, in their order.
    pub preferences: Vec<Preference>,
    /// The pairs without.
    pub unlabeled: Vec<Unlabeled>,
    /// All of them, counted.
    pub counts: LabelCounts,
}

/// Labels counted one by one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LabelCounts {
    labeled: usize,
    ties: usize,
    no_verdict: BTreeMap<String, usize>,
    truncated: usize,
    methods: BTreeMap<Method, usize>,
    positions: PositionCounts,
    usage: Usage,
}

/// `label.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelReport {
    /// Pairs with a verdict.
    pub labeled: usize,
    /// Of those, the ones that the labeler holds for equally good.
    pub ties: usize,
    /// Pairs without a verdict, by what went wrong.
    pub no_verdict: BTreeMap<String, usize>,
    /// Pairs whose text had to lose its beginning to fit.
    pub truncated: usize,
    /// Verdicts by how they were found.
    pub methods: BTreeMap<Method, usize>,
    /// What the position of the completions did.
    #[serde(flatten)]
    pub positions: Positions,
    /// Agreement with the truth, where it is known.
    #[serde(flatten)]
    pub alignment: Option<Alignment>,
    /// What the verdicts cost.
    pub usage: Usage,
}

/// Compares the completions of each prompt as [`pairs`] makes them meet.
///
/// # Errors
/// The labeler fails.
pub fn label(labeler: &mut dyn Labeler, completions: &[Completion]) -> Result<Labels> {
    let rows = || pairs(completions.iter().cloned().map(Ok));
    let mut judged = Vec::new();
    judge(labeler, rows(), rows().count(), &mut judged)?;
    let mut labels = Labels::default();
    for row in judged {
        labels.counts.add(&row);
        match row.verdict {
            Verdict::Preference(row) => labels.preferences.push(row),
            Verdict::Unlabeled(row) => labels.unlabeled.push(row),
        }
    }
    Ok(labels)
}

/// Consecutive completions of each prompt as pairs: the first with the second, the third with the
/// fourth, and so on. Pairs of equal texts are left out, for there is nothing to prefer.
pub fn pairs(
    completions: impl Iterator<Item = Result<Completion>>,
) -> impl Iterator<Item = Result<[Completion; 2]>> {
    let mut open: Option<Completion> = None;
    completions.filter_map(move |row| {
        let row = match row {
            Ok(row) => row,
            Err(error) => return Some(Err(error)),
        };
        match open.take() {
            Some(first) if first.prompt_id == row.prompt_id => {
                (first.completion != row.completion).then(|| Ok([first, row]))
            }
            _ => {
                open = Some(row);
                None
            }
        }
    })
}

/// Judges `n` pairs in order, as many at once as the labeler likes, and goes on behind those in
/// `judged`.
///
/// # Errors
/// The labeler, the pairs or `judged` fail.
pub fn judge(
    labeler: &mut dyn Labeler,
    pairs: impl Iterator<Item = Result<[Completion; 2]>>,
    n: usize,
    judged: &mut impl Kept<Judged>,
) -> Result<()> {
    let at_once = labeler.batch_size().max(1);
    let done = resume(judged, 0..n, at_once)?;
    let mut progress = Progress::new("label", n as u64, "pairs").resumed_at(done as u64);
    let mut pairs = pairs.skip(done);
    loop {
        let chunk = pairs.by_ref().take(at_once).collect::<Result<Vec<_>>>()?;
        if chunk.is_empty() {
            return Ok(());
        }
        let asked: Vec<Pair> = chunk.iter().map(|[a, b]| Pair::of(a, b)).collect();
        let judgements = labeler.compare(&asked)?;
        let n = chunk.len() as u64;
        let rows = chunk.into_iter().zip(judgements).map(|(pair, judgement)| {
            let (method, truncated) = (judgement.method, judgement.truncated);
            let usage = judgement.usage;
            let verdict = match verdict::verdict(answers(pair), judgement, labeler.name()) {
                Ok(row) => Verdict::Preference(row),
                Err(row) => Verdict::Unlabeled(*row),
            };
            Judged {
                verdict,
                method,
                truncated,
                usage,
            }
        });
        judged.append(rows.collect())?;
        progress.inc(n);
    }
}

fn answers([a, b]: [Completion; 2]) -> AnswerPair {
    AnswerPair {
        prompt_id: a.prompt_id,
        prompt: a.prompt,
        a: a.completion.into(),
        b: b.completion.into(),
        p_gold: None,
        margin: None,
    }
}

impl LabelCounts {
    /// Counts what a labeler made of a pair.
    pub fn add(&mut self, row: &Judged) {
        self.usage += row.usage;
        self.truncated += usize::from(row.truncated);
        match &row.verdict {
            Verdict::Preference(found) => {
                self.labeled += 1;
                self.ties += usize::from(found.p_chosen == 0.5);
                *self.methods.entry(row.method).or_default() += 1;
                self.positions.add(found.p_first, found.p_second);
            }
            Verdict::Unlabeled(lost) => {
                if self.no_verdict.is_empty() {
                    tracing::warn!("a pair has no verdict: {}", lost.reason);
                }
                *self.no_verdict.entry(lost.kind.clone()).or_default() += 1;
            }
        }
    }

    /// Number of pairs, with a verdict and without.
    pub fn n_pairs(&self) -> usize {
        self.labeled + self.no_verdict.values().sum::<usize>()
    }

    /// What is worth knowing about them.
    pub fn report(&self, alignment: Option<Alignment>) -> LabelReport {
        LabelReport {
            labeled: self.labeled,
            ties: self.ties,
            no_verdict: self.no_verdict.clone(),
            truncated: self.truncated,
            methods: self.methods.clone(),
            positions: self.positions.positions(),
            alignment,
            usage: self.usage,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::{Candidate, Judgement, NoAnswer, Scored};

    /// Says what it is told, pair by pair.
    struct Scripted(Vec<Judgement>);

    impl Labeler for Scripted {
        fn name(&self) -> &str {
            "scripted"
        }

        fn compare(&mut self, pairs: &[Pair]) -> Result<Vec<Judgement>> {
            Ok(self.0.drain(..pairs.len()).collect())
        }

        fn score(&mut self, candidates: &[Candidate]) -> Result<Vec<Scored>> {
            Ok(vec![Scored::of(0.0, Method::Truth); candidates.len()])
        }
    }

    fn completions(texts: &[(&str, &str)]) -> Vec<Completion> {
        let completion = |(i, (id, text)): (usize, &(&str, &str))| Completion {
            prompt_id: id.to_string(),
            prompt: "p".into(),
            index: i,
            completion: text.to_string(),
            n_tokens: 1,
            log_prob: 0.0,
            finished: true,
        };
        texts.iter().enumerate().map(completion).collect()
    }

    fn judged(p_a_first: f32, p_a_second: f32) -> Judgement {
        Judgement::of_both(p_a_first, p_a_second, Method::LogProbs)
    }

    #[test]
    fn the_better_one_is_chosen_and_both_orders_are_kept() {
        let rows = completions(&[
            ("1", "x"),
            ("1", "y"),
            ("2", "x"),
            ("2", "x"),
            ("3", "v"),
            ("3", "w"),
        ]);
        let mut labeler = Scripted(vec![judged(0.9, 0.7), judged(0.4, 0.2)]);
        let found = label(&mut labeler, &rows).unwrap().preferences;
        assert_eq!(found.len(), 2, "equal texts are no pair");
        assert_eq!(
            (
                found[0].chosen.text.as_str(),
                found[0].rejected.text.as_str()
            ),
            ("x", "y")
        );
        assert!((found[0].p_chosen - 0.8).abs() < 1e-6);
        // For the third prompt b = "w" wins: shown first it has 1 - 0.2, shown second 1 - 0.4.
        assert_eq!(found[1].chosen.text, "w");
        assert!((found[1].p_first.unwrap() - 0.8).abs() < 1e-6);
        assert!((found[1].p_second.unwrap() - 0.6).abs() < 1e-6);
    }

    #[test]
    fn a_pair_without_verdict_is_kept_apart() {
        let rows = completions(&[("1", "x"), ("1", "y"), ("2", "v"), ("2", "w")]);
        let text = "hm".to_string();
        let silent = Judgement {
            no_verdict: Some(NoAnswer::Unreadable { text }),
            ..judged(0.9, 0.7)
        };
        let single = Judgement {
            p_a_second: None,
            ..judged(0.2, 0.0)
        };
        let found = label(&mut Scripted(vec![silent, single]), &rows).unwrap();
        let lost = &found.unlabeled[0];
        assert_eq!(
            (lost.a.as_str(), lost.b.as_str(), lost.kind.as_str()),
            ("x", "y", "unreadable")
        );
        assert_eq!(lost.reason, "no answer can be read from \"hm\"");
        // Shown second, "w" has 1 - 0.2; it was not shown first.
        let row = &found.preferences[0];
        assert_eq!((row.chosen.text.as_str(), row.p_first), ("w", None));
        assert!((row.p_second.unwrap() - 0.8).abs() < 1e-6);
        assert_eq!(row.p_chosen, row.p_second.unwrap());
    }

    #[test]
    fn positions_and_methods_are_counted() {
        let rows = completions(&[("1", "x"), ("1", "y"), ("2", "x"), ("2", "y")]);
        // In the second pair the first position wins both times.
        let mut labeler = Scripted(vec![judged(0.9, 0.7), judged(0.9, 0.3)]);
        let report = label(&mut labeler, &rows).unwrap().counts.report(None);
        assert!((report.positions.same_position - 0.5).abs() < 1e-9);
        assert_eq!((report.labeled, report.methods[&Method::LogProbs]), (2, 2));
    }
}
