//! Labeling by a local model: the probabilities of the answers "1" and "2" for 16 pairs, each asked
//! in both orders.
//!
//! `cargo bench --bench label` measures `tiny`, and the 135M shape too with `-- --include-ignored`.
//! `both_orders` counts the tokens that the model reads: both orders of a pair share the preamble
//! and the text. `read_once` and `read_for_each` have exemplars before the text and count pairs:
//! what all pairs begin with is read once for all of them, or with every pair.
//!
//! `RLAIF_DATA=DIR cargo bench --bench label -- --ignored hh` labels 500 pairs of Anthropic's HH
//! (`hh-rlhf/helpful-base-test.jsonl.gz`) by `stories260k`: what is equal in two questions is read
//! once (`shared`), in the orders of a pair only (`orders_shared`), or never (`apart`).
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that fails stops"
)]

mod shape;

use std::path::PathBuf;

use burn::prelude::*;
use divan::Bencher;
use divan::counter::ItemsCount;
use rlaif::Result;
use rlaif::batch::Tree;
use rlaif::label::config::{AskConfig, Truncation};
use rlaif::label::{
    Answered, Answerer, Asking, Candidates, Choice, Decoding, Labeler, LocalAnswerer, Pair,
    PromptedLabeler, Question, Reply, Request, Sharing, answer_log_probs,
};
use rlaif::model::LlamaConfig;
use rlaif::record::{AnswerPair, PairReader};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const N_PAIRS: usize = 16;
/// Tokens of the preamble with the text.
const PREFIX: usize = 128;
/// Tokens of a question: the two completions and what introduces them.
const QUESTION: usize = 64;
/// Tokens of preamble and exemplars before the text, where there are any.
const EXEMPLARS: usize = 256;

/// Reads nothing once for all.
const UNSHARED: Sharing = Sharing {
    max_tokens: 8_192,
    min_shared: usize::MAX,
};

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
    ask(bencher, config, (EXEMPLARS, N_PAIRS), &UNSHARED);
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

/// Asks the first order of all pairs, then the second, so that these do not meet.
struct Apart(LocalAnswerer);

impl Answerer for Apart {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn choose(
        &mut self,
        questions: &[Question],
        answers: &[String],
    ) -> Result<Vec<Answered<Choice>>> {
        let of_order = |order: usize| questions.iter().skip(order).step_by(2).cloned().collect();
        let orders: [Vec<Question>; 2] = [of_order(0), of_order(1)];
        let first = self.0.choose(&orders[0], answers)?;
        let second = self.0.choose(&orders[1], answers)?;
        Ok(first
            .into_iter()
            .zip(second)
            .flat_map(<[_; 2]>::from)
            .collect())
    }

    fn write(&mut self, requests: &[Request], decoding: &Decoding) -> Result<Vec<Answered<Reply>>> {
        self.0.write(requests, decoding)
    }

    fn max_len(&self) -> Option<usize> {
        self.0.max_len()
    }

    fn count_tokens(&self, question: &Question) -> Result<Option<usize>> {
        self.0.count_tokens(question)
    }
}

fn label_hh<A: Answerer>(bencher: Bencher, asked: impl FnOnce(LocalAnswerer) -> A) {
    let data = PathBuf::from(std::env::var("RLAIF_DATA").expect("RLAIF_DATA names the data"));
    let pairs = data.join("hh-rlhf/helpful-base-test.jsonl.gz");
    let pairs = PairReader::open(pairs, &Default::default()).unwrap();
    let pairs: Vec<AnswerPair> = pairs.take(500).collect::<Result<_>>().unwrap();
    let config = AskConfig {
        prompt: "helpful-base".into(),
        truncation: Truncation::KeepEnd,
        ..AskConfig::default()
    };
    let answerer = LocalAnswerer::load(&data.join("stories260k"), &Device::flex()).unwrap();
    let mut labeler = PromptedLabeler::new(asked(answerer), Asking::new(&config, 1).unwrap());
    let asked: Vec<Pair> = pairs.iter().map(Pair::between).collect();
    let found = labeler.compare(&asked).unwrap();
    let n_labels = found.iter().filter(|row| row.p_a().is_some()).count();
    let bencher = bencher.counter(ItemsCount::new(n_labels));
    bencher.bench_local(|| labeler.compare(&asked).unwrap());
}

#[divan::bench_group(sample_count = 5, sample_size = 1, ignore)]
mod hh {
    use divan::Bencher;

    use super::{Apart, UNSHARED, label_hh};

    #[divan::bench]
    fn shared(bencher: Bencher) {
        label_hh(bencher, |answerer| answerer);
    }

    #[divan::bench]
    fn orders_shared(bencher: Bencher) {
        label_hh(bencher, |answerer| answerer.with_sharing(UNSHARED));
    }

    #[divan::bench]
    fn apart(bencher: Bencher) {
        label_hh(bencher, |answerer| Apart(answerer.with_sharing(UNSHARED)));
    }
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
