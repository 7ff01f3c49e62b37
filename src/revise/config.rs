//! How prompts are answered and revised.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::config::{self, at_least};
use crate::error::Result;
use crate::label::{Decoding, Format, LabelerConfig};
use crate::precision::Precision;

/// Settings of `rlaif revise`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReviseConfig {
    /// Seed of what is drawn: texts and principles.
    #[serde(default = "config::default_seed")]
    pub seed: u64,
    /// Where tensors are computed.
    #[serde(default)]
    pub backend: Backend,
    /// Who answers, criticises and revises: `local` or `http`, as a labeler, without `ask`.
    pub model: LabelerConfig,
    /// Rounds of critique and revision (the paper: 4).
    #[serde(default = "four")]
    pub rounds: usize,
    /// A built-in list of principles by its name, or the path of a TOML file.
    #[serde(default = "harmless")]
    pub principles: String,
    /// How texts are drawn.
    #[serde(default)]
    pub decoding: Decoding,
    /// Prompts that are worked on at once, and lost by a kill at most.
    #[serde(default = "batch")]
    pub batch: usize,
}

fn four() -> usize {
    4
}

fn harmless() -> String {
    "harmless".into()
}

fn batch() -> usize {
    64
}

impl ReviseConfig {
    /// Reads the file, applies `overrides` and checks the result.
    ///
    /// # Errors
    /// The file is missing or malformed, an override names no key, or a value is out of range.
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self> {
        let config: Self = config::read_toml(path, overrides)?;
        config.validate()?;
        Ok(config)
    }

    /// Everything as it is where nothing is said, and a model of this machine.
    pub fn of_model(model: PathBuf, dtype: Precision, format: Format) -> Self {
        Self {
            seed: config::default_seed(),
            backend: Backend::default(),
            model: LabelerConfig::Local {
                model,
                dtype,
                format,
                ask: Box::default(),
            },
            rounds: four(),
            principles: harmless(),
            decoding: Decoding::default(),
            batch: batch(),
        }
    }

    /// Checks every range.
    ///
    /// # Errors
    /// Names the first field that is out of range.
    pub fn validate(&self) -> Result<()> {
        self.model.validate("model")?;
        self.model.writes("model")?;
        self.model.ready()?;
        at_least("rounds", self.rounds, 1)?;
        at_least("batch", self.batch, 1)?;
        self.decoding.validate("decoding")
    }
}
