//! What the settings of the loop do: penalties, bonuses, masks, the first ratio.

use rlaif::rl::loss::KlEstimator;
use rlaif::rl::{
    AdaptiveKlConfig, AlgorithmConfig, GrpoConfig, HealthConfig, PpoConfig, ReinforceBatchConfig,
    RlooConfig,
};
use rlaif::run::Metric;

use super::*;

/// The policy moves away from where it started, past the target: the weight of the penalty rises.
#[test]
fn an_adaptive_penalty_follows_the_kl() {
    let mut config = config(AlgorithmConfig::Rloo(RlooConfig::default()));
    config.adaptive_kl = Some(AdaptiveKlConfig {
        target: 0.5,
        horizon: 320,
    });
    let rows = learn(&config);
    let coef = |row: &Metric| value(row, "objective/kl_coef");
    assert!((coef(&rows[0]) - 0.05).abs() < 1e-6);
    // The first policy is its own reference: the error of its KL of 0 counts as -0.2, and
    // 0.05 (1 - 0.2 * 32 / 320) = 0.049.
    assert!((coef(&rows[1]) - 0.049).abs() < 1e-6, "{:?}", rows[1]);
    assert!(coef(&rows[rows.len() - 1]) > 0.05);
}

/// A heavy KL penalty outweighs the reward, in the reward as in the loss; a policy without one goes
/// farther. Whitened noise makes PPO's wander a little.
#[test]
fn a_heavy_penalty_holds_the_policy() {
    let kl = |row: &Metric| value(row, "objective/kl");
    let free = learn(&config(AlgorithmConfig::Grpo(GrpoConfig::default())));
    let free = kl(&free[free.len() - 1]);
    assert!(free > 5.0, "{free}");
    let grpo = |kl_estimator| GrpoConfig {
        beta: 10.0,
        kl_estimator,
        num_iterations: 2,
        ..Default::default()
    };
    let rloo = RlooConfig {
        beta: 10.0,
        ..Default::default()
    };
    let ppo = PpoConfig::default();
    for algorithm in [
        AlgorithmConfig::Ppo(ppo),
        AlgorithmConfig::ReinforceBatch(ReinforceBatchConfig::default()),
        AlgorithmConfig::Rloo(rloo),
        AlgorithmConfig::Grpo(grpo(KlEstimator::K2)),
        AlgorithmConfig::Grpo(grpo(KlEstimator::K3)),
    ] {
        let mut config = config(algorithm);
        config.kl_coef = config.kl_coef.map(|_| 10.0);
        let rows = learn(&config);
        let last = &rows[rows.len() - 1];
        assert!(kl(last) < 4.0, "{last:?}: {:?}", config.algorithm);
        assert!(value(last, "reward") < 0.5, "{last:?}");
    }
}

/// A bonus on the entropy keeps the policy from settling on one word.
#[test]
fn an_entropy_bonus_keeps_the_entropy() {
    let last_entropy = |entropy_coef| {
        let algorithm = AlgorithmConfig::Grpo(GrpoConfig {
            entropy_coef,
            ..Default::default()
        });
        let rows = learn(&config(algorithm));
        value(&rows[rows.len() - 1], "entropy")
    };
    let (without, with) = (last_entropy(0.0), last_entropy(1.0));
    assert!(without < 0.5, "{without}");
    assert!(with > 1.5, "{with}");
}

/// A policy without a penalty leaves its reference; the run ends when it is too far, and says so.
#[test]
fn an_unhealthy_run_can_be_stopped() {
    let mut config = config(AlgorithmConfig::Grpo(GrpoConfig::default()));
    config.health = HealthConfig {
        stop: true,
        window: 2,
        max_kl: 1.0,
        ..Default::default()
    };
    let (outcome, rows) = run(&config);
    let message = outcome.unwrap_err().to_string();
    assert!(message.contains("KL explosion"), "{message}");
    assert!(message.contains("rl.adaptive_kl"), "{message}");
    let ill = |row: &Metric| value(row, "health/kl_explosion");
    assert!(rows.len() < config.steps);
    assert_eq!((ill(&rows[0]), ill(&rows[rows.len() - 1])), (0.0, 1.0));
}

/// Completions that were cut count in the baseline only: with all of them cut nothing is learned.
#[test]
fn truncated_completions_can_be_masked() {
    let mut config = config(AlgorithmConfig::Grpo(GrpoConfig {
        mask_truncated_completions: true,
        ..Default::default()
    }));
    config.steps = 2;
    config.sampling.max_new_tokens = 1;
    for row in learn(&config) {
        let clipped = value(&row, "completions/clipped_ratio");
        let norm = value(&row, "grad_norm");
        assert!(clipped < 1.0 || norm == 0.0, "{row:?}");
        // Only those that ended at once are left, one token each.
        assert!(clipped > 0.5 && norm.is_finite(), "{row:?}");
    }
}

/// What is logged of a rollout batch, whatever the algorithm.
#[test]
fn sampler_and_trainer_agree() {
    let mut config = config(AlgorithmConfig::Grpo(GrpoConfig::default()));
    config.steps = 3;
    for row in learn(&config) {
        let difference = value(&row, "sampling/sampling_logp_difference/max");
        assert!(difference < 1e-4, "{row:?}");
        for name in [
            "reward",
            "reward_std",
            "frac_reward_zero_std",
            "entropy",
            "kl",
        ] {
            assert!(row.values.contains_key(name), "{name} in {row:?}");
        }
        // One optimizer step: the policy that learns is the one that sampled.
        for side in ["low", "high", "region"] {
            assert_eq!(value(&row, &format!("clip_ratio/{side}_mean")), 0.0);
        }
    }
}

/// With one epoch and one minibatch the policy that is updated is the one that sampled: the
/// probability ratio is 1, so nothing is clipped and the old policy is not left.
#[test]
fn the_first_ratio_is_one() {
    let mut config = config(AlgorithmConfig::Ppo(PpoConfig {
        num_ppo_epochs: 1,
        ..Default::default()
    }));
    config.steps = 4;
    for row in learn(&config) {
        assert!((value(&row, "val/ratio") - 1.0).abs() < 1e-5, "{row:?}");
        assert!(value(&row, "policy/approxkl_avg") < 1e-9, "{row:?}");
        assert_eq!(value(&row, "policy/clipfrac_avg"), 0.0);
    }
}

/// Of 24 prompts eight a step: those kept at the first step are kept again in the second epoch,
/// wherever they stand in their batch.
#[test]
fn what_becomes_of_a_prompt_is_kept() {
    let config = RlConfig {
        steps: 6,
        ..config(AlgorithmConfig::ReinforceBatch(Default::default()))
    };
    let kept = run(&config).0.unwrap();
    let followed = &kept[0].completion.prompt_id;
    let of_prompt = |row: &&LoggedRollout| row.completion.prompt_id == *followed;
    let steps: Vec<usize> = kept.iter().filter(of_prompt).map(|row| row.step).collect();
    assert_eq!(steps[..4], [1; 4]);
    assert!(steps.len() == 8 && (4..=6).contains(&steps[4]), "{steps:?}");
}
