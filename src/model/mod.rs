//! Decoder-only language models in burn. This room knows nothing of labels, rewards or RL.
//!
//! Start at [`CausalLm`], what every loop of the crate needs of a model; [`Llama`] implements it,
//! and so can a burn module of another project. [`ScalarHead`] puts one number on top of a model: a
//! reward or a value. Checkpoints are Hugging Face folders, see [`checkpoint`].

mod attention;
pub mod checkpoint;
mod config;
mod head;
mod init;
mod layers;
mod llama;

use burn::module::{Module, ModuleDisplay};
use burn::prelude::*;

pub use checkpoint::{load, load_head, save, save_head};
pub use config::{LlamaConfig, RopeParameters};
pub use head::ScalarHead;
pub use init::randomize;
pub use layers::KvCache;
pub use llama::Llama;

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
pub trait DecodeCache {
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
    /// Empty memory for `batch` rows of at most `capacity` tokens.
    fn cache(&self, batch: usize, capacity: usize) -> Self::Cache;
    /// Final hidden states `[batch, seq, hidden]`. With a cache, `input` holds the tokens after
    /// those already in it.
    fn hidden(&self, input: Input, cache: Option<&mut Self::Cache>) -> Tensor<3>;
    /// Logits of hidden states, `[rows, hidden]` to `[rows, vocab]`.
    fn logits(&self, hidden: Tensor<2>) -> Tensor<2>;
}

/// Device on which a module's weights live.
pub fn device_of<M: Module>(model: &M) -> Device {
    model.devices().into_iter().next().unwrap_or_default()
}
