//! A policy of one's own: a recurrent network written in burn, optimised by PPO.
//!
//! A module that implements `CausalLm` is what every loop takes. This one remembers a state instead
//! of keys and values. It cannot hide one completion from another, so each prompt gets one
//! completion and all prompts have one length. `cargo run --release --example custom_policy`

mod toy;

use burn::nn::gru::{Gru, GruConfig};
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rlaif::cli::print;
use rlaif::model::{CausalLm, Input, randomize};
use rlaif::record::Completion;
use rlaif::reward::Reward;

/// Words that the tokenizer of the examples knows.
const VOCAB: usize = 414;
const WIDTH: usize = 32;
const SETTINGS: &str = r#"
steps = 20
batch_size = 32
sampling = { max_new_tokens = 8 }
optim = { learning_rate = 3e-2, lr_scheduler_type = "constant" }
value_optim = { learning_rate = 3e-2, lr_scheduler_type = "constant" }
algorithm = { kind = "ppo", num_ppo_epochs = 2 }
"#;

#[derive(Module, Debug)]
struct RecurrentLm {
    embed: Embedding,
    gru: Gru,
    head: Linear,
}

impl CausalLm for RecurrentLm {
    /// The state after the tokens seen so far, `[batch, WIDTH]`.
    type Cache = Tensor<2>;

    fn vocab_size(&self) -> usize {
        VOCAB
    }
    fn hidden_size(&self) -> usize {
        WIDTH
    }
    fn max_len(&self) -> usize {
        64
    }
    fn cache(&self, batch: usize, _capacity: usize) -> Tensor<2> {
        Tensor::zeros([batch, WIDTH], &self.embed.weight.device())
    }
    fn hidden(&self, input: Input, cache: Option<&mut Tensor<2>>) -> Tensor<3> {
        assert!(input.hidden_keys.is_none(), "one text in each row");
        let embedded = self.embed.forward(input.tokens);
        let state = cache.as_deref().cloned();
        let hidden: Tensor<3> = self.gru.forward(embedded, state);
        if let Some(state) = cache {
            *state = hidden.clone().slice(s![.., -1.., ..]).squeeze_dim(1);
        }
        hidden
    }
    fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.head.forward(hidden)
    }
}

/// The share of short words among eight.
struct ShortWords;

impl Reward for ShortWords {
    fn reward(&mut self, rows: &[Completion]) -> rlaif::Result<Vec<f32>> {
        let words = |row: &Completion| row.completion.split(' ').filter(|x| x.len() < 4).count();
        Ok(rows.iter().map(|row| words(row) as f32 / 8.0).collect())
    }
}

fn main() -> rlaif::Result<()> {
    let device = Device::default();
    let initial = RecurrentLm {
        embed: EmbeddingConfig::new(VOCAB, WIDTH).init(&device),
        gru: GruConfig::new(WIDTH, WIDTH, true).init(&device),
        head: LinearConfig::new(WIDTH, VOCAB).init(&device),
    };
    let initial = randomize(initial, &mut StdRng::seed_from_u64(5));
    let config = toy::config(SETTINGS)?;
    let mut ppo = config.init(initial.clone());
    let rows = toy::optimise(&config, initial, ppo.as_mut(), &["my dog"], &mut ShortWords)?;

    let [first, last] = [0, rows.len() - 1].map(|i| rows[i].values["reward"].unwrap_or(f64::NAN));
    print(format_args!(
        "short words: {first:.2} at first, {last:.2} at last"
    ))?;
    assert!(last > first + 0.2, "the reward rose");
    Ok(())
}
