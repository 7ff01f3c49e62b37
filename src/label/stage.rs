//! Completions become preferences, and preferences are held against the truth.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Labeler, Pair, PositionCounts, Positions, Usage, verdict};
use crate::error::Result;
use crate::eval::stats::{Interval, wilson};
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
}

/// Agreement with gold labels, counted some preferences at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct AlignmentCounts {
    n: usize,
    agreed: f64,
    n_alone: usize,
    agreed_alone: f64,
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
            self.n += 1;
            self.agreed += agreement(row.p_chosen, gold);
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
    fn alignment_counts_agreement_and_position_wins() {
        let rows = completions(&[
            ("1", "x"),
            ("1", "y"),
            ("2", "x"),
            ("2", "y"),
            ("3", "x"),
            ("3", "y"),
        ]);
        // Pair 1: clear for x. Pair 2: the first position wins both times, x by a little. Pair 3:
        // clear for y.
        let mut labeler = Scripted(vec![judged(0.9, 0.7), judged(0.9, 0.3), judged(0.1, 0.1)]);
        let labels = label(&mut labeler, &rows).unwrap();
        // The truth (a = chosen): agrees, disagrees, tie.
        let mut gold = Scripted(vec![judged(1.0, 1.0), judged(0.0, 0.0), judged(0.5, 0.5)]);
        let found = alignment(&labels.preferences, &mut gold).unwrap();
        assert_eq!((found.n, found.alignment), (2, 0.5));
        // Asked once: both orders of pair 1 agree; pair 2 says y as it should when x is second.
        assert_eq!(found.one_order, 0.75);
        let report = labels.counts.report(Some(found));
        assert!((report.positions.same_position - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!((report.labeled, report.methods[&Method::LogProbs]), (3, 3));
    }
}
