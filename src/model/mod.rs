//! Decoder-only language models in burn. This room knows nothing of labels, rewards or RL.
//!
//! Start at [`CausalLm`], what every loop of the crate needs of a model; [`Transformer`] implements
//! it for the families of [`Family`], and so can a burn module of another project. [`ScalarHead`]
//! puts one number on top of a model: a reward or a value. Checkpoints are Hugging Face folders,
//! see [`checkpoint`].
//!
//! A new family is an entry in `family` (its `config.json` as an [`Architecture`]) and one in
//! `names` (its tensors).

mod adapter;
mod architecture;
mod attention;
mod backward;
mod cache;
pub mod checkpoint;
mod config;
mod family;
mod head;
mod init;
mod layers;
mod llama;
mod loader;
mod lora;
mod names;
mod rotary;
mod shards;
mod transformer;
mod weights;

use burn::module::{Module, ModuleDisplay};
use burn::prelude::*;

pub use adapter::{base_of, has_head, is_adapter};
pub use architecture::{
    Activation, Architecture, AttentionShape, Bias, FeedForwardShape, Gate, Head, LayerKind,
    NormKind, Positions, QkNorm, Reach, Residual,
};
pub use backward::{Activations, Backward, Forward};
pub use cache::KvCache;
pub use checkpoint::{save, save_head, save_in_shards};
pub use config::ModelConfig;
pub use family::Family;
pub use head::ScalarHead;
pub use init::randomize;
pub use llama::LlamaConfig;
pub use loader::{Loader, load, load_head};
pub use lora::{Adapters, AllLinear, LoraConfig, TargetModules, merge};
pub use rotary::Rope;
pub use shards::MAX_SHARD_SIZE;
pub use transformer::Transformer;

/// What one forward pass reads.
#[derive(Debug, Clone)]
pub struct Input {
    /// Token ids, `[batch, seq]`; the caller has checked them against the vocabulary.
    pub tokens: Tensor<2, Int>,
    /// Position of each token in its own text, `[batch, seq]`.
    pub positions: Tensor<2, Int>,
    /// Keys that a query may not see besides those after it: `true` hides, `[batch, 1, seq,
    /// keys]`, where `keys` counts the cache too. `None` means causal and nothing else.
    pub hidden_keys: Option<Tensor<4, Bool>>,
}

/// Memory of a model between two steps of generation.
pub trait DecodeCache: Clone {
    /// Keeps (and repeats) the rows listed in `rows`: rows that finished leave the batch, samples
    /// of one prompt share its encoding.
    #[must_use]
    fn select(self, rows: Tensor<1, Int>) -> Self;
}

/// A decoder-only language model: all that the loops of this crate ask for.
///
/// One forward serves training and sampling, so that the two cannot differ. The head is apart, for
/// logits of `[batch, seq, vocab]` are rarely wanted as a whole.
pub trait CausalLm: Module + ModuleDisplay + 'static {
    /// What [`CausalLm::hidden`] remembers between calls.
    type Cache: DecodeCache;

    /// Number of tokens that the embedding knows.
    fn vocab_size(&self) -> usize;
    /// Width of the hidden states.
    fn hidden_size(&self) -> usize;
    /// Longest text in tokens.
    fn max_len(&self) -> usize;
    /// The token that fills up rows, if a checkpoint names one; a classifier does not read it at
    /// the end of a text.
    fn pad_token(&self) -> Option<u32> {
        None
    }
    /// Empty memory for `batch` rows of at most `capacity` tokens.
    fn cache(&self, batch: usize, capacity: usize) -> Self::Cache;
    /// Final hidden states `[batch, seq, hidden]`. With a cache, `input` holds the tokens after
    /// those already in it.
    fn hidden(&self, input: Input, cache: Option<&mut Self::Cache>) -> Tensor<3>;
    /// Logits of hidden states, `[rows, hidden]` to `[rows, vocab]`, in 32 bits whatever the model
    /// computes in.
    fn logits(&self, hidden: Tensor<2>) -> Tensor<2>;

    /// Number of parts that [`CausalLm::hidden`] without a cache goes through one after the other,
    /// for [`Activations::Recomputed`]; at least 1.
    fn n_parts(&self) -> usize {
        1
    }

    /// One of these parts: the first reads the tokens, each other the `states` that the one before
    /// it gave, `[batch, seq, hidden]`; the last gives the final hidden states.
    fn part(&self, part: usize, input: &Input, states: Option<Tensor<3>>) -> Tensor<3> {
        debug_assert!(
            part == 0 && states.is_none(),
            "one part, which reads tokens"
        );
        self.hidden(input.clone(), None)
    }
}

/// Device on which a module's weights live.
pub fn device_of<M: Module>(model: &M) -> Device {
    model.devices().into_iter().next().unwrap_or_default()
}
