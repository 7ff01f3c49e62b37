//! Each algorithm ends above a stated reward, each optimizer above where it began.

use rlaif::optim::{OptimConfig, OptimKind};
use rlaif::rl::advantage::ScaleRewards;
use rlaif::rl::loss::{KlEstimator, LossType};
use rlaif::rl::{
    AlgorithmConfig, GrpoConfig, PpoConfig, RatioLevel, ReinforceBatchConfig, ReinforceConfig,
    RejectionSamplingConfig, RlConfig, RlooConfig,
};
use rlaif::run::Metric;

use super::*;

/// One word of ten is a tenth of the reward by chance.
#[track_caller]
fn check_learns(config: &RlConfig, at_least: f64) -> Vec<Metric> {
    let rows = learn(config);
    let score = |row: &Metric| value(row, "objective/scores");
    let (first, last) = (score(&rows[0]), score(&rows[rows.len() - 1]));
    assert!(first < 0.25, "starts at {first}");
    assert!(last > at_least, "ends at {last}");
    rows
}

#[test]
fn ppo_learns() {
    let ppo = PpoConfig {
        num_ppo_epochs: 2,
        ..Default::default()
    };
    check_learns(&config(AlgorithmConfig::Ppo(ppo)), 0.8);
}

#[test]
fn reinforce_learns() {
    check_learns(&config(AlgorithmConfig::Reinforce(ReinforceConfig {})), 0.8);
}

#[test]
fn reinforce_with_a_batch_baseline_learns() {
    let algorithm = AlgorithmConfig::ReinforceBatch(ReinforceBatchConfig {
        num_iterations: 2,
        ..Default::default()
    });
    check_learns(&config(algorithm), 0.8);
}

#[test]
fn rejection_sampling_learns() {
    let algorithm = AlgorithmConfig::RejectionSampling(RejectionSamplingConfig {
        num_iterations: 2,
        num_mini_batches: 2,
    });
    check_learns(&config(algorithm), 0.8);
}

#[test]
fn rloo_learns() {
    let rloo = RlooConfig {
        beta: 0.02,
        ..Default::default()
    };
    check_learns(&config(AlgorithmConfig::Rloo(rloo)), 0.8);
    let rloo = RlooConfig {
        beta: 0.02,
        num_iterations: 2,
        normalize_advantages: true,
        reward_clip_range: Some([0.0, 1.0]),
        ..Default::default()
    };
    check_learns(&config(AlgorithmConfig::Rloo(rloo)), 0.8);
}

#[test]
fn grpo_and_its_variants_learn() {
    let grpo = GrpoConfig::default;
    let variants = [
        grpo(),
        GrpoConfig {
            beta: 0.04,
            loss_type: LossType::Grpo,
            num_iterations: 2,
            ..grpo()
        },
        GrpoConfig {
            epsilon_high: Some(0.28),
            delta: Some(3.0),
            num_mini_batches: 2,
            entropy_coef: 1e-3,
            ..grpo()
        },
        GrpoConfig {
            loss_type: LossType::DrGrpo,
            scale_rewards: ScaleRewards::None,
            ..grpo()
        },
        GrpoConfig {
            loss_type: LossType::Bnpo,
            scale_rewards: ScaleRewards::Batch,
            kl_estimator: KlEstimator::K2,
            beta: 0.02,
            ..grpo()
        },
        GrpoConfig {
            loss_type: LossType::Grpo,
            importance_sampling_level: RatioLevel::Sequence,
            num_iterations: 2,
            ..grpo()
        },
        GrpoConfig {
            loss_type: LossType::Cispo,
            epsilon: 1.0,
            epsilon_high: Some(4.0),
            num_iterations: 2,
            ..grpo()
        },
    ];
    for variant in variants {
        check_learns(&config(AlgorithmConfig::Grpo(variant)), 0.7);
    }
}

#[test]
fn ppo_learns_with_all_its_options() {
    let ppo = PpoConfig {
        num_ppo_epochs: 2,
        num_mini_batches: 2,
        dual_clip: Some(3.0),
        kl_estimator: KlEstimator::K3,
        normalize_rewards: true,
        reward_clip_range: Some([-3.0, 3.0]),
        whiten_rewards: true,
        ..Default::default()
    };
    check_learns(&config(AlgorithmConfig::Ppo(ppo)), 0.8);
}

/// Every optimizer lowers the same loss in a few steps.
#[test]
fn every_optimizer_learns() {
    for (kind, learning_rate) in [
        (OptimKind::Adamw, 1e-2),
        (OptimKind::Adafactor, 1e-2),
        (OptimKind::Lion, 1e-3),
        (OptimKind::Muon, 1e-2),
    ] {
        let mut config = config(AlgorithmConfig::Reinforce(ReinforceConfig {}));
        config.steps = 20;
        config.optim = OptimConfig {
            kind,
            learning_rate,
            ..config.optim
        };
        let rows = learn(&config);
        let score = |row: &Metric| value(row, "objective/scores");
        let (first, last) = (score(&rows[0]), score(&rows[rows.len() - 1]));
        assert!(last > first + 0.2, "{kind:?}: {first} to {last}");
    }
}
