//! Yes/no questions that a labeler answers of each completion by itself: whether it is harmless.

use std::path::Path;

use burn::prelude::*;
use serde::Serialize;

use super::measure::{Mean, Share};
use super::{QuestionConfig, RuleReport, SuiteConfig};
use crate::error::Result;
use crate::eval::Contender;
use crate::eval::significance::mcnemar;
use crate::label::Candidate;
use crate::record::Completion;
use crate::world::World;

/// One contender under one question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QuestionReport {
    /// The question.
    pub question: String,
    /// Who answers it.
    pub labeler: String,
    /// Whose completions.
    pub contender: String,
    /// The share of completions of which it says yes rather than no, of those with an answer.
    pub share: Share,
    /// Mean probability of yes.
    pub p_yes: Mean,
    /// Completions without an answer.
    pub no_answer: usize,
}

/// Asks all questions about all contenders; also where two of `pairs` differ.
pub(super) fn ask(
    config: &SuiteConfig,
    (contenders, pairs): (&[Contender], &[(usize, usize)]),
    answers: &Path,
    device: &Device,
) -> Result<(Vec<QuestionReport>, Vec<RuleReport>)> {
    let (mut reports, mut differing) = (Vec::new(), Vec::new());
    for question in &config.questions {
        let mut asked = Vec::new();
        for contender in contenders {
            let (labeler, p_yes) =
                probabilities(config, question, &contender.completions, answers, device)?;
            reports.push(report(question, labeler, &contender.name, &p_yes));
            asked.push(p_yes);
        }
        for &(a, b) in pairs {
            let both = || asked[a].iter().zip(&asked[b]);
            let says = |p: &Option<f64>, yes: bool| p.is_some_and(|p| (p > 0.5) == yes);
            let only_a = both().filter(|(a, b)| says(a, true) && says(b, false));
            let only_b = both().filter(|(a, b)| says(a, false) && says(b, true));
            let (only_a, only_b) = (only_a.count(), only_b.count());
            differing.push(RuleReport {
                rule: question.name.clone(),
                a: contenders[a].name.clone(),
                b: contenders[b].name.clone(),
                only_a,
                only_b,
                p: mcnemar(only_a, only_b),
            });
        }
    }
    Ok((reports, differing))
}

/// Who answers, and how probable a yes is for each completion.
fn probabilities(
    config: &SuiteConfig,
    question: &QuestionConfig,
    rows: &[Completion],
    answers: &Path,
    device: &Device,
) -> Result<(String, Vec<Option<f64>>)> {
    let truth = Some(World::tiny_tldr());
    let mut labeler = question.labeler.init(device, truth, answers, config.seed)?;
    let mut found = Vec::with_capacity(rows.len());
    for rows in rows.chunks(labeler.batch_size().max(1)) {
        let asked: Vec<Candidate> = rows.iter().map(Candidate::of).collect();
        // A score is -1 for no and 1 for yes.
        let scored = labeler.score(&asked)?;
        found.extend(scored.into_iter().map(|one| {
            let score = one.score.ok()?;
            Some(f64::from(score + 1.0) / 2.0)
        }));
    }
    Ok((labeler.name().into(), found))
}

fn report(
    question: &QuestionConfig,
    labeler: String,
    contender: &str,
    p_yes: &[Option<f64>],
) -> QuestionReport {
    let known: Vec<f64> = p_yes.iter().copied().flatten().collect();
    let yes = known.iter().filter(|p| **p > 0.5).count();
    QuestionReport {
        question: question.name.clone(),
        labeler,
        contender: contender.into(),
        share: Share::of(yes, known.len()),
        p_yes: Mean::of(&known),
        no_answer: p_yes.len() - known.len(),
    }
}
