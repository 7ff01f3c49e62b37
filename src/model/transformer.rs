//! A decoder-only transformer of any of the families: one forward for training and sampling.

use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig, Initializer, Linear, LinearConfig};
use burn::prelude::*;
use burn::tensor::DType;

use super::architecture::{Head, Positions, Reach};
use super::cache::KvCache;
use super::config::ModelConfig;
use super::layers::{Block, Context, Norm};
use super::lora::Adapters;
use super::rotary::Rotary;
use super::{CausalLm, Input};
use crate::precision::Precision;

/// A decoder-only transformer; weights only, no state. Dropout is never applied, whatever a
/// checkpoint's `config.json` says of it.
#[derive(Module, Debug)]
pub struct Transformer {
    embed_tokens: Embedding,
    /// A vector per position, for [`Positions::Learned`].
    embed_positions: Option<Embedding>,
    layers: Vec<Block>,
    norm: Norm,
    /// Absent when the head is the transposed embedding.
    lm_head: Option<Linear>,
    #[module(skip)]
    config: ModelConfig,
}

/// What the layers share in one forward pass.
struct Shared {
    rotaries: Vec<Rotary>,
    /// The caller's hidden keys.
    full: Option<Tensor<4, Bool>>,
    /// Those and the keys that a window leaves behind.
    window: Option<Tensor<4, Bool>>,
}

impl ModelConfig {
    /// Creates the model; weights are drawn only if they are read before a checkpoint is loaded
    /// into them.
    pub fn init(&self, device: &Device) -> Transformer {
        let arch = &self.architecture;
        let (vocab, hidden) = (arch.vocab_size, arch.hidden_size);
        let embedding = |n: usize| {
            let normal = Initializer::Normal {
                mean: 0.0,
                std: 0.02,
            };
            EmbeddingConfig::new(n, hidden)
                .with_initializer(normal)
                .init(device)
        };
        let head = || {
            LinearConfig::new(hidden, vocab)
                .with_bias(false)
                .init(device)
        };
        let learned = arch.positions == Positions::Learned;
        Transformer {
            embed_tokens: embedding(vocab),
            embed_positions: learned.then(|| embedding(arch.max_len)),
            layers: (arch.layers.iter())
                .map(|_| Block::new(arch, device))
                .collect(),
            norm: Norm::new(arch, hidden, device),
            lm_head: (arch.head == Head::Own).then(head),
            config: self.clone(),
        }
    }
}

impl Transformer {
    /// What the model was made from.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The format of weights and activations; adapters are in 32 bits whatever it is.
    pub fn precision(&self) -> Precision {
        Precision::of(self.embed_tokens.weight.val().dtype())
    }

    pub(super) fn set_adapters(&mut self, adapters: Option<Adapters>) {
        self.config.adapters = adapters;
    }

    /// Hidden states after the embedding and after every block, each `[batch, seq, hidden]`, the
    /// last one normalised: `output_hidden_states` in `transformers`.
    pub fn hidden_states(&self, input: Input) -> Vec<Tensor<3>> {
        let shared = self.shared(&input, input.positions.clone());
        let mut states = vec![self.embed(&input)];
        for (i, block) in self.layers.iter().enumerate() {
            if let Some(last) = states.last() {
                states.push(block.forward(last.clone(), self.context(i, &shared)));
            }
        }
        let last = states.pop().map(|last| self.norm.forward(last));
        states.extend(last);
        states
    }

    fn embed(&self, input: &Input) -> Tensor<3> {
        let x = rows(&self.embed_tokens, input.tokens.clone());
        match (&self.embed_positions, self.config.architecture.embed_scale) {
            (Some(positions), _) => x + rows(positions, input.positions.clone()),
            (None, 1.0) => x,
            (None, scale) => x * scale,
        }
    }

    /// What all layers read; `key_positions` are those of the cached tokens too.
    fn shared(&self, input: &Input, key_positions: Tensor<2, Int>) -> Shared {
        let arch = &self.config.architecture;
        let rotaries = match &arch.positions {
            Positions::Learned => Vec::new(),
            Positions::Rotary(ropes) => (ropes.iter())
                .map(|rope| Rotary::new(rope, &input.positions))
                .collect(),
        };
        let full = input.hidden_keys.clone();
        // As long as all keys fit into the window there is nothing to leave behind.
        let window = if arch.has_window() && key_positions.dims()[1] > arch.window {
            let behind = behind_window(&input.positions, key_positions, arch.window);
            Some(match full.clone() {
                Some(full) => full.bool_or(behind),
                None => behind,
            })
        } else {
            full.clone()
        };
        Shared {
            rotaries,
            full,
            window,
        }
    }

    fn context<'a>(&self, layer: usize, shared: &'a Shared) -> Context<'a> {
        let kind = &self.config.architecture.layers[layer];
        let hidden_keys = match kind.reach {
            Reach::Full => &shared.full,
            Reach::Window => &shared.window,
        };
        Context {
            rotary: kind.rope.and_then(|rope| shared.rotaries.get(rope)),
            hidden_keys: hidden_keys.clone(),
            cache: None,
        }
    }
}

/// The vectors of `ids`, `[batch, seq, hidden]`.
///
/// The gradients of a token that a batch has often are added up one by one, and 16 bits would lose
/// most of them: where there are gradients, the vectors come from a copy in 32.
fn rows(embedding: &Embedding, ids: Tensor<2, Int>) -> Tensor<3> {
    let weight = embedding.weight.val();
    let dtype = weight.dtype();
    if dtype == DType::F32 || !weight.is_require_grad() {
        return embedding.forward(ids);
    }
    burn::tensor::module::embedding(weight.cast(DType::F32), ids).cast(dtype)
}

/// Keys `window` positions or more before a query, `[batch, 1, queries, keys]`. Positions and not
/// places in the row, for completions that share a prompt follow each other in a row.
fn behind_window(queries: &Tensor<2, Int>, keys: Tensor<2, Int>, window: usize) -> Tensor<4, Bool> {
    let [batch, n_queries] = queries.dims();
    let n_keys = keys.dims()[1];
    let queries = queries.clone().reshape([batch, 1, n_queries, 1]);
    let distance = queries - keys.reshape([batch, 1, 1, n_keys]);
    distance.greater_equal_elem(window as i64)
}

impl CausalLm for Transformer {
    type Cache = KvCache;

    fn vocab_size(&self) -> usize {
        self.config.architecture.vocab_size
    }

    fn hidden_size(&self) -> usize {
        self.config.architecture.hidden_size
    }

    fn max_len(&self) -> usize {
        self.config.architecture.max_len
    }

    fn pad_token(&self) -> Option<u32> {
        let id = self.config.json.get("pad_token_id")?.as_u64()?;
        u32::try_from(id).ok()
    }

    fn cache(&self, batch: usize, capacity: usize) -> KvCache {
        let device = super::device_of(self).inner();
        let format = (&device, self.precision().dtype());
        KvCache::new(&self.config.architecture, batch, capacity, format)
    }

    fn hidden(&self, input: Input, mut cache: Option<&mut KvCache>) -> Tensor<3> {
        let seq = input.tokens.dims()[1];
        let positions = input.positions.clone();
        let key_positions = match &mut cache {
            Some(cache) => cache.append_positions(positions),
            None => positions,
        };
        let shared = self.shared(&input, key_positions);
        let mut x = self.embed(&input);
        let mut held = cache.as_mut().map(|cache| cache.layers());
        for (i, block) in self.layers.iter().enumerate() {
            let mut context = self.context(i, &shared);
            context.cache = held.as_mut().and_then(Iterator::next);
            x = block.forward(x, context);
        }
        drop(held);
        if let Some(cache) = cache {
            cache.advance(seq);
        }
        self.norm.forward(x)
    }

    fn n_parts(&self) -> usize {
        self.layers.len()
    }

    fn part(&self, part: usize, input: &Input, states: Option<Tensor<3>>) -> Tensor<3> {
        let shared = self.shared(input, input.positions.clone());
        let states = states.unwrap_or_else(|| self.embed(input));
        let states = self.layers[part].forward(states, self.context(part, &shared));
        if part + 1 == self.layers.len() {
            return self.norm.forward(states);
        }
        states
    }

    fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        let logits = match &self.lm_head {
            Some(head) => head.forward(hidden),
            None => hidden.matmul(self.embed_tokens.weight.val().transpose()),
        };
        let logits = logits.cast(DType::F32);
        match self.config.architecture.logit_soft_cap {
            Some(cap) => (logits / cap).tanh() * cap,
            None => logits,
        }
    }
}
