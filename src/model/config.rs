//! `config.json` of a checkpoint, as Hugging Face writes it.

use std::path::Path;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::architecture::Architecture;
use super::family::Family;
use super::lora::Adapters;
use super::rotary::{Rope, RopeParameters};
use crate::error::{Error, Result};

/// Layers whose queries see every key, as `layer_types` calls them.
pub(super) const FULL: &str = "full_attention";
/// Layers whose queries see through a window.
pub(super) const SLIDING: &str = "sliding_attention";

/// A `config.json`: what it says, and what that means.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The file as it was read; what is written beside a model is this with few changes.
    pub json: Value,
    /// The model that it describes.
    pub architecture: Architecture,
    /// Mean and standard deviation of the rewards of a reward model on its training texts.
    pub reward_scale: (f32, f32),
    /// The adapters on the weights, when there are any.
    pub adapters: Option<Adapters>,
}

impl ModelConfig {
    /// Reads `config.json` and refuses, by name, what is not implemented.
    ///
    /// # Errors
    /// The file is missing or malformed, the family is unknown, or an option is not implemented.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        let json = serde_json::from_str(&text).map_err(|e| Error::file(path, e.to_string()))?;
        Self::parse(json).map_err(|message| Error::file(path, message))
    }

    /// Whether the file is that of a `*ForSequenceClassification`.
    pub(super) fn is_classifier(&self) -> bool {
        let classes = self.json.get("architectures").and_then(Value::as_array);
        let mut names = classes.into_iter().flatten().filter_map(Value::as_str);
        names.any(|name| name.ends_with("ForSequenceClassification"))
    }

    /// What a `config.json` means; the message says what is wrong with it.
    pub(super) fn parse(json: Value) -> Result<Self, String> {
        let name = json.get("model_type").and_then(Value::as_str);
        let family = Family::named(name.ok_or("`model_type` is missing")?)?;
        let fields: Fields = serde_json::from_value(json.clone()).map_err(|e| e.to_string())?;
        fields.refuse_unimplemented()?;
        let architecture = family.architecture(&fields)?;
        Ok(Self {
            json,
            architecture,
            reward_scale: (
                fields.reward_mean.unwrap_or(0.0),
                fields.reward_std.unwrap_or(1.0),
            ),
            adapters: None,
        })
    }
}

/// The fields of all families that change what is computed. The name of a field is that of most
/// families; an alias is that of GPT-2.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Fields {
    #[serde(alias = "n_embd")]
    hidden_size: Option<usize>,
    #[serde(alias = "n_inner")]
    pub(super) intermediate_size: Option<usize>,
    #[serde(alias = "n_layer")]
    num_hidden_layers: Option<usize>,
    #[serde(alias = "n_head")]
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    pub(super) head_dim: Option<usize>,
    vocab_size: Option<usize>,
    #[serde(alias = "n_positions")]
    max_position_embeddings: Option<usize>,
    pub(super) rms_norm_eps: Option<f64>,
    #[serde(alias = "layer_norm_epsilon")]
    pub(super) layer_norm_eps: Option<f64>,
    #[serde(alias = "activation_function")]
    pub(super) hidden_act: Option<String>,
    pub(super) hidden_activation: Option<String>,
    pub(super) tie_word_embeddings: Option<bool>,
    pub(super) attention_bias: Option<bool>,
    pub(super) mlp_bias: Option<bool>,
    pub(super) rope_theta: Option<f64>,
    pub(super) rope_local_base_freq: Option<f64>,
    pub(super) rotary_emb_base: Option<f64>,
    pub(super) rotary_pct: Option<f64>,
    partial_rotary_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    rope_parameters: Option<Value>,
    rope_scaling: Option<Value>,
    pub(super) no_rope_layers: Option<Vec<u8>>,
    pub(super) no_rope_layer_interval: Option<usize>,
    #[serde(default, deserialize_with = "given")]
    sliding_window: Option<Option<usize>>,
    pub(super) use_sliding_window: Option<bool>,
    pub(super) sliding_window_pattern: Option<usize>,
    pub(super) max_window_layers: Option<usize>,
    pub(super) layer_types: Option<Vec<String>>,
    pub(super) query_pre_attn_scalar: Option<f64>,
    #[serde(default, deserialize_with = "given")]
    pub(super) attn_logit_softcapping: Option<Option<f32>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) final_logit_softcapping: Option<Option<f32>>,
    pub(super) use_parallel_residual: Option<bool>,
    use_bidirectional_attention: Option<Value>,
    scale_attn_weights: Option<bool>,
    scale_attn_by_inverse_layer_idx: Option<bool>,
    add_cross_attention: Option<bool>,
    quantization_config: Option<Value>,
    reward_mean: Option<f32>,
    reward_std: Option<f32>,
}

/// Tells `null`, which switches something off, from a field that is not there.
fn given<'de, D, T>(deserializer: D) -> std::result::Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

/// Sizes that every family has.
pub(super) struct Sizes {
    pub(super) hidden: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) vocab: usize,
    pub(super) max_len: usize,
}

impl Fields {
    /// Options that no family implements.
    fn refuse_unimplemented(&self) -> Result<(), String> {
        let bidirectional = self.use_bidirectional_attention.as_ref();
        let refused = [
            (
                bidirectional.is_some_and(|value| *value != Value::Bool(false)),
                "use_bidirectional_attention",
            ),
            (
                self.scale_attn_weights == Some(false),
                "scale_attn_weights` = `false",
            ),
            (
                self.scale_attn_by_inverse_layer_idx == Some(true),
                "scale_attn_by_inverse_layer_idx",
            ),
            (
                self.add_cross_attention == Some(true),
                "add_cross_attention",
            ),
            (self.quantization_config.is_some(), "quantization_config"),
        ];
        match refused.into_iter().find(|(refused, _)| *refused) {
            Some((_, name)) => Err(format!("`{name}` is not implemented")),
            None => Ok(()),
        }
    }

    /// The sizes, checked against each other; `head_dim` is used where the file names none.
    pub(super) fn sizes(&self, head_dim: Option<usize>) -> Result<Sizes, String> {
        let need = |name: &str, value: Option<usize>| {
            value
                .filter(|&n| n > 0)
                .ok_or_else(|| format!("`{name}` is missing or 0"))
        };
        let hidden = need("hidden_size", self.hidden_size)?;
        let heads = need("num_attention_heads", self.num_attention_heads)?;
        let kv_heads = self.num_key_value_heads.unwrap_or(heads);
        if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            return Err(format!(
                "`num_attention_heads` is {heads}, expected a multiple of `num_key_value_heads` = \
                {kv_heads}"
            ));
        }
        let head_dim = self.head_dim.or(head_dim).unwrap_or(hidden / heads);
        Ok(Sizes {
            hidden,
            layers: need("num_hidden_layers", self.num_hidden_layers)?,
            heads,
            kv_heads,
            head_dim: need("head_dim", Some(head_dim))?,
            vocab: need("vocab_size", self.vocab_size)?,
            max_len: need("max_position_embeddings", self.max_position_embeddings)?,
        })
    }

    /// The window, `default` where the file is silent.
    pub(super) fn window(&self, default: Option<usize>) -> Option<usize> {
        self.sliding_window.unwrap_or(default)
    }

    /// Rotary settings: those of `kind` where each kind of layer has its own, else those of all
    /// layers. The scaling of older files was never meant for layers with a window.
    fn rope_parameters(&self, kind: &str) -> Result<RopeParameters, String> {
        let given = |value: &&Value| !value.is_null();
        let newer = self.rope_parameters.as_ref().filter(given);
        let value = match newer {
            Some(newer) => newer.get(kind).filter(given).unwrap_or(newer),
            None => match self.rope_scaling.as_ref().filter(given) {
                Some(older) if kind == FULL => older,
                _ => return Ok(RopeParameters::default()),
            },
        };
        serde_json::from_value(value.clone()).map_err(|e| format!("rotary settings: {e}"))
    }

    /// The rotation of layers of `kind`, with the family's base and fraction of a head where the
    /// file names none.
    pub(super) fn rope(
        &self,
        kind: &str,
        head_dim: usize,
        (theta, fraction): (f64, f64),
    ) -> Result<Rope, String> {
        let mut parameters = self.rope_parameters(kind)?;
        let original = &mut parameters.original_max_position_embeddings;
        *original = original.or(self.original_max_position_embeddings);
        let theta = parameters.rope_theta.unwrap_or(theta);
        let given = parameters
            .partial_rotary_factor
            .or(self.partial_rotary_factor);
        let fraction = given.unwrap_or(fraction);
        let rotary_dim = (head_dim as f64 * fraction) as usize;
        if rotary_dim == 0 || !rotary_dim.is_multiple_of(2) || rotary_dim > head_dim {
            return Err(format!(
                "{rotary_dim} components of a head of {head_dim} turn, expected an even number of \
                them"
            ));
        }
        let max_len = self.max_position_embeddings.unwrap_or(0);
        Rope::new(theta, rotary_dim, &parameters, max_len)
    }
}
