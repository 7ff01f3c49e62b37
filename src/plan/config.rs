//! What a plan is made from besides the run file: the table `[plan]` of a run file, or a file of its
//! own with the same keys.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::lengths::Lengths;
use crate::config::{Config, at_least, read_toml};
use crate::error::{Error, Result};

/// Lengths, rates and prices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanConfig {
    /// Rows of the data; those of the data itself when absent.
    pub rows: Option<RowCounts>,
    /// How long the texts are, in tokens of the policy.
    pub lengths: LengthsConfig,
    /// Where the run computes.
    #[serde(default)]
    pub device: DeviceConfig,
    /// What each model does in a second, by its name in the run file: the policy, which stands for
    /// its reward and value model too, labelers and judges.
    pub models: BTreeMap<String, ModelRates>,
}

/// Rows of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowCounts {
    /// Demonstrations for fine-tuning.
    #[serde(default)]
    pub demonstrations: usize,
    /// Prompts whose completions are labeled.
    #[serde(default)]
    pub preference_prompts: usize,
    /// Pairs that came with labels.
    #[serde(default)]
    pub preferences: usize,
    /// Held-out prompts.
    pub eval_prompts: usize,
}

/// How long the texts are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LengthsConfig {
    /// Tokens of a prompt, on average.
    pub prompt: f64,
    /// Tokens of the longest.
    pub longest_prompt: usize,
    /// Tokens of a completion that the policy writes: their mean, of lengths that are geometric up
    /// to the longest allowed, or a sample of lengths.
    pub completion: Lengths,
    /// Tokens of a demonstration's completion, on average; as those of the policy when absent.
    pub demonstration: Option<f64>,
}

/// Where the run computes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeviceConfig {
    /// Memory of one, in GB (10^9 bytes); unknown when absent.
    pub memory_gb: Option<f64>,
    /// How many work together to reach the rates.
    pub count: usize,
    /// US dollars for one of them, by the hour.
    pub usd_per_hour: f64,
}

impl Default for DeviceConfig {
    fn default() -> Self {
        Self {
            memory_gb: None,
            count: 1,
            usd_per_hour: 0.0,
        }
    }
}

/// What a model does in a second.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRates {
    /// Its `config.json`, where its folder is not at hand.
    pub config: Option<PathBuf>,
    /// Tokens read, without gradients.
    pub score_tokens_per_second: f64,
    /// Tokens trained on, forward and backward.
    pub train_tokens_per_second: Option<f64>,
    /// Seconds of an optimizer's step beside them.
    #[serde(default)]
    pub update_secs: f64,
    /// US dollars by the hour for servers of its own, while it is asked.
    #[serde(default)]
    pub usd_per_hour: f64,
    /// How it writes.
    pub decode: Option<DecodeRates>,
    /// A comparison of two completions, in one order.
    pub comparison: Option<QuestionRates>,
    /// A score of one completion.
    pub score: Option<QuestionRates>,
}

/// How a model writes: a step of decoding takes a time of its own and more for every row.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecodeRates {
    /// Tokens a second of one completion alone.
    pub one: f64,
    /// Tokens a second of `batch` completions together.
    pub many: f64,
    /// How many these are.
    pub batch: usize,
}

/// What a labeler reads for a question.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuestionRates {
    /// Tokens of it, in the labeler's own.
    pub tokens: f64,
    /// Of those in a second; `score_tokens_per_second` of the model when absent.
    pub tokens_per_second: Option<f64>,
}

impl PlanConfig {
    /// Reads a file of these keys.
    ///
    /// # Errors
    /// It is missing or malformed, or a value is out of range.
    pub fn read(path: &Path) -> Result<Self> {
        let config: Self = read_toml(path, &[])?;
        config.validate("plan")?;
        Ok(config)
    }

    /// Checks the ranges; `field` is the path of this table.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn validate(&self, field: &str) -> Result<()> {
        let lengths = &self.lengths;
        positive(&format!("{field}.lengths.prompt"), lengths.prompt)?;
        lengths
            .completion
            .validate(&format!("{field}.lengths.completion"))?;
        if let Some(mean) = lengths.demonstration {
            positive(&format!("{field}.lengths.demonstration"), mean)?;
        }
        at_least(&format!("{field}.device.count"), self.device.count, 1)?;
        if let Some(memory) = self.device.memory_gb {
            positive(&format!("{field}.device.memory_gb"), memory)?;
        }
        let cost = self.device.usd_per_hour;
        not_negative(&format!("{field}.device.usd_per_hour"), cost)?;
        for (name, rates) in &self.models {
            rates.validate(&format!("{field}.models.\"{name}\""))?;
        }
        Ok(())
    }

    /// The rates of a model.
    pub(super) fn rates(&self, name: &str) -> Result<&ModelRates> {
        self.models.get(name).ok_or_else(|| {
            let field = format!("plan.models.\"{name}\"");
            Error::field(field, "absent", "the rates of this model")
        })
    }
}

impl ModelRates {
    fn validate(&self, field: &str) -> Result<()> {
        let score = self.score_tokens_per_second;
        positive(&format!("{field}.score_tokens_per_second"), score)?;
        if let Some(train) = self.train_tokens_per_second {
            positive(&format!("{field}.train_tokens_per_second"), train)?;
        }
        not_negative(&format!("{field}.update_secs"), self.update_secs)?;
        not_negative(&format!("{field}.usd_per_hour"), self.usd_per_hour)?;
        if let Some(decode) = &self.decode {
            positive(&format!("{field}.decode.one"), decode.one)?;
            positive(&format!("{field}.decode.many"), decode.many)?;
            at_least(&format!("{field}.decode.batch"), decode.batch, 1)?;
        }
        for (name, question) in [("comparison", self.comparison), ("score", self.score)] {
            if let Some(question) = question {
                positive(&format!("{field}.{name}.tokens"), question.tokens)?;
                if let Some(rate) = question.tokens_per_second {
                    positive(&format!("{field}.{name}.tokens_per_second"), rate)?;
                }
            }
        }
        Ok(())
    }
}

impl DecodeRates {
    /// Seconds of a step whatever is in the batch, and more for every row: through the two rates as
    /// they are given.
    pub(super) fn seconds(&self) -> (f64, f64) {
        let (one, many) = (self.one.recip(), self.batch as f64 / self.many);
        let rows = self.batch.saturating_sub(1).max(1) as f64;
        let row = ((many - one) / rows).max(0.0);
        ((one - row).max(0.0), row)
    }
}

impl RowCounts {
    /// Those of the data of a run.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn of(config: &Config) -> Result<Self> {
        let data = &config.data;
        let mut rows = Self {
            demonstrations: 0,
            preference_prompts: 0,
            preferences: 0,
            eval_prompts: data.read_eval_prompts()?.len(),
        };
        if config.sft.is_some() {
            rows.demonstrations = data.read_demonstrations()?.len();
        }
        match data.read_preferences()? {
            Some(preferences) => rows.preferences = preferences.len(),
            None => rows.preference_prompts = data.read_preference_prompts()?.len(),
        }
        Ok(rows)
    }
}

fn positive(field: &str, found: f64) -> Result<()> {
    if found > 0.0 && found.is_finite() {
        return Ok(());
    }
    Err(Error::field(field, found, "a positive number"))
}

fn not_negative(field: &str, found: f64) -> Result<()> {
    if found >= 0.0 && found.is_finite() {
        return Ok(());
    }
    Err(Error::field(field, found, "a number >= 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // 50 tokens a second alone is 20 ms a step; 9 at 150 is 60 ms a step: 5 ms a row, 15 ms beside.
    #[test]
    fn a_step_of_decoding_has_a_fixed_and_a_growing_part() {
        let (step, row) = DecodeRates {
            one: 50.0,
            many: 150.0,
            batch: 9,
        }
        .seconds();
        assert!((step - 0.015).abs() < 1e-12 && (row - 0.005).abs() < 1e-12);
        // Faster together than alone can only be noise.
        let (step, row) = DecodeRates {
            one: 50.0,
            many: 500.0,
            batch: 9,
        }
        .seconds();
        assert_eq!((step, row), (0.02, 0.0));
    }

    #[test]
    fn ranges_are_checked() {
        let read = |change: &str| -> Result<()> {
            let text = format!(
                "[lengths]\nprompt = 10\nlongest_prompt = 20\ncompletion = 5\n{change}\n\
                 [models.m]\nscore_tokens_per_second = 100\n"
            );
            let config: PlanConfig = toml::from_str(&text).unwrap();
            config.validate("plan")
        };
        read("").unwrap();
        for (change, field) in [
            ("demonstration = 0", "`plan.lengths.demonstration`"),
            ("[device]\ncount = 0", "`plan.device.count`"),
            ("[device]\nusd_per_hour = -1", "`plan.device.usd_per_hour`"),
            ("[device]\nmemory_gb = 0", "`plan.device.memory_gb`"),
            (
                "[models.n]\nscore_tokens_per_second = 0",
                "`plan.models.\"n\".score_tokens_per_second`",
            ),
            (
                "[models.n]\nscore_tokens_per_second = 1\n\
                 decode = { one = 1, many = 0, batch = 2 }",
                "`plan.models.\"n\".decode.many`",
            ),
        ] {
            let said = read(change).unwrap_err().to_string();
            assert!(said.starts_with(field), "{said}");
        }
        assert!(toml::from_str::<PlanConfig>("lenghts = {}").is_err());
    }
}
