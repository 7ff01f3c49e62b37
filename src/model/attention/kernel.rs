//! Attention on the CPU over host slices: forward and backward, one query at a time, touching only
//! the keys that it may see.
//!
//! Nothing of size `[queries, keys]` is ever held. A query's visible keys are a few spans (a prompt
//! and the completion so far, say), so siblings and the future cost nothing. All inner loops run
//! over neighbouring keys in vectors of the processor found at run time. The number of threads
//! changes nothing in the results.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::lanes::{LANES, exponentials, products, softmax, spread, sums};
use super::visible::Visible;

/// Sizes of one call. Query heads `g * heads / kv_heads ..` share key/value head `g`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) queries: usize,
    pub(super) keys: usize,
    pub(super) head_dim: usize,
}

impl Sizes {
    /// Query rows that share a key/value head.
    fn rows(&self) -> usize {
        self.heads / self.kv_heads * self.queries
    }

    /// Distance between two components of the transposed keys: a span may be read a little beyond
    /// its end.
    fn stride(&self) -> usize {
        self.keys + LANES
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }
}

/// `softmax(q k^T / sqrt(head_dim)) v` over the visible keys, and the logarithm of each softmax's
/// denominator, `[batch, heads, queries]`. A query that sees nothing gives zeros.
///
/// Slices are `[batch, heads, queries, head_dim]` and `[batch, kv_heads, keys, head_dim]`.
pub(super) fn forward(
    sizes: &Sizes,
    [q, k, v]: [&[f32]; 3],
    visible: &Visible,
) -> (Vec<f32>, Vec<f32>) {
    let (rows, dim, arch) = (sizes.rows(), sizes.head_dim, Arch::new());
    let groups = sizes.batch * sizes.kv_heads;
    let mut out = vec![0.0; groups * rows * dim];
    let mut log_totals = vec![0.0; groups * rows];
    let tasks = out
        .par_chunks_mut(rows * dim)
        .zip(log_totals.par_chunks_mut(rows));
    tasks.enumerate().for_each(|(group, (out, log_totals))| {
        let inputs = Group::new(sizes, group, [q, k, v]);
        arch.dispatch(Forward {
            inputs,
            visible,
            out,
            log_totals,
        });
    });
    (out, log_totals)
}

/// Gradients of queries, keys and values from `grad`, that of [`forward`]'s output.
pub(super) fn backward(
    sizes: &Sizes,
    inputs: [&[f32]; 3],
    visible: &Visible,
    (out, log_totals): (&[f32], &[f32]),
    grad: &[f32],
) -> [Vec<f32>; 3] {
    let (rows, dim, arch) = (sizes.rows(), sizes.head_dim, Arch::new());
    let groups = sizes.batch * sizes.kv_heads;
    let mut grads = [rows, sizes.keys, sizes.keys].map(|n| vec![0.0; groups * n * dim]);
    let [dq, dk, dv] = &mut grads;
    let tasks = (dq.par_chunks_mut(rows * dim))
        .zip(dk.par_chunks_mut(sizes.keys * dim))
        .zip(dv.par_chunks_mut(sizes.keys * dim));
    tasks.enumerate().for_each(|(group, ((dq, dk), dv))| {
        let inputs = Group::new(sizes, group, inputs);
        let queries = group * rows * dim..(group + 1) * rows * dim;
        arch.dispatch(Backward {
            inputs,
            visible,
            out: &out[queries.clone()],
            log_totals: &log_totals[group * rows..(group + 1) * rows],
            grad: &grad[queries],
            dq,
            dk,
            dv,
        });
    });
    grads
}

/// The inputs of one key/value head of one batch row.
struct Group<'a> {
    sizes: &'a Sizes,
    batch: usize,
    /// Query rows of all heads of the group, `[rows, head_dim]`.
    q: &'a [f32],
    /// Keys and values, `[head_dim, stride]`, zeros behind the last key.
    k: Vec<f32>,
    v: Vec<f32>,
}

impl<'a> Group<'a> {
    fn new(sizes: &'a Sizes, group: usize, [q, k, v]: [&'a [f32]; 3]) -> Self {
        let (rows, dim) = (sizes.rows(), sizes.head_dim);
        let held = group * sizes.keys * dim..(group + 1) * sizes.keys * dim;
        Self {
            sizes,
            batch: group / sizes.kv_heads,
            q: &q[group * rows * dim..(group + 1) * rows * dim],
            k: transposed(sizes, &k[held.clone()]),
            v: transposed(sizes, &v[held]),
        }
    }
}

/// [`forward`] of one group.
struct Forward<'a> {
    inputs: Group<'a>,
    visible: &'a Visible,
    out: &'a mut [f32],
    log_totals: &'a mut [f32],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Group {
            sizes,
            batch,
            q,
            k,
            v,
        } = &self.inputs;
        let dim = sizes.head_dim;
        let mut weights = Vec::new();
        for row in 0..sizes.rows() {
            let seen = (sizes.stride(), self.visible.of(*batch, row % sizes.queries));
            let q = &q[row * dim..(row + 1) * dim];
            products(simd, &mut weights, q, k, seen);
            let Some((max, total)) = softmax(simd, &mut weights, seen.1, sizes.scale()) else {
                continue;
            };
            self.log_totals[row] = max + total.ln();
            let out = &mut self.out[row * dim..(row + 1) * dim];
            sums(simd, out, &weights, v, seen);
            for x in out {
                *x /= total;
            }
        }
    }
}

/// [`backward`] of one group.
struct Backward<'a> {
    inputs: Group<'a>,
    visible: &'a Visible,
    /// What [`forward`] found, and the gradient of its output.
    out: &'a [f32],
    log_totals: &'a [f32],
    grad: &'a [f32],
    dq: &'a mut [f32],
    dk: &'a mut [f32],
    dv: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Group {
            sizes,
            batch,
            q,
            k,
            v,
        } = &self.inputs;
        let (dim, stride, scale) = (sizes.head_dim, sizes.stride(), sizes.scale());
        let (mut weights, mut slopes) = (Vec::new(), Vec::new());
        let (mut dk, mut dv) = (vec![0.0; dim * stride], vec![0.0; dim * stride]);
        for row in 0..sizes.rows() {
            let seen = (stride, self.visible.of(*batch, row % sizes.queries));
            let at = row * dim..(row + 1) * dim;
            let (q, grad) = (&q[at.clone()], &self.grad[at.clone()]);
            // The weights again, then d weights = grad . v, and through the softmax.
            products(simd, &mut weights, q, k, seen);
            exponentials(&mut weights, seen.1, scale, self.log_totals[row]);
            products(simd, &mut slopes, grad, v, seen);
            let mut mean = 0.0;
            for (out, grad) in self.out[at.clone()].iter().zip(grad) {
                mean += out * grad;
            }
            for (slope, weight) in slopes.iter_mut().zip(&weights) {
                *slope = weight * (*slope - mean) * scale;
            }
            sums(simd, &mut self.dq[at], &slopes, k, seen);
            spread(simd, &mut dk, q, &slopes, seen);
            spread(simd, &mut dv, grad, &weights, seen);
        }
        untransposed(sizes, &dk, self.dk);
        untransposed(sizes, &dv, self.dv);
    }
}

/// `[keys, head_dim]` to `[head_dim, stride]`.
fn transposed(sizes: &Sizes, x: &[f32]) -> Vec<f32> {
    let mut turned = vec![0.0; sizes.head_dim * sizes.stride()];
    for (key, row) in x.chunks(sizes.head_dim).enumerate() {
        for (d, &value) in row.iter().enumerate() {
            turned[d * sizes.stride() + key] = value;
        }
    }
    turned
}

fn untransposed(sizes: &Sizes, turned: &[f32], x: &mut [f32]) {
    for (key, row) in x.chunks_mut(sizes.head_dim).enumerate() {
        for (d, value) in row.iter_mut().enumerate() {
            *value = turned[d * sizes.stride() + key];
        }
    }
}
