//! Low-rank adapters. Hu et al. 2021, arXiv:2106.09685; over a quantised base Dettmers et al. 2023,
//! arXiv:2305.14314.
//!
//! The weights of the model are frozen; beside those chosen stand two small factors, which learn:
//! `W + scale A B`. They are burn's own [`LoraAdapter`](burn::module::LoraAdapter)s, so a model with
//! adapters is a model like any other, in every loop. Copies of it share the frozen weights: a
//! reference policy, a value model and a reward model cost their factors and nothing else.
//! `adapter` reads and writes them as `peft` does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::{
    Lora, Module, ModuleMapper, ModuleVisitor, Param, ParamGroup, QLora, Quantizer,
};
use burn::prelude::*;
use burn::tensor::quantization::{Calibration, QuantScheme, QuantValue, ScaleDtype};
use burn::tensor::{DType, FloatDType};
use rand::RngExt;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use super::Transformer;
use super::checkpoint::slots;
use super::family::Family;
use super::names::{StoredTensor, linear_maps};
use crate::error::{Error, Result};

/// Weights that share a scale when they are packed.
const BLOCK: u8 = 32;

/// Low-rank adapters on the policy and on every model that starts from it; names and defaults as in
/// TRL's `ModelConfig`, but for the dropout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraConfig {
    /// Rank: number of columns of `A` and of rows of `B`.
    pub lora_r: usize,
    /// `A B` is multiplied by `lora_alpha / lora_r`.
    pub lora_alpha: f64,
    /// Dropout on the adapters' input; only 0 is implemented (TRL: 0.05).
    pub lora_dropout: f64,
    /// Which linear maps get an adapter; when absent, `peft`'s default for the family.
    pub lora_target_modules: Option<TargetModules>,
    /// Multiplies by `lora_alpha / sqrt(lora_r)` instead. Kalajdzievski 2023, arXiv:2312.03732.
    pub use_rslora: bool,
    /// Keeps the frozen linear maps as 4-bit integers, with a scale for each 32 of them (QLoRA).
    pub load_in_4bit: bool,
    /// The same with 8-bit integers.
    pub load_in_8bit: bool,
}

/// Linear maps of the blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TargetModules {
    /// The word `all-linear`: all of them.
    AllLinear(AllLinear),
    /// Those whose name in the family's files is, or ends with a dot and, one of these. A map that
    /// holds several of the model's (`c_attn`, `query_key_value`, `qkv_proj`, `gate_up_proj`) gives
    /// each an adapter of its own.
    Named(Vec<String>),
}

/// The word `all-linear`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AllLinear {
    /// Every linear map of the blocks, but neither embeddings nor heads.
    #[serde(rename = "all-linear")]
    AllLinear,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            lora_r: 16,
            lora_alpha: 32.0,
            lora_dropout: 0.0,
            lora_target_modules: None,
            use_rslora: false,
            load_in_4bit: false,
            load_in_8bit: false,
        }
    }
}

/// What the adapters of a model are.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapters {
    /// Folder of the model underneath.
    pub base: PathBuf,
    /// What they were made from.
    pub config: LoraConfig,
    /// Factor on `A B`, by the path of the weight in the model.
    pub(super) scales: BTreeMap<String, f64>,
}

impl LoraConfig {
    /// Checks the ranges; `field` is the path of this table in the run file.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn validate(&self, field: &str) -> Result<()> {
        let bad = |name: &str, found: String, expected: &str| {
            Err(Error::field(format!("{field}.{name}"), found, expected))
        };
        if self.lora_r == 0 {
            return bad("lora_r", "0".into(), "at least 1");
        }
        if !(self.lora_alpha > 0.0 && self.lora_alpha.is_finite()) {
            return bad(
                "lora_alpha",
                self.lora_alpha.to_string(),
                "a positive number",
            );
        }
        if self.lora_dropout != 0.0 {
            let expected = "0: dropout on adapters is not implemented";
            return bad("lora_dropout", self.lora_dropout.to_string(), expected);
        }
        if self.load_in_4bit && self.load_in_8bit {
            return bad("load_in_4bit", "true".into(), "false beside `load_in_8bit`");
        }
        match &self.lora_target_modules {
            Some(TargetModules::Named(names)) if names.is_empty() => bad(
                "lora_target_modules",
                "[]".into(),
                "names or \"all-linear\"",
            ),
            _ => Ok(()),
        }
    }

    /// The factor on `A B` for a rank.
    pub(super) fn scale(&self, rank: usize) -> f64 {
        self.lora_alpha / self.divisor(rank)
    }

    /// What an alpha is divided by for a rank.
    pub(super) fn divisor(&self, rank: usize) -> f64 {
        let rank = rank as f64;
        if self.use_rslora { rank.sqrt() } else { rank }
    }

    /// Freezes `model`, which was read from the folder `base`, and puts adapters on it. They change
    /// nothing yet, for `B` is 0; `A` is uniform within `1 / sqrt(inputs)` as in `peft`.
    ///
    /// # Errors
    /// The model has adapters already, or a target is no linear map of its blocks.
    pub fn apply(&self, model: Transformer, base: &Path, rng: &mut StdRng) -> Result<Transformer> {
        if model.config().adapters.is_some() {
            return Err(Error::Usage("the model has adapters already".into()));
        }
        let maps = linear_maps(&model.config().architecture, &slots(&model));
        let paths = self.targets(&maps, model.config().architecture.family)?;
        let scale = self.scale(self.lora_r);
        // burn divides by the rank what it calls alpha.
        let lora = Lora::new(self.lora_r, scale * self.lora_r as f64)
            .set_dtype(FloatDType::F32)
            .set_param_group(ParamGroup::from_paths(paths.clone()));
        let mut model = match self.quantizer(&maps)? {
            Some(quantizer) if !is_packed(&model) => model.apply_qlora(QLora::new(lora, quantizer)),
            _ => model.apply_lora(lora),
        };
        // burn draws from a generator that the whole process shares.
        model = model.map(&mut Draw {
            rng,
            path: Vec::new(),
        });
        model.set_adapters(Some(Adapters {
            base: base.into(),
            config: self.clone(),
            scales: paths.into_iter().map(|path| (path, scale)).collect(),
        }));
        Ok(model)
    }

    /// Packs the linear maps of the blocks, if they are to be, without adapters: for models that
    /// shall share them.
    ///
    /// # Errors
    /// Their widths do not divide into blocks.
    pub fn pack(&self, model: Transformer) -> Result<Transformer> {
        let maps = linear_maps(&model.config().architecture, &slots(&model));
        Ok(match self.quantizer(&maps)? {
            Some(mut quantizer) => model.quantize_weights(&mut quantizer),
            None => model,
        })
    }

    fn quantizer(&self, maps: &[StoredTensor]) -> Result<Option<Quantizer>> {
        let value = match (self.load_in_8bit, self.load_in_4bit) {
            (false, false) => return Ok(None),
            (true, _) => QuantValue::Q8S,
            (false, true) => QuantValue::Q4S,
        };
        let outputs = maps.iter().flat_map(|map| &map.parts);
        for (path, shape) in outputs {
            if !shape[1].is_multiple_of(usize::from(BLOCK)) {
                return Err(Error::Usage(format!(
                    "`{path}` has {} outputs, quantization needs a multiple of {BLOCK}",
                    shape[1]
                )));
            }
        }
        let scheme = QuantScheme::default()
            .with_value(value)
            .per_block([BLOCK], ScaleDtype::F32);
        let mut quantizer = Quantizer::new(Calibration::MinMax, scheme);
        quantizer.set_param_group(ParamGroup::from_paths(paths(maps.iter())));
        Ok(Some(quantizer))
    }

    /// Paths of the weights that get an adapter.
    fn targets(&self, maps: &[StoredTensor], family: Family) -> Result<Vec<String>> {
        let names = match &self.lora_target_modules {
            Some(TargetModules::AllLinear(_)) => return Ok(paths(maps.iter())),
            Some(TargetModules::Named(names)) => names.clone(),
            None => default_targets(family)
                .iter()
                .map(|name| name.to_string())
                .collect(),
        };
        for name in &names {
            if !maps.iter().any(|map| is_named(map.module(), name)) {
                let mut known: Vec<&str> = maps
                    .iter()
                    .filter_map(|map| map.module().rsplit('.').next())
                    .collect();
                known.sort_unstable();
                known.dedup();
                return Err(Error::field(
                    "lora_target_modules",
                    name,
                    format!("\"all-linear\" or among {}", known.join(", ")),
                ));
            }
        }
        let named = |map: &&StoredTensor| names.iter().any(|name| is_named(map.module(), name));
        Ok(paths(maps.iter().filter(named)))
    }
}

fn paths<'a>(maps: impl Iterator<Item = &'a StoredTensor>) -> Vec<String> {
    let parts = maps.flat_map(|map| &map.parts);
    parts.map(|(path, _)| path.clone()).collect()
}

/// Whether a module goes by a name: its own, or the end of it after a dot.
pub(super) fn is_named(module: &str, name: &str) -> bool {
    module == name
        || module
            .strip_suffix(name)
            .is_some_and(|rest| rest.ends_with('.'))
}

/// `peft`'s; it has none for Phi-3 and SmolLM3.
fn default_targets(family: Family) -> &'static [&'static str] {
    match family {
        Family::Gpt2 => &["c_attn"],
        Family::GptNeoX => &["query_key_value"],
        Family::Phi3 => &["qkv_proj"],
        _ => &["q_proj", "v_proj"],
    }
}

/// Whether a model has weights that are packed.
fn is_packed(model: &Transformer) -> bool {
    let mut packed = Packed(false);
    model.visit(&mut packed);
    packed.0
}

struct Packed(bool);

impl ModuleVisitor for Packed {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0 |= param.is_initialized() && matches!(param.base().dtype(), DType::QFloat(_));
    }
}

/// Draws the first factor of every adapter.
struct Draw<'a> {
    rng: &'a mut StdRng,
    path: Vec<String>,
}

impl ModuleMapper for Draw<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !self.path.ends_with(&["lora".into(), "a".into()]) {
            return param;
        }
        param.map(|a| {
            let bound = 1.0 / (a.shape()[0] as f32).sqrt();
            let draw = |_| self.rng.random_range(-bound..bound);
            let values: Vec<f32> = (0..a.shape().num_elements()).map(draw).collect();
            let data = TensorData::new(values, a.shape());
            Tensor::from_data(data, (&a.device(), DType::F32)).set_require_grad(a.is_require_grad())
        })
    }
}

/// The model with its adapters added to its weights, which lie no longer packed: a model like one
/// that never had any. What it shared with other models it shares no longer.
#[must_use]
pub fn merge(model: Transformer) -> Transformer {
    let dtype = model.precision().dtype();
    let mut model = model.materialize().map(&mut Cast(dtype));
    model.set_adapters(None);
    model
}

/// Puts every parameter into one format.
struct Cast(DType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let is_dense = param.is_initialized() && param.base().dtype().is_float();
        if !is_dense || param.base().dtype() == self.0 {
            return param;
        }
        param.map(|x| {
            let trained = x.is_require_grad();
            x.detach().cast(self.0).detach().set_require_grad(trained)
        })
    }
}
