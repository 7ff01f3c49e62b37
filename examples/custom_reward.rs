//! A reward of one's own: a policy learns to write ten words.
//!
//! Whatever implements `Reward` can stand where the reward model stands; here it is one term of a
//! sum, beside a rule of the library, and the metrics tell both apart.
//!
//! `cargo run --release --example custom_reward`

mod toy;

use std::path::Path;

use burn::tensor::Device;
use rlaif::cli::print;
use rlaif::model;
use rlaif::record::Completion;
use rlaif::reward::{Reward, RewardSum, Rule};
use rlaif::run::Metric;
use rlaif::tokenizer::Tokenizer;

const SETTINGS: &str = r#"
steps = 15
batch_size = 64
num_generations = 4
sampling = { max_new_tokens = 32 }
optim = { learning_rate = 2e-3, lr_scheduler_type = "constant" }
algorithm = { kind = "rloo", beta = 0.01 }
"#;

/// How far a completion is from ten words, as a share of ten, negative.
struct TenWords;

impl Reward for TenWords {
    fn reward(&mut self, completions: &[Completion]) -> rlaif::Result<Vec<f32>> {
        let distance = |row: &Completion| row.completion.split(' ').count().abs_diff(10);
        let rewards = completions.iter().map(|row| -0.1 * distance(row) as f32);
        Ok(rewards.collect())
    }
}

fn main() -> rlaif::Result<()> {
    let dir = Path::new("models/base-s");
    let config = toy::config(SETTINGS)?;
    let initial = model::load(dir, &Device::default())?;
    let repetition = Rule::RepetitionPenalty {
        tokenizer: Box::new(Tokenizer::load(dir)?),
        ngram_size: 2,
        max_penalty: -1.0,
    };
    let mut reward = RewardSum::default()
        .with("ten_words", 1.0, Box::new(TenWords))
        .with("repetition", 0.5, Box::new(repetition));
    let mut algorithm = config.init(initial.clone());
    let prompts = ["my dog ate", "i told my boss", "we went to the beach"];
    let rows = toy::optimise(&config, initial, algorithm.as_mut(), &prompts, &mut reward)?;

    let told = |row: &Metric, name: &str| row.values[name].unwrap_or(f64::NAN);
    for row in &rows {
        let parts = ["ten_words", "repetition"].map(|name| format!("rewards/{name}/mean"));
        let [words, repetition] = parts.map(|name| told(row, &name));
        print(format_args!(
            "step {:2}: ten words {words:6.3}, repetition {repetition:6.3}",
            row.step
        ))?;
    }
    let (first, last) = (&rows[0], &rows[rows.len() - 1]);
    assert!(
        told(last, "reward") > told(first, "reward"),
        "the reward rose"
    );
    Ok(())
}
