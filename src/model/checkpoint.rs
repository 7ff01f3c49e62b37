//! Hugging Face folders in and out: `config.json` and the weights, in the names and layouts of the
//! model's family. A file with a missing, unknown or mis-shaped tensor is refused with the list of
//! them.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;
use burn::tensor::{DType, f16};
use serde_json::{Value, json};

use super::architecture::{Architecture, Head};
use super::config::ModelConfig;
use super::layers::dense;
use super::names::{StoredTensor, is_harmless, stored_tensors, trunk};
use super::shards::{self, MAX_SHARD_SIZE};
use super::weights::{self, Weights};
use super::{ScalarHead, Transformer, adapter};
use crate::error::{Error, Result};
use crate::precision::Precision;

/// What a model is.
pub(super) const CONFIG: &str = "config.json";
/// Path of the scalar head, and its name in a file.
pub(super) const SCORE: &str = "score.weight";

/// Reads a language model from a folder that holds it whole.
pub(super) fn read_model(dir: &Path, device: &Device, precision: Precision) -> Result<Transformer> {
    let config = ModelConfig::read(&dir.join(CONFIG))?;
    read_weights(config.init(device), &config.architecture, dir, precision)
}

/// Reads a `*ForSequenceClassification` folder with one label, whose head stays in 32 bits.
pub(super) fn read_head(
    dir: &Path,
    device: &Device,
    precision: Precision,
) -> Result<ScalarHead<Transformer>> {
    let mut config = ModelConfig::read(&dir.join(CONFIG))?;
    // A classifier has no vocabulary head, whatever the file says about tying it.
    config.architecture.head = Head::Tied;
    let mut model = ScalarHead::new(config.init(device));
    (model.mean, model.std) = config.reward_scale;
    read_weights(model, &config.architecture, dir, precision)
}

/// Writes a language model as a Hugging Face folder, or its adapters as `peft` does when it has
/// any; `dir` exists. Weights of more than [`MAX_SHARD_SIZE`] bytes go into several files.
///
/// # Errors
/// The device or the file system fails.
pub fn save(model: &Transformer, dir: &Path) -> Result<()> {
    save_in_shards(model, dir, MAX_SHARD_SIZE)
}

/// [`save`] with files of at most `max_shard_size` bytes of weights, or of one tensor.
///
/// # Errors
/// As [`save`].
pub fn save_in_shards(model: &Transformer, dir: &Path, max_shard_size: u64) -> Result<()> {
    let config = model.config();
    let class = config.architecture.family.causal_lm();
    let scale = [
        ("num_labels", None),
        ("reward_mean", None),
        ("reward_std", None),
    ];
    write_config((config, model.precision()), class, scale, dir)?;
    write_weights(model, config, dir, max_shard_size)
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
    write_config((config, model.backbone.precision()), class, scale, dir)?;
    write_weights(model, config, dir, MAX_SHARD_SIZE)
}

/// The `config.json` that the model came with, with what has changed: the class, the fields listed
/// (`None` removes one), and the format of the weights.
fn write_config(
    (config, precision): (&ModelConfig, Precision),
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
        let named = ["dtype", "torch_dtype"].map(|name| (name, json.contains_key(name)));
        // Without a name the weights are of 32 bits.
        let silent = named.iter().all(|(_, given)| !given) && precision != Precision::F32;
        for (name, given) in named {
            if given || (silent && name == "dtype") {
                json.insert(name.into(), json!(precision.torch_name()));
            }
        }
    }
    let text =
        serde_json::to_string_pretty(&json).map_err(|e| Error::file(&path, e.to_string()))?;
    std::fs::write(&path, text + "\n").map_err(Error::io("write", &path))
}

fn write_weights<M: Module>(
    model: &M,
    config: &ModelConfig,
    dir: &Path,
    max_shard_size: u64,
) -> Result<()> {
    let slots = slots(model);
    if let Some(adapters) = &config.adapters {
        let picked = handles(model, |path| path.contains(".lora.") || path == SCORE);
        let read = |(path, tensor): (String, Tensor<1>)| Ok((path, tensor.try_into_vec_as()?));
        let numbers = picked.into_iter().map(read).collect::<Result<_>>()?;
        return adapter::save(&config.architecture, adapters, &slots, numbers, dir);
    }
    let mut handles = handles(model, |_| true);
    let stored = stored_tensors(&config.architecture, &slots);
    let numbers = |tensor: &StoredTensor| tensor.shape().iter().product::<usize>() as u64;
    let size = |tensor: &StoredTensor| {
        let first = handles.get(&tensor.parts[0].0);
        first.map_or(0, |first| {
            numbers(tensor) * Precision::of(first.dtype()).bytes()
        })
    };
    let sizes: Vec<u64> = stored.iter().map(size).collect();
    let runs = shards::cut(&sizes, max_shard_size);
    let mut weight_map = BTreeMap::new();
    for (i, run) in runs.iter().enumerate() {
        let file = shards::file_name(i, runs.len());
        let mut tensors = Vec::new();
        for tensor in &stored[run.clone()] {
            weight_map.insert(tensor.name.clone(), file.clone());
            tensors.push((tensor.name.clone(), packed(tensor, &mut handles)?));
        }
        weights::write(&dir.join(file), &tensors)?;
    }
    if runs.len() > 1 {
        let totals = (sizes.iter().sum(), stored.iter().map(numbers).sum());
        shards::write_index(dir, &weight_map, totals)?;
    }
    Ok(())
}

/// A tensor as a file has it, in the format of the parameters that it is made of.
fn packed(tensor: &StoredTensor, handles: &mut BTreeMap<String, Tensor<1>>) -> Result<TensorData> {
    let (mut parts, mut dtype) = (Vec::new(), DType::F32);
    for (path, _) in &tensor.parts {
        if let Some(part) = handles.remove(path) {
            dtype = part.dtype();
            parts.push(part.try_into_vec_as::<f32>()?);
        }
    }
    Ok(TensorData::new(tensor.pack(parts), tensor.shape()).convert_dtype(dtype))
}

/// The parameters picked by their paths, flattened.
fn handles<M: Module>(model: &M, picked: impl Fn(&str) -> bool) -> BTreeMap<String, Tensor<1>> {
    let mut read = Handles {
        path: Vec::new(),
        picked,
        found: BTreeMap::new(),
    };
    model.visit(&mut read);
    read.found
}

fn read_weights<M: Module>(
    model: M,
    architecture: &Architecture,
    dir: &Path,
    precision: Precision,
) -> Result<M> {
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
        let numbers = weights.read(&tensor.name)?;
        if precision == Precision::F16 && numbers.iter().any(|x| f16::from_f32(*x).is_infinite()) {
            let message = format!("tensor `{}` leaves the range of f16", tensor.name);
            return Err(Error::file(&weights.path, message));
        }
        // One tensor at a time is in 32 bits.
        for ((path, shape), numbers) in tensor.parts.iter().zip(tensor.unpack(numbers)) {
            let dtype = match path.as_str() {
                SCORE => DType::F32,
                _ => precision.dtype(),
            };
            let data = TensorData::new(numbers, shape.clone()).convert_dtype(dtype);
            found.insert(path.clone(), data);
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

/// Takes hold of a model's parameters.
struct Handles<F> {
    path: Vec<String>,
    picked: F,
    found: BTreeMap<String, Tensor<1>>,
}

impl<F: Fn(&str) -> bool> ModuleVisitor for Handles<F> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = join(&self.path);
        if (self.picked)(&path) {
            let n = param.lazy_shape().num_elements();
            self.found.insert(path, dense(param.val()).reshape([n]));
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
        let (id, device, dtype) = (param.id, param.lazy_device(), data.dtype());
        param.transform_for_load(Tensor::from_data(data, (&device, dtype)), id)
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }
}
