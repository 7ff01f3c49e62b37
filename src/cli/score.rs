//! `rlaif score`: log-probabilities or rewards of the completions of a file.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value};

use super::model::{ModelArg, json_object};
use super::out::Out;
use crate::config::PolicyConfig;
use crate::error::Result;
use crate::hub::{self, Wanted};
use crate::model::{ModelConfig, has_head, is_adapter};
use crate::record::{Demonstration, JsonlReader};
use crate::reward::ModelReward;
use crate::score;

/// Score given completions: by a language model their log-probabilities, by a reward model
/// (`*ForSequenceClassification`) their rewards.
#[derive(Debug, Args)]
pub(super) struct Score {
    #[command(flatten)]
    model: ModelArg,
    /// JSONL rows with `prompt` and `completion` (texts or messages), optionally `id`. One row
    /// `{id, token_ids, token_log_probs, log_prob}` each is printed, of the completion's own
    /// tokens, or `{id, reward, normalized_reward}`.
    #[arg(long)]
    file: PathBuf,
    /// What the model reads for a prompt that is a text.
    #[arg(long, default_value = "{prompt}")]
    prompt_template: String,
    /// Variables of the chat template, as a JSON object.
    #[arg(long, value_name = "JSON", value_parser = json_object)]
    template_kwargs: Option<Map<String, Value>>,
}

impl Score {
    pub(super) fn run(self) -> Result<()> {
        let rows = JsonlReader::<Demonstration>::open(&self.file)?;
        let dir = self.model.name();
        let policy = PolicyConfig {
            model: dir.into(),
            prompt_template: self.prompt_template.clone(),
            dtype: Default::default(),
            lora: None,
            chat_template_kwargs: self.template_kwargs.clone().unwrap_or_default(),
        };
        policy.validate("score")?;
        let mut out = Out::new();
        let done = if is_reward_model(dir)? {
            let (model, tokenizer) = self.model.load_head()?;
            let model = ModelReward::new(model, tokenizer, policy);
            let score = |rows: &[Demonstration]| score::rewards(&model, rows);
            score::in_chunks(rows, score, |row| out.row(row))
        } else {
            let (model, tokenizer) = self.model.load()?;
            let score =
                |rows: &[Demonstration]| score::log_probs((&model, &tokenizer), &policy, rows);
            score::in_chunks(rows, score, |row| out.row(row))
        };
        out.ended(done)
    }
}

fn is_reward_model(dir: &Path) -> Result<bool> {
    let dir = &hub::resolve(dir, Wanted::Everything)?;
    if is_adapter(dir) {
        return has_head(dir);
    }
    let config = ModelConfig::read(&dir.join("config.json"))?;
    let class = config.json.pointer("/architectures/0");
    let class = class.and_then(|class| class.as_str());
    Ok(class.is_some_and(|class| class.ends_with("ForSequenceClassification")))
}
