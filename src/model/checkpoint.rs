//! Hugging Face folders in and out: `config.json` and the weights, in the names and layouts of the
//! model's family. A file with a missing, unknown or mis-shaped tensor is refused with the list of
//! them.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;
use serde_json::{Value, json};

use super::architecture::{Architecture, Head};
use super::config::ModelConfig;
use super::layers::dense;
use super::names::{StoredTensor, is_harmless, stored_tensors, trunk};
use super::weights::{self, WEIGHTS, Weights};
use super::{ScalarHead, Transformer, adapter};
use crate::error::{Error, Result};

/// What a model is.
pub(super) const CONFIG: &str = "config.json";
/// Path of the scalar head, and its name in a file.
pub(super) const SCORE: &str = "score.weight";

/// Reads a language model from a folder that holds it whole.
pub(super) fn read_model(dir: &Path, device: &Device) -> Result<Transformer> {
    let config = ModelConfig::read(&dir.join(CONFIG))?;
    read_weights(config.init(device), &config.architecture, dir)
}

/// Reads a `*ForSequenceClassification` folder with one label.
pub(super) fn read_head(dir: &Path, device: &Device) -> Result<ScalarHead<Transformer>> {
    let mut config = ModelConfig::read(&dir.join(CONFIG))?;
    // A classifier has no vocabulary head, whatever the file says about tying it.
    config.architecture.head = Head::Tied;
    let mut model = ScalarHead::new(config.init(device));
    (model.mean, model.std) = config.reward_scale;
    read_weights(model, &config.architecture, dir)
}

/// Writes a language model as a Hugging Face folder, or its adapters as `peft` does when it has
/// any;
/// `dir` exists.
///
/// # Errors
/// The device or the file system fails.
pub fn save(model: &Transformer, dir: &Path) -> Result<()> {
    let config = model.config();
    let class = config.architecture.family.causal_lm();
    let scale = [
        ("num_labels", None),
        ("reward_mean", None),
        ("reward_std", None),
    ];
    write_config(config, class, scale, dir)?;
    write_weights(model, config, dir)
}

/// Writes a model with a scalar head as `*ForSequenceClassification`, or its adapters with the head
/// as `peft` does when it has any; `dir` exists.
///
/// # Errors
/// The device or the file system fails.
pub fn save_head(model: &ScalarHead<Transformer>, dir: &Path) -> Result<()> {
    let config = model.backbone.config();
    let class = config.architecture.family.classifier();
    let scale = [
        ("num_labels", Some(json!(1))),
        ("reward_mean", Some(json!(model.mean))),
        ("reward_std", Some(json!(model.std))),
    ];
    write_config(config, class, scale, dir)?;
    write_weights(model, config, dir)
}

/// The `config.json` that the model came with, with what has changed: the class, the fields listed
/// (`None` removes one), and that the weights are of 32 bits.
fn write_config(
    config: &ModelConfig,
    class: String,
    fields: [(&str, Option<Value>); 3],
    dir: &Path,
) -> Result<()> {
    let path = dir.join(CONFIG);
    let mut json = config.json.clone();
    if let Value::Object(json) = &mut json {
        json.insert("architectures".into(), json!([class]));
        for (name, value) in fields {
            json.remove(name);
            json.extend(value.map(|value| (name.to_string(), value)));
        }
        for name in ["dtype", "torch_dtype"] {
            if json.contains_key(name) {
                json.insert(name.into(), json!("float32"));
            }
        }
    }
    let text =
        serde_json::to_string_pretty(&json).map_err(|e| Error::file(&path, e.to_string()))?;
    std::fs::write(&path, text + "\n").map_err(Error::io("write", &path))
}

fn write_weights<M: Module>(model: &M, config: &ModelConfig, dir: &Path) -> Result<()> {
    let slots = slots(model);
    if let Some(adapters) = &config.adapters {
        let numbers = numbers(model, |path| path.contains(".lora.") || path == SCORE)?;
        return adapter::save(&config.architecture, adapters, &slots, numbers, dir);
    }
    let mut numbers = numbers(model, |_| true)?;
    let mut tensors = Vec::new();
    for stored in stored_tensors(&config.architecture, &slots) {
        let parts = stored.parts.iter();
        let parts = parts.filter_map(|(path, _)| numbers.remove(path));
        let packed = stored.pack(parts.collect());
        tensors.push((stored.name.clone(), stored.shape(), packed));
    }
    weights::write(&dir.join(WEIGHTS), tensors)
}

/// The parameters picked by their paths, on the host.
fn numbers<M: Module>(
    model: &M,
    picked: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, Vec<f32>>> {
    let mut read = Read {
        path: Vec::new(),
        picked,
        numbers: BTreeMap::new(),
        fault: None,
    };
    model.visit(&mut read);
    match read.fault {
        Some(fault) => Err(fault),
        None => Ok(read.numbers),
    }
}

fn read_weights<M: Module>(model: M, architecture: &Architecture, dir: &Path) -> Result<M> {
    let mut weights = Weights::open(dir)?;
    let mut stored = stored_tensors(architecture, &slots(&model));
    let trunk = trunk(architecture.family);
    if !weights.names().any(|name| name.starts_with(trunk)) {
        for tensor in &mut stored {
            if let Some(bare) = tensor.name.strip_prefix(trunk) {
                tensor.name = bare.to_string();
            }
        }
    }
    let faults = faults(architecture, &weights, &stored);
    if !faults.is_empty() {
        let message = format!("does not fit the model: {}", faults.join("; "));
        return Err(Error::file(&weights.path, message));
    }
    let mut found = BTreeMap::new();
    for tensor in stored {
        let numbers = tensor.unpack(weights.read(&tensor.name)?);
        for ((path, shape), numbers) in tensor.parts.into_iter().zip(numbers) {
            found.insert(path, TensorData::new(numbers, shape));
        }
    }
    let path = Vec::new();
    Ok(model.map(&mut Fill { path, found }))
}

/// Tensors that are missing, mis-shaped or unknown.
fn faults(architecture: &Architecture, weights: &Weights, stored: &[StoredTensor]) -> Vec<String> {
    let mut faults = Vec::new();
    for tensor in stored {
        let (name, expected) = (&tensor.name, tensor.shape());
        match weights.shape(name) {
            None => faults.push(format!("missing tensor `{name}`")),
            Some(found) if found != expected => {
                faults.push(format!(
                    "tensor `{name}` is {found:?}, expected {expected:?}"
                ));
            }
            Some(_) => {}
        }
    }
    let known = |name: &str| stored.iter().any(|tensor| tensor.name == name);
    let unknown = weights.names();
    let unknown = unknown.filter(|name| !known(name) && !is_harmless(architecture, name));
    faults.extend(unknown.map(|name| format!("unknown tensor `{name}`")));
    faults
}

/// The path of a parameter, the same with and without a scalar head around the model.
fn join(path: &[String]) -> String {
    let path = path.join(".");
    path.strip_prefix("backbone.").unwrap_or(&path).to_string()
}

/// Shapes of a model's parameters, by path; nothing is initialised.
pub(super) fn slots<M: Module>(model: &M) -> BTreeMap<String, Vec<usize>> {
    let mut shapes = Shapes::default();
    model.visit(&mut shapes);
    shapes.found
}

#[derive(Default)]
struct Shapes {
    path: Vec<String>,
    found: BTreeMap<String, Vec<usize>>,
}

impl ModuleVisitor for Shapes {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let shape = param.lazy_shape().iter().copied().collect();
        self.found.insert(join(&self.path), shape);
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }
}

/// Brings a model's parameters to the host.
struct Read<F> {
    path: Vec<String>,
    picked: F,
    numbers: BTreeMap<String, Vec<f32>>,
    fault: Option<Error>,
}

impl<F: Fn(&str) -> bool> ModuleVisitor for Read<F> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = join(&self.path);
        if !(self.picked)(&path) {
            return;
        }
        match dense(param.val()).try_into_vec_as::<f32>() {
            Ok(numbers) => {
                self.numbers.insert(path, numbers);
            }
            Err(fault) => self.fault = Some(fault.into()),
        }
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }
}

/// Puts tensors into a model's parameters.
struct Fill {
    path: Vec<String>,
    found: BTreeMap<String, TensorData>,
}

impl ModuleMapper for Fill {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(data) = self.found.remove(&join(&self.path)) else {
            return param;
        };
        let (id, device) = (param.id, param.lazy_device());
        param.transform_for_load(Tensor::from_data(data, &device), id)
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }
}
