//! Preference optimisation on pairs that the initial policy wrote and a labeler judged.

use rlaif::dpo::{self, DpoConfig, DpoOptions, Labels, PreferenceLoss};
use rlaif::record::Preference;
use rlaif::rl::loss::DpoLossType;
use rlaif::rl::{Policy, ReferenceConfig};

use super::*;

/// Completions of the prompts by `model`, several of each.
fn sample(model: &Transformer, tokenizer: &Tokenizer, n: usize, seed: u64) -> Vec<Completion> {
    let config = policy_config(Path::new("."));
    let policy = Policy {
        model,
        tokenizer,
        config: &config,
    };
    let sampling = SamplingConfig {
        max_new_tokens: 8,
        ..Default::default()
    };
    let mut rng = StdRng::seed_from_u64(seed);
    let rollouts = policy.sample(&prompts(), n, &sampling, &mut rng).unwrap();
    rollouts.into_iter().map(|row| row.completion).collect()
}

/// The completion with more gold in it is better, by a labeler that is right three times in four
/// about a pair that differs by a quarter.
fn preferences(completions: &[Completion]) -> Vec<Preference> {
    let scores = Gold.reward(completions).unwrap();
    let pairs = completions.chunks_exact(2).zip(scores.chunks_exact(2));
    pairs
        .filter(|(_, scores)| scores[0] != scores[1])
        .map(|(pair, scores)| {
            let better = usize::from(scores[1] > scores[0]);
            let margin = (scores[better] - scores[1 - better]).min(0.5);
            let row = serde_json::json!({
                "prompt": pair[0].prompt.transcript(),
                "chosen": pair[better].completion,
                "rejected": pair[1 - better].completion,
                "p_chosen": 0.5 + margin,
            });
            serde_json::from_value(row).unwrap()
        })
        .collect()
}

fn mean_score(completions: &[Completion]) -> f32 {
    Gold.reward(completions).unwrap().iter().sum::<f32>() / completions.len() as f32
}

/// Scores before and after, and the rows of the log.
fn learn_offline(loss: PreferenceLoss, labels: Labels) -> (f32, f32, Vec<Metric>) {
    learn_from(loss, labels, ReferenceConfig::Frozen)
}

/// The same beside another reference than the initial policy.
fn learn_from(
    loss: PreferenceLoss,
    labels: Labels,
    reference: ReferenceConfig,
) -> (f32, f32, Vec<Metric>) {
    let config = DpoConfig {
        batch_size: 32,
        num_train_epochs: 4,
        micro_batch_size: Some(16),
        micro_batch_tokens: None,
        gradient_checkpointing: false,
        labels,
        loss,
        reference,
        holdout: 0.0,
        validation: Default::default(),
        optim: OptimConfig {
            learning_rate: 3e-3,
            lr_scheduler_type: Schedule::Constant,
            ..Default::default()
        },
    };
    config.validate().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::create(folder.path()).unwrap();
    let (tokenizer, policy) = (tokenizer(folder.path()), policy_config(folder.path()));
    let written = sample(&initial(), &tokenizer, 16, 1);
    let preferences = preferences(&written);
    let mut journal = run.journal("dpo", "policy").unwrap();
    let start = (initial(), &tokenizer);
    let trained = dpo::train(&config, &policy, start, &preferences, &mut journal, 17).unwrap();
    let rows = read_jsonl(run.path("metrics.jsonl")).unwrap();
    let after = mean_score(&sample(&trained, &tokenizer, 4, 2));
    (mean_score(&written), after, rows)
}

#[track_caller]
fn check_learns(loss: PreferenceLoss, labels: Labels, at_least: f32) -> Vec<Metric> {
    let (before, after, rows) = learn_offline(loss, labels);
    assert!(before < 0.25, "starts at {before}");
    assert!(after > at_least, "{loss:?}: from {before} to {after}");
    rows
}

#[test]
fn dpo_and_its_variants_learn() {
    let dpo = |loss_type| DpoOptions {
        loss_type,
        ..Default::default()
    };
    let smoothed = |loss_type| DpoOptions {
        label_smoothing: 0.1,
        ..dpo(loss_type)
    };
    let variants = [
        dpo(DpoLossType::Sigmoid),
        dpo(DpoLossType::Hinge),
        dpo(DpoLossType::Ipo),
        smoothed(DpoLossType::Robust),
        smoothed(DpoLossType::ExoPair),
        dpo(DpoLossType::NcaPair),
        dpo(DpoLossType::BcoPair),
        dpo(DpoLossType::SppoHard),
        dpo(DpoLossType::ApoZero),
        dpo(DpoLossType::SigmoidNorm),
        DpoOptions {
            rpo_alpha: 0.1,
            ..dpo(DpoLossType::Sigmoid)
        },
    ];
    for options in variants {
        check_learns(PreferenceLoss::Dpo(options), Labels::Soft, 0.25);
    }
    let rows = check_learns(PreferenceLoss::default(), Labels::Hard, 0.4);
    // The first policy is its own reference.
    let first = |name: &str| value(&rows[0], name);
    assert!((first("loss") - f64::from(std::f32::consts::LN_2)).abs() < 1e-4);
    assert!(first("rewards/margins").abs() < 1e-3);
    let last = |name: &str| value(&rows[rows.len() - 1], name);
    assert!(last("rewards/accuracies") > 0.7 && last("rewards/margins") > 0.0);
    assert!(last("rewards/chosen") > last("rewards/rejected"));
    assert_eq!(last("epoch"), 4.0);
}

/// A reference that becomes the policy at every step is at no distance before the next one.
#[test]
fn a_reference_may_follow() {
    let synced = |ref_model_mixup_alpha, ref_model_sync_steps| ReferenceConfig::Synced {
        ref_model_mixup_alpha,
        ref_model_sync_steps,
    };
    let learn = |reference| learn_from(PreferenceLoss::default(), Labels::Soft, reference);
    let (_, _, rows) = learn(synced(1.0, 1));
    for row in &rows {
        assert!(value(row, "rewards/margins").abs() < 1e-3, "{row:?}");
    }
    let (before, after, rows) = learn(synced(0.6, 4));
    assert!(after > before + 0.1, "{before} to {after}");
    assert!(value(&rows[3], "rewards/margins").abs() > 1e-3);
}

/// Made for pairs that are worse than the policy: it lowers both.
#[test]
fn apo_down_lowers_both() {
    let options = DpoOptions {
        loss_type: DpoLossType::ApoDown,
        ..Default::default()
    };
    let (_, _, rows) = learn_offline(PreferenceLoss::Dpo(options), Labels::Soft);
    let last = |name: &str| value(&rows[rows.len() - 1], name);
    assert!(last("loss") < 0.7, "{rows:?}");
    assert!(last("rewards/chosen") < 0.0 && last("rewards/rejected") < 0.0);
}

#[test]
fn losses_without_a_pair_or_a_reference_learn() {
    let kto = PreferenceLoss::Kto {
        beta: 0.1,
        desirable_weight: 1.0,
        undesirable_weight: 1.0,
    };
    let rows = check_learns(kto, Labels::Soft, 0.25);
    assert!(value(&rows[0], "kl").abs() < 1e-3);
    check_learns(PreferenceLoss::Orpo { beta: 0.5 }, Labels::Soft, 0.25);
    let simpo = PreferenceLoss::Simpo {
        beta: 2.0,
        simpo_gamma: 0.5,
    };
    check_learns(simpo, Labels::Soft, 0.25);
    let cpo = PreferenceLoss::Cpo {
        beta: 0.1,
        loss_type: DpoLossType::Sigmoid,
        cpo_alpha: 0.1,
    };
    let rows = check_learns(cpo, Labels::Soft, 0.25);
    assert!(rows[0].values.contains_key("nll_loss"));
}
