//! `config.json` of a checkpoint, as Hugging Face writes it.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};

/// Rotary settings where newer checkpoints keep them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RopeParameters {
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Kind of scaling; only `default` is implemented.
    #[serde(default = "default_rope_type")]
    pub rope_type: String,
}

/// Configuration of [`Llama`](super::Llama): the fields of `LlamaConfig` in `transformers`.
///
/// Fields that change the computation and are not implemented are refused by [`LlamaConfig::read`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LlamaConfig {
    /// Class names of the checkpoint, such as `LlamaForCausalLM`.
    #[serde(default)]
    pub architectures: Vec<String>,
    /// Family; `llama` is the one implemented.
    pub model_type: String,
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Width inside the feed-forward block.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads; as many as query heads when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_key_value_heads: Option<usize>,
    /// Width of a head; `hidden_size / num_attention_heads` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_dim: Option<usize>,
    /// Number of tokens.
    pub vocab_size: usize,
    /// Longest text in tokens.
    pub max_position_embeddings: usize,
    /// Added to the mean square in the norms.
    #[serde(default = "default_rms_norm_eps")]
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies (older checkpoints; newer ones have `rope_parameters`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_theta: Option<f64>,
    /// Rotary settings of newer checkpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_parameters: Option<RopeParameters>,
    /// Rotary scaling of older checkpoints; refused unless null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<Value>,
    /// Activation of the feed-forward block; `silu` is the one implemented.
    #[serde(default = "default_hidden_act")]
    pub hidden_act: String,
    /// Whether the head is the transposed embedding.
    #[serde(default)]
    pub tie_word_embeddings: bool,
    /// Bias in the attention projections; refused when true.
    #[serde(default)]
    pub attention_bias: bool,
    /// Bias in the feed-forward block; refused when true.
    #[serde(default)]
    pub mlp_bias: bool,
    /// First token of a text.
    #[serde(default)]
    pub bos_token_id: Option<Value>,
    /// Token, or tokens, that end a text.
    #[serde(default)]
    pub eos_token_id: Option<Value>,
    /// Padding token.
    #[serde(default)]
    pub pad_token_id: Option<u32>,
    /// Number of outputs of a classification head: 1 for a reward model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_labels: Option<usize>,
    /// Mean reward on the training texts of a reward model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward_mean: Option<f32>,
    /// Standard deviation of those rewards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward_std: Option<f32>,
}

fn default_rope_type() -> String {
    "default".into()
}

fn default_rms_norm_eps() -> f64 {
    1e-6
}

fn default_hidden_act() -> String {
    "silu".into()
}

impl LlamaConfig {
    /// A model for a vocabulary built by hand: tied head, as many key as query heads, feed-forward
    /// width 8/3 of `hidden` rounded up to a multiple of 16. The special tokens are `<pad>` 0,
    /// `<s>` 1, `</s>` 2.
    pub fn small(vocab: usize, hidden: usize, layers: usize, heads: usize, max_len: usize) -> Self {
        Self {
            architectures: vec!["LlamaForCausalLM".into()],
            model_type: "llama".into(),
            hidden_size: hidden,
            intermediate_size: (hidden * 8 / 3).next_multiple_of(16),
            num_hidden_layers: layers,
            num_attention_heads: heads,
            num_key_value_heads: None,
            head_dim: None,
            vocab_size: vocab,
            max_position_embeddings: max_len,
            rms_norm_eps: 1e-5,
            rope_theta: Some(10_000.0),
            rope_parameters: None,
            rope_scaling: None,
            hidden_act: default_hidden_act(),
            tie_word_embeddings: true,
            attention_bias: false,
            mlp_bias: false,
            bos_token_id: Some(1.into()),
            eos_token_id: Some(2.into()),
            pad_token_id: Some(0),
            num_labels: None,
            reward_mean: None,
            reward_std: None,
        }
    }

    /// Reads `config.json` and refuses, by name, what is not implemented.
    ///
    /// # Errors
    /// The file is missing or malformed, the family is another one, or an option is not
    /// implemented.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        let family: Value =
            serde_json::from_str(&text).map_err(|e| Error::file(path, e.to_string()))?;
        match family.get("model_type").and_then(Value::as_str) {
            Some("llama") => {}
            Some(other) => {
                let message =
                    format!("`model_type` is `{other}`, expected one of the families: llama");
                return Err(Error::file(path, message));
            }
            None => return Err(Error::file(path, "`model_type` is missing")),
        }
        let config: Self =
            serde_json::from_str(&text).map_err(|e| Error::file(path, e.to_string()))?;
        config
            .check()
            .map_err(|message| Error::file(path, message))?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        let unsupported = [
            (
                self.hidden_act != "silu",
                "hidden_act",
                self.hidden_act.clone(),
            ),
            (self.attention_bias, "attention_bias", "true".into()),
            (self.mlp_bias, "mlp_bias", "true".into()),
            (
                self.rope_type() != "default",
                "rope_type",
                self.rope_type().into(),
            ),
        ];
        if let Some((_, field, value)) = unsupported.into_iter().find(|(refused, ..)| *refused) {
            return Err(format!("`{field}` = {value} is not implemented"));
        }
        let (heads, kv_heads) = (self.num_attention_heads, self.kv_heads());
        if heads == 0 || kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            let message = format!(
                "`num_attention_heads` is {heads}, expected a multiple of \
                `num_key_value_heads` = {kv_heads}"
            );
            return Err(message);
        }
        if !self.head_dim().is_multiple_of(2) || self.head_dim() == 0 {
            return Err(format!(
                "`head_dim` is {}, expected an even number",
                self.head_dim()
            ));
        }
        Ok(())
    }

    /// Number of key and value heads.
    pub fn kv_heads(&self) -> usize {
        self.num_key_value_heads.unwrap_or(self.num_attention_heads)
    }

    /// Width of a head.
    pub fn head_dim(&self) -> usize {
        self.head_dim
            .unwrap_or(self.hidden_size / self.num_attention_heads.max(1))
    }

    /// Base of the rotary frequencies.
    pub fn theta(&self) -> f64 {
        let newer = self.rope_parameters.as_ref().map(|rope| rope.rope_theta);
        newer.or(self.rope_theta).unwrap_or(10_000.0)
    }

    fn rope_type(&self) -> &str {
        if let Some(scaling) = self.rope_scaling.as_ref().filter(|value| !value.is_null()) {
            let kind = scaling.get("rope_type").or_else(|| scaling.get("type"));
            return kind.and_then(Value::as_str).unwrap_or("unnamed scaling");
        }
        self.rope_parameters
            .as_ref()
            .map_or("default", |rope| &rope.rope_type)
    }
}
