//! Stage 4: the policy is optimised against a reward, by policy gradients with a KL penalty to
//! where it started.
//!
//! [`train`] is the loop: rollouts, rewards, update. What an update is, is an [`Algorithm`]: [`Ppo`], or the paper's own
//! [`Reinforce`] with a learned value baseline. [`loss`] and [`advantage`] hold the mathematics, as
//! pure functions.
//!
//! burn-rl is not used: its one loop replays single transitions off-policy, while here an episode
//! is a whole completion, its log-probabilities are part of the data, and all of it is fresh.

pub mod advantage;
pub mod loss;
mod ppo;
mod reinforce;
mod rollout;
mod train;
mod value;

use burn::module::Module;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

pub use ppo::{Ppo, PpoConfig};
pub use reinforce::{Reinforce, ReinforceConfig};
pub use rollout::{Policy, Rollout, trees};
pub use train::{RlRun, Trained, train};
pub use value::ValueModel;

use crate::config::at_least;
use crate::error::{Error, Result};
use crate::generate::SamplingConfig;
use crate::model::CausalLm;
use crate::optim::{Learner, OptimConfig};

/// The policy optimisation of a run file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RlConfig {
    /// What completions are worth.
    pub reward: RewardKind,
    /// Rollout batches, each followed by one update.
    pub steps: usize,
    /// Completions per step.
    pub batch_size: usize,
    /// Completions of the same prompt in a batch.
    #[serde(default = "one")]
    pub num_generations: usize,
    /// How completions are drawn.
    #[serde(default)]
    pub sampling: SamplingConfig,
    /// Weight of the KL penalty to the initial policy (the paper: 0.05).
    #[serde(default = "default_kl_coef")]
    pub kl_coef: f32,
    /// Taken off the reward of a completion that was cut by its length.
    #[serde(default)]
    pub missing_eos_penalty: f32,
    /// Optimizer of the policy.
    #[serde(default)]
    pub optim: OptimConfig,
    /// Optimizer of the value model.
    #[serde(default)]
    pub value_optim: OptimConfig,
    /// How rollouts change the policy.
    pub algorithm: AlgorithmConfig,
}

fn one() -> usize {
    1
}

fn default_kl_coef() -> f32 {
    0.05
}

/// What completions are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RewardKind {
    /// The reward model of stage 3.
    Model,
    /// The labeler's own score: d-RLAIF.
    Direct,
}

/// How rollouts change the policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum AlgorithmConfig {
    /// Proximal policy optimisation.
    Ppo(PpoConfig),
    /// The paper's REINFORCE with a value baseline.
    Reinforce(ReinforceConfig),
}

impl AlgorithmConfig {
    /// Optimizer steps per rollout batch.
    pub fn updates_per_step(&self) -> usize {
        match self {
            Self::Ppo(config) => config.num_ppo_epochs * config.num_mini_batches,
            Self::Reinforce(_) => 1,
        }
    }
}

impl RlConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn validate(&self) -> Result<()> {
        at_least("rl.steps", self.steps, 1)?;
        at_least("rl.num_generations", self.num_generations, 1)?;
        if self.batch_size == 0 || !self.batch_size.is_multiple_of(self.num_generations) {
            let expected = format!(
                "a multiple of rl.num_generations = {}",
                self.num_generations
            );
            return Err(Error::field("rl.batch_size", self.batch_size, expected));
        }
        self.sampling.validate("rl.sampling")?;
        if self.sampling.temperature == 0.0 {
            return Err(Error::field(
                "rl.sampling.temperature",
                0,
                "a number above 0",
            ));
        }
        for (name, x) in [
            ("kl_coef", self.kl_coef),
            ("missing_eos_penalty", self.missing_eos_penalty),
        ] {
            if !(x >= 0.0 && x.is_finite()) {
                return Err(Error::field(format!("rl.{name}"), x, "a number >= 0"));
            }
        }
        self.optim.validate("rl.optim")?;
        self.value_optim.validate("rl.value_optim")?;
        match &self.algorithm {
            AlgorithmConfig::Ppo(config) => config.validate(self.batch_size),
            AlgorithmConfig::Reinforce(_) if self.kl_coef > 1.0 => Err(Error::field(
                "rl.kl_coef",
                self.kl_coef,
                "a number in [0, 1] for reinforce",
            )),
            AlgorithmConfig::Reinforce(_) => Ok(()),
        }
    }

    /// Creates the algorithm of the run file; its value model starts from `initial`, the initial
    /// policy.
    pub fn init<M: CausalLm>(&self, initial: M) -> Box<dyn Algorithm<M>> {
        match &self.algorithm {
            AlgorithmConfig::Ppo(config) => Box::new(Ppo::new(config.clone(), self, initial)),
            AlgorithmConfig::Reinforce(config) => {
                Box::new(Reinforce::new(config.clone(), self, initial))
            }
        }
    }
}

/// Names and values of what an update has to tell, for the metrics.
pub type UpdateStats = Vec<(&'static str, f64)>;

/// How scored rollouts change the policy. Values in, values out: an optimizer consumes the model.
pub trait Algorithm<M: Module> {
    /// One update. `rng` decides the order of minibatches.
    ///
    /// # Errors
    /// The device fails, or a gradient is not a number.
    fn update(
        &mut self,
        policy: Learner<M>,
        rollouts: &[Rollout],
        rng: &mut StdRng,
    ) -> Result<(Learner<M>, UpdateStats)>;
}
