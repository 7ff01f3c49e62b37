//! Models from folders, whole ones and adapters; several adapters on one base share its weights.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::prelude::*;

use super::adapter::{attach, base_of, is_adapter};
use super::checkpoint::{CONFIG, read_head, read_model};
use super::config::ModelConfig;
use super::{LoraConfig, ScalarHead, Transformer};
use crate::error::{Error, Result};
use crate::hub::{self, Wanted};
use crate::precision::Precision;

/// Loads a language model in 32 bits from a Hugging Face folder, or from one with an adapter on
/// another; either may also be a name on the Hub ([`hub::resolve`]).
///
/// # Errors
/// The folder or a file is missing, the family or an option is not implemented, or the tensors do
/// not fit.
pub fn load(dir: &Path, device: &Device) -> Result<Transformer> {
    Loader::new(device).load(dir)
}

/// Loads a `*ForSequenceClassification` folder with one label, or one with an adapter for that: a
/// reward or value model.
///
/// # Errors
/// As [`load`], and when the folder holds a model without the tensor `score.weight`.
pub fn load_head(dir: &Path, device: &Device) -> Result<ScalarHead<Transformer>> {
    Loader::new(device).load_head(dir)
}

/// Loads models such that those with adapters on one base share its weights, as long as nobody
/// trains these. The bases stay in memory as long as the loader does.
pub struct Loader {
    device: Device,
    precision: Precision,
    /// Says how bases are packed.
    lora: Option<LoraConfig>,
    bases: BTreeMap<PathBuf, Transformer>,
}

impl Loader {
    /// A loader that holds nothing yet.
    pub fn new(device: &Device) -> Self {
        Self {
            device: device.clone(),
            precision: Precision::F32,
            lora: None,
            bases: BTreeMap::new(),
        }
    }

    /// Reads weights in another format than 32 bits; adapters and scalar heads stay in those.
    ///
    /// # Errors
    /// The device does not compute in it.
    pub fn in_precision(mut self, precision: Precision) -> Result<Self> {
        precision.check(&self.device)?;
        self.precision = precision;
        Ok(self)
    }

    /// Packs the bases as `lora` says.
    #[must_use]
    pub fn packed(mut self, lora: Option<&LoraConfig>) -> Self {
        self.lora = lora.cloned();
        self
    }

    /// A language model; see [`load`].
    ///
    /// # Errors
    /// As [`load`].
    pub fn load(&mut self, dir: &Path) -> Result<Transformer> {
        let dir = &hub::resolve(dir, Wanted::Everything)?;
        if !is_adapter(dir) {
            return read_model(dir, &self.device, self.precision);
        }
        let base_dir = base_of(dir)?;
        let (model, _) = attach(self.base(&base_dir)?, &base_dir, dir)?;
        Ok(model)
    }

    /// A model with a scalar head; see [`load_head`].
    ///
    /// # Errors
    /// As [`load_head`].
    pub fn load_head(&mut self, dir: &Path) -> Result<ScalarHead<Transformer>> {
        let dir = &hub::resolve(dir, Wanted::Everything)?;
        if !is_adapter(dir) {
            return read_head(dir, &self.device, self.precision);
        }
        let base_dir = base_of(dir)?;
        let (backbone, score) = attach(self.base(&base_dir)?, &base_dir, dir)?;
        let score = score.ok_or_else(|| Error::file(dir, "the adapter has no `score.weight`"))?;
        let mut model = ScalarHead::with_score(backbone, score);
        // `peft` needs none, and knows no scale.
        let config = dir.join(CONFIG);
        if config.exists() {
            (model.mean, model.std) = ModelConfig::read(&config)?.reward_scale;
        }
        Ok(model)
    }

    /// A model to put adapters on: the same weights at every call. A classifier's head is left out.
    ///
    /// # Errors
    /// As [`load`].
    pub fn base(&mut self, dir: &Path) -> Result<Transformer> {
        let key = dir.canonicalize().map_err(Error::io("read", dir))?;
        if let Some(base) = self.bases.get(&key) {
            return Ok(base.clone());
        }
        let config = ModelConfig::read(&dir.join(CONFIG))?;
        let base = if config.is_classifier() {
            read_head(dir, &self.device, self.precision)?.backbone
        } else {
            read_model(dir, &self.device, self.precision)?
        };
        let base = match &self.lora {
            Some(lora) => lora.pack(base)?,
            None => base,
        };
        self.bases.insert(key, base.clone());
        Ok(base)
    }
}
