//! The run file: what a user writes, checked before anything starts.
//!
//! One TOML per run, one table per stage. Unknown keys are refused. `--set key=value` overrides a
//! key by its dotted path. Everything here is what the user wrote; what follows from it is computed
//! where it is needed.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::backend::Backend;
use crate::dpo::DpoConfig;
use crate::error::{Error, Result};
use crate::eval::best_of::BestOfConfig;
use crate::generate::SamplingConfig;
pub use crate::label::LabelerConfig;
use crate::model::LoraConfig;
use crate::plan::PlanConfig;
use crate::precision::Precision;
use crate::record::PairOptions;
pub use crate::reward::RewardConfig;
use crate::rl::{ReferenceConfig, RlConfig};
use crate::run::CheckpointConfig;
pub use crate::sft::SftConfig;

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Seed of every random number of the run.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Where tensors are computed.
    #[serde(default)]
    pub backend: Backend,
    /// Where prompts and demonstrations come from.
    pub data: DataConfig,
    /// The model to align.
    pub policy: PolicyConfig,
    /// Stage 0; without this table the policy starts as it is.
    pub sft: Option<SftConfig>,
    /// Stage 1.
    pub sample: SampleConfig,
    /// Who judges in stage 2 and, where `rl.reward` asks, in stage 4.
    pub labeler: LabelerConfig,
    /// Stage 3; where `rl.reward` is the model.
    pub reward: Option<RewardConfig>,
    /// Stage 4, against a reward; either this table or `dpo`.
    pub rl: Option<RlConfig>,
    /// Stage 4, on the preferences of stage 2 themselves.
    pub dpo: Option<DpoConfig>,
    /// Stage 5.
    pub eval: EvalConfig,
    /// When a training saves what it needs to go on.
    #[serde(default)]
    pub checkpoint: CheckpointConfig,
    /// What `rlaif plan` plans this run by; no stage looks at it.
    pub plan: Option<PlanConfig>,
}

pub(crate) fn default_seed() -> u64 {
    17
}

/// How much is taken from an embedded world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldSizes {
    /// Demonstrations for fine-tuning.
    pub demonstrations: usize,
    /// Prompts whose completions are labeled.
    pub preference_prompts: usize,
    /// Prompts of the policy optimisation.
    pub rl_prompts: usize,
    /// Held-out prompts.
    pub eval_prompts: usize,
}

/// Source of the texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum DataConfig {
    /// The embedded world of summaries ([`crate::world::tldr`]).
    TinyTldr(WorldSizes),
    /// The embedded world of helpful answers ([`crate::world::helpful`]).
    TinyHelpful(WorldSizes),
    /// The embedded world of harmless answers ([`crate::world::harmless`]).
    TinyHarmless(WorldSizes),
    /// Files: JSONL, a JSON array, CSV or Parquet, also compressed ([`crate::record::rows`]).
    Files(FilesConfig),
}

/// Files with a run's texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesConfig {
    /// Rows with `prompt` and `completion`, or pairs, whose better answers are taken; needed by
    /// stage `sft` alone.
    pub demonstrations: Option<PathBuf>,
    /// Rows with `prompt` whose completions are labeled.
    pub preference_prompts: Option<PathBuf>,
    /// Preferences, such as those of people, in any layout that
    /// [`PairReader`](crate::record::PairReader) knows: nothing is sampled and labeled then.
    pub preferences: Option<PathBuf>,
    /// Rows with `prompt` for the policy optimisation; as everywhere, pairs will do.
    pub rl_prompts: PathBuf,
    /// Held-out rows with `prompt`.
    pub eval_prompts: PathBuf,
    /// How rows are read: what happens to bad ones, and what some layouts leave open.
    #[serde(default)]
    pub rows: PairOptions,
}

/// The model to align.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyConfig {
    /// Hugging Face folder.
    pub model: PathBuf,
    /// What the policy reads; `{prompt}` stands for the prompt.
    #[serde(default = "default_template")]
    pub prompt_template: String,
    /// Number format of the weights and the activations of the policy, and of the reward and value
    /// models, which start from it. In f16 losses are scaled, and steps whose gradients overflow
    /// are skipped ([`LossScaling`](crate::optim::LossScaling)).
    #[serde(default)]
    pub dtype: Precision,
    /// Trains low-rank adapters instead of the weights: of the policy, of its reward model and of
    /// its value model.
    pub lora: Option<LoraConfig>,
    /// Variables of the chat template, such as `enable_thinking = false`; those of a row come
    /// before them.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub chat_template_kwargs: Map<String, Value>,
}

fn default_template() -> String {
    "{prompt}".into()
}

impl PolicyConfig {
    /// The text that the policy reads for a prompt.
    pub fn render(&self, prompt: &str) -> String {
        self.prompt_template.replace("{prompt}", prompt)
    }

    /// Checks the ranges; `field` is the path of this table in the run file.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn validate(&self, field: &str) -> Result<()> {
        if !self.prompt_template.contains("{prompt}") {
            return Err(Error::field(
                format!("{field}.prompt_template"),
                format!("{:?}", self.prompt_template),
                "a text with {prompt} in it",
            ));
        }
        match &self.lora {
            Some(lora) => lora.validate(&format!("{field}.lora")),
            None => Ok(()),
        }
    }
}

/// Sampling of the completions to be labeled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleConfig {
    /// Completions per prompt; consecutive ones are compared.
    #[serde(default = "two")]
    pub num_generations: usize,
    /// How they are drawn.
    #[serde(default)]
    pub sampling: SamplingConfig,
}

fn two() -> usize {
    2
}

/// Evaluation on held-out prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalConfig {
    /// Who compares the policies.
    pub judges: Vec<LabelerConfig>,
    /// How completions are drawn.
    #[serde(default)]
    pub sampling: SamplingConfig,
    /// Also the best of several completions of the policy that was optimised, as it was before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_of: Option<BestOfConfig>,
}

impl Config {
    /// Reads a run file, applies `overrides` (`rl.steps=10`) and checks the result.
    ///
    /// # Errors
    /// The file is missing or malformed, an override names no key, or a value is out of range.
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self> {
        let config: Self = read_toml(path, overrides)?;
        config.validate()?;
        Ok(config)
    }

    /// The run file that gives this configuration, every default written out.
    ///
    /// # Errors
    /// A path is no UTF-8.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string_pretty(self).map_err(|e| Error::Usage(e.to_string()))
    }

    /// Checks every range.
    ///
    /// # Errors
    /// Names the first field that is out of range.
    pub fn validate(&self) -> Result<()> {
        self.policy.validate("policy")?;
        self.data.validate()?;
        if let Some(sft) = &self.sft {
            sft.validate()?;
        }
        at_least("sample.num_generations", self.sample.num_generations, 2)?;
        self.sample.sampling.validate("sample.sampling")?;
        self.labeler.validate("labeler")?;
        if let Some(reward) = &self.reward {
            reward.validate()?;
        }
        self.validate_optimisation()?;
        at_least("eval.judges", self.eval.judges.len(), 1)?;
        for (i, judge) in self.eval.judges.iter().enumerate() {
            judge.validate(&format!("eval.judges[{i}]"))?;
        }
        self.eval.sampling.validate("eval.sampling")?;
        self.validate_best_of()?;
        if let Some(plan) = &self.plan {
            plan.validate("plan")?;
        }
        self.checkpoint.validate()
    }

    fn validate_best_of(&self) -> Result<()> {
        let Some(best_of) = &self.eval.best_of else {
            return Ok(());
        };
        best_of.validate("eval.best_of")?;
        let trained = self.rl.as_ref().is_some_and(|rl| rl.reward.has_model());
        if best_of.reward.has_model() && best_of.reward_model.is_none() && !trained {
            let expected = "a folder: this run trains no reward model";
            return Err(Error::field(
                "eval.best_of.reward_model",
                "absent",
                expected,
            ));
        }
        Ok(())
    }

    /// Checks that there is one way to optimise the policy, and what it needs.
    fn validate_optimisation(&self) -> Result<()> {
        let references = [
            ("rl", self.rl.as_ref().map(|rl| rl.reference)),
            ("dpo", self.dpo.as_ref().map(|dpo| dpo.reference)),
        ];
        for (table, reference) in references {
            if self.policy.lora.is_some() && reference.is_some_and(ReferenceConfig::is_synced) {
                let expected = "frozen beside `policy.lora`: the mean of two adapters is none";
                let field = format!("{table}.reference.kind");
                return Err(Error::field(field, "synced", expected));
            }
        }
        match (&self.rl, &self.dpo) {
            (Some(rl), None) => {
                if rl.reward.has_model() && self.reward.is_none() {
                    let expected = "a table `reward`, for `rl.reward` is the model";
                    return Err(Error::field("reward", "absent", expected));
                }
                rl.validate()
            }
            (None, Some(dpo)) => dpo.validate(),
            (Some(_), Some(_)) => Err(Error::field("dpo", "given", "absent beside `rl`")),
            (None, None) => Err(Error::field("rl", "absent", "this table or `dpo`")),
        }
    }
}

/// Reads a TOML file and applies overrides.
pub(crate) fn read_toml<T: DeserializeOwned>(path: &Path, overrides: &[String]) -> Result<T> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    let refused = |e: toml::de::Error| refused(path, &text, &e);
    if overrides.is_empty() {
        return toml::from_str(&text).map_err(refused);
    }
    let mut table: toml::Table = toml::from_str(&text).map_err(refused)?;
    for assignment in overrides {
        set(&mut table, assignment)?;
    }
    table.try_into().map_err(refused)
}

/// One line for what TOML says in several; it knows the place unless an override is in play.
fn refused(path: &Path, text: &str, error: &toml::de::Error) -> Error {
    let message = error.message().replace('\n', ", ");
    match error.span().and_then(|span| text.get(..span.start)) {
        Some(before) => Error::Row {
            path: path.into(),
            line: 1 + before.matches('\n').count(),
            message,
        },
        None => Error::file(path, message),
    }
}

/// Refuses a count below `least`.
///
/// # Errors
/// Names the field.
pub fn at_least(field: &str, found: usize, least: usize) -> Result<()> {
    if found < least {
        return Err(Error::field(field, found, format!("at least {least}")));
    }
    Ok(())
}

/// Sets one key of a table by its dotted path; the value is TOML, or a bare word as a string.
fn set(table: &mut toml::Table, assignment: &str) -> Result<()> {
    let usage = || Error::Usage(format!("`--set {assignment}`: expected key=value"));
    let (path, value) = assignment.split_once('=').ok_or_else(usage)?;
    let value = format!("value = {value}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| toml::Value::String(value.into()));
    let mut keys: Vec<&str> = path.trim().split('.').collect();
    let last = keys.pop().filter(|key| !key.is_empty()).ok_or_else(usage)?;
    let mut table = table;
    for key in keys {
        let inner = table
            .entry(key)
            .or_insert_with(|| toml::Table::new().into());
        table = inner
            .as_table_mut()
            .ok_or_else(|| Error::Usage(format!("`--set {assignment}`: `{key}` is no table")))?;
    }
    table.insert(last.into(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_reach_nested_keys_and_keep_types() {
        let mut table: toml::Table = "[rl]\nsteps = 1\n[rl.optim]\n".parse().unwrap();
        for assignment in [
            "rl.steps=20",
            "rl.optim.learning_rate=1e-4",
            "backend=flex",
            "a.b=true",
        ] {
            set(&mut table, assignment).unwrap();
        }
        let expected: toml::Table =
            "backend = 'flex'\n[a]\nb = true\n[rl]\nsteps = 20\n[rl.optim]\n\
            learning_rate = 1e-4\n"
                .parse()
                .unwrap();
        assert_eq!(table, expected);
        assert!(set(&mut table, "rl.steps").is_err());
        assert!(set(&mut table, "rl.steps.more=1").is_err());
    }
}
