//! What a run file says of an endpoint labeler. It is read and checked by every build, so that a
//! binary without the cargo feature `http` names the feature rather than the table.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::label::AskConfig;

/// A language model behind OpenAI-compatible endpoints: OpenAI itself, vLLM, SGLang, llama.cpp,
/// Ollama and others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointConfig {
    /// Name of the model, as the endpoints know it.
    pub model: String,
    /// Where it is served; requests go to the least loaded.
    pub endpoints: Vec<EndpointAddress>,
    /// Which of the two interfaces is asked.
    #[serde(default)]
    pub api: Api,
    /// Name of the environment variable that holds the API key; without it none is sent. The key
    /// itself never stands in a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// Alternatives to the answer token whose log-probabilities are asked for (OpenAI gives at most
    /// 20 for chat and 5 for completions, vLLM 20 unless started with `--max-logprobs`).
    #[serde(default = "default_top_logprobs")]
    pub top_logprobs: usize,
    /// What to do with an answer whose log-probabilities tell nothing.
    #[serde(default)]
    pub fallback: Fallback,
    /// Tokens of an answer, at most: one for "1" or "2", two for a "10" in two tokens, a few more
    /// for models that write a word first and for `fallback = "parse"`.
    #[serde(default = "default_answer_tokens")]
    pub max_answer_tokens: usize,
    /// The field that carries the largest number of tokens.
    #[serde(default)]
    pub max_tokens_field: MaxTokensField,
    /// Further fields of every request, as the server knows them, such as
    /// `chat_template_kwargs = { enable_thinking = false }`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra_body: BTreeMap<String, toml::Value>,
    /// Fields that the server refuses and that are therefore never sent: OpenAI's reasoning models
    /// take no `temperature`, some servers no `seed`. They still tell the kept answers apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub omit_fields: Vec<SamplingField>,
    /// Seconds until a request that has not been answered counts as failed.
    #[serde(default = "default_timeout_secs")]
    pub timeout_secs: f64,
    /// How often a request is sent again after a failure that may pass.
    #[serde(default = "default_max_retries")]
    pub max_retries: usize,
    /// What the provider charges; without it answers cost nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// US dollars that all answers in the answer file may have cost together, those of earlier
    /// runs included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cost_usd: Option<f64>,
    /// File that keeps every answer; `answers.jsonl` in the run folder unless several runs are to
    /// share one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<PathBuf>,
    /// What the model is asked.
    #[serde(default)]
    pub ask: AskConfig,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointAddress {
    /// Address up to and including the version, such as `http://localhost:8000/v1`.
    pub base_url: String,
    /// Requests that it is given at once, at most.
    #[serde(default = "default_concurrency")]
    pub concurrency: usize,
    /// Its share of the requests, against the other endpoints.
    #[serde(default = "default_weight")]
    pub weight: f64,
    /// Its limit of requests a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<f64>,
    /// Its limit of tokens a minute, prompt and answer together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<f64>,
}

/// The two interfaces of OpenAI that servers imitate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// `POST chat/completions`: the question is the user's message.
    #[default]
    Chat,
    /// `POST completions`: the question is the text that goes on, for base models.
    Completions,
}

impl Api {
    /// Path after the base URL.
    pub fn path(self) -> &'static str {
        match self {
            Self::Chat => "chat/completions",
            Self::Completions => "completions",
        }
    }
}

/// What happens to an answer without usable log-probabilities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    /// It counts as unreadable; an endpoint that gives no log-probabilities at all is an error.
    #[default]
    Refuse,
    /// The answer is read from the text, as a certain one. A text that names no answer, or several,
    /// counts as unreadable.
    Parse,
}

/// The field that carries the largest number of tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxTokensField {
    /// What every server knows.
    #[default]
    MaxTokens,
    /// What OpenAI's reasoning models ask for instead.
    MaxCompletionTokens,
}

/// A field of a request that says how answers are sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SamplingField {
    /// `temperature`.
    Temperature,
    /// `top_p`.
    TopP,
    /// `top_k`.
    TopK,
    /// `seed`.
    Seed,
}

impl SamplingField {
    /// Name in the request.
    pub fn name(self) -> &'static str {
        match self {
            Self::Temperature => "temperature",
            Self::TopP => "top_p",
            Self::TopK => "top_k",
            Self::Seed => "seed",
        }
    }
}

impl MaxTokensField {
    /// Name in the request.
    pub fn name(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
        }
    }
}

/// US dollars per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// For tokens read.
    pub input: f64,
    /// For tokens written.
    pub output: f64,
}

impl Price {
    /// US dollars for so many tokens.
    pub fn cost(&self, prompt_tokens: f64, completion_tokens: f64) -> f64 {
        (prompt_tokens * self.input + completion_tokens * self.output) / 1e6
    }
}

fn default_top_logprobs() -> usize {
    20
}

fn default_answer_tokens() -> usize {
    4
}

fn default_timeout_secs() -> f64 {
    120.0
}

fn default_max_retries() -> usize {
    8
}

fn default_concurrency() -> usize {
    16
}

fn default_weight() -> f64 {
    1.0
}

impl EndpointConfig {
    /// Checks every range; `table` is where the fields stand in the run file.
    ///
    /// # Errors
    /// Names the first field that is out of range.
    pub fn validate(&self, table: &str) -> Result<()> {
        let field = |name: &str| format!("{table}.{name}");
        if self.model.is_empty() {
            return Err(Error::field(field("model"), "empty", "a model's name"));
        }
        if self.endpoints.is_empty() {
            let expected = "at least one table with a `base_url`";
            return Err(Error::field(field("endpoints"), "empty", expected));
        }
        for (i, endpoint) in self.endpoints.iter().enumerate() {
            endpoint.validate(&field(&format!("endpoints[{i}]")))?;
        }
        if let Some(name) = &self.api_key_env
            && !is_variable(name)
        {
            // What stands there may be the key itself, so it is not repeated.
            let expected = "the name of one, of letters, digits and `_`; the key itself never \
                stands in a run file";
            return Err(Error::field(
                field("api_key_env"),
                "no name of an environment variable",
                expected,
            ));
        }
        if !(1..=100).contains(&self.top_logprobs) && self.fallback == Fallback::Refuse {
            let expected = "1 to 100, or `fallback = \"parse\"`";
            return Err(Error::field(
                field("top_logprobs"),
                self.top_logprobs,
                expected,
            ));
        }
        if self.max_answer_tokens == 0 {
            return Err(Error::field(field("max_answer_tokens"), 0, "at least 1"));
        }
        positive(&field("timeout_secs"), self.timeout_secs)?;
        if let Some(both) = self
            .omit_fields
            .iter()
            .find(|f| self.extra_body.contains_key(f.name()))
        {
            let expected = "each field in one of `omit_fields` and `extra_body`";
            return Err(Error::field(field("omit_fields"), both.name(), expected));
        }
        self.ask.validate(&field("ask"))?;
        if let Some(price) = &self.price {
            for (name, value) in [("price.input", price.input), ("price.output", price.output)] {
                if !(value.is_finite() && value >= 0.0) {
                    return Err(Error::field(field(name), value, "a number of at least 0"));
                }
            }
        }
        if let Some(limit) = self.max_cost_usd {
            positive(&field("max_cost_usd"), limit)?;
            if self.price.is_none() {
                let expected = "a table with `input` and `output`, to hold `max_cost_usd` against";
                return Err(Error::field(field("price"), "absent", expected));
            }
        }
        Ok(())
    }
}

impl EndpointAddress {
    fn validate(&self, table: &str) -> Result<()> {
        let field = |name: &str| format!("{table}.{name}");
        let rest = ["http://", "https://"]
            .iter()
            .find_map(|scheme| self.base_url.strip_prefix(scheme));
        // A key in an address would end up in logs and errors: `user:key@host`, `?key=...`.
        if rest.is_none_or(|rest| rest.is_empty() || rest.contains(['@', '?', '#', ' '])) {
            let expected = "`http://` or `https://` with host and path, without credentials or \
                query; a key belongs into the environment (`api_key_env`)";
            return Err(Error::field(field("base_url"), "no such address", expected));
        }
        if self.concurrency == 0 {
            return Err(Error::field(field("concurrency"), 0, "at least 1"));
        }
        positive(&field("weight"), self.weight)?;
        for (name, limit) in [
            ("requests_per_minute", self.requests_per_minute),
            ("tokens_per_minute", self.tokens_per_minute),
        ] {
            limit.map_or(Ok(()), |limit| positive(&field(name), limit))?;
        }
        Ok(())
    }
}

fn is_variable(name: &str) -> bool {
    let first = name.chars().next();
    first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn positive(field: &str, value: f64) -> Result<()> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(Error::field(field, value, "a number above 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = "model = 'm'\nendpoints = [{ base_url = 'http://localhost:8000/v1' }]\n";

    /// `MINIMAL` with `more` is refused with `error`.
    fn check(more: &str, error: &str) {
        let text = match more.split_once('=') {
            Some((key, _)) if key.trim() == "endpoints" => format!("model = 'm'\n{more}"),
            _ => format!("{MINIMAL}{more}"),
        };
        let config: EndpointConfig = toml::from_str(&text).unwrap();
        let found = config.validate("labeler").unwrap_err().to_string();
        assert_eq!(found, error);
    }

    #[test]
    fn a_model_and_an_address_are_enough() {
        let config: EndpointConfig = toml::from_str(MINIMAL).unwrap();
        config.validate("labeler").unwrap();
        assert_eq!((config.api, config.top_logprobs), (Api::Chat, 20));
        let written = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<EndpointConfig>(&written).unwrap(), config);
    }

    #[test]
    fn values_out_of_range_are_named() {
        check(
            "max_answer_tokens = 0",
            "`labeler.max_answer_tokens` is 0, expected at least 1",
        );
        check(
            "timeout_secs = 0",
            "`labeler.timeout_secs` is 0, expected a number above 0",
        );
        check(
            "omit_fields = ['seed']\nextra_body = { seed = 1 }",
            "`labeler.omit_fields` is seed, expected each field in one of `omit_fields` and \
             `extra_body`",
        );
        check(
            "top_logprobs = 0",
            "`labeler.top_logprobs` is 0, expected 1 to 100, or `fallback = \"parse\"`",
        );
        check(
            "max_cost_usd = 2",
            "`labeler.price` is absent, expected a table with `input` and `output`, to hold \
             `max_cost_usd` against",
        );
        check(
            "endpoints = [{ base_url = 'http://a/v1', weight = 0 }]",
            "`labeler.endpoints[0].weight` is 0, expected a number above 0",
        );
    }

    #[test]
    fn a_key_in_the_run_file_is_refused_without_repeating_it() {
        for more in [
            "api_key_env = 'sk-secret'",
            "endpoints = [{ base_url = 'http://me:sk-secret@host/v1' }]",
            "endpoints = [{ base_url = 'http://host/v1?key=sk-secret' }]",
        ] {
            let text = match more.starts_with("api") {
                true => format!("{MINIMAL}{more}"),
                false => format!("model = 'm'\n{more}"),
            };
            let config: EndpointConfig = toml::from_str(&text).unwrap();
            let said = config.validate("labeler").unwrap_err().to_string();
            assert!(
                !said.contains("secret") && said.contains("labeler."),
                "{said}"
            );
        }
    }
}
