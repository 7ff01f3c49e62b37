//! Learning from comparisons of what the policy writes; references that move or are none; held-out
//! prompts.

use rlaif::dpo::Labels;
use rlaif::label::{Candidate, Judgement, Labeler, Pair, Scored};
use rlaif::record::Method;
use rlaif::reward::WinRateReward;
use rlaif::rl::loss::DpoLossType;
use rlaif::rl::{
    BestMetric, GrpoConfig, OnlineDpoConfig, PpoConfig, ReferenceConfig, RlValidationConfig,
    RlooConfig, ValueKind,
};

use super::*;

/// Prefers the text with the larger share of `gold`, the more surely the larger it is.
struct GoldLabeler;

impl Labeler for GoldLabeler {
    fn name(&self) -> &str {
        "gold"
    }

    fn compare(&mut self, pairs: &[Pair]) -> rlaif::Result<Vec<Judgement>> {
        let share = |text: &str| {
            let words: Vec<&str> = text.split_whitespace().collect();
            words.iter().filter(|word| **word == "gold").count() as f32 / words.len().max(1) as f32
        };
        let judge = |pair: &Pair| {
            let p = 0.5 + 0.5 * (share(pair.a) - share(pair.b));
            Judgement::of_both(p, p, Method::LogProbs)
        };
        Ok(pairs.iter().map(judge).collect())
    }

    fn score(&mut self, _: &[Candidate]) -> rlaif::Result<Vec<Scored>> {
        Ok(Vec::new())
    }
}

fn online_dpo(options: OnlineDpoConfig) -> RlConfig {
    config(AlgorithmConfig::OnlineDpo(options))
}

/// The best of four against the worst.
#[test]
fn online_dpo_learns() {
    for loss_type in [DpoLossType::Sigmoid, DpoLossType::Ipo] {
        let rows = learn(&online_dpo(OnlineDpoConfig {
            loss_type,
            ..Default::default()
        }));
        let first = |name: &str| value(&rows[0], name);
        let last = |name: &str| value(&rows[rows.len() - 1], name);
        let (start, end) = (first("objective/scores"), last("objective/scores"));
        assert!(start < 0.25 && end > 0.7, "{loss_type:?}: {start} to {end}");
        // The first policy is its own reference.
        assert!(first("rewards/margins").abs() < 1e-3);
        assert!(first("objective/scores_margin") > 0.0 && first("frac_pairs") > 0.5);
        assert!((first("beta") - 0.1).abs() < 1e-6);
        let terminated = 1.0 - first("completions/clipped_ratio");
        assert!((first("val/contain_eos_token") - terminated).abs() < 1e-6);
    }
}

/// OAIF with the labeler's probabilities.
#[test]
fn probabilities_of_a_labeler_are_learned_from() {
    let mut config = online_dpo(OnlineDpoConfig {
        labels: Labels::Soft,
        ..Default::default()
    });
    config.reward = RewardKind::WinRate {}.into();
    config.num_generations = 2;
    config.steps = 50;
    config.validation = Some(RlValidationConfig {
        num_prompts: 8,
        eval_steps: 25,
        sampling: None,
        metric_for_best_model: BestMetric::EvalWinRate,
        early_stopping_patience: None,
        load_best_model_at_end: false,
    });
    let (outcome, rows) = run_against(&config, &mut WinRateReward::new(Box::new(GoldLabeler)));
    outcome.unwrap();
    // Two win rates add up to 1: the batch's mean says nothing, that against the initial policy
    // does.
    assert!((value(&rows[49], "reward") - 0.5).abs() < 1e-5);
    let measured: Vec<usize> = (0..50)
        .filter(|&i| rows[i].values.contains_key("eval_win_rate"))
        .collect();
    assert_eq!(measured, [24, 49]);
    assert!(value(&rows[49], "eval_win_rate") > 0.8, "{:?}", rows[49]);
    assert!(value(&rows[49], "eval_reward") > 0.65, "{:?}", rows[49]);
}

/// A head on the policy's own hidden states is enough.
#[test]
fn ppo_learns_with_shared_values() {
    let shared = |vf_coef| {
        config(AlgorithmConfig::Ppo(PpoConfig {
            num_ppo_epochs: 2,
            value_model: ValueKind::Shared,
            vf_coef,
            ..Default::default()
        }))
    };
    let rows = learn(&shared(Some(0.5)));
    let last = &rows[rows.len() - 1];
    assert!(value(last, "objective/scores") > 0.8, "{last:?}");
    let explained = |row: &Metric| value(row, "critic/vf_explained_var");
    // Zeros explain nothing.
    assert!(explained(&rows[0]).abs() < 1e-3, "{:?}", rows[0]);
    assert!(rows.iter().any(|row| explained(row) > 0.1));
    let mut separate = shared(Some(0.5));
    if let AlgorithmConfig::Ppo(ppo) = &mut separate.algorithm {
        ppo.value_model = ValueKind::Separate;
    }
    let error = separate.validate().unwrap_err().to_string();
    assert!(error.contains("`rl.algorithm.vf_coef` is 0.5"), "{error}");
}

/// The next batch is drawn while this one is scored: it is of the policy before the update, and the
/// ratio to that policy is not 1.
#[test]
fn a_batch_drawn_ahead_is_of_the_policy_before() {
    let ppo = PpoConfig {
        num_ppo_epochs: 1,
        ..Default::default()
    };
    let config = RlConfig {
        overlap: true,
        ..config(AlgorithmConfig::Ppo(ppo))
    };
    let rows = learn(&config);
    let last = &rows[rows.len() - 1];
    assert!(value(last, "objective/scores") > 0.8, "{last:?}");
    let ratio = |row: &Metric| value(row, "policy/approxkl_avg");
    assert!(ratio(&rows[0]) < 1e-9, "{:?}", rows[0]);
    assert!(rows[1..].iter().all(|row| ratio(row) > 1e-6), "{rows:?}");
    // What the sampler says of a batch is of the same policy as what the training forward says.
    let difference = |row: &Metric| value(row, "sampling/sampling_logp_difference/max");
    assert!(rows.iter().all(|row| difference(row) < 1e-3));
}

/// A reference that becomes the policy at every step is at no distance when the next one begins;
/// without one no KL is known.
#[test]
fn references_move_or_are_none() {
    let mut synced = config(AlgorithmConfig::Rloo(RlooConfig::default()));
    synced.reference = ReferenceConfig::Synced {
        ref_model_mixup_alpha: 1.0,
        ref_model_sync_steps: 1,
    };
    synced.steps = 10;
    for row in learn(&synced) {
        assert!(value(&row, "objective/kl").abs() < 1e-3, "{row:?}");
    }
    synced.reference = ReferenceConfig::Synced {
        ref_model_mixup_alpha: 0.6,
        ref_model_sync_steps: 5,
    };
    let rows = learn(&synced);
    let kl = |step: usize| value(&rows[step - 1], "objective/kl");
    assert!(kl(6) < kl(5), "{} to {}", kl(5), kl(6));
    let mut none = config(AlgorithmConfig::Grpo(GrpoConfig::default()));
    (none.reference, none.steps) = (ReferenceConfig::None, 2);
    for row in learn(&none) {
        assert!(!row.values.contains_key("objective/kl"), "{row:?}");
    }
    let penalised = RlConfig {
        reference: ReferenceConfig::None,
        ..config(AlgorithmConfig::Rloo(RlooConfig::default()))
    };
    let error = penalised.validate().unwrap_err().to_string();
    let expected = "`rl.reference.kind` is none, expected another for a KL penalty";
    assert_eq!(error, expected);
}

/// Measured every few steps, on prompts that nothing is learned from; a run that gets no better
/// ends early.
#[test]
fn held_out_prompts_are_measured() {
    let mut config = config(AlgorithmConfig::Grpo(GrpoConfig::default()));
    let validation = RlValidationConfig {
        num_prompts: 8,
        eval_steps: 4,
        sampling: Some(SamplingConfig {
            temperature: 0.0,
            max_new_tokens: 8,
            ..Default::default()
        }),
        metric_for_best_model: BestMetric::EvalReward,
        early_stopping_patience: Some(2),
        load_best_model_at_end: true,
    };
    config.validation = Some(validation.clone());
    config.steps = 100;
    let rows = learn(&config);
    let found: Vec<f64> = rows
        .iter()
        .filter_map(|row| row.values.get("eval_reward").copied().flatten())
        .collect();
    assert_eq!(found.len(), rows.len() / 4);
    // Ended by two measurements no better than the best before them.
    assert!(rows.len() < 100, "{}", rows.len());
    let best = found.iter().copied().fold(0.0, f64::max);
    assert_eq!(found[found.len() - 3], best);
    assert!(best > 0.7, "{found:?}");
    assert!(value(&rows[rows.len() - 1], "eval_win_rate") > 0.9);
    config.validation = Some(RlValidationConfig {
        num_prompts: 24,
        ..validation
    });
    let error = run(&config).0.unwrap_err().to_string();
    assert!(error.contains("fewer than the 24 prompts"), "{error}");
}
