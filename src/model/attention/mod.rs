//! `softmax(q k^T / sqrt(head_dim)) v`, causal, some keys hidden: the heart of every layer.
//!
//! On the CPU backend `flex` it is one operation with its own backward pass (`fused`, `kernel`);
//! elsewhere it is burn's kernel, or under gradients a few operations of burn's. Scores with a soft
//! cap always take those few operations, and so do models in 16 bits, whose softmax is in 32; on
//! `flex`, which multiplies in 32 bits anyway, all of their attention is.

#[cfg(feature = "flex")]
mod fused;
#[cfg(feature = "flex")]
mod kernel;
#[cfg(feature = "flex")]
mod lanes;
#[cfg(feature = "flex")]
mod visible;

use burn::prelude::*;
use burn::tensor::DType;
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;

/// Causal attention; the last query is at the last key.
///
/// # Shapes
/// - query, output: `[batch, heads, queries, head_dim]`
/// - key, value: `[batch, kv_heads, keys, head_dim]`, `kv_heads` a divisor of `heads`
/// - hidden_keys: `[batch, 1, queries, keys]`, `true` hides
///
/// A query that may see nothing, which only padding is, gives numbers that mean nothing: zeros or
/// its own value, as the backend has it.
///
/// With `soft_cap = c` the scores are bounded before the softmax, `c tanh(scores / c)`.
pub(super) fn attend(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    hidden_keys: Option<Tensor<4, Bool>>,
    soft_cap: Option<f32>,
) -> Tensor<4> {
    let [_, heads, queries, _] = query.dims();
    let dtype = query.dtype();
    #[cfg(feature = "flex")]
    if dtype != DType::F32 && is_flex(&query) {
        let [query, key, value] = [query, key, value].map(|x| x.cast(DType::F32));
        return attend(query, key, value, hidden_keys, soft_cap).cast(dtype);
    }
    // For a single query there is nothing to skip, and burn's kernel needs no transposed keys.
    #[cfg(feature = "flex")]
    if queries > 1 && soft_cap.is_none() && is_flex(&query) {
        return fused::attend(query, key, value, hidden_keys);
    }
    let (key, value) = (repeat_kv(key, heads), repeat_kv(value, heads));
    if query.is_tracked() || soft_cap.is_some() || dtype != DType::F32 {
        return composed(query, key, value, hidden_keys, soft_cap);
    }
    let options = AttentionModuleOptions {
        is_causal: queries > 1,
        ..Default::default()
    };
    attention(query, key, value, hidden_keys, None, options)
}

#[cfg(feature = "flex")]
fn is_flex(tensor: &Tensor<4>) -> bool {
    use burn::backend::DispatchDevice;
    let device = tensor.device().inner();
    matches!(device.as_dispatch(), DispatchDevice::Flex(_))
}

/// Attention in operations that burn differentiates, for equal head counts.
///
/// burn 0.22's own falls back on seven operations over `[batch, heads, queries, keys]`, each with
/// its backward; here there are four, for the division by the sum of the exponentials waits until
/// after the product with the values, and the shift by the maximum, which cancels, is no part of
/// the graph.
fn composed(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    hidden_keys: Option<Tensor<4, Bool>>,
    soft_cap: Option<f32>,
) -> Tensor<4> {
    let [_, _, queries, head_dim] = query.dims();
    let keys = key.dims()[2];
    let bias = attention_bias(queries, keys, hidden_keys, &query.device().inner());
    let query = query / (head_dim as f32).sqrt();
    let scores = query.matmul(key.swap_dims(2, 3)).cast(DType::F32);
    let scores = match soft_cap {
        Some(cap) => (scores / cap).tanh() * cap,
        None => scores,
    };
    let scores = scores + bias;
    let shift = scores.clone().detach().max_dim(3);
    let weights = (scores - shift).exp();
    let total = weights.clone().sum_dim(3);
    let dtype = value.dtype();
    let mixed = weights.cast(dtype).matmul(value).cast(DType::F32);
    (mixed / total).cast(dtype)
}

/// 0 where a query may see a key and minus infinity where it may not, `[batch or 1, 1, queries,
/// keys]`. Every query sees itself, even a hidden one (padding), so that no row of the softmax is
/// empty.
fn attention_bias(
    queries: usize,
    keys: usize,
    hidden_keys: Option<Tensor<4, Bool>>,
    device: &Device,
) -> Tensor<4> {
    let future = Tensor::<2, Bool>::tril_mask([queries, keys], (keys - queries) as i64, device);
    let future = future.unsqueeze::<4>();
    let hidden = match hidden_keys {
        Some(hidden) => {
            let itself = (keys - queries) as i64;
            let others = Tensor::<2, Bool>::diag_mask([queries, keys], itself, device);
            hidden.bool_or(future).bool_and(others.unsqueeze::<4>())
        }
        None => future,
    };
    Tensor::zeros(hidden.shape(), device).mask_fill(hidden, f32::NEG_INFINITY)
}

/// Repeats each key/value head for the query heads that share it.
///
/// burn 0.22's attention differentiates equal head counts only; 0.23 takes grouped heads as they
/// are.
fn repeat_kv(x: Tensor<4>, heads: usize) -> Tensor<4> {
    let [batch, kv_heads, seq, head_dim] = x.dims();
    if kv_heads == heads {
        return x;
    }
    let group = heads / kv_heads;
    x.reshape([batch, kv_heads, 1, seq, head_dim])
        .expand([batch, kv_heads, group, seq, head_dim])
        .reshape([batch, heads, seq, head_dim])
}
