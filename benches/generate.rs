//! What a policy does without gradients: writing completions, and scoring texts that are there
//! already.
//!
//! `cargo bench --bench generate` measures `tiny`, and the 135M shape too with `--
//! --include-ignored`. Rates count the new tokens for `decode` and all tokens of the texts for
//! `score`.
#![expect(clippy::unwrap_used, reason = "a bench that fails stops")]

mod shape;

use burn::prelude::*;
use divan::Bencher;
use divan::counter::ItemsCount;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rlaif::batch::Tree;
use rlaif::generate::{SamplingConfig, generate};
use rlaif::log_prob::log_probs_of;
use rlaif::model::LlamaConfig;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Tokens of a prompt, and of its completion.
const LEN: usize = 64;

fn main() {
    divan::main();
}

/// Draws `batch` completions of as many prompts; no token ends a text, so every row runs its full
/// length.
fn decode(bencher: Bencher, config: &LlamaConfig, batch: usize) {
    let model = shape::model(config, &Device::flex());
    let prompts = shape::texts(batch, LEN, config.vocab_size);
    let sampling = SamplingConfig {
        max_new_tokens: LEN,
        ..Default::default()
    };
    bencher
        .counter(ItemsCount::new(batch * LEN))
        .bench_local(|| {
            let mut rng = StdRng::seed_from_u64(2);
            generate(&model, &prompts, 1, &[], &sampling, &mut rng).unwrap()
        });
}

/// Log-probabilities of 8 texts of 256 tokens in one chunk.
fn score(bencher: Bencher, config: &LlamaConfig) {
    let model = shape::model(config, &Device::flex());
    let split = |text: Vec<u32>| Tree::single(text[..1].to_vec(), text[1..].to_vec());
    let trees: Vec<Tree> = shape::texts(8, 256, config.vocab_size)
        .into_iter()
        .map(split)
        .collect();
    bencher
        .counter(ItemsCount::new(8 * 256_usize))
        .bench_local(|| log_probs_of(&model, &trees, 1.0, 8 * 256).unwrap());
}

#[divan::bench_group(sample_count = 20, sample_size = 1)]
mod tiny {
    use super::shape::tiny;
    use divan::Bencher;

    #[divan::bench(args = [1, 16])]
    fn decode(bencher: Bencher, batch: usize) {
        super::decode(bencher, &tiny(), batch);
    }

    #[divan::bench]
    fn score(bencher: Bencher) {
        super::score(bencher, &tiny());
    }
}

#[divan::bench_group(sample_count = 3, sample_size = 1, ignore)]
mod smollm2_135m {
    use super::shape::smollm2_135m;
    use divan::Bencher;

    #[divan::bench(args = [1, 16])]
    fn decode(bencher: Bencher, batch: usize) {
        super::decode(bencher, &smollm2_135m(), batch);
    }

    #[divan::bench]
    fn score(bencher: Bencher) {
        super::score(bencher, &smollm2_135m());
    }
}
