//! What a contender's completions are like, without comparing them.

use std::collections::HashMap;
use std::path::Path;

use burn::prelude::*;
use fancy_regex::Regex;
use serde::Serialize;

use super::{Passes, RuleConfig, SuiteConfig};
use crate::config::PolicyConfig;
use crate::error::{Error, Result};
use crate::eval::Contender;
use crate::eval::diversity::Diversity;
use crate::eval::rouge::{Rouge, Stemming, best_rouge};
use crate::eval::stats::{Interval, mean_interval, wilson};
use crate::model;
use crate::record::{Completion, Demonstration, read_outputs};
use crate::score;
use crate::tokenizer::Tokenizer;

/// A mean over prompts with its 95% interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// Normal approximation.
    pub ci: Interval,
}

/// A share of rows with its 95% Wilson interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Share {
    /// The share.
    pub rate: f64,
    /// Its interval.
    pub ci: Interval,
    /// Rows.
    pub n: usize,
}

/// Measures of one contender.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Measures {
    /// Characters per completion.
    pub mean_length: f64,
    /// Share of completions without a letter or digit.
    pub empty: f64,
    /// distinct-1 and distinct-2 over all completions; see [`Diversity`].
    pub distinct: [Option<f64>; 2],
    /// Share of a completion's 4-grams that it had before.
    pub repetition: Option<f64>,
    /// ROUGE-1, -2, -L and -Lsum F1 against the references, mean over prompts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rouge: Option<[Mean; 4]>,
    /// `exp` of the mean negative log-probability of a token under `perplexity_model`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub perplexity: Option<f64>,
    /// Mean over completions of `log pi(y) - log pi_ref(y)`, summed over tokens, in nats at
    /// temperature 1: the k1 estimate of the KL divergence from `kl_reference`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kl: Option<Mean>,
    /// Of best-of-n, an upper bound of its KL divergence from the model that it draws from, in nats:
    /// `log n - (n - 1) / n`. The log-probabilities of chosen completions say nothing of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kl_bound: Option<f64>,
    /// Share that passes each rule.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<(String, Share)>,
    /// Mean reward by each reward model.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rewards: Vec<(String, Mean)>,
    /// Whether each completion passes each rule.
    #[serde(skip)]
    pub passed: Vec<Vec<bool>>,
}

impl Mean {
    /// Of one value per prompt.
    pub fn of(values: &[f64]) -> Self {
        let (mean, ci) = mean_interval(values);
        Self { mean, ci }
    }
}

impl Share {
    /// Of `k` rows out of `n`.
    pub fn of(k: usize, n: usize) -> Self {
        Self {
            rate: k as f64 / n as f64,
            ci: wilson(k as f64, n),
            n,
        }
    }
}

/// Whatever the texts alone tell.
pub(super) fn of_texts(contender: &Contender, rules: &[(String, Rule)]) -> Result<Measures> {
    let rows = &contender.completions;
    let n = rows.len().max(1) as f64;
    let mut diversity = Diversity::default();
    rows.iter().for_each(|row| diversity.add(&row.completion));
    let empty = rows
        .iter()
        .filter(|row| !row.completion.contains(char::is_alphanumeric));
    let length: usize = rows.iter().map(|row| row.completion.chars().count()).sum();
    let mut found = Measures {
        mean_length: length as f64 / n,
        empty: empty.count() as f64 / n,
        distinct: diversity.distinct(),
        repetition: diversity.repetition(),
        ..Measures::default()
    };
    for (name, rule) in rules {
        let passed = rows.iter().map(|row| rule.passes(&row.completion));
        let passed: Vec<bool> = passed.collect::<Result<_>>()?;
        let k = passed.iter().filter(|&&passed| passed).count();
        found.rules.push((name.clone(), Share::of(k, rows.len())));
        found.passed.push(passed);
    }
    Ok(found)
}

/// A [`RuleConfig`], ready to be used.
pub(super) struct Rule {
    regex: Regex,
    passes: Passes,
}

impl Rule {
    pub(super) fn new(config: &RuleConfig, i: usize) -> Result<Self> {
        let malformed = |e| {
            let expected = format!("a regular expression: {e}");
            Error::field(format!("rules[{i}].regex"), &config.regex, expected)
        };
        Ok(Self {
            regex: Regex::new(&config.regex).map_err(malformed)?,
            passes: config.passes,
        })
    }

    fn passes(&self, text: &str) -> Result<bool> {
        let found = self.regex.is_match(text);
        let gave_up = |e| Error::Usage(format!("the expression `{}`: {e}", self.regex));
        Ok(found.map_err(gave_up)? == (self.passes == Passes::Found))
    }
}

/// Texts that completions are held against, by the prompt's id.
pub(super) fn references(path: &Path) -> Result<HashMap<String, Vec<String>>> {
    let mut found: HashMap<String, Vec<String>> = HashMap::new();
    for row in read_outputs(path)? {
        found.entry(row.prompt_id).or_default().push(row.completion);
    }
    Ok(found)
}

/// ROUGE-1, -2, -L and -Lsum, mean F1 over the prompts.
pub(super) fn rouge(
    rows: &[Completion],
    references: &HashMap<String, Vec<String>>,
    stemming: Stemming,
) -> Result<[Mean; 4]> {
    let score = |row: &Completion| {
        let found = references.get(&row.prompt_id);
        let best = |references: &Vec<String>| best_rouge(&row.completion, references, stemming);
        let scored = found.and_then(best);
        scored.ok_or_else(|| Error::Usage(format!("no reference for prompt `{}`", row.prompt_id)))
    };
    let scores: Vec<Rouge> = rows.iter().map(score).collect::<Result<_>>()?;
    let mean = |f1: fn(&Rouge) -> f64| Mean::of(&scores.iter().map(f1).collect::<Vec<_>>());
    Ok([
        mean(|score| score.rouge1.f1),
        mean(|score| score.rouge2.f1),
        mean(|score| score.rouge_l.f1),
        mean(|score| score.rouge_l_sum.f1),
    ])
}

/// Sum of the log-probabilities of each completion's tokens, and how many these are.
fn log_probs(
    dir: &Path,
    policy: &PolicyConfig,
    rows: &[Completion],
    device: &Device,
) -> Result<Vec<(f64, usize)>> {
    let (model, tokenizer) = (model::load(dir, device)?.valid(), Tokenizer::load(dir)?);
    let row = |row: &Completion| {
        let completion = row.completion.as_str();
        Demonstration::new(row.prompt_id.clone(), row.prompt.clone(), completion)
    };
    let rows: Vec<Demonstration> = rows.iter().map(row).collect();
    let scored = score::log_probs((&model, &tokenizer), policy, &rows)?;
    let sum = |row: &[f32]| (row.iter().map(|&x| f64::from(x)).sum(), row.len());
    Ok(scored.iter().map(|row| sum(&row.token_log_probs)).collect())
}

/// Perplexity of the completions under a model, over all their tokens.
pub(super) fn perplexity(
    config: &SuiteConfig,
    dir: &Path,
    rows: &[Completion],
    device: &Device,
) -> Result<f64> {
    let found = log_probs(dir, &config.policy(dir.into()), rows, device)?;
    let n: usize = found.iter().map(|(_, n)| n).sum();
    let sum: f64 = found.iter().map(|(sum, _)| sum).sum();
    Ok((-sum / n.max(1) as f64).exp())
}

/// The divergence of a model from `reference` on the completions that it wrote.
pub(super) fn kl(
    config: &SuiteConfig,
    [model, reference]: [&Path; 2],
    rows: &[Completion],
    device: &Device,
) -> Result<Mean> {
    let own = log_probs(model, &config.policy(model.into()), rows, device)?;
    let other = log_probs(reference, &config.policy(reference.into()), rows, device)?;
    let ratios = own.iter().zip(&other).map(|(own, other)| own.0 - other.0);
    Ok(Mean::of(&ratios.collect::<Vec<_>>()))
}
