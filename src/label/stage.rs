//! Completions become preferences, and preferences are held against the truth.

use serde::Serialize;

use super::{Judgement, Labeler, Pair};
use crate::error::Result;
use crate::eval::stats::{Interval, wilson};
use crate::progress::Progress;
use crate::record::{Completion, Preference};

/// Pairs handed to the labeler at once.
const CHUNK: usize = 64;

/// Compares consecutive completions of each prompt: the first with the second, the third with the
/// fourth, and so on. Pairs of equal texts are left out, for there is nothing to prefer.
///
/// # Errors
/// The labeler fails.
pub fn label(labeler: &mut dyn Labeler, completions: &[Completion]) -> Result<Vec<Preference>> {
    let pairs: Vec<(&Completion, &Completion)> = completions
        .chunk_by(|a, b| a.prompt_id == b.prompt_id)
        .flat_map(|group| group.chunks_exact(2))
        .map(|pair| (&pair[0], &pair[1]))
        .filter(|(a, b)| a.completion != b.completion)
        .collect();
    let mut progress = Progress::new("label", pairs.len() as u64, "pairs");
    let mut preferences = Vec::with_capacity(pairs.len());
    for chunk in pairs.chunks(CHUNK) {
        let asked: Vec<Pair> = chunk.iter().map(|(a, b)| Pair::of(a, b)).collect();
        let judgements = labeler.compare(&asked)?;
        let rows = chunk.iter().zip(judgements);
        preferences.extend(rows.map(|((a, b), judged)| preference(a, b, judged, labeler.name())));
        progress.inc(chunk.len() as u64);
    }
    Ok(preferences)
}

fn preference(a: &Completion, b: &Completion, judged: Judgement, labeler: &str) -> Preference {
    let p_a = judged.p_a();
    let (chosen, rejected, p_chosen, p_first, p_second) = if p_a >= 0.5 {
        (a, b, p_a, judged.p_a_first, judged.p_a_second)
    } else {
        (
            b,
            a,
            1.0 - p_a,
            1.0 - judged.p_a_second,
            1.0 - judged.p_a_first,
        )
    };
    Preference {
        prompt_id: a.prompt_id.clone(),
        prompt: a.prompt.clone(),
        chosen: chosen.completion.as_str().into(),
        rejected: rejected.completion.as_str().into(),
        p_chosen: p_chosen.clamp(0.0, 1.0),
        p_first: Some(p_first.clamp(0.0, 1.0)),
        p_second: Some(p_second.clamp(0.0, 1.0)),
        margin: None,
        labeler: Some(labeler.to_string()),
        rationale: None,
    }
}

/// How far a labeler agrees with gold labels (section 2.3 of the paper).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Alignment {
    /// Share of pairs on which both prefer the same completion; the labeler's ties count half.
    pub alignment: f64,
    /// 95% interval of it.
    pub ci: Interval,
    /// Share of pairs where the same position won in both orders.
    pub same_position: f64,
    /// Of those, the share where it was the first.
    pub first_position: f64,
    /// Pairs that the gold labeler does not call a tie.
    pub n: usize,
}

/// Holds preferences against a labeler whose word is the truth; pairs that it calls a tie do not
/// count.
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
            .filter(|(_, gold)| gold.p_a() != 0.5)
    };
    let agreement = |(row, gold): (&Preference, &Judgement)| match row.p_chosen {
        0.5 => 0.5,
        _ if gold.p_a() > 0.5 => 1.0,
        _ => 0.0,
    };
    let n = decided().count();
    let agreed: f64 = decided().map(agreement).sum();
    let orders = || {
        preferences
            .iter()
            .filter_map(|row| Some((row.p_first?, row.p_second?)))
    };
    let first = orders()
        .filter(|&(first, second)| first > 0.5 && second <= 0.5)
        .count();
    let second = orders()
        .filter(|&(first, second)| first <= 0.5 && second > 0.5)
        .count();
    let share = |part: usize, whole: usize| part as f64 / whole.max(1) as f64;
    Ok(Alignment {
        alignment: agreed / n.max(1) as f64,
        ci: wilson(agreed, n),
        same_position: share(first + second, orders().count()),
        first_position: share(first, first + second),
        n,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::Candidate;

    /// Says what it is told, pair by pair.
    struct Scripted(Vec<Judgement>);

    impl Labeler for Scripted {
        fn name(&self) -> &str {
            "scripted"
        }

        fn compare(&mut self, pairs: &[Pair]) -> Result<Vec<Judgement>> {
            Ok(self.0.drain(..pairs.len()).collect())
        }

        fn score(&mut self, candidates: &[Candidate]) -> Result<Vec<f32>> {
            Ok(vec![0.0; candidates.len()])
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
        Judgement {
            p_a_first,
            p_a_second,
        }
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
        let found = label(&mut labeler, &rows).unwrap();
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
        let preferences = label(&mut labeler, &rows).unwrap();
        // The truth (a = chosen): agrees, disagrees, tie.
        let mut gold = Scripted(vec![judged(1.0, 1.0), judged(0.0, 0.0), judged(0.5, 0.5)]);
        let found = alignment(&preferences, &mut gold).unwrap();
        assert_eq!((found.n, found.alignment), (2, 0.5));
        assert!((found.same_position - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!(found.first_position, 1.0);
    }
}
