//! Stage 3: the worth of a completion. [`train`] makes a reward model from preferences; [`Reward`]
//! is what the policy optimisation asks, be it that model ([`ModelReward`]), the labeler itself
//! ([`DirectReward`]) or a user's own code.

mod config;
mod direct;
mod model;
mod objective;
mod rules;
mod sum;
mod terms;
mod train;
mod win_rate;

pub use config::RewardConfig;
pub use direct::DirectReward;
pub(crate) use model::tree;
pub use model::{ModelReward, raw_rewards};
pub use objective::RewardReport;
pub use rules::{Rule, cosine_scaled, repetition_penalty, soft_overlong_punishment};
pub use sum::RewardSum;
pub use terms::{RewardKind, RewardTerm, RewardTerms};
pub use train::train;
pub use win_rate::WinRateReward;

use crate::error::Result;
use crate::record::Completion;

/// The worth of finished completions, before the KL penalty.
pub trait Reward {
    /// One number per completion, in their order.
    ///
    /// # Errors
    /// What the implementation meets.
    fn reward(&mut self, completions: &[Completion]) -> Result<Vec<f32>>;

    /// What the last answer was made of: a name and one number per completion for each part, which
    /// the metrics tell as `rewards/{name}/mean` and `rewards/{name}/std`. Nothing for a reward
    /// that is one thing.
    fn parts(&self) -> &[(String, Vec<f32>)] {
        &[]
    }
}
