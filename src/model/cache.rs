//! What a transformer remembers between two steps of generation.

use burn::prelude::*;
use burn::tensor::DType;

use super::DecodeCache;
use super::architecture::Architecture;

/// Keys and values of the tokens seen so far, in buffers of a fixed capacity.
#[derive(Debug, Clone)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    /// Positions of those tokens, `[batch, capacity]`, where a layer has a window.
    positions: Option<Tensor<2, Int>>,
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
        architecture: &Architecture,
        batch: usize,
        capacity: usize,
        (device, dtype): (&Device, DType),
    ) -> Self {
        let attention = &architecture.attention;
        let shape = [batch, attention.kv_heads, capacity, attention.head_dim];
        let layer = || LayerCache {
            keys: Tensor::zeros(shape, (device, dtype)),
            values: Tensor::zeros(shape, (device, dtype)),
        };
        let positions = || Tensor::zeros([batch, capacity], device);
        Self {
            layers: (0..architecture.layers.len()).map(|_| layer()).collect(),
            positions: architecture.has_window().then(positions),
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

    /// Writes the positions of new tokens after those held and returns all of them; only the new
    /// ones where no layer has a window.
    pub(super) fn append_positions(&mut self, new: Tensor<2, Int>) -> Tensor<2, Int> {
        let end = self.len + new.dims()[1];
        let Some(positions) = &mut self.positions else {
            return new;
        };
        positions.inplace(|buffer| buffer.slice_assign(s![.., self.len..end], new));
        positions.clone().slice(s![.., 0..end])
    }

    pub(super) fn advance(&mut self, seq: usize) {
        self.len += seq;
    }
}

/// A recurrent model remembers one state, with a row for each text.
impl<const D: usize> DecodeCache for Tensor<D> {
    fn select(self, rows: Tensor<1, Int>) -> Self {
        Tensor::select(self, 0, rows)
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
        self.positions = self.positions.map(|positions| positions.select(0, rows));
        self
    }
}

impl LayerCache {
    /// Writes the new keys and values after the `len` already held and returns all of them.
    pub(super) fn append(
        &mut self,
        len: usize,
        keys: Tensor<4>,
        values: Tensor<4>,
    ) -> (Tensor<4>, Tensor<4>) {
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
