//! ROUGE: how many words, word pairs and word sequences a text shares with a reference. Lin 2004,
//! "ROUGE: A Package for Automatic Evaluation of Summaries".
//!
//! Numbers are those of Google's `rouge-score`, with or without stemming: words are runs of ASCII
//! letters and digits in lower case. (burn-train's metric is ROUGE-L alone, a running mean over batches
//! of token tensors.)

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::stemmer::stem;

/// Whether words count as the same when their stems are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stemming {
    /// Words are compared as they are.
    #[default]
    None,
    /// Words of more than three letters by their stems (`use_stemmer` of `rouge-score`).
    Porter,
}

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
    /// The same line by line: of each line of the reference the words that are in its longest common
    /// subsequence with any line of the text, no word more often than the text has it.
    #[serde(rename = "rougeLsum")]
    pub rouge_l_sum: Overlap,
}

/// Scores of a text against a reference; 0 where one has no words.
pub fn rouge(text: &str, reference: &str, stemming: Stemming) -> Rouge {
    let lines = |text: &str| -> Vec<Vec<String>> {
        let lines = text.split('\n').filter(|line| !line.is_empty());
        lines.map(|line| words_of(line, stemming)).collect()
    };
    let l_sum = union_of_lines(&lines(text), &lines(reference));
    let (text, reference) = (words_of(text, stemming), words_of(reference, stemming));
    let longest = *last(&common_subsequences(&text, &reference));
    Rouge {
        rouge1: n_grams(&text, &reference, 1),
        rouge2: n_grams(&text, &reference, 2),
        rouge_l: Overlap::of(longest, text.len(), reference.len()),
        rouge_l_sum: Overlap::of(l_sum, text.len(), reference.len()),
    }
}

/// The best score of a text against several references, by F1 for each kind.
pub fn best_rouge(text: &str, references: &[String], stemming: Stemming) -> Option<Rouge> {
    let scores = references
        .iter()
        .map(|reference| rouge(text, reference, stemming));
    let better = |a: Overlap, b: Overlap| if b.f1 > a.f1 { b } else { a };
    scores.reduce(|a, b| Rouge {
        rouge1: better(a.rouge1, b.rouge1),
        rouge2: better(a.rouge2, b.rouge2),
        rouge_l: better(a.rouge_l, b.rouge_l),
        rouge_l_sum: better(a.rouge_l_sum, b.rouge_l_sum),
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

fn words_of(text: &str, stemming: Stemming) -> Vec<String> {
    let mut words = words(text);
    if stemming == Stemming::Porter {
        for word in words.iter_mut().filter(|word| word.len() > 3) {
            *word = stem(word);
        }
    }
    words
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

/// Row `i`, column `j`: length of the longest common subsequence of the first `i` of `a` and the first
/// `j` of `b`.
fn common_subsequences(a: &[String], b: &[String]) -> Vec<Vec<usize>> {
    let mut table = vec![vec![0; b.len() + 1]];
    for word in a {
        let above = &table[table.len() - 1];
        let mut row = vec![0; b.len() + 1];
        for (j, other) in b.iter().enumerate() {
            row[j + 1] = match word == other {
                true => above[j] + 1,
                false => above[j + 1].max(row[j]),
            };
        }
        table.push(row);
    }
    table
}

fn last(table: &[Vec<usize>]) -> &usize {
    table.last().and_then(|row| row.last()).unwrap_or(&0)
}

/// Which words of `reference` are in a longest common subsequence with `text`; of several the one that
/// `rouge-score` finds.
fn common_places(reference: &[String], text: &[String]) -> Vec<usize> {
    let table = common_subsequences(reference, text);
    let (mut i, mut j) = (reference.len(), text.len());
    let mut places = Vec::new();
    while i > 0 && j > 0 {
        if reference[i - 1] == text[j - 1] {
            places.push(i - 1);
            (i, j) = (i - 1, j - 1);
        } else if table[i][j - 1] > table[i - 1][j] {
            j -= 1;
        } else {
            i -= 1;
        }
    }
    places
}

/// Words of ROUGE-Lsum that are shared.
fn union_of_lines(text: &[Vec<String>], reference: &[Vec<String>]) -> usize {
    let mut left: HashMap<&str, usize> = HashMap::new();
    for word in text.iter().flatten() {
        *left.entry(word).or_default() += 1;
    }
    let mut shared = 0;
    for line in reference {
        let found = text.iter().flat_map(|other| common_places(line, other));
        for place in found.collect::<BTreeSet<_>>() {
            if let Some(left) = left.get_mut(line[place].as_str()).filter(|left| **left > 0) {
                *left -= 1;
                shared += 1;
            }
        }
    }
    shared
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, reference: &str, f1: [f64; 3]) {
        let found = rouge(text, reference, Stemming::None);
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

    // By hand: of the line "a b c" the text's lines hold "a b" and "c"; of "d d" one "d". 4 of 5 words
    // each way. ROUGE-L finds "a b d" alone.
    #[test]
    fn lines_are_joined() {
        let found = rouge("a b\nd\nc x", "a b c\nd d", Stemming::None);
        assert!((found.rouge_l_sum.f1 - 0.8).abs() < 1e-12, "{found:?}");
        assert!((found.rouge_l.f1 - 0.6).abs() < 1e-12, "{found:?}");
    }

    // One word of two and three is shared, "cats" or its stem; then none, and both stems.
    #[test]
    fn stems_are_compared_where_asked() {
        let f1 = |stemming| rouge("cats ran", "cat run cats", stemming).rouge1.f1;
        assert!((f1(Stemming::None) - 0.4).abs() < 1e-12);
        assert!((f1(Stemming::Porter) - 0.4).abs() < 1e-12);
        let f1 = |stemming| rouge("jumping dogs", "jumped dog", stemming).rouge1.f1;
        assert_eq!((f1(Stemming::None), f1(Stemming::Porter)), (0.0, 1.0));
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
        let found = best_rouge("a b", &references, Stemming::None).unwrap();
        assert!((found.rouge1.f1 - 0.8).abs() < 1e-12);
        assert_eq!(best_rouge("a", &[], Stemming::None), None);
    }
}
