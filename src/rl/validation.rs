//! Held-out prompts during a policy optimisation: how the policy does there, and which one to keep.

use std::cmp::Ordering;
use std::path::Path;

use burn::module::ParamId;
use serde::{Deserialize, Serialize};

use super::UpdateStats;
use super::sampler::Sampler;
use super::train::rewards;
use crate::config::at_least;
use crate::error::{Error, Result};
use crate::generate::SamplingConfig;
use crate::model::CausalLm;
use crate::record::{Completion, Prompt};
use crate::reward::Reward;
use crate::seed::rng_for;
use crate::validation::{Validation, ValidationConfig};

/// Prompts that the policy is measured on and not trained on; names as in TRL and `transformers`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RlValidationConfig {
    /// Prompts held out, the last ones of the prompts of this stage.
    pub num_prompts: usize,
    /// Steps between two measurements, with one after the last step.
    pub eval_steps: usize,
    /// How completions are drawn, always with the same random numbers; as for training when absent.
    pub sampling: Option<SamplingConfig>,
    /// What the best policy is best in.
    #[serde(default)]
    pub metric_for_best_model: BestMetric,
    /// Ends the run after so many measurements in a row that are no better than the best.
    pub early_stopping_patience: Option<usize>,
    /// Ends with the policy that was best at a measurement instead of the last.
    #[serde(default)]
    pub load_best_model_at_end: bool,
}

/// What a policy can be best in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BestMetric {
    /// Mean reward.
    #[default]
    EvalReward,
    /// Share of the prompts on which its completion has a higher reward than the initial policy's.
    EvalWinRate,
}

impl RlValidationConfig {
    pub(super) fn validate(&self) -> Result<()> {
        at_least("rl.validation.num_prompts", self.num_prompts, 1)?;
        at_least("rl.validation.eval_steps", self.eval_steps, 1)?;
        let patience = self.early_stopping_patience.unwrap_or(1);
        at_least("rl.validation.early_stopping_patience", patience, 1)?;
        match &self.sampling {
            Some(sampling) => sampling.validate("rl.validation.sampling"),
            None => Ok(()),
        }
    }
}

/// The measurements of a run so far.
pub(super) struct RlValidation<'a, M> {
    measured: Validation<M>,
    held_out: Option<HeldOut<'a>>,
}

/// What a policy is measured on.
struct HeldOut<'a> {
    config: &'a RlValidationConfig,
    sampler: Sampler<'a>,
    prompts: &'a [Prompt],
    /// What the initial policy writes.
    initial: Vec<Completion>,
}

impl HeldOut<'_> {
    /// One completion of each prompt, always with the same random numbers.
    fn write<M: CausalLm>(&self, model: &M) -> Result<Vec<Completion>> {
        let training = &self.sampler.config.sampling;
        let sampling = self.config.sampling.as_ref().unwrap_or(training);
        let mut rng = rng_for(self.sampler.seed, "rl-validation", 0);
        let rollouts = (self.sampler).sample(model, self.prompts, 1, sampling, &mut rng)?;
        Ok(rollouts.into_iter().map(|row| row.completion).collect())
    }

    /// Mean reward of `written`, and how often it is higher than that of the initial policy; even
    /// ones count half. Both completions of a prompt are handed over side by side, so that a reward
    /// that compares compares these two.
    fn measure(&self, written: &[Completion], reward: &mut dyn Reward) -> Result<(f64, f64)> {
        let pairs = written.iter().zip(&self.initial);
        let rows: Vec<Completion> = pairs.flat_map(|(a, b)| [a.clone(), b.clone()]).collect();
        let rewards = rewards(self.sampler.config, reward, &rows)?;
        if rewards.iter().any(|reward| !reward.is_finite()) {
            let message = "a reward of a held-out prompt is no number";
            return Err(Error::Usage(message.into()));
        }
        let (mut sum, mut wins) = (0.0, 0.0);
        for pair in rewards.chunks_exact(2) {
            sum += f64::from(pair[0]);
            wins += match pair[0].total_cmp(&pair[1]) {
                Ordering::Greater => 1.0,
                Ordering::Equal => 0.5,
                Ordering::Less => 0.0,
            };
        }
        let n = written.len().max(1) as f64;
        Ok((sum / n, wins / n))
    }
}

impl<'a, M: CausalLm> RlValidation<'a, M> {
    /// Measurements as the run file wants them, on `prompts`; none if it wants none.
    pub(super) fn new(sampler: Sampler<'a>, prompts: &'a [Prompt], initial: &M) -> Result<Self> {
        let Some(config) = &sampler.config.validation else {
            return Ok(Self {
                measured: Validation::new(ValidationConfig::default()),
                held_out: None,
            });
        };
        let mut held_out = HeldOut {
            config,
            sampler,
            prompts,
            initial: Vec::new(),
        };
        held_out.initial = held_out.write(&initial.valid())?;
        let measured = Validation::new(ValidationConfig {
            eval_steps: Some(config.eval_steps),
            early_stopping_patience: config.early_stopping_patience,
            load_best_model_at_end: config.load_best_model_at_end,
        });
        Ok(Self {
            measured,
            held_out: Some(held_out),
        })
    }

    /// Measures the policy after `step`, if it is time, and tells `stats`; returns whether the run
    /// should end.
    pub(super) fn observe(
        &mut self,
        step: usize,
        model: M,
        reward: &mut dyn Reward,
        stats: &mut UpdateStats,
    ) -> Result<bool> {
        let Some(held_out) = &self.held_out else {
            return Ok(false);
        };
        if !self.measured.is_due(step, held_out.sampler.config.steps) {
            return Ok(false);
        }
        let written = held_out.write(&model)?;
        let (mean, win_rate) = held_out.measure(&written, reward)?;
        let length: usize = written.iter().map(|row| row.n_tokens).sum();
        stats.extend([
            ("eval_reward", mean),
            ("eval_win_rate", win_rate),
            (
                "eval_completions/mean_length",
                length as f64 / written.len().max(1) as f64,
            ),
        ]);
        let best = match held_out.config.metric_for_best_model {
            BestMetric::EvalReward => mean,
            BestMetric::EvalWinRate => win_rate,
        };
        Ok(self.measured.observe(-best, || model))
    }

    /// Writes the measurements and the weights `trained` of the best policy into the folder of a
    /// checkpoint.
    pub(super) fn save(&self, dir: &Path, trained: &[ParamId]) -> Result<()> {
        match self.held_out {
            Some(_) => self.measured.save(dir, trained),
            None => Ok(()),
        }
    }

    /// Takes over what [`save`](Self::save) wrote; `model` gives a policy of this run.
    pub(super) fn load(self, dir: &Path, model: impl FnOnce() -> M) -> Result<Self> {
        Ok(match self.held_out {
            Some(_) => Self {
                measured: self.measured.load(dir, model)?,
                ..self
            },
            None => self,
        })
    }

    /// The policy to end with.
    pub(super) fn finish(self, last: M) -> M {
        self.measured.finish(last)
    }
}
