//! The loop of policy optimisation: sample, score, update.

use std::path::Path;
use std::time::Instant;

use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use super::advantage::deviation;
use super::health::{Health, Vitals};
use super::reference::Reference;
use super::sampler::{Drawn, Sampler};
use super::statistics::statistics;
use super::validation::RlValidation;
use super::{Algorithm, KlController, RlConfig, Rollout, UpdateStats};
use crate::config::PolicyConfig;
use crate::error::{Error, Result};
use crate::model::CausalLm;
use crate::optim::Learner;
use crate::progress::Progress;
use crate::record::{Completion, LoggedRollout, Prompt};
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
    /// Prompts to draw from; those of [`RlValidationConfig`](super::RlValidationConfig) are the
    /// last of them.
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
    /// A few completions of some steps.
    pub rollouts: Vec<LoggedRollout>,
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
    rollouts: Vec<LoggedRollout>,
    n_tokens: usize,
    generate_secs: f64,
    /// The next batch, where it is drawn ahead.
    ahead: Option<Drawn>,
}

/// Folders of a checkpoint.
const POLICY: &str = "policy";
const ALGORITHM: &str = "algorithm";

/// A policy optimisation between two steps.
struct State<'a, M> {
    policy: Learner<M>,
    reference: Reference<M>,
    validation: RlValidation<'a, M>,
    kl: KlController,
    health: Health,
    done: Progressed,
}

/// What is seen of a step from outside.
struct Seen {
    reward: f64,
    kl: f64,
    /// Whether the run ends with it.
    ended: bool,
}

/// Optimises `initial` with `algorithm`; `initial` itself is the reference, see
/// [`ReferenceConfig`](super::ReferenceConfig). Goes on from the journal's last checkpoint, if it
/// has one.
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
    let (prompts, held_out) = run.split_prompts()?;
    let sampler = Sampler {
        config: run.config,
        policy: run.policy,
        tokenizer: run.tokenizer,
        prompts,
        seed,
    };
    let validation = RlValidation::new(sampler, held_out, &initial)?;
    let (mut state, first) = State::begin(run, initial, validation, algorithm)?;
    let steps = run.config.steps;
    let mut progress = Progress::new("rl", steps as u64, "steps");
    progress.inc(first as u64);
    for step in first..steps {
        let (next, seen) = state.step(run, sampler, algorithm, step)?;
        state = next;
        progress.message(format!("reward {:.3}, KL {:.3}", seen.reward, seen.kl));
        progress.inc(1);
        if seen.ended || step + 1 == steps {
            break;
        }
        run.journal
            .step_done(step + 1, |dir| state.save(dir, algorithm))?;
    }
    Ok(Trained {
        model: state.validation.finish(state.policy.model.valid()),
        rollouts: state.done.rollouts,
        n_tokens: state.done.n_tokens,
        generate_secs: state.done.generate_secs,
    })
}

impl<'a, M: CausalLm> State<'a, M> {
    /// The beginning of a run, or where its last checkpoint left it, with the number of the next
    /// step.
    fn begin(
        run: &mut RlRun,
        initial: M,
        mut validation: RlValidation<'a, M>,
        algorithm: &mut dyn Algorithm<M>,
    ) -> Result<(Self, usize)> {
        let config = run.config;
        let mut reference = Reference::new(&initial, config.reference);
        let updates = config.steps * config.algorithm.updates_per_step();
        let mut policy = config.optim.init(initial, updates);
        let (mut done, mut first) = (Progressed::default(), 0);
        if let Some(saved) = run.journal.resume()? {
            policy = policy.load(&saved.path.join(POLICY))?;
            algorithm.load(&saved.path.join(ALGORITHM))?;
            reference.load(&saved.path)?;
            validation = validation.load(&saved.path, || policy.model.valid())?;
            (done, first) = (saved.state()?, saved.step);
        }
        let new_kl = || KlController::new(config.initial_kl_coef(), config.adaptive_kl);
        let state = Self {
            kl: done.kl.take().unwrap_or_else(new_kl),
            health: Health::new(config.health, std::mem::take(&mut done.vitals)),
            policy,
            reference,
            validation,
            done,
        };
        Ok((state, first))
    }

    /// One step.
    fn step(
        mut self,
        run: &mut RlRun,
        sampler: Sampler,
        algorithm: &mut dyn Algorithm<M>,
        step: usize,
    ) -> Result<(Self, Seen)> {
        let started = Instant::now();
        // All randomness of a step comes from the seed and its number.
        let mut rng = sampler.rng(step);
        let Drawn {
            mut rollouts,
            seconds,
        } = match self.done.ahead.take() {
            Some(drawn) => drawn,
            None => self.draw(sampler, step, &mut rng)?,
        };
        let parts = if run.config.overlap {
            // Of the batch that was drawn ahead the random numbers are used up elsewhere.
            rng = rng_for(sampler.seed, "rl-update", step as u64);
            self.score_and_draw(run, sampler, step, &mut rollouts)?
        } else {
            run.score(&mut rollouts)?
        };
        let (lr, kl_coef) = (self.policy.learning_rate(), self.kl.coef());
        let (policy, update) = algorithm.update(self.policy, &rollouts, kl_coef, &mut rng)?;
        self.policy = policy;
        self.reference.observe(step + 1, &self.policy);

        let mut stats = statistics(&rollouts, run.config.num_generations, kl_coef);
        let (reward, kl) = (value(&stats, "reward"), value(&stats, "objective/kl"));
        self.kl.observe(kl, rollouts.len());
        stats.extend(update);
        stats.extend(self.policy.scaling());
        stats.extend([
            ("lr", lr),
            ("episode", ((step + 1) * run.config.batch_size) as f64),
            ("time/generate", seconds),
            ("time/step", started.elapsed().as_secs_f64()),
        ]);
        self.health.observe(&mut stats);
        self.reference.tell(&mut stats);
        let current = self.policy.model.valid();
        let ended = (self.validation).observe(step + 1, current, run.reward, &mut stats)?;
        run.write(step + 1, &stats, &parts)?;
        self.health.verdict(step + 1)?;
        self.done.generate_secs += seconds;
        self.done.n_tokens += rollouts.iter().map(|row| row.tokens.len()).sum::<usize>();
        let logged = run.logged(step, &rollouts, &self.done.rollouts);
        if !logged.is_empty() {
            self.done.rollouts.extend(logged);
            run.journal.write_rollouts(&self.done.rollouts)?;
        }
        Ok((self, Seen { reward, kl, ended }))
    }

    /// The batch of `step`, by the policy as it is.
    fn draw(&self, sampler: Sampler, step: usize, rng: &mut StdRng) -> Result<Drawn> {
        // Gone at the end: a second handle on the weights would forbid the optimizer to change them
        // in place.
        let current = self.policy.model.valid();
        sampler.draw(step, &current, self.reference.model(), rng)
    }

    /// Gives the rollouts of `step` their rewards while another thread draws the next batch, if
    /// there is one.
    fn score_and_draw(
        &mut self,
        run: &mut RlRun,
        sampler: Sampler,
        step: usize,
        rollouts: &mut [Rollout],
    ) -> Result<Vec<(String, f64)>> {
        if step + 1 == run.config.steps {
            return run.score(rollouts);
        }
        let (current, reference) = (self.policy.model.valid(), self.reference.model().cloned());
        let draw = move || {
            let rng = &mut sampler.rng(step + 1);
            sampler.draw(step + 1, &current, reference.as_ref(), rng)
        };
        let (parts, drawn) = std::thread::scope(|scope| {
            let drawing = scope.spawn(draw);
            let parts = run.score(rollouts);
            let drawn = drawing.join();
            (
                parts,
                drawn.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            )
        });
        self.done.ahead = Some(drawn?);
        parts
    }

    /// Writes all of it into the folder of a checkpoint.
    fn save(&mut self, dir: &Path, algorithm: &dyn Algorithm<M>) -> Result<()> {
        self.done.kl = Some(self.kl.clone());
        self.done.vitals = self.health.history().to_vec();
        write_state(dir, &self.done)?;
        self.policy.save(&dir.join(POLICY))?;
        self.reference.save(dir)?;
        self.validation.save(dir, &self.policy.trained())?;
        algorithm.save(&dir.join(ALGORITHM))
    }
}

fn value(stats: &UpdateStats, name: &str) -> f64 {
    let found = stats.iter().find(|(found, _)| *found == name);
    found.map_or(f64::NAN, |(_, value)| *value)
}

/// Worth of completions, without what is taken off those that were cut by their length.
pub(super) fn rewards(
    config: &RlConfig,
    reward: &mut dyn Reward,
    completions: &[Completion],
) -> Result<Vec<f32>> {
    let rewards = reward.reward(completions)?;
    let kept = |(reward, row): (f32, &Completion)| match row.finished {
        true => reward,
        false => reward - config.missing_eos_penalty,
    };
    Ok(rewards.into_iter().zip(completions).map(kept).collect())
}

impl<'a> RlRun<'a> {
    /// The prompts to train on and those to measure on.
    fn split_prompts(&self) -> Result<(&'a [Prompt], &'a [Prompt])> {
        let Some(validation) = &self.config.validation else {
            return Ok((self.prompts, &[]));
        };
        let (held, total) = (validation.num_prompts, self.prompts.len());
        if held >= total {
            let expected = format!("fewer than the {total} prompts of this stage");
            return Err(Error::field("rl.validation.num_prompts", held, expected));
        }
        Ok(self.prompts.split_at(total - held))
    }

    /// A few rollouts of some steps, to look at; and those of the prompts that were kept first, when
    /// they come again, so that one sees what becomes of them.
    fn logged(
        &self,
        step: usize,
        rollouts: &[Rollout],
        kept: &[LoggedRollout],
    ) -> Vec<LoggedRollout> {
        let every = (self.config.steps / LOGGED_TIMES).max(1);
        let is_due = step.is_multiple_of(every);
        let first = kept.first().map(|row| row.step);
        let is_followed = |rollout: &Rollout| {
            let id = &rollout.completion.prompt_id;
            let mut steps = (kept.iter().filter(|row| row.completion.prompt_id == *id))
                .map(|row| row.step)
                .peekable();
            steps.peek().copied() == first
                && steps.last().is_some_and(|last| last + every <= step + 1)
        };
        let logged = rollouts.iter().enumerate().filter(|(i, rollout)| {
            let shown = is_due && *i < LOGGED_ROLLOUTS;
            shown || is_followed(rollout)
        });
        let logged = logged.map(|(_, rollout)| rollout).take(2 * LOGGED_ROLLOUTS);
        let of_step = |rollout: &Rollout| LoggedRollout {
            step: step + 1,
            reward: rollout.reward,
            completion: rollout.completion.clone(),
        };
        logged.map(of_step).collect()
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

    /// Gives rollouts their rewards; tells what these are made of.
    fn score(&mut self, rollouts: &mut [Rollout]) -> Result<Vec<(String, f64)>> {
        let completions = rollouts.iter().map(|rollout| rollout.completion.clone());
        let completions: Vec<Completion> = completions.collect();
        let rewards = rewards(self.config, self.reward, &completions)?;
        for (rollout, reward) in rollouts.iter_mut().zip(rewards) {
            rollout.reward = reward;
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
