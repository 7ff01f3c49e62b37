//! Hugging Face folders in and out: `config.json` and `model.safetensors`.
//!
//! Fields of the modules carry the names of the file's tensors, so the map between the two is one
//! prefix. A file with a missing, unknown or mis-shaped tensor is refused with the list of them.

use std::path::Path;

use burn::module::Module;
use burn::prelude::*;
use burn::store::{
    BurnToPyTorchAdapter, FloatCastAdapter, KeyRemapper, ModuleAdapter, ModuleSnapshot,
    PyTorchToBurnAdapter, SafetensorsStore,
};
use burn::tensor::DType;

use super::{Llama, LlamaConfig, ScalarHead};
use crate::error::{Error, Result};

const WEIGHTS: &str = "model.safetensors";
const CONFIG: &str = "config.json";

/// Module path to tensor name and back, for a language model.
const LM_NAMES: [(&str, &str); 2] = [
    (r"^model\.", ""),
    (r"^(embed_tokens|layers|norm)\.", "model.$1."),
];
/// The same for a model with a scalar head.
const HEAD_NAMES: [(&str, &str); 2] = [(r"^model\.", "backbone."), (r"^backbone\.", "model.")];

/// Loads a language model from a Hugging Face folder.
///
/// # Errors
/// The folder or a file is missing, the family or an option is not implemented, or the tensors do
/// not fit.
pub fn load(dir: &Path, device: &Device) -> Result<Llama> {
    let config = LlamaConfig::read(&dir.join(CONFIG))?;
    let mut model = config.init(device);
    read_weights(&mut model, dir, LM_NAMES[0])?;
    Ok(model)
}

/// Loads a `*ForSequenceClassification` folder with one label: a reward or value model.
///
/// # Errors
/// As [`load`], and when the folder holds a model without the tensor `score.weight`.
pub fn load_head(dir: &Path, device: &Device) -> Result<ScalarHead<Llama>> {
    let mut config = LlamaConfig::read(&dir.join(CONFIG))?;
    // A classifier has no vocabulary head, whatever the file says about tying it.
    config.tie_word_embeddings = true;
    let mut model = ScalarHead::new(config.init(device));
    model.mean = config.reward_mean.unwrap_or(0.0);
    model.std = config.reward_std.unwrap_or(1.0);
    read_weights(&mut model, dir, HEAD_NAMES[0])?;
    Ok(model)
}

/// Writes a language model as a Hugging Face folder; `dir` exists.
///
/// # Errors
/// The file system refuses.
pub fn save(model: &Llama, dir: &Path) -> Result<()> {
    let config = LlamaConfig {
        architectures: vec!["LlamaForCausalLM".into()],
        num_labels: None,
        reward_mean: None,
        reward_std: None,
        ..model.config().clone()
    };
    write_config(&config, dir)?;
    write_weights(model, dir, LM_NAMES[1])
}

/// Writes a model with a scalar head as `LlamaForSequenceClassification`; `dir` exists.
///
/// # Errors
/// The file system refuses.
pub fn save_head(model: &ScalarHead<Llama>, dir: &Path) -> Result<()> {
    let config = LlamaConfig {
        architectures: vec!["LlamaForSequenceClassification".into()],
        num_labels: Some(1),
        reward_mean: Some(model.mean),
        reward_std: Some(model.std),
        ..model.backbone.config().clone()
    };
    write_config(&config, dir)?;
    write_weights(model, dir, HEAD_NAMES[1])
}

fn write_config(config: &LlamaConfig, dir: &Path) -> Result<()> {
    let path = dir.join(CONFIG);
    let text =
        serde_json::to_string_pretty(config).map_err(|e| Error::file(&path, e.to_string()))?;
    std::fs::write(&path, text + "\n").map_err(Error::io("write", &path))
}

fn write_weights<M: Module>(model: &M, dir: &Path, names: (&str, &str)) -> Result<()> {
    let path = dir.join(WEIGHTS);
    let mut store = SafetensorsStore::from_file(&path)
        .overwrite(true)
        // One entry: with burn's own beside it their order, and so the file's bytes, would vary.
        .clear_metadata()
        .metadata("format", "pt")
        .remap(remapper(names, &path)?)
        .with_to_adapter(BurnToPyTorchAdapter);
    model
        .save_into(&mut store)
        .map_err(|e| Error::file(&path, e.to_string()))
}

fn read_weights<M: Module>(model: &mut M, dir: &Path, names: (&str, &str)) -> Result<()> {
    let path = dir.join(WEIGHTS);
    std::fs::metadata(&path).map_err(Error::io("read", &path))?;
    let mut store = SafetensorsStore::from_file(&path)
        .allow_partial(true)
        .validate(false)
        .remap(remapper(names, &path)?)
        .with_from_adapter(PyTorchToBurnAdapter.chain(FloatCastAdapter::to(DType::F32)));
    let result = model
        .load_from(&mut store)
        .map_err(|e| Error::file(&path, e.to_string()))?;
    let mut faults: Vec<String> = result.errors.iter().map(ToString::to_string).collect();
    let named = |what: &str, name: &str| format!("{what} tensor `{name}`");
    faults.extend(
        result
            .missing
            .iter()
            .map(|(name, _)| named("missing", name)),
    );
    let harmless = |name: &str| name.ends_with("rotary_emb.inv_freq") || name == "lm_head.weight";
    let unknown = result.unused.iter().filter(|name| !harmless(name));
    faults.extend(unknown.map(|name| named("unknown", name)));
    if faults.is_empty() {
        return Ok(());
    }
    Err(Error::file(
        &path,
        format!("does not fit the model: {}", faults.join("; ")),
    ))
}

fn remapper((pattern, replacement): (&str, &str), path: &Path) -> Result<KeyRemapper> {
    KeyRemapper::from_patterns(vec![(pattern, replacement)])
        .map_err(|e| Error::file(path, e.to_string()))
}
