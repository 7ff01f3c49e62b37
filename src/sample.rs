//! Stage 1: the policy answers prompts, several times each.

use rand::rngs::StdRng;

use crate::error::Result;
use crate::generate::SamplingConfig;
use crate::model::CausalLm;
use crate::progress::Progress;
use crate::record::{Completion, Prompt};
use crate::rl::Policy;

/// Draws `n` completions of each prompt, in prompt order.
///
/// # Errors
/// A prompt does not fit the model, or the device fails.
pub fn sample<M: CausalLm>(
    policy: &Policy<M>,
    prompts: &[Prompt],
    n: usize,
    sampling: &SamplingConfig,
    rng: &mut StdRng,
) -> Result<Vec<Completion>> {
    let mut progress = Progress::new("sample", prompts.len() as u64, "prompts");
    let mut completions = Vec::with_capacity(prompts.len() * n);
    // Several batches at a time, so that prompts of similar length find each other.
    for prompts in prompts.chunks((8 * sampling.batch_size / n).max(1)) {
        let rollouts = policy.sample(prompts, n, sampling, rng)?;
        completions.extend(rollouts.into_iter().map(|rollout| rollout.completion));
        progress.inc(prompts.len() as u64);
    }
    Ok(completions)
}
