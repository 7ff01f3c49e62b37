//! Labeling by a local model: the probabilities of the answers "1" and "2" for 16 pairs, each asked
//! in both orders.
//!
//! `cargo bench --bench label` measures `tiny`, and the 135M shape too with `-- --include-ignored`.
//! `both_orders` counts the tokens that the model reads: both orders of a pair share the preamble
//! and the text. `read_once` and `read_for_each` have exemplars before the text and count pairs:
//! what all pairs begin with is read once for all of them, or with every pair.
#![expect(clippy::unwrap_used, reason = "a bench that fails stops")]

mod shape;

use burn::prelude::*;
use divan::Bencher;
use divan::counter::ItemsCount;
use rlaif::batch::Tree;
use rlaif::label::{Candidates, Sharing, answer_log_probs};
use rlaif::model::LlamaConfig;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const N_PAIRS: usize = 16;
/// Tokens of the preamble with the text.
const PREFIX: usize = 128;
/// Tokens of a question: the two completions and what introduces them.
const QUESTION: usize = 64;
/// Tokens of preamble and exemplars before the text, where there are any.
const EXEMPLARS: usize = 256;

fn main() {
    divan::main();
}

fn both_orders(bencher: Bencher, config: &LlamaConfig) {
    let tokens = N_PAIRS * (PREFIX + 2 * QUESTION);
    ask(bencher, config, (0, tokens), &Sharing::default());
}

/// Exemplars that are read once for all pairs.
fn read_once(bencher: Bencher, config: &LlamaConfig) {
    ask(bencher, config, (EXEMPLARS, N_PAIRS), &Sharing::default());
}

/// The same exemplars, read with every pair.
fn read_for_each(bencher: Bencher, config: &LlamaConfig) {
    let sharing = Sharing {
        min_shared: usize::MAX,
        ..Sharing::default()
    };
    ask(bencher, config, (EXEMPLARS, N_PAIRS), &sharing);
}

/// Pairs whose texts follow `n_shared` tokens that are the same for all; `counted` things are done.
fn ask(
    bencher: Bencher,
    config: &LlamaConfig,
    (n_shared, counted): (usize, usize),
    sharing: &Sharing,
) {
    let model = shape::model(config, &Device::flex());
    let tree = |text: Vec<u32>| Tree {
        prompt: [&vec![3; n_shared][..], &text[..PREFIX]].concat(),
        completions: text[PREFIX..]
            .chunks(QUESTION)
            .map(<[u32]>::to_vec)
            .collect(),
    };
    let texts = shape::texts(N_PAIRS, PREFIX + 2 * QUESTION, config.vocab_size);
    let trees: Vec<Tree> = texts.into_iter().map(tree).collect();
    let candidates = Candidates::from_tokens(vec![vec![vec![10]], vec![vec![11]]]);
    let bencher = bencher.counter(ItemsCount::new(counted));
    bencher.bench_local(|| answer_log_probs(&model, &trees, &candidates, sharing).unwrap());
}

#[divan::bench_group(sample_count = 20, sample_size = 1)]
mod tiny {
    use super::shape::tiny;
    use divan::Bencher;

    #[divan::bench]
    fn both_orders(bencher: Bencher) {
        super::both_orders(bencher, &tiny());
    }

    #[divan::bench]
    fn read_once(bencher: Bencher) {
        super::read_once(bencher, &tiny());
    }

    #[divan::bench]
    fn read_for_each(bencher: Bencher) {
        super::read_for_each(bencher, &tiny());
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

    #[divan::bench]
    fn read_once(bencher: Bencher) {
        super::read_once(bencher, &smollm2_135m());
    }

    #[divan::bench]
    fn read_for_each(bencher: Bencher) {
        super::read_for_each(bencher, &smollm2_135m());
    }
}
