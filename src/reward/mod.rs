//! Stage 3: the worth of a completion. [`train`] makes a reward model from preferences; [`Reward`]
//! is what the policy optimisation asks, be it that model ([`ModelReward`]), the labeler itself
//! ([`DirectReward`]) or a user's own code.

mod config;
mod direct;
mod model;
mod objective;
mod train;

pub use config::RewardConfig;
pub use direct::DirectReward;
pub use model::{ModelReward, raw_rewards};
pub use objective::RewardReport;
pub use train::train;

use crate::error::Result;
use crate::record::Completion;

/// The worth of finished completions, before the KL penalty.
pub trait Reward {
    /// One number per completion, in their order.
    ///
    /// # Errors
    /// What the implementation meets.
    fn reward(&mut self, completions: &[Completion]) -> Result<Vec<f32>>;
}
