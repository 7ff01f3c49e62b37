//! Completions become preferences, and preferences are held against the truth.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Judgement, Labeler, Pair, Positions, Usage, verdict};
use crate::error::Result;
use crate::eval::stats::{Interval, wilson};
use crate::progress::Progress;
use crate::record::{AnswerPair, Completion, Method, Preference, Unlabeled};

/// What a labeler made of pairs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Labels {
    /// The pairs with a verdict, in their order.
    pub preferences: Vec<Preference>,
    /// The pairs without.
    pub unlabeled: Vec<Unlabeled>,
    /// Verdicts by how they were found.
    pub methods: BTreeMap<Method, usize>,
    /// Pairs whose text had to lose its beginning to fit.
    pub truncated: usize,
    /// What all of them cost.
    pub usage: Usage,
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

/// Compares consecutive completions of each prompt: the first with the second, the third with the
/// fourth, and so on. Pairs of equal texts are left out, for there is nothing to prefer.
///
/// # Errors
/// The labeler fails.
pub fn label(labeler: &mut dyn Labeler, completions: &[Completion]) -> Result<Labels> {
    let pairs: Vec<(&Completion, &Completion)> = completions
        .chunk_by(|a, b| a.prompt_id == b.prompt_id)
        .flat_map(|group| group.chunks_exact(2))
        .map(|pair| (&pair[0], &pair[1]))
        .filter(|(a, b)| a.completion != b.completion)
        .collect();
    let mut progress = Progress::new("label", pairs.len() as u64, "pairs");
    let mut labels = Labels::default();
    for chunk in pairs.chunks(labeler.batch_size().max(1)) {
        let asked: Vec<Pair> = chunk.iter().map(|(a, b)| Pair::of(a, b)).collect();
        let judgements = labeler.compare(&asked)?;
        for (&pair, judged) in chunk.iter().zip(judgements) {
            labels.push(pair, judged, labeler.name());
        }
        progress.inc(chunk.len() as u64);
    }
    if let Some(first) = labels.unlabeled.first() {
        let n = labels.unlabeled.len();
        tracing::warn!("{n} pairs have no verdict, the first: {}", first.reason);
    }
    Ok(labels)
}

impl Labels {
    /// What is worth knowing about them.
    pub fn report(&self, alignment: Option<Alignment>) -> LabelReport {
        let mut no_verdict = BTreeMap::new();
        for pair in &self.unlabeled {
            *no_verdict.entry(pair.kind.clone()).or_default() += 1;
        }
        let tied = |row: &&Preference| row.p_chosen == 0.5;
        LabelReport {
            labeled: self.preferences.len(),
            ties: self.preferences.iter().filter(tied).count(),
            no_verdict,
            truncated: self.truncated,
            methods: self.methods.clone(),
            positions: Positions::of(&self.preferences),
            alignment,
            usage: self.usage,
        }
    }

    fn push(&mut self, (a, b): (&Completion, &Completion), judged: Judgement, labeler: &str) {
        self.usage += judged.usage;
        self.truncated += usize::from(judged.truncated);
        match judged.p_a() {
            Some(p_a) => {
                *self.methods.entry(judged.method).or_default() += 1;
                let row = preference((a, b), p_a, judged, labeler);
                self.preferences.push(row);
            }
            None => self.unlabeled.push(unlabeled(a, b, judged, labeler)),
        }
    }
}

fn unlabeled(a: &Completion, b: &Completion, judged: Judgement, labeler: &str) -> Unlabeled {
    verdict::unlabeled(answers(a, b), judged, labeler)
}

fn preference(
    (a, b): (&Completion, &Completion),
    p_a: f32,
    judged: Judgement,
    labeler: &str,
) -> Preference {
    verdict::preference(answers(a, b), p_a, judged, labeler)
}

fn answers(a: &Completion, b: &Completion) -> AnswerPair {
    AnswerPair {
        prompt_id: a.prompt_id.clone(),
        prompt: a.prompt.clone(),
        a: a.completion.as_str().into(),
        b: b.completion.as_str().into(),
        p_gold: None,
        margin: None,
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

/// Holds preferences against a labeler whose word is the truth; pairs that it calls a tie, or gives
/// no verdict on, do not count.
///
/// # Errors
/// The gold labeler fails.
pub fn alignment(preferences: &[Preference], gold: &mut dyn Labeler) -> Result<Alignment> {
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
    let decided = || {
        preferences
            .iter()
            .zip(&truth)
            .filter_map(|(row, gold)| Some((row, gold.p_a()?)))
            .filter(|&(_, gold)| gold != 0.5)
    };
    let agreement = |p_chosen: f32, gold: f32| match p_chosen {
        0.5 => 0.5,
        _ if (p_chosen > 0.5) == (gold > 0.5) => 1.0,
        _ => 0.0,
    };
    let n = decided().count();
    let agreed = decided().map(|(row, gold)| agreement(row.p_chosen, gold));
    let agreed: f64 = agreed.sum();
    let alone = decided().flat_map(|(row, gold)| {
        // Shown second, `p_second` is the chosen one's probability all the same.
        let orders = [row.p_first, row.p_second].into_iter().flatten();
        orders.map(move |p| agreement(p, gold))
    });
    let (mut agreed_alone, mut n_alone) = (0.0, 0);
    for agreed in alone {
        agreed_alone += agreed;
        n_alone += 1;
    }
    Ok(Alignment {
        alignment: agreed / n.max(1) as f64,
        ci: wilson(agreed, n),
        one_order: agreed_alone / n_alone.max(1) as f64,
        n,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::{Candidate, NoAnswer, Scored};

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
        let report = labels.report(Some(found));
        assert!((report.positions.same_position - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!((report.labeled, report.methods[&Method::LogProbs]), (3, 3));
    }
}
