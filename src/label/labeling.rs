//! What labeling a file needs to know beside the file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::file::BATCH;
use super::{Labeler, LabelerConfig};
use crate::backend::Backend;
use crate::config::{self, Config, at_least};
use crate::error::Result;
use crate::precision::Precision;
use crate::record::PairOptions;
use crate::world::World;

/// How files are labeled: who does it, and how pairs are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelingConfig {
    /// Seed of what the labeler leaves to chance.
    #[serde(default = "config::default_seed")]
    pub seed: u64,
    /// Where tensors are computed.
    #[serde(default)]
    pub backend: Backend,
    /// Who judges.
    pub labeler: LabelerConfig,
    /// How pairs are read.
    #[serde(default)]
    pub pairs: PairOptions,
    /// Pairs handed to the labeler at once.
    #[serde(default = "batch")]
    pub batch: usize,
}

fn batch() -> usize {
    BATCH
}

impl LabelingConfig {
    /// Reads a file of these tables, or takes `seed`, `backend` and `labeler` from a run file.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self> {
        let table: toml::Table = config::read_toml(path, overrides)?;
        let read = if table.contains_key("policy") {
            let run = Config::read(path, overrides)?;
            Self {
                seed: run.seed,
                backend: run.backend,
                labeler: run.labeler,
                pairs: PairOptions::default(),
                batch: BATCH,
            }
        } else {
            config::read_toml(path, overrides)?
        };
        at_least("batch", read.batch, 1)?;
        read.labeler.validate("labeler")?;
        read.labeler.ready()?;
        Ok(read)
    }

    /// Everything as it is where nothing is said, and a model of this machine.
    pub fn of_model(model: PathBuf, dtype: Precision, prompt: Option<&str>) -> Self {
        let mut ask = super::AskConfig::default();
        if let Some(prompt) = prompt {
            ask.prompt = prompt.into();
        }
        Self {
            seed: config::default_seed(),
            backend: Backend::default(),
            labeler: LabelerConfig::Local {
                model,
                dtype,
                ask: Box::new(ask),
                format: super::Format::default(),
            },
            pairs: PairOptions::default(),
            batch: BATCH,
        }
    }

    /// The labeler. The oracle knows the posts of the embedded world alone; `answers` is the file
    /// that keeps what endpoints answer.
    ///
    /// # Errors
    /// As [`LabelerConfig::init`].
    pub fn labeler(&self, answers: &Path) -> Result<Box<dyn Labeler>> {
        let device = self.backend.device()?;
        let truth = Some(World::tiny_tldr());
        self.labeler.init(&device, truth, answers, self.seed)
    }
}
