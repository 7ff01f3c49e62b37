//! Training in 16 bits: weights that small steps are not lost on, gradients that are not rounded
//! away, scaled losses in f16, adapters in 32 bits, and what the stages write.

#![cfg(feature = "flex")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod f16;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::tensor::DType;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rlaif::batch::{Batch, Tree};
use rlaif::config::Config;
use rlaif::log_prob::gradients;
use rlaif::merge::merge;
use rlaif::model::{self, Activations, Backward, CausalLm, Loader, LoraConfig, Transformer};
use rlaif::optim::{Learner, OptimConfig, Schedule};
use rlaif::pipeline::Pipeline;
use rlaif::precision::Precision;

fn family(name: &str) -> PathBuf {
    Path::new("tests/fixtures/families").join(name)
}

fn loader(precision: Precision) -> Loader {
    let loader = Loader::new(&Device::flex());
    loader.in_precision(precision).unwrap()
}

fn load(name: &str, precision: Precision) -> Transformer {
    loader(precision).load(&family(name)).unwrap()
}

/// Gradient of the mean loss of the completions, and the loss.
fn loss<M: CausalLm>(model: &M, trees: &[Tree], way: Backward) -> (GradientsParams, f32) {
    let device = Device::flex().autodiff();
    let batch = Batch::new(trees, model.vocab_size(), model.max_len(), &device).unwrap();
    let n = batch.n_targets as f32;
    gradients(model, &batch, 1.0, way, |scores| {
        let loss = scores.log_probs.sum().neg() / n;
        (loss.clone(), loss.into_scalar::<f32>())
    })
}

fn texts() -> Vec<Tree> {
    let text = |seed: u32| {
        (0..16)
            .map(|i| (seed * 11 + i * i + 5 * i) % 60 + 3)
            .collect()
    };
    (0..6)
        .map(|seed| Tree::single(vec![5, 9], text(seed)))
        .collect()
}

/// For how many steps the optimizer is one and the same.
#[derive(Clone, Copy, PartialEq)]
enum Lasting {
    AllSteps,
    /// A new one begins with the weights that the model computes with.
    OneStep,
}

/// Losses of `steps` steps and the one after them.
fn train(precision: Precision, rate: f64, steps: usize, lasting: Lasting) -> Vec<f32> {
    let optim = OptimConfig {
        learning_rate: rate,
        lr_scheduler_type: Schedule::Constant,
        ..Default::default()
    };
    let texts = texts();
    let mut learner: Learner<Transformer> = optim.init(load("llama", precision), steps);
    let mut losses = Vec::new();
    for _ in 0..steps {
        let way = learner.backward(Activations::Kept);
        let (grads, loss) = loss(&learner.model, &texts, way);
        losses.push(loss);
        learner = learner.apply(grads).unwrap().0;
        assert_eq!(learner.model.precision(), precision);
        if lasting == Lasting::OneStep {
            learner = optim.init(learner.model, steps);
        }
    }
    losses.push(loss(&learner.model, &texts, Backward::default()).1);
    losses
}

/// The weights are about 0.3 large, where the nearest bf16 is 0.001 to 0.002 away: steps of 0.00005
/// round to none.
#[test]
fn steps_too_small_for_16_bits_are_not_lost() {
    let fall = |precision, lasting| {
        let losses = train(precision, 5e-5, 100, lasting);
        losses[0] - losses[100]
    };
    let expected = fall(Precision::F32, Lasting::AllSteps);
    let found = fall(Precision::Bf16, Lasting::AllSteps);
    let lost = fall(Precision::Bf16, Lasting::OneStep);
    println!("the loss falls by {expected} in f32, {found} in bf16, {lost} without masters");
    assert!((found - expected).abs() < 0.15 * expected);
    assert!(lost < 0.5 * expected);
}

#[test]
fn sixteen_bits_learn_what_32_learn() {
    let expected = train(Precision::F32, 2e-3, 60, Lasting::AllSteps);
    println!("{} to {} in f32", expected[0], expected[60]);
    assert!(expected[60] < 0.3 * expected[0]);
    for precision in [Precision::Bf16, Precision::F16] {
        let found = train(precision, 2e-3, 60, Lasting::AllSteps);
        println!("to {} in {}", found[60], precision.name());
        assert!((found[60] - expected[60]).abs() < 0.05 * expected[0]);
    }
}

/// Gradients by path.
struct Gradients<'a> {
    grads: &'a GradientsParams,
    path: Vec<String>,
    found: BTreeMap<String, Vec<f32>>,
}

impl ModuleVisitor for Gradients<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let grad = self.grads.get::<D>(param.id).unwrap();
        assert_eq!(grad.dtype(), DType::F32);
        let grad = grad.try_into_vec_as().unwrap();
        self.found.insert(self.path.join("."), grad);
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }
}

fn by_path(model: &Transformer, grads: &GradientsParams) -> BTreeMap<String, Vec<f32>> {
    let mut found = Gradients {
        grads,
        path: Vec::new(),
        found: BTreeMap::new(),
    };
    model.visit(&mut found);
    found.found
}

fn gradients_of(model: Transformer, trees: &[Tree]) -> BTreeMap<String, Vec<f32>> {
    let model = model.train();
    let (grads, _) = loss(&model, trees, Backward::default());
    by_path(&model, &grads)
}

fn norm(values: &[f32]) -> f32 {
    values.iter().map(|x| x * x).sum::<f32>().sqrt()
}

/// One token comes 1920 times: added up in 16 bits, its gradients would stop growing at 256 of
/// them.
#[test]
fn gradients_in_bf16_are_those_of_32_bits() {
    let tree = |row: u32| {
        let text = (0..60).map(|i| {
            if i % 2 == 0 {
                5
            } else {
                (row * 7 + i * i) % 60 + 3
            }
        });
        let text: Vec<u32> = text.collect();
        Tree::single(text[..30].to_vec(), text[30..].to_vec())
    };
    let trees: Vec<Tree> = (0..64).map(tree).collect();
    for name in ["llama_tied", "gpt2", "gemma3"] {
        let rounded = load(name, Precision::Bf16);
        let dir = tempfile::tempdir().unwrap();
        model::save(&rounded, dir.path()).unwrap();
        // The same weights.
        let plain = model::load(dir.path(), &Device::flex()).unwrap();
        let expected = gradients_of(plain, &trees);
        let whole = norm(&expected.values().flatten().copied().collect::<Vec<_>>());
        for (path, found) in gradients_of(rounded, &trees) {
            let expected = &expected[&path];
            let apart: Vec<f32> = found.iter().zip(expected).map(|(a, b)| a - b).collect();
            let (apart, size) = (norm(&apart), norm(expected));
            // Some are 0 but for rounding, such as those of the bias of keys.
            let bound = 0.1 * size + 0.01 * whole;
            assert!(
                apart < bound,
                "{name}, {path}: {apart} of {size}, all: {whole}"
            );
        }
    }
}

/// Formats of the tensors in a file.
fn formats(path: &Path) -> BTreeMap<String, String> {
    let bytes = fs::read(path).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let format = |(name, view): (String, safetensors::tensor::TensorView)| {
        (name, format!("{:?}", view.dtype()))
    };
    tensors.tensors().into_iter().map(format).collect()
}

fn logits(model: &Transformer) -> Vec<f32> {
    let batch = Batch::new(&texts(), 64, 64, &Device::flex()).unwrap();
    let hidden = model.hidden(batch.input, None);
    let [rows, seq, width] = hidden.dims();
    let logits = model.logits(hidden.reshape([rows * seq, width]));
    logits.try_into_vec_as().unwrap()
}

#[test]
fn adapters_stay_in_32_bits_on_a_base_in_16() {
    let lora: LoraConfig = serde_json::from_value(serde_json::json!({
        "lora_r": 4, "lora_target_modules": "all-linear",
    }))
    .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let base = family("llama");
    let mut rng = StdRng::seed_from_u64(1);
    let fresh = load("llama", Precision::Bf16);
    let start = lora.apply(fresh.clone(), &base, &mut rng).unwrap();
    assert_eq!(logits(&start), logits(&fresh));
    let optim = OptimConfig {
        learning_rate: 0.01,
        ..Default::default()
    };
    let mut learner: Learner<Transformer> = optim.init(start, 20);
    let mut losses = Vec::new();
    for _ in 0..20 {
        let (grads, loss) = loss(&learner.model, &texts(), Backward::default());
        losses.push(loss);
        learner = learner.apply(grads).unwrap().0;
    }
    assert!(losses[19] < 0.7 * losses[0], "{losses:?}");
    let trained = learner.model.valid();
    let adapter = dir.path().join("adapter");
    fs::create_dir(&adapter).unwrap();
    model::save(&trained, &adapter).unwrap();
    let stored = formats(&adapter.join("adapter_model.safetensors"));
    assert!(stored.values().all(|format| format == "F32"), "{stored:?}");
    // The base did not move: on it, as it is in its folder, the adapter is the same model.
    let again = loader(Precision::Bf16).load(&adapter).unwrap();
    assert_eq!(logits(&again), logits(&trained));
    let merged = model::merge(again);
    let written = dir.path().join("merged");
    fs::create_dir(&written).unwrap();
    model::save(&merged, &written).unwrap();
    let stored = formats(&written.join("model.safetensors"));
    assert!(stored.values().all(|format| format == "BF16"), "{stored:?}");
    let (merged, apart) = (logits(&merged), logits(&trained));
    let apart: f32 = merged.iter().zip(&apart).map(|(a, b)| (a - b).abs()).sum();
    let mean = apart / merged.len() as f32;
    assert!(mean < 0.05, "{mean}");
}

/// A run of every stage with `changes`, in bf16 unless they say otherwise.
fn run(changes: &[&str], change: impl FnOnce(&mut Config)) -> tempfile::TempDir {
    let small = [
        "policy.dtype=bf16",
        "labeler.dtype=bf16",
        "data.demonstrations=16",
        "data.preference_prompts=8",
        "data.rl_prompts=16",
        "data.eval_prompts=4",
        "eval.judges=[{kind='oracle'}]",
    ];
    let changes = small.iter().chain(changes).map(|text| text.to_string());
    let changes: Vec<String> = changes.collect();
    let mut config = Config::read(Path::new("configs/smoke.toml"), &changes).unwrap();
    change(&mut config);
    let dir = tempfile::tempdir().unwrap();
    Pipeline::new(config, dir.path())
        .unwrap()
        .run_all()
        .unwrap();
    dir
}

/// Whole models are in bf16 and say so; a scalar head stays in 32 bits.
fn check_folder(dir: &Path) {
    check_format(dir, ["BF16", "bfloat16"]);
}

fn check_format(dir: &Path, [of_tensors, of_config]: [&str; 2]) {
    for (name, format) in formats(&dir.join("model.safetensors")) {
        let is_head = name == "score.weight";
        let expected = if is_head { "F32" } else { of_tensors };
        assert_eq!(format, expected, "{name}");
    }
    let config = fs::read_to_string(dir.join("config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["dtype"], of_config);
}

#[test]
fn preference_optimisation_runs_in_bf16() {
    let dir = run(&[], |config| {
        config.rl = None;
        config.dpo = Some(toml::from_str("batch_size = 4\nloss = { kind = \"dpo\" }").unwrap());
    });
    check_folder(&dir.path().join("sft/model"));
    check_folder(&dir.path().join("policy/model"));
}

#[test]
fn policy_optimisation_runs_in_bf16() {
    let dir = run(&["rl.steps=1"], |_| ());
    for model in ["sft/model", "reward/model", "policy/model"] {
        check_folder(&dir.path().join(model));
    }
}

#[test]
fn a_packed_base_works_under_activations_in_bf16() {
    let lora = "policy.lora={lora_r=4,load_in_8bit=true}";
    let dir = run(&[lora, "rl.steps=1"], |_| ());
    let stored = formats(&dir.path().join("policy/model/adapter_model.safetensors"));
    assert!(stored.values().all(|format| format == "F32"), "{stored:?}");
    let out = dir.path().join("merged");
    merge(
        &dir.path().join("policy/model"),
        &out,
        loader(Precision::Bf16),
    )
    .unwrap();
    check_folder(&out);
}
