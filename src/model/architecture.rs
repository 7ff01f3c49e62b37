//! What a decoder-only transformer computes, as one typed description: the choices by which the
//! families differ, and none that is not implemented.
//!
//! [`Architecture`] is parsed from a `config.json` (`family`), and [`Transformer`] follows it.
//!
//! [`Transformer`]: super::Transformer

use super::family::Family;
use super::rotary::Rope;

/// A decoder-only transformer without its weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    /// Whose names the tensors of a checkpoint carry.
    pub family: Family,
    /// Number of tokens.
    pub vocab_size: usize,
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Longest text in tokens.
    pub max_len: usize,
    /// Factor on the embedding: `sqrt(hidden_size)` for Gemma, 1 elsewhere.
    pub embed_scale: f32,
    /// From hidden states to logits.
    pub head: Head,
    /// Where positions enter.
    pub positions: Positions,
    /// Kind of all norms.
    pub norm: NormKind,
    /// Added to the mean square or the variance in the norms.
    pub norm_eps: f64,
    /// How a block adds to its input.
    pub residual: Residual,
    /// What the attention of every layer shares.
    pub attention: AttentionShape,
    /// The feed-forward part of every layer.
    pub feed_forward: FeedForwardShape,
    /// In what the layers differ, one entry each.
    pub layers: Vec<LayerKind>,
    /// How many tokens back, itself included, a query sees in a layer with
    /// [`Reach::Window`].
    pub window: usize,
    /// `c tanh(logits / c)` bounds the logits (Gemma 2).
    pub logit_soft_cap: Option<f32>,
}

/// The map from hidden states to logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// The transposed embedding.
    Tied,
    /// A matrix of its own.
    Own,
}

/// Where positions enter the computation.
#[derive(Debug, Clone, PartialEq)]
pub enum Positions {
    /// A learned vector per position is added to the embedding (GPT-2).
    Learned,
    /// Queries and keys are turned; a layer picks one of these.
    Rotary(Vec<Rope>),
}

/// What a norm computes over the last axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// `x / sqrt(mean(x^2) + eps) * w`. Zhang and Sennrich 2019, arXiv:1910.07467.
    Rms,
    /// The same with `1 + w` for `w`, so that `w` = 0 changes nothing (Gemma).
    RmsOffset,
    /// `(x - mean(x)) / sqrt(var(x) + eps) * w + b`. Ba et al. 2016, arXiv:1607.06450.
    Layer,
}

/// How a block adds attention and feed-forward to its input `x`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Residual {
    /// `y = x + attn(norm(x))`, then `y + mlp(norm(y))`.
    Sequential,
    /// `x + attn(norm(x)) + mlp(norm(x))` with a norm each (GPT-NeoX).
    Parallel,
    /// As sequential, with a second norm on what is added (Gemma 2 and 3).
    Sandwich,
}

/// Sizes and options of the attention in every layer.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionShape {
    /// Number of query heads.
    pub heads: usize,
    /// Number of key and value heads, a divisor of `heads`.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Whether the query, key and value projections have a bias.
    pub qkv_bias: Bias,
    /// Whether the output projection has one.
    pub output_bias: Bias,
    /// What happens to queries and keys before they are turned.
    pub qk_norm: QkNorm,
    /// Factor on `q k^T`, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// `c tanh(scores / c)` bounds the scaled scores (Gemma 2).
    pub soft_cap: Option<f32>,
}

/// Whether a linear map adds a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bias {
    /// It adds one.
    Present,
    /// It does not.
    Absent,
}

impl From<bool> for Bias {
    fn from(present: bool) -> Self {
        if present { Self::Present } else { Self::Absent }
    }
}

/// Norm of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkNorm {
    /// None.
    None,
    /// The model's norm over each head (Qwen3, Gemma 3).
    PerHead,
}

/// Sizes and options of the feed-forward part.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedForwardShape {
    /// Width inside.
    pub inner: usize,
    /// Its form.
    pub gate: Gate,
    /// Whether its linear maps have a bias.
    pub bias: Bias,
    /// Its nonlinearity.
    pub activation: Activation,
}

/// Form of the feed-forward part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// `down(f(gate(x)) * up(x))`. Shazeer 2020, arXiv:2002.05202.
    Gated,
    /// `down(f(up(x)))`.
    Plain,
}

/// Nonlinearity of the feed-forward part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x sigmoid(x)`.
    Silu,
    /// `x Phi(x)` with the normal distribution function. Hendrycks and Gimpel 2016,
    /// arXiv:1606.08415.
    Gelu,
    /// Its approximation `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
}

/// In what one layer differs from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerKind {
    /// Which keys a query sees.
    pub reach: Reach,
    /// Which of [`Positions::Rotary`] turns its queries and keys; `None` turns nothing (NoPE,
    /// learned positions).
    pub rope: Option<usize>,
}

/// Which keys a query sees, besides those hidden by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// All up to itself.
    Full,
    /// The last [`Architecture::window`] up to itself, counted in positions.
    Window,
}

impl Architecture {
    /// Whether any layer sees through a window.
    pub fn has_window(&self) -> bool {
        self.layers.iter().any(|layer| layer.reach == Reach::Window)
    }
}
