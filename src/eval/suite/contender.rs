//! The completions of each contender, on the same prompts in the same order.

use std::collections::HashMap;
use std::path::Path;

use burn::prelude::*;

use super::{ContenderConfig, SuiteConfig};
use crate::error::{Error, Result};
use crate::eval::Contender;
use crate::eval::best_of::{self, BestOfConfig};
use crate::model;
use crate::record::{Completion, Output, PairOptions, Prompt, read_outputs, read_prompts};
use crate::reward::{ModelReward, Reward};
use crate::rl::Policy;
use crate::sample::sample;
use crate::seed::rng_for;
use crate::tokenizer::Tokenizer;
use crate::world::World;

/// Reads or draws the completions of all contenders, in the order of the first one's prompts.
///
/// # Errors
/// A file or a model cannot be read, or contenders did not answer the same prompts.
pub(super) fn gather(
    config: &SuiteConfig,
    answers: &Path,
    device: &Device,
) -> Result<Vec<Contender>> {
    let mut found: Vec<Contender> = Vec::with_capacity(config.contenders.len());
    for who in &config.contenders {
        let mut completions = match (&who.completions, &who.model) {
            (Some(file), _) => of_file(file)?,
            (None, Some(dir)) => match &who.best_of {
                None => of_model(config, dir, 1, device)?,
                Some(best_of) => best(config, (dir, best_of), answers, device)?,
            },
            (None, None) => Vec::new(),
        };
        if let Some(first) = found.first() {
            completions = aligned(completions, &first.completions, who)?;
        }
        found.push(Contender {
            name: who.name.clone(),
            completions,
        });
    }
    Ok(found)
}

/// What a file does not tell is 0.
fn of_file(path: &Path) -> Result<Vec<Completion>> {
    let completion = |row: Output| Completion {
        prompt_id: row.prompt_id,
        prompt: row.prompt,
        index: 0,
        n_tokens: 0,
        completion: row.completion,
        log_prob: 0.0,
        finished: true,
    };
    Ok(read_outputs(path)?.into_iter().map(completion).collect())
}

/// The best of several completions of a model.
fn best(
    config: &SuiteConfig,
    (dir, best_of): (&Path, &BestOfConfig),
    answers: &Path,
    device: &Device,
) -> Result<Vec<Completion>> {
    let drawn = of_model(config, dir, best_of.n, device)?;
    let absent = |name: &str| Error::field(name, "absent", "what the reward of best_of asks for");
    let model = || -> Result<Box<dyn Reward>> {
        let dir = best_of.reward_model.as_deref();
        let dir = dir.ok_or_else(|| absent("reward_model"))?;
        let (model, tokenizer) = (
            model::load_head(dir, device)?.valid(),
            Tokenizer::load(dir)?,
        );
        let policy = config.policy(dir.into());
        Ok(Box::new(ModelReward::new(model, tokenizer, policy)))
    };
    let labeler = || {
        let labeler = best_of.labeler.as_ref();
        let labeler = labeler.ok_or_else(|| absent("labeler"))?;
        labeler.init(device, Some(World::tiny_tldr()), answers, config.seed)
    };
    let mut reward = (best_of.reward).init(&Tokenizer::load(dir)?, model, labeler)?;
    best_of::best_of(&drawn, best_of.n, &mut reward)
}

/// `n` completions of each prompt, side by side.
fn of_model(
    config: &SuiteConfig,
    dir: &Path,
    n: usize,
    device: &Device,
) -> Result<Vec<Completion>> {
    let prompts = match &config.prompts {
        Some(path) => read_prompts(path, &PairOptions::default())?,
        None => Vec::<Prompt>::new(),
    };
    let tokenizer = Tokenizer::load(dir)?;
    let (model, policy) = (model::load(dir, device)?.valid(), config.policy(dir.into()));
    let policy = Policy {
        model: &model,
        tokenizer: &tokenizer,
        config: &policy,
    };
    let mut rng = rng_for(config.seed, "eval", 0);
    let mut completions = Vec::new();
    sample(
        &policy,
        &prompts,
        n,
        &config.sampling,
        &mut rng,
        &mut completions,
    )?;
    Ok(completions)
}

/// The completions in the order of `first`'s prompts.
fn aligned(
    rows: Vec<Completion>,
    first: &[Completion],
    who: &ContenderConfig,
) -> Result<Vec<Completion>> {
    let n = rows.len();
    let mut by_id: HashMap<String, Completion> = HashMap::new();
    for row in rows {
        by_id.insert(row.prompt_id.clone(), row);
    }
    let differs = |what: String| Error::Usage(format!("contender `{}` {what}", who.name));
    let found: Vec<Completion> = first
        .iter()
        .map(|row| {
            let own = by_id.remove(&row.prompt_id);
            own.ok_or_else(|| differs(format!("has no completion of prompt `{}`", row.prompt_id)))
        })
        .collect::<Result<_>>()?;
    match n - found.len() {
        0 => Ok(found),
        more => Err(differs(format!(
            "has {more} completions of other prompts, or several of one"
        ))),
    }
}
