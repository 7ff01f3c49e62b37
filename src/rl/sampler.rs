//! The rollout batches of a run: which prompts, what the policy writes, how probable that is.

use std::time::Instant;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::value::MAX_TOKENS;
use super::{Policy, RlConfig, Rollout, trees};
use crate::config::PolicyConfig;
use crate::error::Result;
use crate::generate::SamplingConfig;
use crate::log_prob::log_probs_of;
use crate::model::CausalLm;
use crate::record::Prompt;
use crate::seed::rng_for;
use crate::tokenizer::Tokenizer;

/// What a rollout batch depends on besides the weights.
#[derive(Clone, Copy)]
pub(super) struct Sampler<'a> {
    pub(super) config: &'a RlConfig,
    pub(super) policy: &'a PolicyConfig,
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) prompts: &'a [Prompt],
    pub(super) seed: u64,
}

/// A rollout batch without rewards.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Drawn {
    pub(super) rollouts: Vec<Rollout>,
    /// Seconds spent sampling.
    pub(super) seconds: f64,
}

impl Sampler<'_> {
    /// The random numbers that the batch of `step` is drawn with.
    pub(super) fn rng(&self, step: usize) -> StdRng {
        rng_for(self.seed, "rl", step as u64)
    }

    /// The batch of `step`, with log-probabilities under `model` and under its reference. Without
    /// one the policy is its own, at no distance.
    pub(super) fn draw<M: CausalLm>(
        &self,
        step: usize,
        model: &M,
        reference: Option<&M>,
        rng: &mut StdRng,
    ) -> Result<Drawn> {
        let started = Instant::now();
        let (n, sampling) = (self.config.num_generations, &self.config.sampling);
        let mut rollouts = self.sample(model, &self.prompts_of(step), n, sampling, rng)?;
        let seconds = started.elapsed().as_secs_f64();
        // By the forward pass that training uses. The sampler's own are of texts that are padded
        // otherwise: near, but no ratio of them is exactly 1.
        let (trees, temperature) = (trees(&rollouts), sampling.temperature);
        let old = log_probs_of(model, &trees, temperature, MAX_TOKENS)?;
        let references = match reference {
            Some(reference) => log_probs_of(reference, &trees, temperature, MAX_TOKENS)?,
            None => old.clone(),
        };
        for (rollout, (old, reference)) in rollouts.iter_mut().zip(old.into_iter().zip(references))
        {
            rollout.old_log_probs = old;
            rollout.ref_log_probs = reference;
        }
        Ok(Drawn { rollouts, seconds })
    }

    /// Draws `n` completions of each prompt.
    pub(super) fn sample<M: CausalLm>(
        &self,
        model: &M,
        prompts: &[Prompt],
        n: usize,
        sampling: &SamplingConfig,
        rng: &mut StdRng,
    ) -> Result<Vec<Rollout>> {
        let policy = Policy {
            model,
            tokenizer: self.tokenizer,
            config: self.policy,
        };
        policy.sample(prompts, n, sampling, rng)
    }

    /// The prompts of a step: a walk through a permutation of all, a new one for each pass.
    fn prompts_of(&self, step: usize) -> Vec<Prompt> {
        let per_step = self.config.batch_size / self.config.num_generations;
        let total = self.prompts.len();
        let mut order: Vec<usize> = Vec::new();
        let mut pass = None;
        let pick = |i: usize| {
            if pass != Some(i / total) {
                pass = Some(i / total);
                order = (0..total).collect();
                order.shuffle(&mut rng_for(self.seed, "rl-order", (i / total) as u64));
            }
            self.prompts[order[i % total]].clone()
        };
        (step * per_step..(step + 1) * per_step).map(pick).collect()
    }
}
