//! Stage 4: the policy is optimised against a reward, by policy gradients with a KL penalty to
//! where it started.
//!
//! [`train`] is the loop: rollouts, rewards, update. What an update is, is an [`Algorithm`], one
//! file each: [`Ppo`], the paper's own [`Reinforce`] with a learned value baseline, and without a
//! value model [`Grpo`], [`Rloo`] and [`ReinforceBatch`]; [`OnlineDpo`] learns from comparisons, and
//! [`RejectionSampling`] imitates the best completions.
//! [`loss`] and [`advantage`] hold the mathematics, as pure functions; `update.rs` goes through a
//! rollout batch in pieces.
//!
//! burn-rl is not used: its one loop replays single transitions off-policy, while here an episode
//! is a whole completion, its log-probabilities are part of the data, and all of it is fresh.

pub mod advantage;
mod algorithm;
mod config;
mod critic;
mod grpo;
mod health;
mod kl_control;
pub mod loss;
mod online_dpo;
mod ppo;
mod reference;
mod reinforce;
mod reinforce_batch;
mod rejection_sampling;
mod rloo;
mod rollout;
mod sampler;
mod self_rewarding;
mod shared_value;
mod statistics;
mod train;
mod update;
mod validation;
mod value;

use std::path::Path;

use burn::module::Module;
use rand::rngs::StdRng;

pub use algorithm::AlgorithmConfig;
pub use config::RlConfig;
pub use critic::ValueKind;
pub use grpo::{Grpo, GrpoConfig, RatioLevel};
pub use health::{HealthConfig, Symptom, SymptomKind, Vitals, diagnose};
pub use kl_control::{AdaptiveKlConfig, KlController};
pub use online_dpo::{OnlineDpo, OnlineDpoConfig};
pub use ppo::{Ppo, PpoConfig};
pub(crate) use reference::Reference;
pub use reference::ReferenceConfig;
pub use reinforce::{Reinforce, ReinforceConfig};
pub use reinforce_batch::{ReinforceBatch, ReinforceBatchConfig};
pub use rejection_sampling::{RejectionSampling, RejectionSamplingConfig};
pub use rloo::{Rloo, RlooConfig};
pub use rollout::{Policy, Rollout, trees};
pub use self_rewarding::{SelfJudge, SelfRewardingConfig};
pub use shared_value::ValueHead;
pub use train::{RlRun, Trained, train};
pub use validation::{BestMetric, RlValidationConfig};
pub(crate) use value::MAX_TOKENS;
pub use value::ValueModel;

use crate::error::Result;
use crate::optim::Learner;

/// Names and values of what an update has to tell, for the metrics.
pub type UpdateStats = Vec<(&'static str, f64)>;

/// How scored rollouts change the policy. Values in, values out: an optimizer consumes the model.
pub trait Algorithm<M: Module> {
    /// One update. `kl_coef` weighs the KL penalty in this step, `rng` decides the order of
    /// minibatches.
    ///
    /// # Errors
    /// The device fails, or a gradient is not a number.
    fn update(
        &mut self,
        policy: Learner<M>,
        rollouts: &[Rollout],
        kl_coef: f32,
        rng: &mut StdRng,
    ) -> Result<(Learner<M>, UpdateStats)>;

    /// Writes what the algorithm remembers between two updates, such as a value model, into the
    /// folder `dir` of a checkpoint. One that remembers nothing has nothing to do.
    ///
    /// # Errors
    /// The device or the file system fails.
    fn save(&self, _dir: &Path) -> Result<()> {
        Ok(())
    }

    /// Takes over what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// A file is missing or does not fit.
    fn load(&mut self, _dir: &Path) -> Result<()> {
        Ok(())
    }
}
