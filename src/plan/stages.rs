//! One function a stage: what it generates, scores, trains on and asks.

use super::work::{Planner, Question, Work};
use crate::config::{RewardConfig, SftConfig};
use crate::dpo::{DpoConfig, PreferenceLoss};
use crate::error::Result;
use crate::reward::RewardKind;
use crate::rl::{AlgorithmConfig, ReferenceConfig, RlConfig, ValueKind};

impl Planner<'_> {
    /// The stages of the run file, in order.
    pub(super) fn stages(&self) -> Result<Vec<(&'static str, Work)>> {
        let names = crate::pipeline::stage_names(self.config);
        let stage = |name: &'static str| Ok((name, self.stage(name)?));
        names.into_iter().map(stage).collect()
    }

    fn stage(&self, name: &str) -> Result<Work> {
        let config = self.config;
        match (name, &config.sft, &config.reward, &config.rl, &config.dpo) {
            ("sft", Some(sft), ..) => self.sft(sft),
            ("sample", ..) => {
                let (prompts, sample) = (self.rows.preference_prompts, &config.sample);
                self.draw(prompts, sample.num_generations, &sample.sampling)
            }
            ("label", ..) => self.ask(&config.labeler, Question::Comparison, self.pairs()),
            ("reward", _, Some(reward), ..) => self.reward(reward),
            ("rl", _, _, Some(rl), _) => self.rl(rl),
            ("dpo", _, _, _, Some(dpo)) => self.dpo(dpo),
            ("eval", ..) => self.eval(),
            _ => Ok(Work::default()),
        }
    }

    /// Labeled pairs: consecutive completions of a prompt, or what came with the data.
    fn pairs(&self) -> f64 {
        let of_prompt = self.config.sample.num_generations / 2;
        (self.rows.preference_prompts * of_prompt + self.rows.preferences) as f64
    }

    /// Tokens of a labeled pair, whose prompt is read once.
    fn pair(&self) -> f64 {
        self.tree(2.0, &self.config.sample.sampling)
    }

    fn sft(&self, config: &SftConfig) -> Result<Work> {
        let lengths = &self.given.lengths;
        let completion = lengths.demonstration;
        let completion =
            completion.unwrap_or_else(|| self.completion(&self.config.sample.sampling));
        let row = lengths.prompt + completion;
        let rows = self.rows.demonstrations as f64;
        let (held, epochs) = (
            (rows * config.holdout).round(),
            config.num_train_epochs as f64,
        );
        let trained = rows - held;
        let steps = (trained / config.batch_size as f64).ceil() * epochs;
        let measured = measurements(config.validation.eval_steps, steps);
        let training = self.train(trained * row * epochs, steps)?;
        Ok(training + self.read(measured * held * row))
    }

    fn reward(&self, config: &RewardConfig) -> Result<Work> {
        let (pairs, pair) = (self.pairs(), self.pair());
        let held = (pairs * config.holdout).round();
        let (trained, epochs) = (pairs - held, config.num_train_epochs as f64);
        let steps = (trained / config.batch_size as f64).ceil() * epochs;
        let measured = measurements(config.validation.eval_steps, steps);
        let training = self.train(trained * pair * epochs, steps)?;
        // At the end, the rewards of all pairs.
        Ok(training + self.read((measured * held + pairs) * pair))
    }

    fn rl(&self, config: &RlConfig) -> Result<Work> {
        let (n, sampling) = (config.num_generations, &config.sampling);
        let prompts = config.batch_size / n;
        let batch = prompts as f64 * self.tree(n as f64, sampling);
        let references = match config.reference {
            ReferenceConfig::None => 0.0,
            ReferenceConfig::Frozen | ReferenceConfig::Synced { .. } => 1.0,
        };
        // Log-probabilities of the policy and of its reference.
        let drawn = self.draw(prompts, n, sampling)? + self.read(batch * (1.0 + references));
        let worth = self.worth(config, prompts)?;
        let updated = self.update(config, batch)?;
        let steps = config.steps as f64;
        let work = if config.overlap {
            let first_and_last = drawn + worth;
            let both = drawn.beside(worth).times(steps - 1.0);
            first_and_last + both + updated.times(steps)
        } else {
            (drawn + worth + updated).times(steps)
        };
        let Some(validation) = &config.validation else {
            return Ok(work);
        };
        // With one before the first step.
        let n_measured = 1.0 + measurements(Some(validation.eval_steps), steps);
        let sampling = validation.sampling.as_ref().unwrap_or(sampling);
        let held = validation.num_prompts;
        let measured = self.draw(held, 1, sampling)? + self.worth_of(config, held, 1)?;
        Ok(work + measured.times(n_measured))
    }

    /// The rewards of a batch.
    fn worth(&self, config: &RlConfig, prompts: usize) -> Result<Work> {
        self.worth_of(config, prompts, config.num_generations)
    }

    /// The rewards of `n` completions of each prompt.
    fn worth_of(&self, config: &RlConfig, prompts: usize, n: usize) -> Result<Work> {
        let (all, prompts) = ((prompts * n) as f64, prompts as f64);
        let ask = |question, n| match &config.self_rewarding {
            Some(judge) => self.ask_itself(&judge.ask, question, n),
            None => self.ask(&self.config.labeler, question, n),
        };
        let mut work = Work::default();
        for term in &config.reward.0 {
            work += match term.kind {
                RewardKind::Model {} => self.read(prompts * self.tree(n as f64, &config.sampling)),
                RewardKind::Direct {} => ask(Question::Score, all)?,
                RewardKind::WinRate {} => ask(Question::Comparison, all * (n as f64 - 1.0) / 2.0)?,
                _ => Work::default(),
            };
        }
        Ok(work)
    }

    /// The optimizer's steps on a batch of so many tokens, and the values before them.
    fn update(&self, config: &RlConfig, batch: f64) -> Result<Work> {
        let steps = config.algorithm.updates_per_step() as f64;
        let passes = steps / config.algorithm.mini_batches() as f64;
        let once = match &config.algorithm {
            // One pair for each prompt.
            AlgorithmConfig::OnlineDpo(_) => {
                let prompts = config.batch_size / config.num_generations;
                prompts as f64 * self.tree(2.0, &config.sampling)
            }
            // The best completion of each.
            AlgorithmConfig::RejectionSampling(_) => {
                let prompts = config.batch_size / config.num_generations;
                prompts as f64 * self.tree(1.0, &config.sampling)
            }
            _ => batch,
        };
        let trained = self.train(once * passes, steps)?;
        Ok(match &config.algorithm {
            AlgorithmConfig::Ppo(ppo) if ppo.value_model == ValueKind::Shared => {
                trained + self.read(batch)
            }
            AlgorithmConfig::Ppo(_) | AlgorithmConfig::Reinforce(_) => {
                trained.times(2.0) + self.read(batch)
            }
            _ => trained,
        })
    }

    fn dpo(&self, config: &DpoConfig) -> Result<Work> {
        let (pairs, pair, epochs) = (self.pairs(), self.pair(), config.num_train_epochs as f64);
        let steps = (pairs / config.batch_size as f64).ceil() * epochs;
        let has_reference = matches!(
            config.loss,
            PreferenceLoss::Dpo(_) | PreferenceLoss::Kto { .. }
        );
        let read = match (has_reference, config.reference.is_synced()) {
            (false, _) => 0.0,
            (true, false) => 1.0,
            (true, true) => epochs,
        };
        let training = self.train(pairs * pair * epochs, steps)?;
        Ok(training + self.read(pairs * pair * read))
    }

    fn eval(&self) -> Result<Work> {
        let (prompts, sampling) = (self.rows.eval_prompts, &self.config.eval.sampling);
        let mut work = self.draw(prompts, 1, sampling)?.times(2.0);
        if let Some(best_of) = &self.config.eval.best_of {
            work += self.draw(prompts, best_of.n, sampling)?;
        }
        for judge in &self.config.eval.judges {
            work += self.ask(judge, Question::Comparison, prompts as f64)?;
        }
        Ok(work)
    }
}

/// How often held-out rows are measured in `steps` steps: every so many, and after the last.
fn measurements(every: Option<usize>, steps: f64) -> f64 {
    every.map_or(0.0, |every| (steps / every as f64).ceil())
}
