//! Folders written here opened by `transformers` and `peft`, and theirs opened here.
//!
//! Runs when the environment variable `RLAIF_PYTHON` names a Python that has torch, transformers
//! and peft: `RLAIF_PYTHON=venv/bin/python cargo test --release --test python`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use burn::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rlaif::batch::{Batch, Tree};
use rlaif::model::{self, CausalLm, Loader, LoraConfig, ScalarHead, Transformer};
use rlaif::precision::Precision;
use rlaif::reward::raw_rewards;
use serde_json::{Value, json};

/// Of different lengths; the second ends with the end-of-text token 2.
const PROMPTS: [&[u32]; 2] = [
    &[5, 17, 33, 2, 60, 41, 8, 8, 29, 13, 50, 22],
    &[7, 44, 19, 3, 58, 2],
];

/// Families of `tests/fixtures/families`.
fn families() -> Vec<String> {
    let entries = fs::read_dir("tests/fixtures/families").unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn family(name: &str) -> PathBuf {
    fs::canonicalize(Path::new("tests/fixtures/families").join(name)).unwrap()
}

fn load(dir: &Path) -> Transformer {
    model::load(dir, &Device::flex()).unwrap()
}

/// Logits after every token of each prompt, flattened.
fn logits(model: &Transformer) -> Vec<f32> {
    let of = |prompt: &&[u32]| {
        let tree = Tree::single(prompt.to_vec(), vec![]);
        let batch = Batch::new(&[tree], 64, 64, &Device::flex()).unwrap();
        let hidden = model.hidden(batch.input, None);
        let [_, seq, width] = hidden.dims();
        let logits = model.logits(hidden.reshape([seq, width]));
        logits.try_into_vec_as::<f32>().unwrap()
    };
    PROMPTS.iter().flat_map(of).collect()
}

/// The score of each prompt.
fn scores(model: &ScalarHead<Transformer>) -> Vec<f32> {
    let trees = PROMPTS.map(|prompt| Tree::single(prompt[..1].to_vec(), prompt[1..].to_vec()));
    raw_rewards(model, &trees).unwrap()
}

/// What is asked of Python, and what is expected of its answers.
struct Jobs {
    folder: tempfile::TempDir,
    jobs: Vec<Value>,
}

impl Jobs {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            jobs: Vec::new(),
        }
    }

    /// A folder for job `name`.
    fn dir(&self, name: &str) -> PathBuf {
        let dir = self.folder.path().join(name);
        fs::create_dir(&dir).unwrap();
        dir
    }

    fn ask(&mut self, kind: &str, path: &Path, base: Option<&Path>) {
        let job = json!({"kind": kind, "path": path, "base": base, "prompts": PROMPTS});
        self.jobs.push(job);
    }

    /// The answers, flattened; `None` without a Python.
    fn answers(&self) -> Option<Vec<Vec<f32>>> {
        let Ok(python) = std::env::var("RLAIF_PYTHON") else {
            eprintln!("skipped: RLAIF_PYTHON names no Python with transformers and peft");
            return None;
        };
        let [jobs, answers] =
            ["jobs.json", "answers.json"].map(|name| self.folder.path().join(name));
        fs::write(&jobs, json!(self.jobs).to_string()).unwrap();
        let done = Command::new(python)
            .args([
                Path::new("tests/python/open_checkpoints.py"),
                &jobs,
                &answers,
            ])
            .env("HF_HUB_OFFLINE", "1")
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        let answers: Vec<Value> =
            serde_json::from_str(&fs::read_to_string(&answers).unwrap()).unwrap();
        Some(answers.iter().map(flat).collect())
    }
}

impl Jobs {
    /// Holds what was found here against the answers.
    fn check(&self, expected: &[(String, Vec<f32>)]) {
        let Some(answers) = self.answers() else {
            return;
        };
        assert_eq!(answers.len(), expected.len());
        for ((name, found), golden) in expected.iter().zip(answers) {
            check(found, &golden, name);
        }
    }
}

fn flat(value: &Value) -> Vec<f32> {
    match value {
        Value::Array(values) => values.iter().flat_map(flat).collect(),
        number => vec![number.as_f64().unwrap() as f32],
    }
}

fn check(found: &[f32], golden: &[f32], what: &str) {
    assert_eq!(found.len(), golden.len(), "{what}");
    for (i, (found, golden)) in found.iter().zip(golden).enumerate() {
        assert!(
            (found - golden).abs() < 1e-4,
            "{what}: number {i} is {found} here and {golden} there"
        );
    }
}

/// A head that is not 0, by way of its file.
fn with_head(backbone: Transformer) -> ScalarHead<Transformer> {
    use burn::module::{Module, ModuleMapper, Param};
    struct Fill;
    impl ModuleMapper for Fill {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let shape = param.val().dims();
            if D != 2 || shape[D - 1] != 1 {
                return param;
            }
            let numbers = (0..shape[0]).map(|i| 0.1 * ((7 * i % 11) as f32 - 5.0));
            let data = TensorData::new(numbers.collect::<Vec<_>>(), shape);
            param.map(|head| Tensor::from_data(data, &head.device()))
        }
    }
    let mut model = ScalarHead::new(backbone).map(&mut Fill);
    (model.mean, model.std) = (0.25, 1.5);
    assert!(scores(&model).iter().all(|score| *score != 0.0));
    model
}

fn lora() -> LoraConfig {
    serde_json::from_value(json!({
        "lora_r": 3, "lora_alpha": 6.0, "lora_target_modules": "all-linear",
    }))
    .unwrap()
}

/// Fresh adapters with second factors that are not 0.
fn adapted(name: &str) -> Transformer {
    use burn::module::{Module, ModuleMapper, Param};
    struct Noise(Vec<String>);
    impl ModuleMapper for Noise {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.0.push(name.into());
        }

        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.0.pop();
        }

        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if !self.0.ends_with(&["lora".into(), "b".into()]) {
                return param;
            }
            param.map(|b| {
                let numbers =
                    (0..b.shape().num_elements()).map(|i| ((13 * i % 17) as f32 - 8.0) / 40.0);
                let data = TensorData::new(numbers.collect::<Vec<_>>(), b.shape());
                Tensor::from_data(data, &b.device())
            })
        }
    }
    let mut rng = StdRng::seed_from_u64(4);
    let model = lora().apply(load(&family(name)), &family(name), &mut rng);
    model.unwrap().map(&mut Noise(Vec::new()))
}

#[test]
fn models_of_every_family_open_in_transformers() {
    let mut jobs = Jobs::new();
    let mut expected = Vec::new();
    for name in families() {
        let model = load(&family(&name));
        let dir = jobs.dir(&name);
        model::save(&model, &dir).unwrap();
        jobs.ask("lm", &dir, None);
        expected.push((name, logits(&model)));
    }
    jobs.check(&expected);
}

/// In files of at most 15 kB, in 32 bits and in 16; the logits are those of the stored weights.
#[test]
fn shards_and_bf16_open_in_transformers() {
    let mut jobs = Jobs::new();
    let mut expected = Vec::new();
    for name in families() {
        for (kind, precision) in [("lm", Precision::F32), ("lm_bf16", Precision::Bf16)] {
            let mut loader = Loader::new(&Device::flex())
                .in_precision(precision)
                .unwrap();
            let model = loader.load(&family(&name)).unwrap();
            let dir = jobs.dir(&format!("{name}_{kind}"));
            model::save_in_shards(&model, &dir, 15_000).unwrap();
            assert!(dir.join("model.safetensors.index.json").exists());
            assert!(!dir.join("model.safetensors").exists());
            jobs.ask(kind, &dir, None);
            expected.push((format!("{name} {kind}"), logits(&load(&dir))));
        }
    }
    jobs.check(&expected);
}

#[test]
fn reward_models_of_every_family_open_in_transformers() {
    let mut jobs = Jobs::new();
    let mut expected = Vec::new();
    for name in families() {
        let model = with_head(load(&family(&name)));
        let dir = jobs.dir(&name);
        model::save_head(&model, &dir).unwrap();
        jobs.ask("score", &dir, None);
        expected.push((name, scores(&model)));
        // The same model, padded with the end-of-text token.
        let copy = jobs.dir(&format!("{}_pad_is_eos", expected.len()));
        for entry in fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
        let dir = copy;
        let path = dir.join("config.json");
        let text = fs::read_to_string(&path).unwrap();
        let mut config: Value = serde_json::from_str(&text).unwrap();
        config["pad_token_id"] = json!(2);
        fs::write(&path, config.to_string()).unwrap();
        let model = model::load_head(&dir, &Device::flex()).unwrap();
        expected.push((format!("{} padded with eos", dir.display()), scores(&model)));
        jobs.ask("score", &dir, None);
    }
    jobs.check(&expected);
}

#[test]
fn adapters_of_every_family_open_in_peft() {
    let mut jobs = Jobs::new();
    let mut expected = Vec::new();
    for name in families() {
        let model = adapted(&name);
        let dir = jobs.dir(&name);
        model::save(&model, &dir).unwrap();
        jobs.ask("lora", &dir, None);
        expected.push((name.clone(), logits(&model)));
        let model = with_head(model);
        let dir = jobs.dir(&format!("{name}_score"));
        model::save_head(&model, &dir).unwrap();
        jobs.ask("lora_score", &dir, None);
        expected.push((name, scores(&model)));
    }
    jobs.check(&expected);
}

#[test]
fn adapters_made_by_peft_open_here() {
    let mut jobs = Jobs::new();
    let mut made = Vec::new();
    for name in families() {
        for kind in ["make_lora", "make_lora_score"] {
            let dir = jobs.dir(&format!("{name}_{kind}"));
            jobs.ask(kind, &dir, Some(&family(&name)));
            made.push((kind, dir));
        }
    }
    let Some(answers) = jobs.answers() else {
        return;
    };
    for ((kind, dir), golden) in made.iter().zip(answers) {
        let found = if *kind == "make_lora" {
            logits(&load(dir))
        } else {
            scores(&model::load_head(dir, &Device::flex()).unwrap())
        };
        check(&found, &golden, &dir.display().to_string());
    }
}
