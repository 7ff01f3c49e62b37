//! Stage 4 without a reward model: the policy learns from the labeler's preferences themselves.
//!
//! [`train`] is the offline loop over labeled pairs, [`update`] its optimizer step. Which loss a
//! pair has, is a [`PreferenceLoss`]: DPO and its variants, KTO, ORPO, SimPO, CPO; the mathematics
//! is in [`rl::loss`](crate::rl::loss). Labels are soft unless [`Labels::Hard`] is asked for: a
//! pair counts as much one way as the labeler is sure of it.
//!
//! Differences from TRL: the term that imitates the chosen completion is a mean over completion
//! tokens, also in ORPO; KTO takes the reference point from pairs of the whole data set that are
//! put after another's prompt, not from those of the same batch; `logps/*` are sums over tokens for
//! every loss, and there are no `logits/*`.

mod config;
mod losses;
mod pairs;
mod train;

pub use config::{DpoConfig, DpoOptions, Labels, PreferenceLoss};
pub use pairs::{Mismatched, PreferencePair, pairs};
pub use train::{train, update};
