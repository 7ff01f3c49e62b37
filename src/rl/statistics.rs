//! What a rollout batch has to tell, whatever the algorithm; names as in TRL.

use super::Rollout;
use super::UpdateStats;
use super::advantage::deviation;
use super::loss::KlEstimator;

/// Statistics of a batch of scored rollouts, `num_generations` for each prompt.
///
/// - `objective/kl` is the k1 estimate summed over a completion's tokens, `objective/entropy` the
///   negative log-probability of a completion, both in nats.
/// - `reward_std` is the mean deviation within a prompt's completions, `frac_reward_zero_std` the
///   share of prompts where it is 0; with one completion per prompt the former is the deviation
///   of the batch, the latter is left out.
/// - `*_terminated_length` are of the completions that ended by themselves, 0 if none did.
/// - `sampling/sampling_logp_difference` is how far the sampler's log-probabilities are from those
///   of the training forward, per token: rounding alone, or sampler and trainer disagree.
pub(super) fn statistics(
    rollouts: &[Rollout],
    num_generations: usize,
    kl_coef: f32,
) -> UpdateStats {
    let mean_of = |f: &dyn Fn(&Rollout) -> f64| mean(rollouts.iter().map(f));
    let reward = mean_of(&|rollout| rollout.reward.into());
    let kl = mean_of(&|rollout| rollout.kl(KlEstimator::K1).sum::<f32>().into());
    let non_score = -f64::from(kl_coef) * kl;
    let mut stats = vec![
        ("reward", reward),
        ("objective/scores", reward),
        ("objective/kl", kl),
        ("objective/kl_coef", kl_coef.into()),
        (
            "objective/entropy",
            mean_of(&|rollout| -f64::from(rollout.completion.log_prob)),
        ),
        ("objective/non_score_reward", non_score),
        ("objective/rlhf_reward", reward + non_score),
        (
            "completions/clipped_ratio",
            mean_of(&|rollout| (!rollout.completion.finished).into()),
        ),
    ];
    stats.extend(spread(rollouts, num_generations));
    stats.extend(lengths(rollouts));
    stats.extend(sampling_difference(rollouts));
    stats
}

fn spread(rollouts: &[Rollout], num_generations: usize) -> UpdateStats {
    let rewards: Vec<f32> = rollouts.iter().map(|rollout| rollout.reward).collect();
    if num_generations < 2 {
        return vec![("reward_std", deviation(&rewards))];
    }
    let stds: Vec<f64> = rewards.chunks(num_generations).map(deviation).collect();
    let zero = stds.iter().map(|&std| f64::from(u8::from(std == 0.0)));
    vec![
        ("reward_std", mean(stds.iter().copied())),
        ("frac_reward_zero_std", mean(zero)),
    ]
}

fn lengths(rollouts: &[Rollout]) -> UpdateStats {
    let all = rollouts.iter().map(|rollout| rollout.tokens.len());
    let terminated = rollouts
        .iter()
        .filter(|rollout| rollout.completion.finished);
    let terminated = terminated.map(|rollout| rollout.tokens.len());
    vec![
        (
            "completions/mean_length",
            mean(all.clone().map(|n| n as f64)),
        ),
        (
            "completions/min_length",
            all.clone().min().unwrap_or(0) as f64,
        ),
        ("completions/max_length", all.max().unwrap_or(0) as f64),
        (
            "completions/mean_terminated_length",
            mean(terminated.clone().map(|n| n as f64)),
        ),
        (
            "completions/min_terminated_length",
            terminated.clone().min().unwrap_or(0) as f64,
        ),
        (
            "completions/max_terminated_length",
            terminated.max().unwrap_or(0) as f64,
        ),
    ]
}

fn sampling_difference(rollouts: &[Rollout]) -> UpdateStats {
    let differences = rollouts.iter().flat_map(|rollout| {
        let pairs = rollout.log_probs.iter().zip(&rollout.old_log_probs);
        pairs.map(|(sampled, trained)| f64::from((sampled - trained).abs()))
    });
    vec![
        (
            "sampling/sampling_logp_difference/mean",
            mean(differences.clone()),
        ),
        (
            "sampling/sampling_logp_difference/max",
            differences.fold(0.0, f64::max),
        ),
    ]
}

/// Mean, 0 of nothing.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0), |(sum, n), x| (sum + x, n + 1));
    sum / f64::from(n.max(1))
}

#[cfg(test)]
mod tests {
    use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};

    use super::*;
    use crate::record::Completion;

    /// A rollout of `n` tokens, each `ln 2` more probable than in the reference, 0.5 nats off what
    /// the sampler said.
    fn rollout(reward: f32, n: usize, finished: bool) -> Rollout {
        Rollout {
            completion: Completion {
                prompt_id: "p".into(),
                prompt: "p".into(),
                index: 0,
                completion: String::new(),
                n_tokens: n,
                log_prob: -3.0,
                finished,
            },
            prompt_tokens: vec![1],
            tokens: vec![1; n],
            log_probs: vec![-1.5; n],
            old_log_probs: vec![-1.0; n],
            ref_log_probs: vec![-1.0 - std::f32::consts::LN_2; n],
            reward,
        }
    }

    #[test]
    fn batches_are_summed_up() {
        let rollouts = [
            rollout(1.0, 2, true),
            rollout(3.0, 4, true),
            rollout(2.0, 8, false),
            rollout(2.0, 6, true),
        ];
        let stats = statistics(&rollouts, 2, 0.1);
        let check = |name: &str, expected: f64| {
            let found = stats.iter().find(|(found, _)| *found == name).unwrap().1;
            assert!((found - expected).abs() < 1e-6, "{name}: {found}");
        };
        check("reward", 2.0);
        // 20 tokens of ln 2 in 4 completions: 5 ln 2.
        check("objective/kl", 3.465_736);
        check("objective/rlhf_reward", 1.653_426);
        check("objective/entropy", 3.0);
        // Unbiased: sqrt(2) in the first group, 0 in the second.
        check("reward_std", FRAC_1_SQRT_2);
        check("frac_reward_zero_std", 0.5);
        check("completions/mean_length", 5.0);
        check("completions/min_length", 2.0);
        check("completions/max_length", 8.0);
        check("completions/mean_terminated_length", 4.0);
        check("completions/min_terminated_length", 2.0);
        check("completions/max_terminated_length", 6.0);
        check("completions/clipped_ratio", 0.25);
        check("sampling/sampling_logp_difference/mean", 0.5);
        check("sampling/sampling_logp_difference/max", 0.5);
    }

    #[test]
    fn a_batch_without_groups_has_one_deviation() {
        // 1 and 3: mean 2, squares 1 + 1, over 1.
        let stats = spread(&[rollout(1.0, 1, true), rollout(3.0, 1, true)], 1);
        assert_eq!(stats.len(), 1);
        assert!((stats[0].1 - SQRT_2).abs() < 1e-6, "{stats:?}");
    }
}
