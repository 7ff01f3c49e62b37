//! What the policy writes during training, with all that an update needs to know about it.

use rand::RngExt;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use super::loss::KlEstimator;
use crate::batch::Tree;
use crate::config::PolicyConfig;
use crate::error::Result;
use crate::generate::{SamplingConfig, generate_seeded};
use crate::model::CausalLm;
use crate::record::{Completion, Prompt};
use crate::tokenizer::Tokenizer;

/// One sampled completion, as text and as tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// The text and where it comes from.
    pub completion: Completion,
    /// Tokens of the prompt as the policy read it.
    pub prompt_tokens: Vec<u32>,
    /// Tokens of the completion, the end-of-text token included.
    pub tokens: Vec<u32>,
    /// Log-probability of each token when it was sampled, in nats.
    pub log_probs: Vec<f32>,
    /// The same by the forward pass that training uses, without gradients: what ratios are ratios
    /// to; empty until it is computed.
    pub old_log_probs: Vec<f32>,
    /// Log-probability of each token under the reference policy, in nats; empty until it is
    /// computed.
    pub ref_log_probs: Vec<f32>,
    /// Worth of the whole completion, before the KL penalty.
    pub reward: f32,
}

impl Rollout {
    /// Estimate of `KL(pi || pi_ref)` at each token, in nats.
    pub fn kl(&self, estimator: KlEstimator) -> impl Iterator<Item = f32> {
        self.old_log_probs
            .iter()
            .zip(&self.ref_log_probs)
            .map(move |(log_prob, reference)| estimator.estimate(log_prob - reference))
    }

    /// Reward of each token: `-kl_coef` times its KL estimate, plus `score` at the last.
    pub fn token_rewards(&self, score: f32, kl_coef: f32, estimator: KlEstimator) -> Vec<f32> {
        let mut rewards: Vec<f32> = self.kl(estimator).map(|kl| -kl_coef * kl).collect();
        if let Some(last) = rewards.last_mut() {
            *last += score;
        }
        rewards
    }
}

/// The policy's log-probabilities when the update began, a row per rollout.
pub(super) fn old_log_probs(rollouts: &[Rollout]) -> Vec<Vec<f32>> {
    let row = |rollout: &Rollout| rollout.old_log_probs.clone();
    rollouts.iter().map(row).collect()
}

/// Completions as trees for [`Batch::new`](crate::batch::Batch::new): consecutive completions of
/// one prompt share its encoding. The order of completions stays.
pub fn trees(rollouts: &[Rollout]) -> Vec<Tree> {
    let tree = |group: &[Rollout]| Tree {
        prompt: group[0].prompt_tokens.clone(),
        completions: group.iter().map(|rollout| rollout.tokens.clone()).collect(),
    };
    rollouts.chunk_by(same_prompt).map(tree).collect()
}

/// Whether two rollouts have one prompt.
pub(super) fn same_prompt(a: &Rollout, b: &Rollout) -> bool {
    a.completion.prompt_id == b.completion.prompt_id && a.prompt_tokens == b.prompt_tokens
}

/// A model that writes text: the weights with their tokenizer and prompt template.
#[derive(Debug, Clone, Copy)]
pub struct Policy<'a, M> {
    /// Weights, without gradients.
    pub model: &'a M,
    /// Text to tokens and back.
    pub tokenizer: &'a Tokenizer,
    /// What it reads for a prompt.
    pub config: &'a PolicyConfig,
}

impl<M: CausalLm> Policy<'_, M> {
    /// Draws `n` completions of each prompt, in prompt order.
    ///
    /// # Errors
    /// As [`generate_seeded`], and when a text cannot be encoded or decoded.
    pub fn sample(
        &self,
        prompts: &[Prompt],
        n: usize,
        sampling: &SamplingConfig,
        rng: &mut StdRng,
    ) -> Result<Vec<Rollout>> {
        let seeds: Vec<u64> = (0..prompts.len() * n).map(|_| rng.random()).collect();
        self.sample_seeded(prompts, &seeds, sampling)
    }

    /// [`Policy::sample`] with a seed for each completion, of which every prompt has an equal
    /// number: those of the first prompt come first.
    ///
    /// # Errors
    /// As [`Policy::sample`].
    pub fn sample_seeded(
        &self,
        prompts: &[Prompt],
        seeds: &[u64],
        sampling: &SamplingConfig,
    ) -> Result<Vec<Rollout>> {
        let n = seeds.len() / prompts.len().max(1);
        let encode = |prompt: &Prompt| self.config.encode_prompt(self.tokenizer, &prompt.prompt);
        let encoded: Vec<Vec<u32>> = prompts.iter().map(encode).collect::<Result<_>>()?;
        let eos = self.tokenizer.eos();
        let samples = generate_seeded(self.model, &encoded, seeds, eos, sampling)?;
        let mut rollouts = Vec::with_capacity(samples.len());
        for (i, sample) in samples.into_iter().enumerate() {
            let prompt = &prompts[i / n];
            let completion = Completion {
                prompt_id: prompt.id.clone(),
                prompt: prompt.prompt.clone(),
                index: i % n,
                completion: self.tokenizer.decode(&sample.tokens)?.trim().to_string(),
                n_tokens: sample.tokens.len(),
                log_prob: sample.log_probs.iter().sum(),
                finished: sample.finished,
            };
            rollouts.push(Rollout {
                completion,
                prompt_tokens: encoded[i / n].clone(),
                tokens: sample.tokens,
                log_probs: sample.log_probs,
                old_log_probs: Vec::new(),
                ref_log_probs: Vec::new(),
                reward: 0.0,
            });
        }
        Ok(rollouts)
    }
}
