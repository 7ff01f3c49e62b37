//! Stage 5: policies are compared on held-out prompts, by any labeler, both orders.

pub mod agreement;
pub mod best_of;
pub mod bootstrap;
pub mod calibration;
pub mod diversity;
pub mod length;
pub mod power;
pub mod reliability;
pub mod reward_bench;
pub mod rouge;
pub mod significance;
pub mod stats;
pub mod stemmer;
pub mod suite;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::label::{Labeler, Pair};
use crate::progress::Progress;
use crate::record::kept::{Kept, resume};
use crate::record::{Compared, Comparison, Completion};
use crate::world::{Assessment, Oracle};
use length::length_controlled_win_rate;
use stats::{Interval, wilson};

/// How often one policy's completion is preferred.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WinRate {
    /// Share of prompts on which the first policy wins; ties count half.
    pub rate: f64,
    /// 95% Wilson interval of it.
    pub ci: Interval,
    /// Prompts with a verdict.
    pub n: usize,
    /// Prompts on which the judge gave none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub no_verdict: usize,
    /// The rate that a logistic regression on the ratio of lengths predicts for equal lengths
    /// (appendix J of the paper).
    pub length_controlled: f64,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// What a policy's completions are like, measured by the truth of an embedded world where there is one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PolicyReport {
    /// Tokens per completion.
    pub mean_length: f64,
    /// Share of mentioned facts that are false, mean over completions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hallucination_rate: Option<f64>,
    /// Share of the facts that are mentioned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<f64>,
    /// Share of adjacent words that may stand together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fluency: Option<f64>,
    /// Upper bound of the KL divergence in nats from the policy that it chose from, of best-of-n.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kl_bound: Option<f64>,
    /// Share of completions that are harmless, each by itself (section 2.3 of the paper).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub harmless_rate: Option<f64>,
}

/// `eval.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EvalReport {
    /// Each policy by its name.
    pub policies: BTreeMap<String, PolicyReport>,
    /// For each judge, each comparison by its name `a_vs_b`.
    pub win_rate: BTreeMap<String, BTreeMap<String, WinRate>>,
}

/// The completions of one policy on the held-out prompts.
#[derive(Debug, Clone, PartialEq)]
pub struct Contender {
    /// Name in tables.
    pub name: String,
    /// One completion per prompt; all contenders answer the same prompts in the same order.
    pub completions: Vec<Completion>,
}

/// Compares the `pairs` of contenders, by index, before every judge.
///
/// # Errors
/// A judge fails, or two contenders did not answer the same prompts.
pub fn run(
    contenders: &[Contender],
    pairs: &[(usize, usize)],
    judges: &mut [Box<dyn Labeler>],
    oracle: Option<&Oracle>,
) -> Result<(Vec<Comparison>, EvalReport)> {
    let mut verdicts = Vec::new();
    judge(contenders, pairs, judges, &mut verdicts)?;
    report(contenders, pairs, verdicts, oracle)
}

/// What judges say of the `pairs` of contenders: for every judge, for every pair, the prompts in
/// order. Goes on behind the verdicts that are there.
///
/// # Errors
/// A judge or `verdicts` fails, or two contenders did not answer the same prompts.
pub fn judge(
    contenders: &[Contender],
    pairs: &[(usize, usize)],
    judges: &mut [Box<dyn Labeler>],
    verdicts: &mut impl Kept<Compared>,
) -> Result<()> {
    let mut begin = 0;
    for judge in judges {
        for &(a, b) in pairs {
            let (a, b) = (&contenders[a], &contenders[b]);
            same_prompts(a, b)?;
            compare(judge.as_mut(), [a, b], begin, verdicts)?;
            begin += a.completions.len();
        }
    }
    Ok(())
}

/// What the verdicts of [`judge`] come to.
///
/// # Errors
/// The oracle does not know a prompt.
pub fn report(
    contenders: &[Contender],
    pairs: &[(usize, usize)],
    verdicts: Vec<Compared>,
    oracle: Option<&Oracle>,
) -> Result<(Vec<Comparison>, EvalReport)> {
    let mut report = EvalReport::default();
    for contender in contenders {
        let found = describe(&contender.completions, oracle)?;
        report.policies.insert(contender.name.clone(), found);
    }
    let mut comparisons = Vec::new();
    let mut verdicts = verdicts.into_iter().peekable();
    while let Some(first) = verdicts.peek() {
        let judge = first.judge.clone();
        for &(a, b) in pairs {
            let (a, b) = (&contenders[a], &contenders[b]);
            let said: Vec<Compared> = verdicts.by_ref().take(a.completions.len()).collect();
            let n = said.len();
            let rows: Vec<Comparison> = said.into_iter().filter_map(Compared::verdict).collect();
            let rate = WinRate {
                no_verdict: n - rows.len(),
                ..win_rate(&rows)
            };
            let rates = report.win_rate.entry(judge.clone()).or_default();
            rates.insert(format!("{}_vs_{}", a.name, b.name), rate);
            comparisons.extend(rows);
        }
    }
    Ok((comparisons, report))
}

fn describe(completions: &[Completion], oracle: Option<&Oracle>) -> Result<PolicyReport> {
    let n = completions.len().max(1) as f64;
    let length: usize = completions.iter().map(|row| row.n_tokens).sum();
    let mut report = PolicyReport {
        mean_length: length as f64 / n,
        ..Default::default()
    };
    if let Some(oracle) = oracle {
        let assess = |row: &Completion| oracle.assess_id(&row.prompt_id, &row.completion);
        let found: Vec<Assessment> = completions.iter().map(assess).collect::<Result<_>>()?;
        let mean = |of: fn(&Assessment) -> Option<f32>| {
            let sum = |sum: f64, value: f32| sum + f64::from(value) / n;
            let values: Option<Vec<f32>> = found.iter().map(of).collect();
            values.map(|values| values.into_iter().fold(0.0, sum))
        };
        report.hallucination_rate = mean(|found| found.hallucination_rate);
        report.coverage = mean(|found| found.coverage);
        report.fluency = mean(|found| Some(found.fluency));
        report.harmless_rate = mean(|found| found.harmless.map(|is| f32::from(u8::from(is))));
    }
    Ok(report)
}

fn same_prompts(a: &Contender, b: &Contender) -> Result<()> {
    let ids = |contender: &Contender| {
        let ids = contender.completions.iter().map(|row| &row.prompt_id);
        ids.cloned().collect::<Vec<_>>()
    };
    if ids(a) == ids(b) {
        return Ok(());
    }
    let message = format!(
        "`{}` and `{}` did not answer the same prompts",
        a.name, b.name
    );
    Err(Error::Usage(message))
}

/// One judge on one pair of contenders, whose verdicts begin at row `begin`.
fn compare(
    judge: &mut dyn Labeler,
    [a, b]: [&Contender; 2],
    begin: usize,
    verdicts: &mut impl Kept<Compared>,
) -> Result<()> {
    let pairs: Vec<(&Completion, &Completion)> = a.completions.iter().zip(&b.completions).collect();
    let at_once = judge.batch_size().max(1);
    let done = resume(verdicts, begin..begin + pairs.len(), at_once)?;
    let label = format!("eval {} vs {} by {}", a.name, b.name, judge.name());
    let mut progress = Progress::new(&label, pairs.len() as u64, "pairs").resumed_at(done as u64);
    for chunk in pairs[done..].chunks(at_once) {
        let asked: Vec<Pair> = chunk.iter().map(|(a, b)| Pair::of(a, b)).collect();
        let judgements = judge.compare(&asked)?;
        let rows = chunk
            .iter()
            .zip(judgements)
            .map(|((row_a, row_b), judged)| {
                // Equal texts are a tie whatever a judge's position bias says.
                let equal = row_a.completion == row_b.completion;
                Compared {
                    prompt_id: row_a.prompt_id.clone(),
                    judge: judge.name().to_string(),
                    a: a.name.clone(),
                    b: b.name.clone(),
                    p_win: if equal { Some(0.5) } else { judged.p_a() },
                    length_a: row_a.n_tokens,
                    length_b: row_b.n_tokens,
                }
            });
        verdicts.append(rows.collect())?;
        progress.inc(chunk.len() as u64);
    }
    Ok(())
}

/// What a comparison is worth to the first policy: 1 for a win, 0.5 for a tie, 0 for a loss.
fn points(row: &Comparison) -> f64 {
    match row.p_win.total_cmp(&0.5) {
        Ordering::Greater => 1.0,
        Ordering::Equal => 0.5,
        Ordering::Less => 0.0,
    }
}

/// The win rate that comparisons of one pair of policies by one judge amount to.
pub fn win_rate(rows: &[Comparison]) -> WinRate {
    let wins: Vec<f64> = rows.iter().map(points).collect();
    let lengths = |length: fn(&Comparison) -> usize| {
        rows.iter()
            .map(|row| length(row) as f64)
            .collect::<Vec<_>>()
    };
    let total: f64 = wins.iter().sum();
    let (length_a, length_b) = (lengths(|row| row.length_a), lengths(|row| row.length_b));
    WinRate {
        rate: total / rows.len().max(1) as f64,
        ci: wilson(total, rows.len()),
        n: rows.len(),
        no_verdict: 0,
        length_controlled: length_controlled_win_rate(&wins, &length_a, &length_b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_count_half() {
        let row = |p_win| Comparison {
            prompt_id: "1".into(),
            judge: "j".into(),
            a: "a".into(),
            b: "b".into(),
            p_win,
            length_a: 10,
            length_b: 10,
        };
        let found = win_rate(&[row(0.9), row(0.5), row(0.51), row(0.1)]);
        assert_eq!((found.rate, found.n), (0.625, 4));
        assert!(
            (found.length_controlled - 0.625).abs() < 1e-6,
            "{}",
            found.length_controlled
        );
    }
}
