//! The loop of policy optimisation: sample, score, update.

use std::time::Instant;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::value::MAX_TOKENS;
use super::{Algorithm, Policy, RlConfig, Rollout, trees};
use crate::config::PolicyConfig;
use crate::error::{Error, Result};
use crate::log_prob::log_probs_of;
use crate::model::CausalLm;
use crate::progress::Progress;
use crate::record::{Completion, Prompt};
use crate::reward::Reward;
use crate::run::MetricsLog;
use crate::seed::rng_for;
use crate::tokenizer::Tokenizer;

/// Rollouts of every `steps / LOGGED_TIMES` steps are kept for the run folder, a few of them.
const LOGGED_TIMES: usize = 20;
const LOGGED_ROLLOUTS: usize = 4;

/// What a policy optimisation works with, besides the policy itself.
pub struct RlRun<'a> {
    /// Settings.
    pub config: &'a RlConfig,
    /// What the policy reads for a prompt.
    pub policy: &'a PolicyConfig,
    /// Text to tokens and back.
    pub tokenizer: &'a Tokenizer,
    /// Prompts to draw from.
    pub prompts: &'a [Prompt],
    /// Worth of a completion.
    pub reward: &'a mut dyn Reward,
    /// Where metrics go.
    pub metrics: &'a mut MetricsLog,
}

/// What came of a policy optimisation.
pub struct Trained<M> {
    /// The policy, without gradients.
    pub model: M,
    /// A few completions of some steps, with the step in `index`.
    pub rollouts: Vec<Completion>,
    /// Tokens sampled.
    pub n_tokens: usize,
    /// Seconds spent sampling.
    pub generate_secs: f64,
}

/// Optimises `initial` with `algorithm`; `initial` itself is the reference of the KL penalty.
///
/// # Errors
/// A prompt does not fit the model, the reward or the device fails, or a statistic is not a number.
pub fn train<M: CausalLm>(
    run: &mut RlRun,
    initial: M,
    algorithm: &mut dyn Algorithm<M>,
    seed: u64,
) -> Result<Trained<M>> {
    let reference = initial.clone().valid();
    let mut policy = run.config.optim.init(initial, run.policy_steps());
    let mut progress = Progress::new("rl", run.config.steps as u64, "steps");
    let (mut rollouts_kept, mut n_tokens, mut generate_secs) = (Vec::new(), 0, 0.0);
    for step in 0..run.config.steps {
        let started = Instant::now();
        // All randomness of a step comes from the seed and its number.
        let mut rng = rng_for(seed, "rl", step as u64);
        let mut rollouts = run.collect(&policy.model.valid(), &reference, step, seed, &mut rng)?;
        let seconds = started.elapsed().as_secs_f64();
        generate_secs += seconds;
        n_tokens += rollouts
            .iter()
            .map(|rollout| rollout.tokens.len())
            .sum::<usize>();
        run.score(&mut rollouts)?;
        let lr = policy.learning_rate();
        let (updated, update) = algorithm.update(policy, &rollouts, &mut rng)?;
        policy = updated;

        let mut stats = run.statistics(&rollouts);
        stats.extend(update);
        stats.extend([
            ("lr", lr),
            ("episode", ((step + 1) * run.config.batch_size) as f64),
            ("time/generate", seconds),
            ("time/step", started.elapsed().as_secs_f64()),
        ]);
        if let Some((_, value)) = stats.iter().find(|(_, value)| !value.is_finite()) {
            let value = *value as f32;
            return Err(Error::NotFinite {
                what: "a statistic of the policy",
                value,
                step: step + 1,
            });
        }
        run.metrics.write("rl", step + 1, &stats)?;
        if step % (run.config.steps / LOGGED_TIMES).max(1) == 0 {
            rollouts_kept.extend(
                rollouts
                    .iter()
                    .take(LOGGED_ROLLOUTS)
                    .map(|rollout| Completion {
                        index: step + 1,
                        ..rollout.completion.clone()
                    }),
            );
        }
        progress.message(format!("reward {:.3}, KL {:.3}", stats[0].1, stats[1].1));
        progress.inc(1);
    }
    Ok(Trained {
        model: policy.model.valid(),
        rollouts: rollouts_kept,
        n_tokens,
        generate_secs,
    })
}

impl RlRun<'_> {
    /// Optimizer steps of the policy in the whole run.
    fn policy_steps(&self) -> usize {
        self.config.steps * self.config.algorithm.updates_per_step()
    }

    /// Samples a batch and gives it the reference's log-probabilities.
    fn collect<M: CausalLm>(
        &self,
        model: &M,
        reference: &M,
        step: usize,
        seed: u64,
        rng: &mut StdRng,
    ) -> Result<Vec<Rollout>> {
        let n = self.config.num_generations;
        let prompts = self.prompts_of(step, seed);
        let policy = Policy {
            model,
            tokenizer: self.tokenizer,
            config: self.policy,
        };
        let mut rollouts = policy.sample(&prompts, n, &self.config.sampling, rng)?;
        let temperature = self.config.sampling.temperature;
        let log_probs = log_probs_of(reference, &trees(&rollouts), temperature, MAX_TOKENS)?;
        for (rollout, log_probs) in rollouts.iter_mut().zip(log_probs) {
            rollout.ref_log_probs = log_probs;
        }
        Ok(rollouts)
    }

    /// The prompts of a step: a walk through a permutation of all, a new one for each pass.
    fn prompts_of(&self, step: usize, seed: u64) -> Vec<Prompt> {
        let per_step = self.config.batch_size / self.config.num_generations;
        let total = self.prompts.len();
        let mut order: Vec<usize> = Vec::new();
        let mut pass = None;
        let pick = |i: usize| {
            if pass != Some(i / total) {
                pass = Some(i / total);
                order = (0..total).collect();
                order.shuffle(&mut rng_for(seed, "rl-order", (i / total) as u64));
            }
            self.prompts[order[i % total]].clone()
        };
        (step * per_step..(step + 1) * per_step).map(pick).collect()
    }

    fn score(&mut self, rollouts: &mut [Rollout]) -> Result<()> {
        let completions: Vec<Completion> = rollouts
            .iter()
            .map(|rollout| rollout.completion.clone())
            .collect();
        let rewards = self.reward.reward(&completions)?;
        for (rollout, reward) in rollouts.iter_mut().zip(rewards) {
            let cut = if rollout.completion.finished {
                0.0
            } else {
                self.config.missing_eos_penalty
            };
            rollout.reward = reward - cut;
        }
        Ok(())
    }

    /// TRL's metrics of a rollout batch; the KL is the k1 estimate, summed over a completion's
    /// tokens.
    fn statistics(&self, rollouts: &[Rollout]) -> Vec<(&'static str, f64)> {
        let mean = |f: &dyn Fn(&Rollout) -> f64| {
            rollouts.iter().map(f).sum::<f64>() / rollouts.len().max(1) as f64
        };
        let score = mean(&|rollout| rollout.reward.into());
        let kl = mean(&|rollout| rollout.kl().sum::<f32>().into());
        let non_score = -f64::from(self.config.kl_coef) * kl;
        vec![
            ("objective/scores", score),
            ("objective/kl", kl),
            (
                "objective/entropy",
                mean(&|rollout| -f64::from(rollout.completion.log_prob)),
            ),
            ("objective/non_score_reward", non_score),
            ("objective/rlhf_reward", score + non_score),
            (
                "completions/mean_length",
                mean(&|rollout| rollout.tokens.len() as f64),
            ),
            (
                "completions/clipped_ratio",
                mean(&|rollout| (!rollout.completion.finished).into()),
            ),
            (
                "reward_std",
                mean(&|rollout| (f64::from(rollout.reward) - score).powi(2)).sqrt(),
            ),
        ]
    }
}
