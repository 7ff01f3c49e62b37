//! What labelers and judges on this machine read for a question, and how fast.

use std::path::Path;

use burn::prelude::*;

use super::seconds;
use crate::config::{Config, LabelerConfig};
use crate::error::Result;
use crate::label::{Candidate, Labeler, Pair, Usage};
use crate::plan::{PlanConfig, QuestionRates};
use crate::record::Prompt;

/// Questions put to a labeler.
const N_QUESTIONS: usize = 64;

/// Labelers and judges of the run, and the policy where it judges itself.
pub(super) fn labelers(config: &Config) -> Vec<LabelerConfig> {
    let mut found = vec![config.labeler.clone()];
    found.extend(config.eval.judges.iter().cloned());
    let judge = config.rl.as_ref().and_then(|rl| rl.self_rewarding.as_ref());
    found.extend(judge.map(|judge| LabelerConfig::Local {
        model: config.policy.model.clone(),
        dtype: config.policy.dtype,
        format: judge.format,
        ask: judge.ask.clone(),
    }));
    found
}

/// Adds what a labeler on this machine reads for a question, and how fast.
pub(super) fn add(
    labeler: &LabelerConfig,
    config: &Config,
    device: &Device,
    questions: (&[Prompt], &[String]),
    found: &mut PlanConfig,
) -> Result<()> {
    let name = match labeler {
        LabelerConfig::Local { model, .. } => model.display().to_string(),
        LabelerConfig::Http(endpoint) => {
            let model = &endpoint.model;
            tracing::warn!("{model}: endpoints are not asked; add the rates of this model");
            return Ok(());
        }
        LabelerConfig::Ensemble { members, .. } => {
            let mut members = members.iter();
            return members
                .try_for_each(|member| add(&member.labeler, config, device, questions, found));
        }
        LabelerConfig::Oracle {} => return Ok(()),
    };
    let rates = found.models.entry(name).or_default();
    if rates.comparison.is_some() {
        return Ok(());
    }
    let truth = config.data.world();
    // Nothing is kept of what a model on this machine answers.
    let mut labeler = labeler.init(device, truth, Path::new(""), config.seed)?;
    let compared = compared(labeler.as_mut(), questions)?;
    rates.comparison = Some(compared);
    let scores = (config.rl.as_ref()).is_some_and(|rl| rl.reward.has_direct());
    if scores {
        rates.score = Some(scored(labeler.as_mut(), questions)?);
    }
    if rates.score_tokens_per_second == 0.0 {
        rates.score_tokens_per_second = compared.tokens_per_second.unwrap_or_default();
    }
    Ok(())
}

/// Comparisons of neighbouring answers.
fn compared(
    labeler: &mut dyn Labeler,
    (prompts, answers): (&[Prompt], &[String]),
) -> Result<QuestionRates> {
    let n = prompts.len().min(N_QUESTIONS);
    let pair = |i: usize| Pair {
        prompt_id: &prompts[i].id,
        prompt: &prompts[i].prompt,
        a: &answers[i % answers.len()],
        b: &answers[(i + 1) % answers.len()],
    };
    let pairs: Vec<Pair> = (0..n).map(pair).collect();
    let mut usage = Usage::default();
    let secs = seconds(|| {
        let judgements = labeler.compare(&pairs)?;
        usage = judgements.iter().map(|judgement| judgement.usage).sum();
        Ok(())
    })?;
    Ok(question(usage, secs))
}

/// Scores of answers.
fn scored(
    labeler: &mut dyn Labeler,
    (prompts, answers): (&[Prompt], &[String]),
) -> Result<QuestionRates> {
    let n = prompts.len().min(N_QUESTIONS);
    let candidate = |i: usize| Candidate {
        prompt_id: &prompts[i].id,
        prompt: &prompts[i].prompt,
        completion: &answers[i % answers.len()],
    };
    let candidates: Vec<Candidate> = (0..n).map(candidate).collect();
    let mut usage = Usage::default();
    let secs = seconds(|| {
        usage = (labeler.score(&candidates)?.iter())
            .map(|scored| scored.usage)
            .sum();
        Ok(())
    })?;
    Ok(question(usage, secs))
}

fn question(usage: Usage, secs: f64) -> QuestionRates {
    let tokens = usage.prompt_tokens as f64;
    QuestionRates {
        tokens: tokens / usage.requests.max(1) as f64,
        tokens_per_second: Some(tokens / secs),
    }
}
