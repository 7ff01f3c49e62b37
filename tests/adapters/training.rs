//! What is trained, and what is shared.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rlaif::batch::{Batch, Tree};
use rlaif::log_prob::gradients;
use rlaif::model::{self, Activations, LoraConfig};
use rlaif::optim::{Learner, OptimConfig};
use serde_json::json;

use super::*;

/// A model with adapters whose second factors are not 0.
pub(super) fn with_noise(base: &Path, lora: &LoraConfig) -> Transformer {
    struct Noise(f32);
    impl ModuleMapper for Noise {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if D != 2 || !param.val().is_zero() {
                return param;
            }
            param.map(|b| {
                let numbers = (0..b.shape().num_elements()).map(|_| {
                    self.0 = (self.0 * 1.618 + 0.1).fract();
                    self.0 - 0.5
                });
                let data = TensorData::new(numbers.collect::<Vec<f32>>(), b.shape());
                Tensor::from_data(data, &b.device())
            })
        }
    }
    let model = model::load(base, &Device::flex()).unwrap();
    let mut rng = StdRng::seed_from_u64(1);
    lora.apply(model, base, &mut rng)
        .unwrap()
        .map(&mut Noise(0.3))
}

trait IsZero {
    fn is_zero(&self) -> bool;
}

impl<const D: usize> IsZero for Tensor<D> {
    fn is_zero(&self) -> bool {
        self.clone().abs().sum().into_scalar::<f32>() == 0.0
    }
}

fn lora(fields: serde_json::Value) -> LoraConfig {
    serde_json::from_value(fields).unwrap()
}

fn fresh(base: &str, lora: &LoraConfig) -> Transformer {
    let model = model::load(&family(base), &Device::flex()).unwrap();
    let mut rng = StdRng::seed_from_u64(1);
    lora.apply(model, &family(base), &mut rng).unwrap()
}

/// Parameters by path.
#[derive(Default)]
struct Numbers {
    path: Vec<String>,
    found: Vec<(String, Vec<f32>)>,
}

impl ModuleVisitor for Numbers {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let numbers = param.val().try_into_vec_as().unwrap();
        self.found.push((self.path.join("."), numbers));
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }
}

fn numbers(model: &Transformer) -> Vec<(String, Vec<f32>)> {
    let mut numbers = Numbers::default();
    model.visit(&mut numbers);
    numbers.found
}

/// Trains to say one text; the losses.
fn train(model: Transformer, steps: usize) -> (Transformer, Vec<f32>) {
    let optim = OptimConfig {
        learning_rate: 0.02,
        ..Default::default()
    };
    let mut learner: Learner<Transformer> = optim.init(model, steps);
    let tree = Tree::single(vec![5, 9, 11], vec![20, 21, 22, 23, 2]);
    let device = Device::flex().autodiff();
    let batch = Batch::new(&[tree], 64, 64, &device).unwrap();
    let mut losses = Vec::new();
    for _ in 0..steps {
        let model = &learner.model;
        let (grads, loss) = gradients(model, &batch, 1.0, Activations::Kept, |scores| {
            let loss = scores.log_probs.sum().neg();
            (loss.clone(), loss.into_scalar::<f32>())
        });
        losses.push(loss);
        learner = learner.apply(grads).unwrap().0;
    }
    (learner.model.valid(), losses)
}

#[test]
fn fresh_adapters_change_nothing_and_learn_alone() {
    for base in ["llama", "gpt2", "gpt_neox", "phi3", "gemma3"] {
        let config = lora(json!({"lora_r": 4, "lora_target_modules": "all-linear"}));
        let model = fresh(base, &config);
        let prompt = [3, 4, 5, 6];
        let plain = model::load(&family(base), &Device::flex()).unwrap();
        assert_eq!(logits(&model, &prompt), logits(&plain, &prompt), "{base}");
        let before = numbers(&model);
        let (trained, losses) = train(model, 20);
        assert!(losses[19] < 0.2 * losses[0], "{base}: {losses:?}");
        for ((path, before), (_, after)) in before.iter().zip(numbers(&trained)) {
            let moved = *before != after;
            assert_eq!(moved, path.contains(".lora."), "{base}: {path}");
        }
    }
}

#[test]
fn targets_are_named_as_in_the_file() {
    let check = |base: &str, fields: serde_json::Value, adapted: &[&str]| {
        let model = fresh(base, &lora(fields));
        let in_first = |(path, _): &(String, Vec<f32>)| {
            let path = path.strip_prefix("layers.0.")?;
            path.strip_suffix(".weight.lora.a").map(String::from)
        };
        let found: Vec<String> = numbers(&model).iter().filter_map(in_first).collect();
        assert_eq!(found, adapted, "{base}");
    };
    let qkv = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];
    check("llama", json!({}), &[qkv[0], qkv[2]]);
    check("gpt2", json!({}), &qkv);
    check("gpt_neox", json!({}), &qkv);
    check("phi3", json!({}), &qkv);
    let all = json!({"lora_target_modules": ["gate_up_proj", "self_attn.o_proj"]});
    check(
        "phi3",
        all,
        &["self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj"],
    );
    let one = json!({"lora_target_modules": ["h.0.mlp.c_proj"]});
    check("gpt2", one, &["mlp.down_proj"]);
    let all = json!({"lora_target_modules": "all-linear"});
    let both = ["self_attn.o_proj", "mlp.up_proj", "mlp.down_proj"];
    check("gpt_neox", all, &[&qkv[..], &both].concat());
}

#[test]
fn a_target_that_is_no_linear_map_is_refused() {
    let config = lora(json!({"lora_target_modules": ["q_proj"]}));
    let model = model::load(&family("gpt2"), &Device::flex()).unwrap();
    let mut rng = StdRng::seed_from_u64(1);
    let error = config.apply(model, &family("gpt2"), &mut rng).map(|_| ());
    assert_eq!(
        error.unwrap_err().to_string(),
        "`lora_target_modules` is q_proj, expected \"all-linear\" or among c_attn, c_fc, c_proj"
    );
}

/// `alpha / r` and `alpha / sqrt(r)`: with 4 for 8, the second is twice the first for rank 4.
#[test]
fn scales() {
    let with = |rslora: bool| {
        let config = lora(json!({"lora_r": 4, "lora_alpha": 8.0, "use_rslora": rslora}));
        let model = with_noise(&family("llama"), &config);
        model::merge(model)
    };
    let weight = |model: &Transformer| {
        let name = "layers.0.self_attn.q_proj.weight";
        let found = numbers(model).into_iter().find(|(path, _)| path == name);
        found.unwrap().1
    };
    let plain = weight(&model::load(&family("llama"), &Device::flex()).unwrap());
    let [once, twice] = [false, true].map(|rslora| weight(&with(rslora)));
    for i in 0..plain.len() {
        let (once, twice) = (once[i] - plain[i], twice[i] - plain[i]);
        assert!((2.0 * once - twice).abs() < 1e-5, "{once} {twice}");
    }
    assert!((once[0] - plain[0]).abs() > 1e-3);
}

/// Packed weights are near the others: the logits differ by less than the models do.
#[test]
fn a_packed_base_learns_too() {
    for (field, bound) in [("load_in_8bit", 0.1), ("load_in_4bit", 2.0)] {
        let config = lora(json!({"lora_r": 4, field: true}));
        let base = wide();
        let plain = base.1.clone();
        let mut rng = StdRng::seed_from_u64(1);
        let model = config.apply(base.1, base.0.path(), &mut rng).unwrap();
        let prompt = [3, 4, 5, 6];
        let (found, golden) = (logits(&model, &prompt), logits(&plain, &prompt));
        assert_ne!(found, golden);
        check_close(&found, &golden, bound, field);
        let (trained, losses) = train(model, 20);
        assert!(losses[19] < 0.2 * losses[0], "{field}: {losses:?}");
        // The adapter alone is written; with the whole base it is nearly the same model.
        let saved = tempfile::tempdir().unwrap();
        model::save(&trained, saved.path()).unwrap();
        let again = model::load(saved.path(), &Device::flex()).unwrap();
        check_close(
            &logits(&again, &prompt),
            &logits(&trained, &prompt),
            10.0 * bound,
            field,
        );
    }
}

/// A random model whose widths are multiples of 32, in a folder.
fn wide() -> (tempfile::TempDir, Transformer) {
    let shape = model::LlamaConfig::small(64, 96, 2, 3, 64);
    let model = shape.init(&Device::flex());
    let model = model::randomize(model, &mut StdRng::seed_from_u64(3));
    let dir = tempfile::tempdir().unwrap();
    model::save(&model, dir.path()).unwrap();
    (dir, model)
}
