//! Trains the labelers that ship under `models/`: decoder-only transformers that learn, from the oracle's judgements on
//! posts of their own split, to continue the labeling prompts with "1" or "2" and with a score of 1 to 10.
//!
//! `cargo run --release --example train_labelers -- --size m` (or `s`, `xs`) writes `models/labeler-m`. A training row is
//! a tree: one post, several questions about it. Besides the answers, which are what counts, the model learns to predict
//! the words of the summaries, which teaches it early to look things up in the post.

use std::path::PathBuf;
use std::time::Instant;

use burn::prelude::*;
use clap::Parser;
use rand::rngs::StdRng;
use rand::SeedableRng;
use rlaif::batch::{Batch, Tree};
use rlaif::eval::stats::wilson;
use rlaif::label::prompt::{compare_prefix, compare_question, score_prefix, score_question};
use rlaif::label::{Labeler, LocalLabeler, Pair};
use rlaif::log_prob::token_log_probs;
use rlaif::model::{self, LlamaConfig};
use rlaif::optim::{OptimConfig, Schedule};
use rlaif::run::RunDir;
use rlaif::tokenizer::Tokenizer;
use rlaif::world::{self, Oracle, Split, World};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Weight of predicting the words of a summary beside the answers.
const LM_WEIGHT: f32 = 0.2;
/// Pairs compared per post, and summaries scored per post.
const PAIRS: usize = 4;
const SCORES: usize = 6;

#[derive(Parser)]
struct Args {
    /// Size of the labeler: xs, s or m.
    #[arg(long)]
    size: String,
    /// Optimizer steps.
    #[arg(long, default_value_t = 2400)]
    steps: usize,
    /// Posts per step, half of them with pairs and half with scores.
    #[arg(long, default_value_t = 6)]
    batch_size: usize,
    /// Peak learning rate.
    #[arg(long, default_value_t = 1e-3)]
    learning_rate: f64,
    /// Seed of the weights and of the data.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Held-out pairs for the alignment.
    #[arg(long, default_value_t = 1000)]
    test_pairs: usize,
    /// Folder of the models.
    #[arg(long, default_value = "models")]
    out: PathBuf,
}

fn main() -> rlaif::Result<()> {
    let args = Args::parse();
    let (hidden, layers, heads) = match args.size.as_str() {
        "xs" => (96, 3, 3),
        "s" => (128, 4, 4),
        "m" => (192, 6, 4),
        other => return Err(rlaif::Error::field("--size", other, "xs, s or m")),
    };
    let name = format!("labeler-{}", args.size);
    let models = RunDir::create(&args.out)?;
    let tokenizer = write_tokenizer(&models, &name)?;

    let device = Device::flex().autodiff();
    let config = LlamaConfig::small(tokenizer.vocab_size(), hidden, layers, heads, 512);
    let mut rng = StdRng::seed_from_u64(args.seed);
    let model = model::randomize(config.init(&device), &mut rng);
    println!("{name}: {} parameters", burn::module::Module::num_params(&model));

    let optim = OptimConfig {
        learning_rate: args.learning_rate,
        lr_scheduler_type: Schedule::Cosine,
        warmup_steps: args.steps / 20 + 1,
        adam_beta2: 0.98,
        weight_decay: 0.01,
        ..Default::default()
    };
    let mut learner = optim.init(model, args.steps);
    let teacher = Teacher { world: World::tiny_tldr(), oracle: Oracle::new(World::tiny_tldr()), tokenizer };
    let start = Instant::now();
    for step in 0..args.steps {
        let trees = teacher.rows(step * args.batch_size, args.batch_size)?;
        let batch = Batch::new(&trees, learner.model.config().vocab_size, 512, &device)?;
        let (answers, words) = weights(&trees, &batch);
        let log_probs = token_log_probs(&learner.model, &batch, 1.0);
        let answer_loss = (log_probs.clone() * answers).sum().neg();
        let word_loss = (log_probs * words).sum().neg();
        let report = step % 100 == 99;
        if report {
            println!(
                "step {:>5}  answers {:.4}  words {:.4}  {:.0} s",
                step + 1,
                answer_loss.clone().into_scalar::<f32>(),
                word_loss.clone().into_scalar::<f32>(),
                start.elapsed().as_secs_f64()
            );
        }
        learner = learner.step(answer_loss + word_loss * LM_WEIGHT)?.0;
        if step % 600 == 599 || step + 1 == args.steps {
            let model = burn::module::Module::valid(&learner.model);
            models.write_dir(&name, |dir| {
                model::save(&model, dir)?;
                teacher.tokenizer.save(dir)
            })?;
            let labeler = LocalLabeler::load(&models.path(&name), &Device::flex())?;
            let pairs = if step + 1 == args.steps { args.test_pairs } else { 200 };
            evaluate(labeler, &teacher, pairs)?;
        }
    }
    Ok(())
}

/// Writes the world's tokenizer into a new model folder and reads it back.
fn write_tokenizer(models: &RunDir, name: &str) -> rlaif::Result<Tokenizer> {
    let texts = [compare_prefix(""), compare_question("", ""), score_prefix(""), score_question("")];
    let mut texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    texts.push("TL;DR:");
    let tokenizer = world::build_tokenizer(&texts)?;
    let text = tokenizer.to_string(true).map_err(|e| rlaif::Error::Usage(e.to_string()))?;
    let dir = PathBuf::from(name);
    models.write_text(dir.join("tokenizer.json"), &text)?;
    let special = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>",
        "model_max_length": 512,
    });
    models.write_json(dir.join("tokenizer_config.json"), &special)?;
    let generation = json!({"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0});
    models.write_json(dir.join("generation_config.json"), &generation)?;
    Tokenizer::load(&models.path(name))
}

/// Makes training rows from posts and the oracle.
struct Teacher {
    world: World,
    oracle: Oracle,
    tokenizer: Tokenizer,
}

impl Teacher {
    /// `n` posts from index `start` of the split on, pairs and scores by turns.
    fn rows(&self, start: usize, n: usize) -> rlaif::Result<Vec<Tree>> {
        (start..start + n).map(|i| if i % 2 == 0 { self.pairs(i) } else { self.scores(i) }).collect()
    }

    fn pairs(&self, index: usize) -> rlaif::Result<Tree> {
        let post = self.world.post(Split::LabelerTrain, index);
        let mut rng = self.world.rng(Split::LabelerTrain, index, 2);
        let mut completions = Vec::new();
        while completions.len() < PAIRS {
            let (a, b) = (world::mixed(&post, &mut rng), world::mixed(&post, &mut rng));
            let p_a = world::preference(&self.oracle.assess(&post, &a), &self.oracle.assess(&post, &b));
            if p_a != 0.5 {
                let answer = if p_a > 0.5 { "1" } else { "2" };
                completions.push(self.row(&compare_question(&a, &b), answer)?);
            }
        }
        Ok(Tree { prompt: self.tokenizer.encode_prompt(&compare_prefix(&post.text))?, completions })
    }

    fn scores(&self, index: usize) -> rlaif::Result<Tree> {
        let post = self.world.post(Split::LabelerTrain, index);
        let mut rng = self.world.rng(Split::LabelerTrain, index, 2);
        let mut completions = Vec::new();
        for _ in 0..SCORES {
            let summary = world::mixed(&post, &mut rng);
            let score = world::score(&self.oracle.assess(&post, &summary));
            completions.push(self.row(&score_question(&summary), &score.to_string())?);
        }
        Ok(Tree { prompt: self.tokenizer.encode_prompt(&score_prefix(&post.text))?, completions })
    }

    fn row(&self, question: &str, answer: &str) -> rlaif::Result<Vec<u32>> {
        self.tokenizer.encode_continuation(&format!("{question}{answer}"))
    }
}

/// Weights that average the log-probabilities of the answers (last tokens) and of all other tokens.
fn weights(trees: &[Tree], batch: &Batch) -> (Tensor<2>, Tensor<2>) {
    let [n, len] = batch.targets.dims();
    let (mut answers, mut words) = (vec![0.0f32; n * len], vec![0.0f32; n * len]);
    let n_words = (batch.n_targets - n) as f32;
    for (i, completion) in trees.iter().flat_map(|tree| &tree.completions).enumerate() {
        let end = i * len + completion.len() - 1;
        answers[end] = 1.0 / n as f32;
        words[i * len..end].fill(1.0 / n_words);
    }
    let tensor = |values| Tensor::from_data(TensorData::new(values, [n, len]), &batch.mask.device());
    (tensor(answers), tensor(words))
}

/// Prints the alignment with the oracle on held-out posts, and the share of pairs where a position wins.
fn evaluate(mut labeler: LocalLabeler, teacher: &Teacher, n: usize) -> rlaif::Result<()> {
    let mut rows = Vec::new();
    for index in 0.. {
        if rows.len() == n {
            break;
        }
        let post = teacher.world.post(Split::LabelerTest, index);
        let mut rng = teacher.world.rng(Split::LabelerTest, index, 2);
        let (a, b) = (world::mixed(&post, &mut rng), world::mixed(&post, &mut rng));
        let assess = |text: &str| teacher.oracle.assess(&post, text);
        let p_a = world::preference(&assess(&a), &assess(&b));
        if p_a != 0.5 {
            rows.push((post, a, b, p_a));
        }
    }
    let pairs: Vec<Pair> = rows
        .iter()
        .map(|(post, a, b, _)| Pair { prompt_id: &post.id, prompt: &post.text, a, b })
        .collect();
    let start = Instant::now();
    let judgements = labeler.compare(&pairs)?;
    let right = judgements.iter().zip(&rows).filter(|(j, row)| (j.p_a() > 0.5) == (row.3 > 0.5)).count();
    let same = judgements.iter().filter(|j| j.same_position()).count();
    let interval = wilson(right as f64, n);
    println!(
        "{}: alignment {:.3} [{:.3}, {:.3}] on {n} pairs, same position {:.3}, {:.0} pairs/s",
        labeler.name(),
        right as f64 / n as f64,
        interval.low,
        interval.high,
        same as f64 / n as f64,
        n as f64 / start.elapsed().as_secs_f64()
    );
    Ok(())
}
