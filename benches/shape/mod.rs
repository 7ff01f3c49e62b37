//! Models of random weights in two shapes, and texts of random tokens: what every bench starts
//! from.

use burn::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rlaif::model::{LlamaConfig, Transformer, randomize};

/// Hidden 64, 4 layers, 4 heads on 2 key/value heads, vocabulary 512: what is not arithmetic shows.
pub(crate) fn tiny() -> LlamaConfig {
    LlamaConfig {
        intermediate_size: 172,
        num_key_value_heads: Some(2),
        ..LlamaConfig::small(512, 64, 4, 4, 1024)
    }
}

/// The shape of `HuggingFaceTB/SmolLM2-135M`.
pub(crate) fn smollm2_135m() -> LlamaConfig {
    LlamaConfig {
        intermediate_size: 1536,
        num_key_value_heads: Some(3),
        rope_theta: 100_000.0,
        ..LlamaConfig::small(49_152, 576, 30, 9, 2048)
    }
}

/// The model of a shape, the same weights every time.
pub(crate) fn model(config: &LlamaConfig, device: &Device) -> Transformer {
    randomize(config.init(device), &mut StdRng::seed_from_u64(0))
}

/// `n` texts of `len` tokens each, none of them a special one.
pub(crate) fn texts(n: usize, len: usize, vocab: usize) -> Vec<Vec<u32>> {
    let mut rng = StdRng::seed_from_u64(1);
    let mut text = || {
        (0..len)
            .map(|_| rng.random_range(4..vocab as u32))
            .collect()
    };
    (0..n).map(|_| text()).collect()
}
