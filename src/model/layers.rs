//! The parts of a Llama block: norm, rotary positions, attention with a key/value cache, gated
//! feed-forward.
//!
//! Fields carry the names of the checkpoint's tensors, so that loading needs no map.

use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig, RmsNorm};
use burn::prelude::*;
use burn::tensor::activation::silu;

use super::attention::attend;
use super::config::LlamaConfig;
use super::{DecodeCache, Input};

/// Keys and values of the tokens seen so far, in buffers of a fixed capacity.
#[derive(Debug, Clone)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    len: usize,
}

/// Buffers of one layer, `[batch, kv_heads, capacity, head_dim]`.
#[derive(Debug, Clone)]
pub(super) struct LayerCache {
    keys: Tensor<4>,
    values: Tensor<4>,
}

impl KvCache {
    pub(super) fn new(
        config: &LlamaConfig,
        batch: usize,
        capacity: usize,
        device: &Device,
    ) -> Self {
        let shape = [batch, config.kv_heads(), capacity, config.head_dim()];
        let layer = || LayerCache {
            keys: Tensor::zeros(shape, device),
            values: Tensor::zeros(shape, device),
        };
        Self {
            layers: (0..config.num_hidden_layers).map(|_| layer()).collect(),
            len: 0,
        }
    }

    /// Number of tokens held per row.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no token has been seen yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn layers(&mut self) -> impl Iterator<Item = (usize, &mut LayerCache)> {
        let len = self.len;
        self.layers.iter_mut().map(move |layer| (len, layer))
    }

    pub(super) fn advance(&mut self, seq: usize) {
        self.len += seq;
    }
}

impl DecodeCache for KvCache {
    fn select(mut self, rows: Tensor<1, Int>) -> Self {
        for layer in &mut self.layers {
            layer.keys.inplace(|keys| keys.select(0, rows.clone()));
            layer
                .values
                .inplace(|values| values.select(0, rows.clone()));
        }
        self
    }
}

impl LayerCache {
    /// Writes the new keys and values after the `len` already held and returns all of them.
    fn append(&mut self, len: usize, keys: Tensor<4>, values: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let end = len + keys.dims()[2];
        self.keys
            .inplace(|buffer| buffer.slice_assign(s![.., .., len..end, ..], keys));
        self.values
            .inplace(|buffer| buffer.slice_assign(s![.., .., len..end, ..], values));
        let held = s![.., .., 0..end, ..];
        (
            self.keys.clone().slice(held),
            self.values.clone().slice(held),
        )
    }
}

/// Cosines and sines of the rotary angles of one batch, `[batch, 1, seq, head_dim / 2]`.
///
/// Su et al. 2021, arXiv:2104.09864, in the half-split form of Hugging Face checkpoints: component
/// `i` turns with component `i + head_dim / 2`. (burn's own `RotaryEncoding` turns neighbours,
/// which other weights expect.)
#[derive(Debug, Clone)]
pub(super) struct Rotary {
    cos: Tensor<4>,
    sin: Tensor<4>,
}

impl Rotary {
    pub(super) fn new(config: &LlamaConfig, positions: Tensor<2, Int>) -> Self {
        let [batch, seq] = positions.dims();
        let half = config.head_dim() / 2;
        let frequency = |i: usize| config.theta().powf(-(i as f64) / half as f64) as f32;
        let frequencies: Vec<f32> = (0..half).map(frequency).collect();
        let frequencies = Tensor::<4>::from_data(
            TensorData::new(frequencies, [1, 1, 1, half]),
            &positions.device(),
        );
        let angles = positions.float().reshape([batch, 1, seq, 1]) * frequencies;
        Self {
            cos: angles.clone().cos(),
            sin: angles.sin(),
        }
    }

    /// Turns queries or keys, `[batch, heads, seq, head_dim]`.
    fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        let half = x.dims()[3] / 2;
        let first = x.clone().slice(s![.., .., .., 0..half]);
        let second = x.slice(s![.., .., .., half..]);
        let turned_first = first.clone() * self.cos.clone() - second.clone() * self.sin.clone();
        let turned_second = second * self.cos.clone() + first * self.sin.clone();
        Tensor::cat(vec![turned_first, turned_second], 3)
    }
}

/// Causal self-attention with grouped key/value heads.
#[derive(Module, Debug)]
pub(super) struct SelfAttention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    #[module(skip)]
    head_dim: usize,
}

impl SelfAttention {
    fn new(config: &LlamaConfig, device: &Device) -> Self {
        let head_dim = config.head_dim();
        let (queries, keys) = (
            config.num_attention_heads * head_dim,
            config.kv_heads() * head_dim,
        );
        Self {
            q_proj: linear(config.hidden_size, queries, device),
            k_proj: linear(config.hidden_size, keys, device),
            v_proj: linear(config.hidden_size, keys, device),
            o_proj: linear(queries, config.hidden_size, device),
            head_dim,
        }
    }

    fn forward(
        &self,
        x: Tensor<3>,
        rotary: &Rotary,
        hidden_keys: Option<Tensor<4, Bool>>,
        cache: Option<(usize, &mut LayerCache)>,
    ) -> Tensor<3> {
        let [batch, seq, _] = x.dims();
        let query = rotary.apply(self.split_heads(self.q_proj.forward(x.clone())));
        let key = rotary.apply(self.split_heads(self.k_proj.forward(x.clone())));
        let value = self.split_heads(self.v_proj.forward(x));
        let (key, value) = match cache {
            Some((len, layer)) => layer.append(len, key, value),
            None => (key, value),
        };
        let heads = query.dims()[1];
        let mixed = attend(query, key, value, hidden_keys);
        self.o_proj.forward(
            mixed
                .swap_dims(1, 2)
                .reshape([batch, seq, heads * self.head_dim]),
        )
    }

    /// `[batch, seq, heads * head_dim]` to `[batch, heads, seq, head_dim]`.
    fn split_heads(&self, x: Tensor<3>) -> Tensor<4> {
        let [batch, seq, width] = x.dims();
        x.reshape([batch, seq, width / self.head_dim, self.head_dim])
            .swap_dims(1, 2)
    }
}

/// `down(silu(gate(x)) * up(x))`. Shazeer 2020, arXiv:2002.05202.
#[derive(Module, Debug)]
pub(super) struct GatedMlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

impl GatedMlp {
    fn new(config: &LlamaConfig, device: &Device) -> Self {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        Self {
            gate_proj: linear(hidden, inner, device),
            up_proj: linear(hidden, inner, device),
            down_proj: linear(inner, hidden, device),
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.down_proj
            .forward(silu(self.gate_proj.forward(x.clone())) * self.up_proj.forward(x))
    }
}

/// One block: attention and feed-forward, each behind a norm and added to its input.
#[derive(Module, Debug)]
pub(super) struct Block {
    input_layernorm: RmsNorm,
    self_attn: SelfAttention,
    post_attention_layernorm: RmsNorm,
    mlp: GatedMlp,
}

impl Block {
    pub(super) fn new(config: &LlamaConfig, device: &Device) -> Self {
        Self {
            input_layernorm: rms_norm(config, device),
            self_attn: SelfAttention::new(config, device),
            post_attention_layernorm: rms_norm(config, device),
            mlp: GatedMlp::new(config, device),
        }
    }

    pub(super) fn forward(
        &self,
        x: Tensor<3>,
        rotary: &Rotary,
        input: &Input,
        cache: Option<(usize, &mut LayerCache)>,
    ) -> Tensor<3> {
        let normed = self.input_layernorm.forward(x.clone());
        let x = x + self
            .self_attn
            .forward(normed, rotary, input.hidden_keys.clone(), cache);
        let normed = self.post_attention_layernorm.forward(x.clone());
        x + self.mlp.forward(normed)
    }
}

/// RMSNorm with the epsilon of the checkpoint (burn's default is another).
pub(super) fn rms_norm(config: &LlamaConfig, device: &Device) -> RmsNorm {
    RmsNorm {
        gamma: Param::from_tensor(Tensor::ones([config.hidden_size], device)),
        epsilon: config.rms_norm_eps,
    }
}

fn linear(d_input: usize, d_output: usize, device: &Device) -> Linear {
    LinearConfig::new(d_input, d_output)
        .with_bias(false)
        .init(device)
}
