//! The parts of a block: norm, attention with a key/value cache, feed-forward.

use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::prelude::*;
use burn::tensor::DType;
use burn::tensor::activation::{gelu, relu, silu};
use burn::tensor::module::{layer_norm, linear};

use super::architecture::{
    Activation, Architecture, AttentionShape, Bias, Gate, NormKind, QkNorm, Residual,
};
use super::attention::attend;
use super::cache::LayerCache;
use super::rotary::Rotary;
use crate::precision::in_f32;

/// One of the norms of [`NormKind`].
#[derive(Module, Debug)]
pub(super) struct Norm {
    weight: Param<Tensor<1>>,
    bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    kind: NormKind,
    #[module(skip)]
    epsilon: f64,
}

impl Norm {
    /// A norm over `width` components that changes nothing but the scale.
    pub(super) fn new(arch: &Architecture, width: usize, device: &Device) -> Self {
        let constant = |value: f32| Param::from_tensor(Tensor::full([width], value, device));
        Self {
            weight: constant(if arch.norm == NormKind::RmsOffset {
                0.0
            } else {
                1.0
            }),
            bias: (arch.norm == NormKind::Layer).then(|| constant(0.0)),
            kind: arch.norm,
            epsilon: arch.norm_eps,
        }
    }

    /// Normalises the last axis.
    pub(super) fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let weight = self.weight.val().cast(DType::F32);
        in_f32(x, |x| match self.kind {
            NormKind::Rms => rms_norm(x, weight, self.epsilon),
            NormKind::RmsOffset => rms_norm(x, weight + 1.0, self.epsilon),
            NormKind::Layer => {
                let bias = self.bias.as_ref().map(|bias| bias.val().cast(DType::F32));
                layer_norm(x, weight, bias, self.epsilon)
            }
        })
    }
}

fn rms_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, epsilon: f64) -> Tensor<D> {
    let rms = (x.clone().square().mean_dim(D - 1) + epsilon).sqrt();
    (x / rms) * weight.unsqueeze()
}

/// Causal self-attention with grouped key/value heads.
#[derive(Module, Debug)]
pub(super) struct SelfAttention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    q_norm: Option<Norm>,
    k_norm: Option<Norm>,
    #[module(skip)]
    shape: AttentionShape,
}

/// What a block reads besides the hidden states.
pub(super) struct Context<'a> {
    /// Turns queries and keys.
    pub(super) rotary: Option<&'a Rotary>,
    /// Keys that a query may not see besides those after it, `[batch, 1, seq, keys]`.
    pub(super) hidden_keys: Option<Tensor<4, Bool>>,
    /// Number of tokens held, and the buffers that hold them.
    pub(super) cache: Option<(usize, &'a mut LayerCache)>,
}

impl SelfAttention {
    fn new(arch: &Architecture, device: &Device) -> Self {
        let shape = &arch.attention;
        let (queries, keys) = (
            shape.heads * shape.head_dim,
            shape.kv_heads * shape.head_dim,
        );
        let hidden = arch.hidden_size;
        let norm =
            || (shape.qk_norm == QkNorm::PerHead).then(|| Norm::new(arch, shape.head_dim, device));
        Self {
            q_proj: new_linear([hidden, queries], shape.qkv_bias, device),
            k_proj: new_linear([hidden, keys], shape.qkv_bias, device),
            v_proj: new_linear([hidden, keys], shape.qkv_bias, device),
            o_proj: new_linear([queries, hidden], shape.output_bias, device),
            q_norm: norm(),
            k_norm: norm(),
            shape: shape.clone(),
        }
    }

    fn forward(&self, x: Tensor<3>, context: Context) -> Tensor<3> {
        let [batch, seq, _] = x.dims();
        let AttentionShape {
            heads, head_dim, ..
        } = self.shape;
        let query = self.split_heads(project(&self.q_proj, x.clone()));
        let key = self.split_heads(project(&self.k_proj, x.clone()));
        let value = self.split_heads(project(&self.v_proj, x));
        let prepare = |x: Tensor<4>, norm: &Option<Norm>| {
            let x = match norm {
                Some(norm) => norm.forward(x),
                None => x,
            };
            match context.rotary {
                Some(rotary) => rotary.apply(x),
                None => x,
            }
        };
        let (query, key) = (prepare(query, &self.q_norm), prepare(key, &self.k_norm));
        let (key, value) = match context.cache {
            Some((len, layer)) => layer.append(len, key, value),
            None => (key, value),
        };
        let query = self.scaled(query);
        let mixed = attend(query, key, value, context.hidden_keys, self.shape.soft_cap);
        let mixed = mixed.swap_dims(1, 2);
        project(&self.o_proj, mixed.reshape([batch, seq, heads * head_dim]))
    }

    /// Queries such that the division by `sqrt(head_dim)` in [`attend`] leaves the model's scale.
    fn scaled(&self, query: Tensor<4>) -> Tensor<4> {
        let factor = self.shape.scale * (self.shape.head_dim as f32).sqrt();
        if (factor - 1.0).abs() < 1e-6 {
            return query;
        }
        query * factor
    }

    /// `[batch, seq, heads * head_dim]` to `[batch, heads, seq, head_dim]`.
    fn split_heads(&self, x: Tensor<3>) -> Tensor<4> {
        let [batch, seq, width] = x.dims();
        let head_dim = self.shape.head_dim;
        x.reshape([batch, seq, width / head_dim, head_dim])
            .swap_dims(1, 2)
    }
}

/// The feed-forward part; see [`Gate`] for its two forms.
#[derive(Module, Debug)]
pub(super) struct FeedForward {
    gate_proj: Option<Linear>,
    up_proj: Linear,
    down_proj: Linear,
    #[module(skip)]
    activation: Activation,
}

impl FeedForward {
    fn new(arch: &Architecture, device: &Device) -> Self {
        let shape = &arch.feed_forward;
        let (hidden, inner) = (arch.hidden_size, shape.inner);
        let into = || new_linear([hidden, inner], shape.bias, device);
        Self {
            gate_proj: (shape.gate == Gate::Gated).then(into),
            up_proj: into(),
            down_proj: new_linear([inner, hidden], shape.bias, device),
            activation: shape.activation,
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let inner = match &self.gate_proj {
            Some(gate) => self.activate(project(gate, x.clone())) * project(&self.up_proj, x),
            None => self.activate(project(&self.up_proj, x)),
        };
        project(&self.down_proj, inner)
    }

    fn activate(&self, x: Tensor<3>) -> Tensor<3> {
        in_f32(x, |x| match self.activation {
            Activation::Silu => silu(x),
            Activation::Gelu => gelu(x),
            Activation::GeluTanh => gelu_tanh(x),
            Activation::Relu => relu(x),
        })
    }
}

/// `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`; burn's own raises to a power, which is slow.
fn gelu_tanh(x: Tensor<3>) -> Tensor<3> {
    let scale = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
    let cubic = x.clone() * (x.clone().square() * 0.044_715 + 1.0);
    x * ((cubic * scale).tanh() + 1.0) * 0.5
}

/// One block: attention and feed-forward, added to its input as [`Residual`] says.
#[derive(Module, Debug)]
pub(super) struct Block {
    attn_norm: Norm,
    self_attn: SelfAttention,
    attn_post_norm: Option<Norm>,
    mlp_norm: Norm,
    mlp: FeedForward,
    mlp_post_norm: Option<Norm>,
    #[module(skip)]
    residual: Residual,
}

impl Block {
    pub(super) fn new(arch: &Architecture, device: &Device) -> Self {
        let norm = || Norm::new(arch, arch.hidden_size, device);
        let sandwich = arch.residual == Residual::Sandwich;
        Self {
            attn_norm: norm(),
            self_attn: SelfAttention::new(arch, device),
            attn_post_norm: sandwich.then(norm),
            mlp_norm: norm(),
            mlp: FeedForward::new(arch, device),
            mlp_post_norm: sandwich.then(norm),
            residual: arch.residual,
        }
    }

    /// `[batch, seq, hidden]` in and out.
    pub(super) fn forward(&self, x: Tensor<3>, context: Context) -> Tensor<3> {
        let post = |x: Tensor<3>, norm: &Option<Norm>| match norm {
            Some(norm) => norm.forward(x),
            None => x,
        };
        let mixed = self
            .self_attn
            .forward(self.attn_norm.forward(x.clone()), context);
        let attended = x.clone() + post(mixed, &self.attn_post_norm);
        let mlp_input = match self.residual {
            Residual::Parallel => x,
            Residual::Sequential | Residual::Sandwich => attended.clone(),
        };
        let fed = self.mlp.forward(self.mlp_norm.forward(mlp_input));
        attended + post(fed, &self.mlp_post_norm)
    }
}

/// `x W + b`, and `scale (x A) B` where an adapter is on the weight.
///
/// burn's own forward would add `scale A B` to the weight first: a matrix of the weight's size for
/// every pass, and another for its gradient. The adapter's part is in the format of its factors,
/// 32 bits, until it has been added.
fn project(map: &Linear, x: Tensor<3>) -> Tensor<3> {
    let dtype = x.dtype();
    let bias = map.bias.as_ref().map(Param::val);
    let weight = dense(map.weight.base()).cast(dtype);
    let Some(adapter) = map.weight.adapter() else {
        return linear(x, weight, bias);
    };
    let (a, b) = (adapter.a.val(), adapter.b.val());
    let delta = linear(linear(x.clone().cast(a.dtype()), a, None), b, None) * adapter.scale;
    (linear(x, weight, bias).cast(delta.dtype()) + delta).cast(dtype)
}

/// A weight that may be packed, as floats.
pub(super) fn dense<const D: usize>(weight: Tensor<D>) -> Tensor<D> {
    match weight.dtype() {
        DType::QFloat(_) => weight.dequantize(),
        _ => weight,
    }
}

fn new_linear([input, output]: [usize; 2], bias: Bias, device: &Device) -> Linear {
    LinearConfig::new(input, output)
        .with_bias(bias == Bias::Present)
        .init(device)
}
