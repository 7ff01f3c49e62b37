//! Training in f16: the losses are scaled, and steps that overflow are skipped.

use rlaif::optim::LossScaling;
use rlaif::record::read_jsonl;
use rlaif::run::Metric;

use super::*;

fn learner(config: LossScaling) -> Learner<Transformer> {
    let optim = OptimConfig {
        learning_rate: 2e-3,
        lr_scheduler_type: Schedule::Constant,
        ..Default::default()
    };
    let learner = optim.init(load("llama", Precision::F16), 100);
    learner.with_loss_scaling(config)
}

/// Gradient of the mean loss times `factor`.
fn scaled_loss(learner: &Learner<Transformer>, factor: f32, way: Backward) -> GradientsParams {
    let device = Device::flex().autodiff();
    let model = &learner.model;
    let batch = Batch::new(&texts(), model.vocab_size(), model.max_len(), &device).unwrap();
    let n = batch.n_targets as f32;
    let loss = |scores: rlaif::log_prob::Scores| (scores.log_probs.sum().neg() / n * factor, ());
    gradients(model, &batch, 1.0, way, loss).0
}

/// Of a millionth of a mean over 96 tokens no logit has a gradient above `1e-6 / 96`, which rounds to
/// 0 in f16; 65536 times that does not.
#[test]
fn small_gradients_vanish_without_a_scale_and_are_kept_with_it() {
    const SMALL: f32 = 1e-6;
    let learner = learner(LossScaling::default());
    let dir = tempfile::tempdir().unwrap();
    model::save(&learner.model.valid(), dir.path()).unwrap();
    // The same weights.
    let plain = model::load(dir.path(), &Device::flex()).unwrap();
    let expected = gradients_of(plain, &texts());
    let all = |found: &BTreeMap<String, Vec<f32>>| -> Vec<f32> {
        found.values().flatten().copied().collect()
    };
    let unscaled = scaled_loss(&learner, SMALL, Activations::Kept.into());
    let unscaled = all(&by_path(&learner.model, &unscaled));
    assert!(unscaled.iter().all(|x| *x == 0.0));
    for activations in [Activations::Kept, Activations::Recomputed] {
        let found = scaled_loss(&learner, SMALL, learner.backward(activations));
        let (found, expected) = (all(&by_path(&learner.model, &found)), all(&expected));
        let apart: Vec<f32> = found
            .iter()
            .zip(&expected)
            .map(|(found, expected)| found / SMALL - expected)
            .collect();
        let (apart, size) = (norm(&apart), norm(&expected));
        println!("the gradient is {} of its size off", apart / size);
        assert!(apart < 0.01 * size, "{apart} of {size}");
    }
}

#[test]
fn a_step_that_overflows_is_skipped() {
    let mut learner = learner(LossScaling::default());
    let mut losses = Vec::new();
    for step in 0..20 {
        let way = learner.backward(Activations::Kept);
        let (grads, loss) = loss(&learner.model, &texts(), way);
        losses.push(loss);
        if step != 3 {
            learner = learner.apply(grads).unwrap().0;
            continue;
        }
        assert_eq!(
            (way.loss_scale.value(), learner.skipped_steps()),
            (65_536.0, 0)
        );
        let before = logits(&learner.model);
        let overflowing = scaled_loss(&learner, 1e30, way);
        let (next, norm) = learner.apply(overflowing).unwrap();
        learner = next;
        assert!(!norm.is_finite());
        assert_eq!(rlaif::optim::grad_norm(norm), None);
        assert_eq!(logits(&learner.model), before);
        assert_eq!(learner.steps(), 4);
        let expected = [("loss_scale", 32_768.0), ("skipped_steps", 1.0)];
        assert_eq!(learner.scaling(), expected);
    }
    assert_eq!(losses[4], losses[3]);
    assert!(losses[19] < 0.8 * losses[4], "{losses:?}");
    assert_eq!((learner.skipped_steps(), learner.steps()), (1, 20));
}

/// Before the norm is bounded the gradients are those of the loss, whatever its scale.
#[test]
fn gradients_are_clipped_unscaled() {
    let learner = learner(LossScaling::default());
    let way = learner.backward(Activations::Kept);
    let (grads, _) = loss(&learner.model, &texts(), way);
    let all: Vec<f32> = by_path(&learner.model, &grads)
        .into_values()
        .flatten()
        .collect();
    let (_, found) = learner.apply(grads).unwrap();
    let expected = norm(&all);
    assert!(
        (found - expected).abs() < 1e-3 * expected,
        "{found}, {expected}"
    );
    assert!(found < 100.0, "{found}");
}

#[test]
fn a_scale_that_cannot_fall_is_an_error() {
    let config = LossScaling {
        init_scale: 2.0,
        ..LossScaling::default()
    };
    let mut learner = learner(config);
    let overflowing = |learner: &Learner<Transformer>| {
        scaled_loss(learner, 1e30, learner.backward(Activations::Kept))
    };
    let grads = overflowing(&learner);
    learner = learner.apply(grads).unwrap().0;
    let grads = overflowing(&learner);
    let said = learner.apply(grads).err().unwrap().to_string();
    let expected = "the gradient in f16 is not a number at step 2, though the loss is scaled by 1";
    assert!(said.starts_with(expected), "{said}");
}

/// Rows of a stage's log.
fn rows(run: &Path, stage: &str) -> Vec<Metric> {
    let rows = read_jsonl::<Metric>(&run.join("metrics.jsonl")).unwrap();
    rows.into_iter().filter(|row| row.stage == stage).collect()
}

/// The scale follows from the steps that were skipped, for no stage is long enough for it to grow;
/// tells how many they were.
fn check_log(run: &Path, stage: &str) -> f64 {
    let rows = rows(run, stage);
    for row in &rows {
        let scale = row.values["loss_scale"].unwrap();
        let skipped = row.values["skipped_steps"].unwrap();
        assert_eq!(scale, 65_536.0 / 2f64.powf(skipped));
    }
    rows.last().unwrap().values["skipped_steps"].unwrap()
}

const F16: [&str; 2] = ["F16", "float16"];

#[test]
fn every_loop_runs_in_f16() {
    let dir = run(&["policy.dtype=f16", "labeler.dtype=f16"], |_| ());
    for (stage, folder) in [("sft", "sft"), ("reward", "reward"), ("rl", "policy")] {
        let skipped = check_log(dir.path(), stage);
        println!("{stage}: {skipped} steps skipped");
        check_format(&dir.path().join(folder).join("model"), F16);
    }
    for row in rows(dir.path(), "rl") {
        assert!(row.values["critic/loss_scale"].is_some());
    }
}

#[test]
fn values_on_the_policy_share_its_scale() {
    let algorithm = "rl.algorithm={kind='ppo',value_model='shared'}";
    let dir = run(&["policy.dtype=f16", "rl.steps=2", algorithm], |_| ());
    check_log(dir.path(), "rl");
    check_format(&dir.path().join("policy/model"), F16);
}

#[test]
fn preference_optimisation_runs_in_f16() {
    let dir = run(&["policy.dtype=f16"], |config| {
        config.rl = None;
        config.dpo = Some(toml::from_str("batch_size = 4\nloss = { kind = \"dpo\" }").unwrap());
    });
    check_log(dir.path(), "dpo");
    check_format(&dir.path().join("policy/model"), F16);
}

#[test]
fn adapters_on_a_base_in_f16_are_trained() {
    let lora = "policy.lora={lora_r=4,load_in_8bit=true}";
    let dir = run(&["policy.dtype=f16", lora, "rl.steps=1"], |_| ());
    check_log(dir.path(), "rl");
    let stored = formats(&dir.path().join("policy/model/adapter_model.safetensors"));
    assert!(stored.values().all(|format| format == "F32"), "{stored:?}");
}
