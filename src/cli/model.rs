//! The model that a verb works with.

use std::path::{Path, PathBuf};

use burn::prelude::*;
use clap::Args;
use serde_json::{Map, Value};

use crate::backend::Backend;
use crate::error::Result;
use crate::model::{Loader, ScalarHead, Transformer};
use crate::precision::Precision;
use crate::tokenizer::Tokenizer;

/// Which model, and where it is computed.
#[derive(Debug, Args)]
pub(super) struct ModelArg {
    /// Hugging Face folder, or `org/name[@revision]` on the Hub (feature `hub`).
    model: PathBuf,
    /// Backend.
    #[arg(long, value_enum, default_value_t)]
    backend: Backend,
    /// Number format of weights and activations.
    #[arg(long, value_enum, default_value_t)]
    dtype: Precision,
}

impl ModelArg {
    /// The folder, or the name on the Hub.
    pub(super) fn name(&self) -> &Path {
        &self.model
    }

    pub(super) fn dtype(&self) -> Precision {
        self.dtype
    }

    pub(super) fn device(&self) -> Result<Device> {
        self.backend.device()
    }

    /// The language model in the folder, without gradients.
    pub(super) fn load(&self) -> Result<(Transformer, Tokenizer)> {
        let tokenizer = Tokenizer::load(&self.model)?;
        let model = self.loader()?.load(&self.model)?;
        Ok((model.valid(), tokenizer))
    }

    /// The reward model in the folder, without gradients.
    pub(super) fn load_head(&self) -> Result<(ScalarHead<Transformer>, Tokenizer)> {
        let tokenizer = Tokenizer::load(&self.model)?;
        let model = self.loader()?.load_head(&self.model)?;
        Ok((model.valid(), tokenizer))
    }

    fn loader(&self) -> Result<Loader> {
        Loader::new(&self.device()?).in_precision(self.dtype)
    }
}

/// A JSON object on the command line.
pub(super) fn json_object(text: &str) -> serde_json::Result<Map<String, Value>> {
    serde_json::from_str(text)
}
