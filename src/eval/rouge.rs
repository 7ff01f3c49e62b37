//! ROUGE: how many words, word pairs and word sequences a text shares with a reference. Lin 2004,
//! "ROUGE: A Package for Automatic Evaluation of Summaries".
//!
//! Numbers are those of Google's `rouge-score` without stemming, which the field reports: words are
//! runs of ASCII letters and digits in lower case. (burn-train's metric is ROUGE-L alone, a running
//! mean over batches of token tensors.)

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// How much of the reference a text has, how much of the text the reference has, and both in one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Overlap {
    /// Shared parts over parts of the text.
    pub precision: f64,
    /// Shared parts over parts of the reference.
    pub recall: f64,
    /// Harmonic mean of the two; 0 where nothing is shared.
    pub f1: f64,
}

/// ROUGE scores of a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Rouge {
    /// Words.
    pub rouge1: Overlap,
    /// Pairs of adjacent words.
    pub rouge2: Overlap,
    /// The longest common subsequence of words.
    #[serde(rename = "rougeL")]
    pub rouge_l: Overlap,
}

/// Scores of a text against a reference; 0 where one has no words.
pub fn rouge(text: &str, reference: &str) -> Rouge {
    let (text, reference) = (words(text), words(reference));
    let longest = longest_common_subsequence(&text, &reference);
    Rouge {
        rouge1: n_grams(&text, &reference, 1),
        rouge2: n_grams(&text, &reference, 2),
        rouge_l: Overlap::of(longest, text.len(), reference.len()),
    }
}

/// The best score of a text against several references, by F1 for each kind.
pub fn best_rouge(text: &str, references: &[String]) -> Option<Rouge> {
    let scores = references.iter().map(|reference| rouge(text, reference));
    let better = |a: Overlap, b: Overlap| if b.f1 > a.f1 { b } else { a };
    scores.reduce(|a, b| Rouge {
        rouge1: better(a.rouge1, b.rouge1),
        rouge2: better(a.rouge2, b.rouge2),
        rouge_l: better(a.rouge_l, b.rouge_l),
    })
}

impl Overlap {
    fn of(shared: usize, in_text: usize, in_reference: usize) -> Self {
        let share = |whole: usize| shared as f64 / whole.max(1) as f64;
        let (precision, recall) = (share(in_text), share(in_reference));
        let f1 = match shared {
            0 => 0.0,
            _ => 2.0 * precision * recall / (precision + recall),
        };
        Self {
            precision,
            recall,
            f1,
        }
    }
}

/// Words as `rouge-score` cuts them.
pub fn words(text: &str) -> Vec<String> {
    // Lower case first: some letters become ASCII by it.
    let lower = text.to_lowercase();
    let parts = lower.split(|c: char| !c.is_ascii_alphanumeric());
    parts
        .filter(|word| !word.is_empty())
        .map(String::from)
        .collect()
}

fn n_grams(text: &[String], reference: &[String], n: usize) -> Overlap {
    let count = |words: &[String]| {
        let mut counts: HashMap<Vec<String>, usize> = HashMap::new();
        for gram in words.windows(n) {
            *counts.entry(gram.to_vec()).or_default() += 1;
        }
        counts
    };
    let (text, reference) = (count(text), count(reference));
    let shared = reference
        .iter()
        .map(|(gram, n)| n.min(text.get(gram).unwrap_or(&0)))
        .sum();
    Overlap::of(shared, text.values().sum(), reference.values().sum())
}

fn longest_common_subsequence(a: &[String], b: &[String]) -> usize {
    // `row[j]` is the length for all of `a` so far and the first `j` of `b`.
    let mut row = vec![0; b.len() + 1];
    for word in a {
        let mut diagonal = 0;
        for (j, other) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = match word == other {
                true => diagonal + 1,
                false => above.max(row[j]),
            };
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, reference: &str, f1: [f64; 3]) {
        let found = rouge(text, reference);
        let found = [found.rouge1.f1, found.rouge2.f1, found.rouge_l.f1];
        for (found, expected) in found.into_iter().zip(f1) {
            assert!(
                (found - expected).abs() < 1e-12,
                "{text}: {found}, not {expected}"
            );
        }
    }

    // The text has 6 words, the reference 5. Shared words: the, cat, on, mat: P 4/6, R 4/5, F1 8/11;
    // pairs: "the cat" alone: P 1/5, R 1/4, F1 2/9; longest: the cat on mat: 8/11.
    #[test]
    fn overlaps_are_counted() {
        check(
            "The cat sat on the mat.",
            "the cat lay on (mat)",
            [8.0 / 11.0, 2.0 / 9.0, 8.0 / 11.0],
        );
        check("a b", "a b", [1.0; 3]);
        check("", "a b", [0.0; 3]);
        check("a", "a", [1.0, 0.0, 1.0]);
        // A word counts as often as the reference has it.
        check("a a a a", "a", [0.4, 0.0, 0.4]);
    }

    #[test]
    fn words_are_ascii_runs_in_lower_case() {
        // The Kelvin sign becomes "k"; e with an accent is no letter here.
        assert_eq!(
            words("It's 5\u{212a}, caf\u{e9}!"),
            ["it", "s", "5k", "caf"]
        );
    }

    #[test]
    fn the_best_reference_counts() {
        let references = ["x y".to_string(), "a b c".to_string()];
        let found = best_rouge("a b", &references).unwrap();
        assert!((found.rouge1.f1 - 0.8).abs() < 1e-12);
        assert_eq!(best_rouge("a", &[]), None);
    }
}
