//! How good labels are: against gold labels, against each other, and by their own biases.
//!
//! Files are read as streams, so that a report on millions of labels takes no more memory than one
//! on ten. The statistics are those of `eval`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::tally::Tally;
use crate::error::{Error, Result};
use crate::eval::agreement::Agreement;
use crate::eval::reliability::Bin;
use crate::eval::stats::{Interval, wilson};
use crate::record::rows::{self, RecordReader};
use crate::record::{Label, LabelFailure};

/// A report on labels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelingReport {
    /// One part for each file, in their order.
    pub labelers: Vec<LabelerReport>,
    /// Each two of them, where there are several.
    pub agreements: Vec<LabelerAgreement>,
}

/// A share of cases with its 95% Wilson interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rate {
    /// The share; `None` of no cases.
    pub rate: Option<f64>,
    /// Its interval.
    pub ci: Interval,
    /// Cases.
    pub n: usize,
}

/// What one file of labels is like.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelerReport {
    /// Who labeled; with the file's name where two files are by one labeler.
    pub name: String,
    /// Labels.
    pub n: usize,
    /// Of those, the ones with probability 0.5.
    pub n_ties: usize,
    /// Of those, the ones read from generated text rather than from probabilities.
    pub n_from_text: usize,
    /// Pairs without a verdict, by the kind of failure; of the file beside the labels.
    pub no_verdict: BTreeMap<String, usize>,
    /// Against gold labels, where pairs have them.
    pub gold: Option<GoldReport>,
    /// By the position in which an answer is shown, where both orders were asked.
    pub position: Option<PositionReport>,
    /// By the length of the answers.
    pub length: LengthReport,
    /// Tokens read and written.
    pub tokens: [u64; 2],
    /// US dollars for them, where the prices are known.
    pub cost_usd: Option<f64>,
    /// Labels by confidence, right or wrong, with or without gold labels.
    pub confidence: Vec<usize>,
}

/// Labels against gold labels; pairs that gold calls a tie do not count.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GoldReport {
    /// How often both prefer the same answer, over both orders averaged; the labeler's ties count
    /// half. The paper's alignment (section 2.3).
    pub alignment: Rate,
    /// The same from the order alone that shows the better answer first.
    pub better_first: Rate,
    /// The same from the order alone that shows the better answer second.
    pub better_second: Rate,
    /// Reliability table: whether labels given with a confidence are right that often.
    pub calibration: Vec<Bin>,
    /// Expected calibration error.
    pub ece: Option<f64>,
    /// Brier score.
    pub brier: Option<f64>,
    /// Pairs that gold calls a tie.
    pub n_ties: usize,
}

/// How much the verdict depends on the order in which two answers are shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PositionReport {
    /// How often the same position wins in both orders.
    pub same_position: Rate,
    /// Of those, how often it is the first.
    pub first: Rate,
    /// Chance of a split at least as uneven if no position were favoured: exact two-sided binomial
    /// test.
    pub p_value: f64,
    /// Mean probability given to the answer shown first; 0.5 without bias.
    pub mean_p_first: f64,
}

/// How much the verdict goes with the length of the answers, in characters.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LengthReport {
    /// How often the longer answer wins; pairs of equal length do not count.
    pub longer_wins: Rate,
    /// The same of gold labels.
    pub gold_longer_wins: Option<Rate>,
    /// Correlation of `(length_a - length_b) / (length_a + length_b)` with the probability that `a`
    /// is better; `None` where one never varies.
    pub correlation: Option<f64>,
    /// How often the longer answer wins by how many times as long it is.
    pub by_ratio: Vec<RatioBin>,
}

/// Pairs whose longer answer is some times as long as the other.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RatioBin {
    /// Least ratio.
    pub low: f64,
    /// The ratio at which the next bin begins; `None` for the last.
    pub high: Option<f64>,
    /// How often the longer answer wins.
    pub longer_wins: Rate,
    /// The same of gold labels.
    pub gold_longer_wins: Rate,
}

/// How far two labelers agree on the pairs that both have labeled.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelerAgreement {
    /// One labeler.
    pub a: String,
    /// The other.
    pub b: String,
    /// How often they prefer the same answer, or call both a tie.
    pub agreed: Rate,
    /// Cohen's kappa; the answers of a pair are told apart by the alphabet.
    pub kappa: Option<f64>,
}

/// US dollars per million tokens, read and written.
pub type Prices = [f64; 2];

/// A report on files of labels, each with the file of failures beside it.
///
/// Any file of preferences will do; what it does not tell is left out. Agreement is measured where
/// two files have labels of the same pairs.
///
/// # Errors
/// A file cannot be read, a row is bad, or two files hold labels of different pairs.
pub fn report_labels(files: &[PathBuf], prices: Option<Prices>) -> Result<LabelingReport> {
    let mut labelers = Vec::new();
    for file in files {
        labelers.push(labeler_report(file, prices)?);
    }
    let names: Vec<String> = labelers.iter().map(|one| one.name.clone()).collect();
    for (labeler, file) in labelers.iter_mut().zip(files) {
        if names.iter().filter(|name| **name == labeler.name).count() > 1 {
            let file = file.file_name().unwrap_or(file.as_os_str());
            labeler.name = format!("{} ({})", labeler.name, file.to_string_lossy());
        }
    }
    let mut agreements = Vec::new();
    for (i, a) in files.iter().enumerate() {
        for (j, b) in files.iter().enumerate().skip(i + 1) {
            let found = agreement(a, b)?;
            agreements.push(LabelerAgreement {
                a: labelers[i].name.clone(),
                b: labelers[j].name.clone(),
                agreed: Rate::of(found.n_agreed() as f64, found.n()),
                kappa: found.kappa(),
            });
        }
    }
    Ok(LabelingReport {
        labelers,
        agreements,
    })
}

fn labeler_report(file: &Path, prices: Option<Prices>) -> Result<LabelerReport> {
    let mut tally = Tally::default();
    let mut name = None;
    for row in RecordReader::<Label>::open(file)? {
        let row = row?;
        tally.add(&row);
        name = name.or(row.preference.labeler);
    }
    let unnamed = || {
        file.file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let mut report = tally.report(name.unwrap_or_else(unnamed), prices);
    let failures = rows::beside(file, "unlabeled.jsonl");
    if failures.is_file() {
        for row in RecordReader::<LabelFailure>::open(&failures)? {
            *report.no_verdict.entry(row?.unlabeled.kind).or_default() += 1;
        }
    }
    Ok(report)
}

/// Walks through two files at once, which are in the order of their pairs.
fn agreement(a: &Path, b: &Path) -> Result<Agreement> {
    let mut found = Agreement::default();
    let mut readers = [numbered(a)?, numbered(b)?];
    let mut next = readers.each_mut().map(Iterator::next);
    loop {
        let (left, right) = match next {
            [Some(Ok(left)), Some(Ok(right))] => (left, right),
            [Some(Err(error)), _] | [_, Some(Err(error))] => return Err(error),
            _ => return Ok(found),
        };
        next = match left.0.cmp(&right.0) {
            std::cmp::Ordering::Less => [readers[0].next(), Some(Ok(right))],
            std::cmp::Ordering::Greater => [Some(Ok(left)), readers[1].next()],
            std::cmp::Ordering::Equal => {
                let words = [word(&left.1), word(&right.1)];
                if words[0].1 != words[1].1 {
                    let other = a.display();
                    let message = format!("pair {} is not that of {other}", left.0);
                    return Err(Error::file(b, message));
                }
                found.add([words[0].0, words[1].0]);
                readers.each_mut().map(Iterator::next)
            }
        };
    }
}

/// The labels of a file with the numbers of their pairs; a file made elsewhere counts its rows.
fn numbered(file: &Path) -> Result<impl Iterator<Item = Result<(usize, Label)>>> {
    let rows = RecordReader::<Label>::open(file)?.enumerate();
    Ok(rows.map(|(i, row)| row.map(|row| (row.index.unwrap_or(i), row))))
}

/// The probability that the first of the two answers by the alphabet is better, and the two.
fn word(row: &Label) -> (f32, [&str; 2]) {
    let row = &row.preference;
    let (chosen, rejected) = (row.chosen.text.as_str(), row.rejected.text.as_str());
    if chosen < rejected {
        (row.p_chosen, [chosen, rejected])
    } else {
        (1.0 - row.p_chosen, [rejected, chosen])
    }
}

impl Rate {
    /// So many of so many; half ones count as such.
    pub(super) fn of(successes: f64, n: usize) -> Self {
        Self {
            rate: (n > 0).then(|| successes / n as f64),
            ci: wilson(successes, n),
            n,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn file(folder: &Path, name: &str, rows: &[&str]) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, rows.join("\n")).unwrap();
        path
    }

    fn row(index: usize, chosen: &str, rejected: &str, p: f32) -> String {
        format!(
            r#"{{"index":{index},"prompt":"q","chosen":"{chosen}","rejected":"{rejected}","p_chosen":{p},"labeler":"l"}}"#
        )
    }

    // Shared pairs 0, 2, 3: both prefer x; a prefers x and b y; both prefer y. In the order of the
    // alphabet: a says x, x, y and b x, y, y. p_o = 2/3, p_e = (2*1 + 1*2) / 9 = 4/9, kappa = 2/5.
    #[test]
    fn labelers_are_compared_on_the_pairs_they_share() {
        let folder = tempfile::tempdir().unwrap();
        let [x, y] = ["x", "y"];
        let a = [
            row(0, x, y, 0.9),
            row(1, x, y, 0.9),
            row(2, x, y, 0.8),
            row(3, y, x, 1.0),
        ];
        let b = [
            row(0, x, y, 0.6),
            row(2, y, x, 0.7),
            row(3, y, x, 0.9),
            row(4, x, y, 1.0),
        ];
        let a = file(folder.path(), "a.jsonl", &a.each_ref().map(String::as_str));
        let b = file(folder.path(), "b.jsonl", &b.each_ref().map(String::as_str));
        let failure = concat!(
            r#"{"index":1,"prompt_id":"1","prompt":"q","a":"x","b":"y","labeler":"l","#,
            r#""kind":"too_long","reason":"r"}"#
        );
        file(folder.path(), "b.jsonl.unlabeled.jsonl", &[failure]);
        let found = report_labels(&[a, b], None).unwrap();
        let names: Vec<_> = found.labelers.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["l (a.jsonl)", "l (b.jsonl)"]);
        let between = &found.agreements[0];
        assert_eq!(
            (between.agreed.n, between.agreed.rate),
            (3, Some(2.0 / 3.0))
        );
        assert!((between.kappa.unwrap() - 0.4).abs() < 1e-12);
        assert!(found.labelers[0].no_verdict.is_empty());
        assert_eq!(found.labelers[1].no_verdict["too_long"], 1);
    }

    #[test]
    fn labels_of_different_pairs_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let a = file(folder.path(), "a.jsonl", &[&row(0, "x", "y", 0.9)]);
        let b = file(folder.path(), "b.jsonl", &[&row(0, "x", "z", 0.9)]);
        let error = report_labels(&[a, b], None).unwrap_err().to_string();
        assert!(error.contains("b.jsonl: pair 0 is not that of"), "{error}");
    }
}
