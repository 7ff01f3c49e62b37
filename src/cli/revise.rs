//! `rlaif revise`: demonstrations by critique and revision.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use crate::backend::Backend;
use crate::error::Result;
use crate::label::Format;
use crate::precision::Precision;
use crate::revise::{ReviseConfig, answers_of, revise_file};

/// Let a model answer prompts, criticise its answers by principles and revise them.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("who").required(true).args(["config", "model"]))]
pub(super) struct Revise {
    /// File of prompts, in any layout that has them.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// JSONL file of demonstrations to write; an unfinished one is gone on with.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Folder of the model that answers, criticises and revises.
    #[arg(long, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Asks it in its chat template.
    #[arg(long, requires = "model")]
    chat: bool,
    /// Number format of its weights and activations.
    #[arg(long, value_enum, requires = "model")]
    dtype: Option<Precision>,
    /// File with the model, such as one behind an endpoint, and all settings.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Rounds of critique and revision.
    #[arg(long)]
    rounds: Option<usize>,
    /// A built-in list of principles, or a TOML file.
    #[arg(long, value_name = "PRINCIPLES")]
    principles: Option<String>,
    /// Longest text in tokens.
    #[arg(long)]
    max_new_tokens: Option<usize>,
    /// Divides the logits; 0 takes the most probable token.
    #[arg(long)]
    temperature: Option<f32>,
    /// Backend, instead of the file's.
    #[arg(long, value_enum)]
    backend: Option<Backend>,
    /// Override a key of the file, such as `seed=2`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "config")]
    overrides: Vec<String>,
}

impl Revise {
    pub(super) fn run(self) -> Result<()> {
        let mut config = match (&self.config, &self.model) {
            (Some(path), _) => ReviseConfig::read(path, &self.overrides)?,
            (None, model) => {
                let format = if self.chat {
                    Format::Chat
                } else {
                    Format::Plain
                };
                let model = model.clone().unwrap_or_default();
                ReviseConfig::of_model(model, self.dtype.unwrap_or_default(), format)
            }
        };
        config.rounds = self.rounds.unwrap_or(config.rounds);
        config.principles = self.principles.unwrap_or(config.principles);
        config.backend = self.backend.unwrap_or(config.backend);
        let decoding = &mut config.decoding;
        decoding.max_new_tokens = self.max_new_tokens.unwrap_or(decoding.max_new_tokens);
        decoding.temperature = self.temperature.unwrap_or(decoding.temperature);
        config.validate()?;
        let device = config.backend.device()?;
        let answers = answers_of(&self.output);
        let mut answerer = config.model.answerer(&device, &answers, config.seed)?;
        let run = revise_file(answerer.as_mut(), &config, &self.input, &self.output)?;
        tracing::info!(
            "{} prompts: {} done before, {} revised ({} with fewer rounds), {} without a response; \
             {} questions, {} from the file of answers, {} + {} tokens, ${:.4}",
            run.n_prompts,
            run.n_before,
            run.n_revised,
            run.n_stopped,
            run.n_unanswered,
            run.usage.requests,
            run.usage.cached,
            run.usage.prompt_tokens,
            run.usage.completion_tokens,
            run.usage.cost_usd,
        );
        Ok(())
    }
}
