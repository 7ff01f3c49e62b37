//! The loop of policy optimisation: sample, score, update.

use std::time::Instant;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::advantage::deviation;
use super::health::{Health, Vitals};
use super::statistics::statistics;
use super::value::MAX_TOKENS;
use super::{Algorithm, KlController, Policy, RlConfig, Rollout, UpdateStats, trees};
use crate::config::PolicyConfig;
use crate::error::{Error, Result};
use crate::log_prob::log_probs_of;
use crate::model::CausalLm;
use crate::progress::Progress;
use crate::record::{Completion, Prompt};
use crate::reward::Reward;
use crate::run::{Journal, write_state};
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
    /// Where metrics and checkpoints go.
    pub journal: &'a mut Journal,
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

/// What a checkpoint has to remember besides policy and algorithm.
#[derive(Default, Serialize, Deserialize)]
struct Progressed {
    kl: Option<KlController>,
    vitals: Vec<Vitals>,
    rollouts: Vec<Completion>,
    n_tokens: usize,
    generate_secs: f64,
}

/// Folders of a checkpoint.
const POLICY: &str = "policy";
const ALGORITHM: &str = "algorithm";

/// Optimises `initial` with `algorithm`; `initial` itself is the reference of the KL penalty. Goes
/// on from the journal's last checkpoint, if it has one.
///
/// # Errors
/// A prompt does not fit the model, the reward or the device fails, a statistic is not a number,
/// [`HealthConfig::stop`](super::HealthConfig::stop) ends an unhealthy run, or the user interrupts.
pub fn train<M: CausalLm>(
    run: &mut RlRun,
    initial: M,
    algorithm: &mut dyn Algorithm<M>,
    seed: u64,
) -> Result<Trained<M>> {
    let reference = initial.clone().valid();
    let mut policy = run.config.optim.init(initial, run.policy_steps());
    let (mut done, mut first) = (Progressed::default(), 0);
    if let Some(saved) = run.journal.resume()? {
        policy = policy.load(&saved.path.join(POLICY))?;
        algorithm.load(&saved.path.join(ALGORITHM))?;
        (done, first) = (saved.state()?, saved.step);
    }
    let new_kl = || KlController::new(run.config.initial_kl_coef(), run.config.adaptive_kl);
    let mut kl = done.kl.take().unwrap_or_else(new_kl);
    let mut health = Health::new(run.config.health, std::mem::take(&mut done.vitals));
    let mut progress = Progress::new("rl", run.config.steps as u64, "steps");
    progress.inc(first as u64);
    for step in first..run.config.steps {
        let started = Instant::now();
        // All randomness of a step comes from the seed and its number.
        let mut rng = rng_for(seed, "rl", step as u64);
        let current = policy.model.valid();
        let mut rollouts = run.sample(&current, step, seed, &mut rng)?;
        let seconds = started.elapsed().as_secs_f64();
        done.generate_secs += seconds;
        done.n_tokens += rollouts.iter().map(|row| row.tokens.len()).sum::<usize>();
        run.add_log_probs(&current, &reference, &mut rollouts)?;
        // A second handle on the weights would forbid the optimizer to change them in place.
        drop(current);
        let parts = run.score(&mut rollouts)?;
        let (lr, kl_coef) = (policy.learning_rate(), kl.coef());
        let (updated, update) = algorithm.update(policy, &rollouts, kl_coef, &mut rng)?;
        policy = updated;

        let mut stats = statistics(&rollouts, run.config.num_generations, kl_coef);
        let (reward, measured_kl) = (value(&stats, "reward"), value(&stats, "objective/kl"));
        kl.observe(measured_kl, rollouts.len());
        stats.extend(update);
        stats.extend([
            ("lr", lr),
            ("episode", ((step + 1) * run.config.batch_size) as f64),
            ("time/generate", seconds),
            ("time/step", started.elapsed().as_secs_f64()),
        ]);
        health.observe(&mut stats);
        run.write(step + 1, &stats, &parts)?;
        health.verdict(step + 1)?;
        done.rollouts.extend(run.logged(step, &rollouts));
        progress.message(format!("reward {reward:.3}, KL {measured_kl:.3}"));
        progress.inc(1);
        if step + 1 < run.config.steps {
            run.journal.step_done(step + 1, |dir| {
                done.kl = Some(kl.clone());
                done.vitals = health.history().to_vec();
                write_state(dir, &done)?;
                policy.save(&dir.join(POLICY))?;
                algorithm.save(&dir.join(ALGORITHM))
            })?;
        }
    }
    Ok(Trained {
        model: policy.model.valid(),
        rollouts: done.rollouts,
        n_tokens: done.n_tokens,
        generate_secs: done.generate_secs,
    })
}

fn value(stats: &UpdateStats, name: &str) -> f64 {
    let found = stats.iter().find(|(found, _)| *found == name);
    found.map_or(f64::NAN, |(_, value)| *value)
}

impl RlRun<'_> {
    /// Optimizer steps of the policy in the whole run.
    fn policy_steps(&self) -> usize {
        self.config.steps * self.config.algorithm.updates_per_step()
    }

    /// A few rollouts of some steps, to look at.
    fn logged(&self, step: usize, rollouts: &[Rollout]) -> Vec<Completion> {
        let every = (self.config.steps / LOGGED_TIMES).max(1);
        if !step.is_multiple_of(every) {
            return Vec::new();
        }
        let logged = rollouts.iter().take(LOGGED_ROLLOUTS);
        let of_step = |rollout: &Rollout| Completion {
            index: step + 1,
            ..rollout.completion.clone()
        };
        logged.map(of_step).collect()
    }

    /// Samples a batch.
    fn sample<M: CausalLm>(
        &self,
        model: &M,
        step: usize,
        seed: u64,
        rng: &mut StdRng,
    ) -> Result<Vec<Rollout>> {
        let policy = Policy {
            model,
            tokenizer: self.tokenizer,
            config: self.policy,
        };
        let n = self.config.num_generations;
        policy.sample(&self.prompts_of(step, seed), n, &self.config.sampling, rng)
    }

    /// Gives rollouts the log-probabilities of the policy and of its reference, by the forward pass
    /// that training uses. The sampler's own are of texts that are padded otherwise: near, but no
    /// ratio of them is exactly 1.
    fn add_log_probs<M: CausalLm>(
        &self,
        policy: &M,
        reference: &M,
        rollouts: &mut [Rollout],
    ) -> Result<()> {
        let (trees, temperature) = (trees(rollouts), self.config.sampling.temperature);
        let old = log_probs_of(policy, &trees, temperature, MAX_TOKENS)?;
        let references = log_probs_of(reference, &trees, temperature, MAX_TOKENS)?;
        for (rollout, (old, reference)) in rollouts.iter_mut().zip(old.into_iter().zip(references))
        {
            rollout.old_log_probs = old;
            rollout.ref_log_probs = reference;
        }
        Ok(())
    }

    /// Logs a step, unless a statistic is no number.
    fn write(&mut self, step: usize, stats: &UpdateStats, parts: &[(String, f64)]) -> Result<()> {
        let parts = parts.iter().map(|(name, value)| (name.as_str(), *value));
        let stats: Vec<(&str, f64)> = stats.iter().copied().chain(parts).collect();
        if let Some((_, value)) = stats.iter().find(|(_, value)| !value.is_finite()) {
            return Err(Error::NotFinite {
                what: "a statistic of the policy",
                value: *value as f32,
                step,
            });
        }
        self.journal.write(step, &stats)
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

    /// Gives rollouts their rewards; tells what these are made of.
    fn score(&mut self, rollouts: &mut [Rollout]) -> Result<Vec<(String, f64)>> {
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
        let told = |(name, values): &(String, Vec<f32>)| {
            let mean = values.iter().sum::<f32>() / values.len().max(1) as f32;
            [
                (format!("rewards/{name}/mean"), mean.into()),
                (format!("rewards/{name}/std"), deviation(values)),
            ]
        };
        Ok(self.reward.parts().iter().flat_map(told).collect())
    }
}
