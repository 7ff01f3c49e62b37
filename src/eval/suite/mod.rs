//! `rlaif eval --suite`: any models or files of completions against each other, before labelers,
//! reward models and people, with what the texts are like by themselves.
//!
//! Start at [`evaluate`]. Lengths are in characters, as in the paper and in AlpacaEval: a file of
//! completions tells no tokens.

mod concord;
mod config;
mod contender;
mod judge;
mod measure;
mod pairing;
mod question;

use std::collections::BTreeMap;
use std::path::Path;

use burn::prelude::*;
use serde::Serialize;

pub use concord::{JudgeAgreement, OrderAgreement};
pub use config::{ClassConfig, ContenderConfig, Passes, QuestionConfig, RuleConfig, SuiteConfig};
pub use judge::RewardJudge;
pub use measure::{Mean, Measures, Share};
pub use pairing::PairReport;
pub use question::QuestionReport;

use super::Contender;
use super::best_of::kl_bound;
use super::reward_bench::{RewardBench, reward_bench};
use super::significance::mcnemar;
use crate::error::Result;
use crate::label::Labeler;
use crate::record::{
    Annotation, Classified, Comparison, Completion, read_classes, read_subset_verdicts,
    read_verdicts,
};
use crate::seed::rng_for;
use crate::world::World;
use measure::Rule;

/// `eval.json` of a suite.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SuiteReport {
    /// What each contender's completions are like.
    pub contenders: BTreeMap<String, Measures>,
    /// Every pair before every judge.
    pub pairs: Vec<PairReport>,
    /// Every two judges of the same pair.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub agreements: Vec<JudgeAgreement>,
    /// Every judge that was asked in both orders, against itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<OrderAgreement>,
    /// What labelers say of each completion by itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<QuestionReport>,
    /// Rules and questions on which two contenders differ.
    pub rules: Vec<RuleReport>,
    /// The share of rows in the classes that were asked for.
    pub classes: Vec<ClassReport>,
    /// RewardBench's scores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward_bench: Option<RewardBench>,
}

/// Two contenders under one rule or question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RuleReport {
    /// The rule or question.
    pub rule: String,
    /// The first contender.
    pub a: String,
    /// The second.
    pub b: String,
    /// Prompts that only `a` passes on.
    pub only_a: usize,
    /// Prompts that only `b` passes on.
    pub only_b: usize,
    /// McNemar's exact test.
    pub p: f64,
}

/// A share of classes, such as the harmless rate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassReport {
    /// Its name.
    pub name: String,
    /// Of all rows.
    pub share: Share,
    /// Of the rows of each group.
    pub groups: BTreeMap<String, Share>,
}

/// What an evaluation found, and the rows behind it.
#[derive(Debug, Default)]
pub struct Evaluated {
    /// The numbers.
    pub report: SuiteReport,
    /// Completions that were compared.
    pub contenders: Vec<Contender>,
    /// Verdicts that were made now.
    pub comparisons: Vec<Comparison>,
}

/// Does everything that the file asks for; `answers` is the file that keeps what endpoints answer.
///
/// # Errors
/// A file or a model cannot be read, contenders did not answer the same prompts, or a judge fails.
pub fn evaluate(config: &SuiteConfig, answers: &Path) -> Result<Evaluated> {
    let device = config.backend.device()?;
    let mut found = Evaluated {
        contenders: contender::gather(config, answers, &device)?,
        ..Evaluated::default()
    };
    measure_all(config, &mut found, &device)?;
    let pairs = pairs(config);
    let asked = (found.contenders.as_slice(), pairs.as_slice());
    let (questions, differing) = question::ask(config, asked, answers, &device)?;
    found.report.questions = questions;
    found.report.rules.extend(differing);
    let mut silent = compare_all(config, &mut found, answers, &device)?;
    let mut rows = found.comparisons.clone();
    for path in &config.verdicts {
        let (verdicts, missing) = read_verdicts(path)?;
        if let Some(row) = verdicts.first() {
            *silent.entry(key(row)).or_default() += missing;
        }
        rows.extend(verdicts);
    }
    found.report.agreements = concord::agreements(&rows);
    found.report.orders = concord::order_agreements(&rows);
    found.report.pairs = pair_reports(config, rows, &silent);
    found.report.classes = class_reports(config)?;
    if let Some(path) = &config.reward_bench {
        let rows = read_subset_verdicts(path)?;
        let points = rows.iter().map(|row| (row.subset.as_str(), row.points));
        found.report.reward_bench = Some(reward_bench(points));
    }
    Ok(found)
}

/// Judge and contenders.
type Key = [String; 3];

fn key(row: &Comparison) -> Key {
    [row.judge.clone(), row.a.clone(), row.b.clone()]
}

fn measure_all(config: &SuiteConfig, found: &mut Evaluated, device: &Device) -> Result<()> {
    let rule = |(i, rule): (usize, &RuleConfig)| Ok((rule.name.clone(), Rule::new(rule, i)?));
    let rules: Vec<(String, Rule)> = config
        .rules
        .iter()
        .enumerate()
        .map(rule)
        .collect::<Result<_>>()?;
    let references = config
        .references
        .as_deref()
        .map(measure::references)
        .transpose()?;
    for (who, contender) in config.contenders.iter().zip(&found.contenders) {
        let rows = &contender.completions;
        let mut measures = measure::of_texts(contender, &rules)?;
        if let Some(references) = &references {
            measures.rouge = Some(measure::rouge(rows, references, config.rouge_stemming)?);
        }
        if let Some(dir) = &config.perplexity_model {
            measures.perplexity = Some(measure::perplexity(config, dir, rows, device)?);
        }
        match (&who.best_of, &who.model, &config.kl_reference) {
            (Some(best_of), ..) => measures.kl_bound = Some(kl_bound(best_of.n)),
            (None, Some(model), Some(reference)) => {
                measures.kl = Some(measure::kl(config, [model, reference], rows, device)?);
            }
            _ => {}
        }
        found.report.contenders.insert(who.name.clone(), measures);
    }
    let mut differing = Vec::new();
    for (a, b) in pairs(config) {
        let name = |i: usize| config.contenders[i].name.clone();
        let passed = |i: usize| &found.report.contenders[&name(i)].passed;
        for (i, (rule, _)) in rules.iter().enumerate() {
            let both = || passed(a)[i].iter().zip(&passed(b)[i]);
            let only_a = both().filter(|&(&a, &b)| a && !b).count();
            let only_b = both().filter(|&(&a, &b)| b && !a).count();
            differing.push(RuleReport {
                rule: rule.clone(),
                a: name(a),
                b: name(b),
                only_a,
                only_b,
                p: mcnemar(only_a, only_b),
            });
        }
    }
    found.report.rules = differing;
    Ok(())
}

/// Which contenders meet: each with the baseline, or all.
fn pairs(config: &SuiteConfig) -> Vec<(usize, usize)> {
    let n = config.contenders.len();
    let baseline = config.baseline.as_ref();
    let place = |name: &String| config.contenders.iter().position(|who| who.name == *name);
    match baseline.and_then(place) {
        Some(b) => (0..n).filter(|&a| a != b).map(|a| (a, b)).collect(),
        None => (0..n)
            .flat_map(|a| (a + 1..n).map(move |b| (a, b)))
            .collect(),
    }
}

/// Asks all judges; returns how many pairs each gave no verdict on.
fn compare_all(
    config: &SuiteConfig,
    found: &mut Evaluated,
    answers: &Path,
    device: &Device,
) -> Result<BTreeMap<Key, usize>> {
    let pairs = pairs(config);
    let mut judges: Vec<Box<dyn Labeler>> = Vec::new();
    for judge in &config.judges {
        let truth = Some(World::tiny_tldr());
        judges.push(judge.init(device, truth, answers, config.seed)?);
    }
    for dir in &config.reward_models {
        let judge = RewardJudge::load(dir, config.policy(dir.clone()), device)?;
        for contender in &found.contenders {
            let rewards = judge.rewards(&contender.completions)?;
            let rewards: Vec<f64> = rewards.into_iter().map(f64::from).collect();
            if let Some(measures) = found.report.contenders.get_mut(&contender.name) {
                let name = judge.name().to_string();
                measures.rewards.push((name, Mean::of(&rewards)));
            }
        }
        judges.push(Box::new(judge));
    }
    let (comparisons, report) = super::run(&found.contenders, &pairs, &mut judges, None)?;
    let mut silent = BTreeMap::new();
    for (judge, rates) in &report.win_rate {
        for &(a, b) in &pairs {
            let [a, b] = [a, b].map(|i| found.contenders[i].name.clone());
            let n = rates
                .get(&format!("{a}_vs_{b}"))
                .map_or(0, |rate| rate.no_verdict);
            silent.insert([judge.clone(), a, b], n);
        }
    }
    found.comparisons = comparisons;
    let texts = texts(&found.contenders);
    for row in &mut found.comparisons {
        let length = |name: &str| {
            let text = texts.get(&(name, row.prompt_id.as_str()));
            text.map_or(0, |text| text.completion.chars().count())
        };
        (row.length_a, row.length_b) = (length(&row.a), length(&row.b));
    }
    Ok(silent)
}

/// Each completion by its contender and prompt.
fn texts(contenders: &[Contender]) -> BTreeMap<(&str, &str), &Completion> {
    let rows = contenders
        .iter()
        .flat_map(|who| who.completions.iter().map(move |row| (who, row)));
    rows.map(|(who, row)| ((who.name.as_str(), row.prompt_id.as_str()), row))
        .collect()
}

fn pair_reports(
    config: &SuiteConfig,
    rows: Vec<Comparison>,
    silent: &BTreeMap<Key, usize>,
) -> Vec<PairReport> {
    let mut by_key: BTreeMap<Key, Vec<Comparison>> = BTreeMap::new();
    for row in rows {
        by_key.entry(key(&row)).or_default().push(row);
    }
    let report = |(i, (key, rows)): (usize, (&Key, &Vec<Comparison>))| {
        let mut rng = rng_for(config.seed, "bootstrap", i as u64);
        PairReport::of(rows, silent.get(key).copied().unwrap_or(0), &mut rng)
    };
    let mut reports: Vec<PairReport> = by_key.iter().enumerate().filter_map(report).collect();
    pairing::correct(&mut reports);
    reports
}

fn class_reports(config: &SuiteConfig) -> Result<Vec<ClassReport>> {
    let report = |class: &ClassConfig| {
        let mut rows = read_classes(&class.file, &class.column, class.group_by.as_deref())?;
        if let Some(only) = class.only.as_deref() {
            rows.retain(|row| {
                row.group
                    .as_ref()
                    .is_some_and(|group| group.starts_with(only))
            });
        }
        let share = |rows: &[&Classified]| {
            let accepted = rows.iter().filter(|row| class.accept.contains(&row.class));
            Share::of(accepted.count(), rows.len())
        };
        let mut groups: BTreeMap<String, Vec<&Classified>> = BTreeMap::new();
        for row in &rows {
            if let Some(group) = &row.group {
                groups.entry(group.clone()).or_default().push(row);
            }
        }
        let shares = groups
            .into_iter()
            .map(|(group, rows)| (group, share(&rows)));
        Ok(ClassReport {
            name: class.name.clone(),
            share: share(&rows.iter().collect::<Vec<_>>()),
            groups: shares.collect(),
        })
    };
    config.classes.iter().map(report).collect()
}

impl Evaluated {
    /// The verdicts made now in AlpacaEval's form; `a` is the model there, `b` the baseline.
    pub fn annotations(&self) -> Vec<Annotation> {
        let texts = texts(&self.contenders);
        let annotation = |row: &Comparison| {
            let [a, b] =
                [&row.a, &row.b].map(|name| texts.get(&(name.as_str(), row.prompt_id.as_str())));
            let (a, b) = (a?, b?);
            Some(Annotation {
                instruction: a.prompt.transcript().into_owned(),
                output_1: b.completion.clone(),
                generator_1: row.b.clone(),
                output_2: a.completion.clone(),
                generator_2: row.a.clone(),
                annotator: row.judge.clone(),
                preference: Some(1.0 + f64::from(row.p_win)),
            })
        };
        self.comparisons.iter().filter_map(annotation).collect()
    }
}
