//! Stage 1: the policy answers prompts, several times each.

use rand::RngExt;
use rand::rngs::StdRng;

use crate::error::Result;
use crate::generate::SamplingConfig;
use crate::model::CausalLm;
use crate::progress::Progress;
use crate::record::kept::{Kept, resume};
use crate::record::{Completion, Prompt};
use crate::rl::Policy;

/// Draws `n` completions of each prompt, in prompt order, into `completions`; goes on behind those
/// that are there. What is drawn depends on `rng` as it is handed in and on the completion's place,
/// not on where the work began.
///
/// # Errors
/// A prompt does not fit the model, the device fails, or `completions` does.
pub fn sample<M: CausalLm>(
    policy: &Policy<M>,
    prompts: &[Prompt],
    n: usize,
    sampling: &SamplingConfig,
    rng: &mut StdRng,
    completions: &mut impl Kept<Completion>,
) -> Result<()> {
    let seeds: Vec<u64> = (0..prompts.len() * n).map(|_| rng.random()).collect();
    // Several batches at a time, so that prompts of similar length find each other.
    let at_once = (8 * sampling.batch_size / n).max(1);
    let done = resume(completions, 0..seeds.len(), at_once * n)? / n;
    let progress = Progress::new("sample", prompts.len() as u64, "prompts");
    let mut progress = progress.resumed_at(done as u64);
    let rest = prompts[done..].chunks(at_once);
    for (prompts, seeds) in rest.zip(seeds[done * n..].chunks(at_once * n)) {
        let rollouts = policy.sample_seeded(prompts, seeds, sampling)?;
        let texts = rollouts.into_iter().map(|rollout| rollout.completion);
        completions.append(texts.collect())?;
        progress.inc(prompts.len() as u64);
    }
    Ok(())
}
