//! A policy of one's own: a recurrent network written in burn, optimised by PPO.
//!
//! A module that implements `CausalLm` is what every loop takes. This one remembers a state instead
//! of keys and values. It cannot hide one completion from another, so each prompt gets one
//! completion and all prompts have one length. `cargo run --release --example custom_policy`

#![expect(clippy::print_stdout, reason = "an example prints")]

mod toy;

use burn::nn::gru::{Gru, GruConfig};
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rlaif::model::{CausalLm, DecodeCache, Input, randomize};
use rlaif::record::Completion;
use rlaif::reward::Reward;
use rlaif::rl::RlConfig;

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

/// The state after the tokens seen so far, `[batch, WIDTH]`.
#[derive(Clone)]
struct State(Tensor<2>);

impl DecodeCache for State {
    fn select(self, rows: Tensor<1, Int>) -> Self {
        Self(self.0.select(0, rows))
    }
}

impl CausalLm for RecurrentLm {
    type Cache = State;

    fn vocab_size(&self) -> usize {
        VOCAB
    }
    fn hidden_size(&self) -> usize {
        WIDTH
    }
    fn max_len(&self) -> usize {
        64
    }
    fn cache(&self, batch: usize, _capacity: usize) -> State {
        State(Tensor::zeros([batch, WIDTH], &self.embed.weight.device()))
    }
    fn hidden(&self, input: Input, cache: Option<&mut State>) -> Tensor<3> {
        assert!(input.hidden_keys.is_none(), "one text in each row");
        let embedded = self.embed.forward(input.tokens);
        let state = cache.as_ref().map(|state| state.0.clone());
        let hidden: Tensor<3> = self.gru.forward(embedded, state);
        if let Some(state) = cache {
            state.0 = hidden.clone().slice(s![.., -1.., ..]).squeeze_dim(1);
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
        let short = |row: &Completion| {
            row.completion
                .split(' ')
                .filter(|word| word.len() < 4)
                .count()
        };
        Ok(rows.iter().map(|row| short(row) as f32 / 8.0).collect())
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
    let config: RlConfig =
        toml::from_str(SETTINGS).map_err(|e| rlaif::Error::Usage(e.to_string()))?;
    let mut ppo = config.init(initial.clone());
    let rows = toy::optimise(&config, initial, ppo.as_mut(), &["my dog"], &mut ShortWords)?;

    let [first, last] = [0, rows.len() - 1].map(|i| rows[i].values["reward"].unwrap_or(f64::NAN));
    println!("short words: {first:.2} at first, {last:.2} at last");
    assert!(last > first + 0.2, "the reward rose");
    Ok(())
}
