//! Labeling by a local model: the probabilities of the answers "1" and "2" for 16 pairs, each asked
//! in both orders.
//!
//! `cargo bench --bench label` measures `tiny`, and the 135M shape too with `-- --include-ignored`.
//! Rates count the tokens that the model reads: both orders of a pair share the preamble and the
//! text.
#![expect(clippy::unwrap_used, reason = "a bench that fails stops")]

mod shape;

use burn::prelude::*;
use divan::Bencher;
use divan::counter::ItemsCount;
use rlaif::batch::Tree;
use rlaif::label::{Candidates, answer_log_probs};
use rlaif::model::LlamaConfig;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const N_PAIRS: usize = 16;
/// Tokens of the preamble with the text.
const PREFIX: usize = 128;
/// Tokens of a question: the two completions and what introduces them.
const QUESTION: usize = 64;
/// Padded tokens in one forward pass, as in `LocalLabeler`.
const MAX_TOKENS: usize = 8_192;

fn main() {
    divan::main();
}

fn both_orders(bencher: Bencher, config: &LlamaConfig) {
    let model = shape::model(config, &Device::flex());
    let tree = |text: Vec<u32>| Tree {
        prompt: text[..PREFIX].to_vec(),
        completions: text[PREFIX..]
            .chunks(QUESTION)
            .map(<[u32]>::to_vec)
            .collect(),
    };
    let texts = shape::texts(N_PAIRS, PREFIX + 2 * QUESTION, config.vocab_size);
    let trees: Vec<Tree> = texts.into_iter().map(tree).collect();
    let candidates = Candidates::from_tokens(vec![vec![vec![10]], vec![vec![11]]]);
    bencher
        .counter(ItemsCount::new(N_PAIRS * (PREFIX + 2 * QUESTION)))
        .bench_local(|| answer_log_probs(&model, &trees, &candidates, MAX_TOKENS).unwrap());
}

#[divan::bench_group(sample_count = 20, sample_size = 1)]
mod tiny {
    use super::shape::tiny;
    use divan::Bencher;

    #[divan::bench]
    fn both_orders(bencher: Bencher) {
        super::both_orders(bencher, &tiny());
    }
}

#[divan::bench_group(sample_count = 3, sample_size = 1, ignore)]
mod smollm2_135m {
    use super::shape::smollm2_135m;
    use divan::Bencher;

    #[divan::bench]
    fn both_orders(bencher: Bencher) {
        super::both_orders(bencher, &smollm2_135m());
    }
}
