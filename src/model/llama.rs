//! The Llama architecture: RMSNorm, half-split rotary positions, grouped-query attention, SwiGLU.

use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig, Initializer, Linear, LinearConfig, RmsNorm};
use burn::prelude::*;

use super::config::LlamaConfig;
use super::layers::{Block, KvCache, Rotary, rms_norm};
use super::{CausalLm, Input};

/// A Llama language model. Touvron et al. 2023, arXiv:2302.13971; weights only, no state.
#[derive(Module, Debug)]
pub struct Llama {
    embed_tokens: Embedding,
    layers: Vec<Block>,
    norm: RmsNorm,
    /// Absent when the head is the transposed embedding.
    lm_head: Option<Linear>,
    #[module(skip)]
    config: LlamaConfig,
}

impl LlamaConfig {
    /// Creates the model; weights are drawn only if they are read before a checkpoint is loaded
    /// into them.
    pub fn init(&self, device: &Device) -> Llama {
        let normal = Initializer::Normal {
            mean: 0.0,
            std: 0.02,
        };
        let head = || {
            LinearConfig::new(self.hidden_size, self.vocab_size)
                .with_bias(false)
                .init(device)
        };
        Llama {
            embed_tokens: EmbeddingConfig::new(self.vocab_size, self.hidden_size)
                .with_initializer(normal)
                .init(device),
            layers: (0..self.num_hidden_layers)
                .map(|_| Block::new(self, device))
                .collect(),
            norm: rms_norm(self, device),
            lm_head: (!self.tie_word_embeddings).then(head),
            config: self.clone(),
        }
    }
}

impl Llama {
    /// The configuration that the model was made from.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// Hidden states after the embedding and after every block, each `[batch, seq, hidden]`, the
    /// last one normalised: `output_hidden_states` in `transformers`.
    pub fn hidden_states(&self, input: Input) -> Vec<Tensor<3>> {
        let rotary = Rotary::new(&self.config, input.positions.clone());
        let mut states = vec![self.embed_tokens.forward(input.tokens.clone())];
        for block in &self.layers {
            if let Some(last) = states.last() {
                states.push(block.forward(last.clone(), &rotary, &input, None));
            }
        }
        let last = states.pop().map(|last| self.norm.forward(last));
        states.extend(last);
        states
    }
}

impl CausalLm for Llama {
    type Cache = KvCache;

    fn vocab_size(&self) -> usize {
        self.config.vocab_size
    }

    fn hidden_size(&self) -> usize {
        self.config.hidden_size
    }

    fn max_len(&self) -> usize {
        self.config.max_position_embeddings
    }

    fn cache(&self, batch: usize, capacity: usize) -> KvCache {
        KvCache::new(
            &self.config,
            batch,
            capacity,
            &super::device_of(self).inner(),
        )
    }

    fn hidden(&self, input: Input, cache: Option<&mut KvCache>) -> Tensor<3> {
        let seq = input.tokens.dims()[1];
        let rotary = Rotary::new(&self.config, input.positions.clone());
        let mut x = self.embed_tokens.forward(input.tokens.clone());
        match cache {
            Some(cache) => {
                for (block, layer) in self.layers.iter().zip(cache.layers()) {
                    x = block.forward(x, &rotary, &input, Some(layer));
                }
                cache.advance(seq);
            }
            None => {
                for block in &self.layers {
                    x = block.forward(x, &rotary, &input, None);
                }
            }
        }
        self.norm.forward(x)
    }

    fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        match &self.lm_head {
            Some(head) => head.forward(hidden),
            None => hidden.matmul(self.embed_tokens.weight.val().transpose()),
        }
    }
}
