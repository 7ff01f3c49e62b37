//! The models of a stage: read from folders, given adapters where the run file asks for them.

use std::path::Path;

use burn::prelude::*;

use crate::config::{Config, PolicyConfig};
use crate::error::{Error, Result};
use crate::model::{self, Loader, LoraConfig, ScalarHead, Transformer};
use crate::run::RunDir;
use crate::seed::rng_for;
use crate::tokenizer::Tokenizer;

/// Reads models. Those with adapters on one base share its weights, so that a policy, its
/// reference, its value model and its reward model are one model in memory.
pub(crate) struct Models {
    loader: Loader,
    policy: PolicyConfig,
    seed: u64,
}

impl Models {
    /// # Errors
    /// The device does not compute in the policy's number format.
    pub(crate) fn new(device: &Device, config: &Config) -> Result<Self> {
        let loader = Loader::new(device).in_precision(config.policy.dtype)?;
        Ok(Self {
            loader: loader.packed(config.policy.lora.as_ref()),
            policy: config.policy.clone(),
            seed: config.seed,
        })
    }

    /// A model as it is, with its tokenizer.
    pub(super) fn load(&mut self, dir: &Path) -> Result<(Transformer, Tokenizer)> {
        Ok((self.loader.load(dir)?, Tokenizer::load(dir)?))
    }

    /// A reward model, with its tokenizer.
    pub(super) fn load_head(&mut self, dir: &Path) -> Result<(ScalarHead<Transformer>, Tokenizer)> {
        Ok((self.loader.load_head(dir)?, Tokenizer::load(dir)?))
    }

    /// A policy to be trained: fresh adapters where the run file has some and the folder has none.
    ///
    /// # Errors
    /// As [`model::load`], and when the adapters of the folder are not those of the run file.
    pub(crate) fn load_policy(&mut self, dir: &Path) -> Result<(Transformer, Tokenizer)> {
        let model = match &self.policy.lora {
            Some(lora) if !model::is_adapter(dir) => {
                let mut rng = rng_for(self.seed, "lora", 0);
                lora.apply(self.loader.base(dir)?, dir, &mut rng)?
            }
            Some(lora) => {
                let model = self.loader.load(dir)?;
                agree(lora, &model)?;
                model
            }
            None => self.loader.load(dir)?,
        };
        Ok((model, Tokenizer::load(dir)?))
    }
}

/// Refuses adapters of another kind than the run file's.
fn agree(lora: &LoraConfig, model: &Transformer) -> Result<()> {
    let Some(adapters) = &model.config().adapters else {
        return Ok(());
    };
    let of = |config: &LoraConfig| (config.lora_r, config.lora_alpha, config.use_rslora);
    if of(lora) == of(&adapters.config) {
        return Ok(());
    }
    let (r, alpha, rslora) = of(&adapters.config);
    Err(Error::field(
        "policy.lora",
        format!("r {}, alpha {}", lora.lora_r, lora.lora_alpha),
        format!("the adapter's own: r {r}, alpha {alpha}, rslora {rslora}; or merge it first"),
    ))
}

/// Writes a policy beside its tokenizer.
pub(super) fn save(
    run: &RunDir,
    rel: &str,
    model: &Transformer,
    tokenizer: &Tokenizer,
) -> Result<()> {
    run.write_dir(rel, |dir| {
        model::save(model, dir)?;
        tokenizer.save(dir)
    })
}
