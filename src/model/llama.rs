//! Models from scratch: a Llama of chosen sizes.

use burn::prelude::*;
use serde_json::json;

use super::Transformer;
use super::architecture::{Head, Positions};
use super::config::{ModelConfig, Sizes};
use super::family::{Family, plain};
use super::rotary::Rope;

/// Sizes of a Llama model (Touvron et al. 2023, arXiv:2302.13971) to be trained from scratch. Names
/// as in its `config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct LlamaConfig {
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Width inside the feed-forward block.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads; as many as query heads when absent.
    pub num_key_value_heads: Option<usize>,
    /// Number of tokens.
    pub vocab_size: usize,
    /// Longest text in tokens.
    pub max_position_embeddings: usize,
    /// Added to the mean square in the norms.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// The head.
    pub head: Head,
}

impl LlamaConfig {
    /// A model for a vocabulary built by hand: tied head, as many key as query heads, feed-forward
    /// width 8/3 of `hidden` rounded up to a multiple of 16. The special tokens are `<pad>` 0,
    /// `<s>` 1, `</s>` 2.
    pub fn small(vocab: usize, hidden: usize, layers: usize, heads: usize, max_len: usize) -> Self {
        Self {
            hidden_size: hidden,
            intermediate_size: (hidden * 8 / 3).next_multiple_of(16),
            num_hidden_layers: layers,
            num_attention_heads: heads,
            num_key_value_heads: None,
            vocab_size: vocab,
            max_position_embeddings: max_len,
            rms_norm_eps: 1e-5,
            rope_theta: 10_000.0,
            head: Head::Tied,
        }
    }

    /// Creates the model; [`randomize`](super::randomize) draws its weights.
    pub fn init(&self, device: &Device) -> Transformer {
        self.config().init(device)
    }

    /// The `config.json` of such a model, and what it means.
    pub fn config(&self) -> ModelConfig {
        let heads = self.num_attention_heads;
        let sizes = Sizes {
            hidden: self.hidden_size,
            layers: self.num_hidden_layers,
            heads,
            kv_heads: self.num_key_value_heads.unwrap_or(heads),
            head_dim: self.hidden_size / heads.max(1),
            vocab: self.vocab_size,
            max_len: self.max_position_embeddings,
        };
        let rope = Rope::unscaled(self.rope_theta, sizes.head_dim);
        let positions = Positions::Rotary(vec![rope]);
        let mut architecture = plain(Family::Llama, &sizes, self.intermediate_size, positions);
        architecture.norm_eps = self.rms_norm_eps;
        architecture.head = self.head;
        let json = json!({
            "architectures": [Family::Llama.causal_lm()],
            "model_type": "llama",
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": heads,
            "num_key_value_heads": sizes.kv_heads,
            "vocab_size": self.vocab_size,
            "max_position_embeddings": self.max_position_embeddings,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "hidden_act": "silu",
            "tie_word_embeddings": self.head == Head::Tied,
            "attention_bias": false,
            "mlp_bias": false,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
        });
        ModelConfig {
            json,
            architecture,
            reward_scale: (0.0, 1.0),
            adapters: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_means_what_was_made() {
        let config = LlamaConfig {
            num_key_value_heads: Some(2),
            head: Head::Own,
            ..LlamaConfig::small(100, 32, 3, 4, 64)
        };
        let config = config.config();
        assert_eq!(ModelConfig::parse(config.json.clone()).unwrap(), config);
    }
}
