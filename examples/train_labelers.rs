//! Trains the labelers that ship under `models/`: decoder-only transformers that learn, from the oracle's judgements on
//! posts of their own split, to continue the labeling prompts with "1" or "2" and with a score of 1 to 10.
//!
//! `cargo run --release --example train_labelers -- --size m` (or `s`, `xs`) writes `models/labeler-m` with a card. A
//! training row is a tree: one post, several questions about it. The first steps only predict the words of summaries, which
//! teaches the model to look things up in the post; the later ones answer as well. With `--keep-base` the model of the first
//! phase is kept too: `models/base-s` is what the policy of the examples starts from.

#![expect(clippy::print_stdout, reason = "an example prints")]

use std::ops::Range;
use std::path::PathBuf;
use std::time::Instant;

use burn::module::Module;
use burn::prelude::*;
use clap::Parser;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rlaif::batch::{Batch, Tree};
use rlaif::eval::stats::wilson;
use rlaif::label::prompt::{compare_prefix, compare_question, score_prefix, score_question};
use rlaif::label::{Labeler, LocalLabeler, Pair};
use rlaif::log_prob::token_log_probs;
use rlaif::model::{self, Llama, LlamaConfig};
use rlaif::optim::{OptimConfig, Schedule};
use rlaif::run::RunDir;
use rlaif::tokenizer::Tokenizer;
use rlaif::world::{self, Oracle, Post, Slot, Split, World};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Weight of predicting the words of a summary beside the answers.
const WORD_WEIGHT: f32 = 0.5;
/// Pairs compared per post, and summaries scored per post.
const PAIRS: usize = 4;
const SCORES: usize = 6;

#[derive(Parser)]
struct Args {
    /// Size of the labeler: xs, s or m.
    #[arg(long)]
    size: String,
    /// Optimizer steps.
    #[arg(long, default_value_t = 2000)]
    steps: usize,
    /// Steps at the start that only learn to predict the words of summaries.
    #[arg(long, default_value_t = 800)]
    lm_steps: usize,
    /// Weight of naming, after the answer, what is false and what is missing; 0 leaves it out.
    #[arg(long, default_value_t = 0.0)]
    reason_weight: f32,
    /// Start from the weights of this folder instead of random ones.
    #[arg(long)]
    init: Option<PathBuf>,
    /// Keep the model of the first phase as `base-SIZE`.
    #[arg(long)]
    keep_base: bool,
    /// Posts per step, half of them with pairs and half with scores.
    #[arg(long, default_value_t = 8)]
    batch_size: usize,
    /// Peak learning rate.
    #[arg(long, default_value_t = 2e-3)]
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
        "m" => (192, 5, 4),
        other => return Err(rlaif::Error::field("--size", other, "xs, s or m")),
    };
    let name = format!("labeler-{}", args.size);
    let models = RunDir::create(&args.out)?;
    let tokenizer = write_tokenizer(&models, &name)?;
    let config = LlamaConfig::small(tokenizer.vocab_size(), hidden, layers, heads, 512);
    let device = Device::flex().autodiff();
    let mut rng = StdRng::seed_from_u64(args.seed);
    let model = match &args.init {
        Some(dir) => model::load(dir, &device)?,
        None => model::randomize(config.init(&device), &mut rng),
    };
    println!("{name}: {} parameters", model.num_params());

    let teacher = Teacher {
        world: World::tiny_tldr(),
        oracle: Oracle::new(World::tiny_tldr()),
        tokenizer,
        reasons: if args.reason_weight > 0.0 {
            Reasons::Written
        } else {
            Reasons::LeftOut
        },
    };
    let started = Instant::now();
    let model = train(&args, model, &teacher, &models)?;
    let seconds = started.elapsed().as_secs_f64();
    save(&models, &name, &model, &teacher.tokenizer)?;
    let labeler = LocalLabeler::load(&models.path(&name), &Device::flex())?;
    let result = evaluate(labeler, &teacher, args.test_pairs)?;
    println!("{result}");
    write_card(&models, &name, &args, model.num_params(), &result, seconds)
}

fn train(args: &Args, model: Llama, teacher: &Teacher, models: &RunDir) -> rlaif::Result<Llama> {
    let optim = OptimConfig {
        learning_rate: args.learning_rate,
        lr_scheduler_type: Schedule::Cosine,
        warmup_steps: 50,
        adam_beta2: 0.98,
        weight_decay: 0.01,
        ..Default::default()
    };
    let device = Device::flex().autodiff();
    let mut learner = optim.init(model, args.steps);
    for step in 0..args.steps {
        let phase = if step < args.lm_steps {
            Phase::Words
        } else {
            Phase::Answers
        };
        let (trees, answers) = teacher.rows(step * args.batch_size, args.batch_size, phase)?;
        let batch = Batch::new(&trees, learner.model.config().vocab_size, 512, &device)?;
        let log_probs = token_log_probs(&learner.model, &batch, 1.0);
        let [words, answers, reasons] = weights(&trees, &answers, &batch)
            .map(|weights| (log_probs.clone() * weights).sum().neg());
        if step % 100 == 99 {
            let told = Tensor::cat(vec![words.clone(), answers.clone(), reasons.clone()], 0);
            let told = told.try_into_vec_as::<f32>()?;
            println!("step {:>5}  words, answers, reasons {told:.4?}", step + 1);
        }
        let loss = match phase {
            Phase::Words => words,
            Phase::Answers => answers + words * WORD_WEIGHT + reasons * args.reason_weight,
        };
        learner = learner.step(loss)?.0;
        if step + 1 == args.lm_steps && args.keep_base {
            let base = format!("base-{}", args.size);
            save(models, &base, &learner.model.valid(), &teacher.tokenizer)?;
        }
    }
    Ok(learner.model.valid())
}

/// What a training step is about.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    /// Predicting the words of summaries.
    Words,
    /// Answering, and still the words.
    Answers,
}

fn save(models: &RunDir, name: &str, model: &Llama, tokenizer: &Tokenizer) -> rlaif::Result<()> {
    models.write_dir(name, |dir| {
        model::save(model, dir)?;
        tokenizer.save(dir)
    })
}

fn write_card(
    models: &RunDir,
    name: &str,
    args: &Args,
    parameters: usize,
    result: &str,
    seconds: f64,
) -> rlaif::Result<()> {
    let Args {
        size,
        steps,
        lm_steps,
        batch_size,
        learning_rate,
        seed,
        ..
    } = args;
    let posts = steps * batch_size;
    let card = format!(
        "# {name}\n\n\
        Decoder-only transformer (Llama architecture) of {parameters} parameters, trained from scratch by this project to \
        judge summaries of the embedded world \"tiny TL;DR\". It continues the labeling prompts of `rlaif::label::prompt` \
        with \"1\" or \"2\", and with a score of 1 to 10. It knows a few hundred words and no other task.\n\n\
        ```\ncargo run --release --example train_labelers -- --size {size} --steps {steps} --lm-steps {lm_steps} \
        --batch-size {batch_size} --learning-rate {learning_rate} --seed {seed}\n```\n\n\
        - data: {posts} posts of split `labeler_train`, judged by the oracle: {PAIRS} pairs or {SCORES} scored summaries \
        each; the first {lm_steps} steps predict the words of summaries only\n\
        - time: {seconds:.0} s on two shared CPU cores, backend flex, float32\n\
        - held out (split `labeler_test`): {result}\n"
    );
    models.write_text(PathBuf::from(name).join("README.md"), &card)
}

/// Writes the world's tokenizer into a new model folder and reads it back.
fn write_tokenizer(models: &RunDir, name: &str) -> rlaif::Result<Tokenizer> {
    let texts = [
        compare_prefix(""),
        compare_question("", ""),
        score_prefix(""),
        score_question(""),
    ];
    let mut texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    texts.push("TL;DR:");
    let tokenizer = world::build_tokenizer(&texts)?;
    let text = tokenizer
        .to_string(true)
        .map_err(|e| rlaif::Error::Usage(e.to_string()))?;
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
    reasons: Reasons,
}

/// Whether an answer is followed by its reason.
#[derive(Clone, Copy, PartialEq)]
enum Reasons {
    Written,
    LeftOut,
}

impl Teacher {
    /// `n` posts from index `start` of the split on, pairs and scores by turns; for each question, where its answer is.
    fn rows(&self, start: usize, n: usize, phase: Phase) -> rlaif::Result<(Vec<Tree>, Vec<usize>)> {
        let (mut trees, mut answers) = (Vec::new(), Vec::new());
        for index in start..start + n {
            let post = self.world.post(Split::LabelerTrain, index);
            let mut rng = self.world.rng(Split::LabelerTrain, index, 2);
            let pairs = index % 2 == 0 && phase == Phase::Answers;
            let prefix = if pairs {
                compare_prefix(&post.text)
            } else {
                score_prefix(&post.text)
            };
            let mut completions = Vec::new();
            while completions.len() < if pairs { PAIRS } else { SCORES } {
                let asked = if pairs {
                    self.pair(&post, &mut rng)
                } else {
                    Some(self.score(&post, &mut rng))
                };
                let Some((question, answer, reason)) = asked else {
                    continue;
                };
                answers.push(self.tokenizer.encode_continuation(&question)?.len());
                let reason = if self.reasons == Reasons::Written {
                    reason
                } else {
                    String::new()
                };
                let text = format!("{question}{answer}{reason}");
                completions.push(self.tokenizer.encode_continuation(&text)?);
            }
            trees.push(Tree {
                prompt: self.tokenizer.encode_prompt(&prefix)?,
                completions,
            });
        }
        Ok((trees, answers))
    }

    /// Question, answer and reason of a pair; `None` when neither summary is better.
    fn pair(&self, post: &Post, rng: &mut StdRng) -> Option<(String, String, String)> {
        let (a, b) = (world::mixed(post, rng), world::mixed(post, rng));
        let p_a = world::preference(&self.oracle.assess(post, &a), &self.oracle.assess(post, &b));
        let answer = if p_a > 0.5 { "1" } else { "2" };
        let reason = format!("{}{}", reason(post, &a), reason(post, &b));
        (p_a != 0.5).then(|| (compare_question(&a, &b), answer.into(), reason))
    }

    fn score(&self, post: &Post, rng: &mut StdRng) -> (String, String, String) {
        let summary = world::mixed(post, rng);
        let score = world::score(&self.oracle.assess(post, &summary));
        (
            score_question(&summary),
            score.to_string(),
            reason(post, &summary),
        )
    }
}

/// What is false in a summary, then what is missing, each fact behind a mark. It follows the answer and so never helps to
/// give it; learning to write it teaches the model to tell false facts from true ones, which the answer alone, one token
/// that hangs on many facts, teaches very slowly.
fn reason(post: &Post, summary: &str) -> String {
    let said = format!(" {} ", world::tokens(summary).join(" "));
    let mut text = String::from(" =");
    for slot in Slot::ALL {
        for (value, phrase) in slot.values().iter().enumerate() {
            let truth = post.facts.get(slot).value == value;
            let phrase = world::tokens(phrase).join(" ");
            let mentioned = said.contains(&format!(" {phrase} "));
            if mentioned && !truth {
                text += &format!(" - {phrase}");
            }
        }
    }
    text += " =";
    for slot in Slot::ALL {
        let phrase = world::tokens(post.facts.get(slot).text()).join(" ");
        if !said.contains(&format!(" {phrase} ")) {
            text += &format!(" - {phrase}");
        }
    }
    text
}

/// Weights that average the log-probabilities of the words before the answers, of the answers, and of the reasons.
fn weights(trees: &[Tree], answers: &[usize], batch: &Batch) -> [Tensor<2>; 3] {
    let [n, len] = batch.targets.dims();
    let completions = || trees.iter().flat_map(|tree| &tree.completions).zip(answers);
    let tensor = |span: &dyn Fn(usize, usize) -> Range<usize>| {
        let total: usize = completions()
            .map(|(tokens, &answer)| span(answer, tokens.len()).len())
            .sum();
        let mut values = vec![0.0f32; n * len];
        for (row, (tokens, &answer)) in values.chunks_mut(len).zip(completions()) {
            row[span(answer, tokens.len())].fill(1.0 / total.max(1) as f32);
        }
        Tensor::from_data(TensorData::new(values, [n, len]), &batch.mask.device())
    };
    [
        tensor(&|answer, _| 0..answer),
        tensor(&|answer, _| answer..answer + 1),
        tensor(&|answer, end| answer + 1..end),
    ]
}

/// Alignment with the oracle on held-out posts, and the share of pairs where a position wins.
fn evaluate(mut labeler: LocalLabeler, teacher: &Teacher, n: usize) -> rlaif::Result<String> {
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
        .map(|(post, a, b, _)| Pair {
            prompt_id: &post.id,
            prompt: &post.text,
            a,
            b,
        })
        .collect();
    let start = Instant::now();
    let judgements = labeler.compare(&pairs)?;
    let right = judgements
        .iter()
        .zip(&rows)
        .filter(|(j, row)| (j.p_a() > 0.5) == (row.3 > 0.5))
        .count();
    let same = judgements.iter().filter(|j| j.same_position()).count();
    let interval = wilson(right as f64, n);
    Ok(format!(
        "alignment {:.3} [{:.3}, {:.3}] on {n} pairs, same position {:.3}, {:.0} pairs/s",
        right as f64 / n as f64,
        interval.low,
        interval.high,
        same as f64 / n as f64,
        n as f64 / start.elapsed().as_secs_f64()
    ))
}
