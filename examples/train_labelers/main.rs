//! Trains the models that ship under `models/`: labelers that learn, from the oracle's judgements
//! on posts of their own split, to continue the labeling prompts with "1" or "2" and with a score
//! of 1 to 10, and the base that the policies of the examples start from.
//!
//! `cargo run --release --example train_labelers -- --size m` (or `s`, `xs`, `base`) writes
//! `models/labeler-m` with a card. A training row is a tree: one post, several questions about it
//! (`teacher.rs` makes them). The first phase teaches the words of summaries, and of each word
//! whether it is right, so that the model learns to look things up in the post; a labeler's second
//! phase teaches the answers as well.

mod teacher;

use std::path::PathBuf;
use std::time::Instant;

use burn::module::Module;
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::prelude::*;
use burn::tensor::activation::{log_sigmoid, log_softmax};
use clap::{Parser, ValueEnum};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rlaif::batch::{Batch, Tree};
use rlaif::cli::print;
use rlaif::label::prompt::Prompt;
use rlaif::label::{LocalLabeler, OracleLabeler, Positions, alignment, held_out_pairs, label};
use rlaif::model::{self, CausalLm, LlamaConfig, Transformer};
use rlaif::optim::{OptimConfig, OptimKind, Schedule};
use rlaif::run::RunDir;
use rlaif::tokenizer::Tokenizer;
use rlaif::world::{self, Oracle, Split, World};
use serde_json::json;

use teacher::{Kind, MARKS, PAIRS, SCORES, Targets, Teacher};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the labelers are asked.
const COMPARE_PROMPT: &str = "tiny-tldr";
const SCORE_PROMPT: &str = "tiny-tldr-score";
/// Weight of predicting the words of a summary beside the answers.
const WORD_WEIGHT: f32 = 0.3;
/// Weight of saying which words are right.
const MARK_WEIGHT: f32 = 4.0;

#[derive(Parser)]
struct Args {
    /// Size of the labeler, or `base` for the model that policies start from.
    #[arg(long, value_enum)]
    size: Size,
    /// Steps at the start that learn the words of summaries, and which of them are right.
    #[arg(long, default_value_t = 1000)]
    lm_steps: usize,
    /// Steps that follow for a labeler, and learn the answers too.
    #[arg(long, default_value_t = 2000)]
    answer_steps: usize,
    /// Steps between two measurements on 300 held-out pairs; 0 for none.
    #[arg(long, default_value_t = 0)]
    check_every: usize,
    /// Posts per step; those of a labeler are by turns with pairs and with scores.
    #[arg(long, default_value_t = 8)]
    batch_size: usize,
    /// Peak learning rate.
    #[arg(long, default_value_t = 4e-3)]
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

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Size {
    Xs,
    S,
    M,
    Base,
}

impl Size {
    /// Folder, hidden size, layers, heads.
    fn shape(self) -> (&'static str, [usize; 3]) {
        match self {
            Self::Xs => ("labeler-xs", [96, 3, 3]),
            Self::S => ("labeler-s", [128, 4, 4]),
            Self::M => ("labeler-m", [192, 5, 4]),
            Self::Base => ("base-s", [128, 4, 4]),
        }
    }

    /// What it is taught; lessons take turns.
    fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Base => &[Kind::Summaries],
            _ => &[Kind::Pairs, Kind::Scores],
        }
    }
}

fn main() -> rlaif::Result<()> {
    let args = Args::parse();
    let (name, [hidden, layers, heads]) = args.size.shape();
    let models = RunDir::create(&args.out)?;
    let tokenizer = write_tokenizer(&models, name)?;
    let config = LlamaConfig::small(tokenizer.vocab_size(), hidden, layers, heads, 512);
    let device = Device::flex().autodiff();
    let mut rng = StdRng::seed_from_u64(args.seed);
    let model = model::randomize(config.init(&device), &mut rng);
    print(format_args!("{name}: {} parameters", model.num_params()))?;
    let teacher = Teacher {
        world: World::tiny_tldr(),
        oracle: Oracle::new(World::tiny_tldr()),
        tokenizer,
        compare: Prompt::load(COMPARE_PROMPT)?,
        score: Prompt::load(SCORE_PROMPT)?,
    };

    let started = Instant::now();
    let mut student = Student::new(model, &device);
    student = train(&args, Phase::Words, student, &teacher)?;
    if args.size != Size::Base {
        student = train(&args, Phase::Answers, student, &teacher)?;
    }
    let model = student.model.valid();
    let seconds = started.elapsed().as_secs_f64();
    models.write_dir(name, |dir| {
        model::save(&model, dir)?;
        teacher.tokenizer.save(dir)
    })?;
    let made = Made {
        parameters: model.num_params(),
        seconds,
    };
    let card = match args.size {
        Size::Base => base_card(&args, &made),
        _ => {
            let labeler = LocalLabeler::load(&models.path(name), &Device::flex())?;
            let result = evaluate(labeler, args.test_pairs)?;
            print(&result)?;
            labeler_card(&args, &made, &result)
        }
    };
    models.write_text(PathBuf::from(name).join("README.md"), &card)
}

/// A labeler at school: beside the words it says of each word whether it is right. The extra head
/// is dropped afterwards; what it leaves behind is a model that notices false facts, which the
/// answer alone, one token that hangs on many facts, teaches very slowly.
#[derive(Module, Debug)]
struct Student {
    model: Transformer,
    marks: Linear,
}

impl Student {
    fn new(model: Transformer, device: &Device) -> Self {
        let zeros = Initializer::Zeros;
        let marks = LinearConfig::new(model.hidden_size(), MARKS).with_initializer(zeros);
        Self {
            model,
            marks: marks.init(device),
        }
    }

    /// Losses of the words, of the answers and of the marks.
    fn losses(&self, batch: &Batch, targets: &Targets) -> rlaif::Result<[Tensor<1>; 3]> {
        let states = self.model.hidden_states(batch.input.clone());
        let [.., before, last] = states.as_slice() else {
            return Err(rlaif::Error::Usage("a model without blocks".into()));
        };
        let [n, len] = batch.targets.dims();
        let picked = |hidden: &Tensor<3>| {
            let [rows, seq, width] = hidden.dims();
            let hidden = hidden.clone().reshape([rows * seq, width]);
            hidden.select(0, batch.predictors.clone())
        };
        let log_probs = log_softmax(self.model.logits(picked(last)), 1)
            .gather(1, batch.targets.clone().reshape([n * len, 1]))
            .reshape([n, len]);
        let logits = self.marks.forward(picked(before));
        let right = targets.marks.clone() * log_sigmoid(logits.clone());
        let wrong = (targets.marks.clone().neg() + 1.0) * log_sigmoid(logits.neg());
        Ok([
            (log_probs.clone() * targets.words.clone()).sum().neg(),
            (log_probs * targets.answers.clone()).sum().neg(),
            ((right + wrong) * targets.marked.clone()).sum().neg(),
        ])
    }
}

/// What a phase of the training is about.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    /// The words of summaries, and which of them are right.
    Words,
    /// The answers too.
    Answers,
}

/// One phase of the training.
fn train(args: &Args, phase: Phase, student: Student, teacher: &Teacher) -> rlaif::Result<Student> {
    let (before, steps, split) = match phase {
        Phase::Words => (0, args.lm_steps, Split::Pretrain),
        Phase::Answers => (args.lm_steps, args.answer_steps, Split::LabelerTrain),
    };
    let optim = OptimConfig {
        kind: OptimKind::Muon,
        learning_rate: args.learning_rate,
        lr_scheduler_type: Schedule::Cosine,
        warmup_steps: 50.0,
        adam_beta2: 0.98,
        weight_decay: 0.01,
        ..Default::default()
    };
    let device = Device::flex().autodiff();
    let mut learner = optim.init(student, steps);
    let kinds = args.size.kinds();
    let started = Instant::now();
    for step in before..before + steps {
        let posts = step * args.batch_size..(step + 1) * args.batch_size;
        let lessons = posts
            .map(|index| teacher.lesson(split, index, kinds[index % kinds.len()]))
            .collect::<rlaif::Result<Vec<_>>>()?;
        let trees: Vec<Tree> = lessons.iter().map(|lesson| lesson.tree.clone()).collect();
        let vocab = learner.model.model.vocab_size();
        let batch = Batch::new(&trees, vocab, 512, &device)?;
        let targets = Targets::new(&lessons, &batch);
        let [words, answers, marks] = learner.model.losses(&batch, &targets)?;
        if step % 100 == 99 {
            let told = Tensor::cat(vec![words.clone(), answers.clone(), marks.clone()], 0);
            let told = told.try_into_vec_as::<f32>()?;
            let secs = started.elapsed().as_secs_f64();
            print(format_args!(
                "step {:>5} {secs:>5.0} s  words, answers, marks {told:.4?}",
                step + 1
            ))?;
        }
        let loss = match phase {
            Phase::Words => words + marks,
            Phase::Answers => answers + words * WORD_WEIGHT + marks * MARK_WEIGHT,
        };
        learner = learner.step(loss)?.0;
        if phase == Phase::Answers && args.check_every > 0 && (step + 1) % args.check_every == 0 {
            let model = learner.model.model.valid();
            let labeler = LocalLabeler::of("student".into(), model, teacher.tokenizer.clone())?;
            print(evaluate(labeler, 300)?)?;
        }
    }
    Ok(learner.model)
}

/// How a model came about, for its card.
struct Made {
    parameters: usize,
    seconds: f64,
}

fn labeler_card(args: &Args, made: &Made, result: &str) -> String {
    let Args {
        lm_steps,
        answer_steps,
        batch_size,
        ..
    } = args;
    let (words, answers) = (lm_steps * batch_size, answer_steps * batch_size);
    format!(
        "# {name}\n\n\
        Decoder-only transformer (Llama architecture) of {parameters} parameters, trained from \
        scratch by this project to judge summaries of the embedded world \"tiny TL;DR\". It \
        continues the labeling prompts of `src/label/prompts/tiny-tldr*.toml` with \"1\" or \"2\", and with a \
        score of 1 to 10. It knows a few hundred words and no other task.\n\n{command}\n\n\
        - first {lm_steps} steps: {words} posts of split `pretrain`; the words of summaries of \
        mixed quality, and of each word whether it ends a true fact, a false one, or does not fit \
        the one before (an extra head on the last block but one, dropped afterwards)\n\
        - then {answer_steps} steps: {answers} posts of split `labeler_train`; the answers to \
        {PAIRS} pairs or {SCORES} scored summaries each, as the oracle gives them, and still the \
        words\n\
        - time: {seconds:.0} s, backend flex, float32\n\
        - held out (split `labeler_test`): {result}\n",
        name = args.size.shape().0,
        command = command(args),
        parameters = made.parameters,
        seconds = made.seconds,
    )
}

fn base_card(args: &Args, made: &Made) -> String {
    format!(
        "# {name}\n\n\
        Decoder-only transformer (Llama architecture) of {parameters} parameters, trained from \
        scratch by this project: the model that the policies of the embedded world \"tiny TL;DR\" \
        start from. It writes summaries of mixed quality, as people do. It has seen no preference \
        and no score.\n\n{command}\n\n\
        - data: {posts} posts of split `pretrain`, {SCORES} summaries of mixed quality each\n\
        - beside the next word it was taught of each word whether it ends a true fact, a false \
        one, or does not fit the one before (an extra head on the last block but one, dropped \
        afterwards): so that it can tell facts apart, as a language model of the world's size can\n\
        - time: {seconds:.0} s, backend flex, float32\n",
        name = args.size.shape().0,
        command = command(args),
        parameters = made.parameters,
        seconds = made.seconds,
        posts = args.lm_steps * args.batch_size,
    )
}

/// The command that makes the model again.
fn command(args: &Args) -> String {
    let Args {
        size,
        lm_steps,
        answer_steps,
        batch_size,
        learning_rate,
        seed,
        ..
    } = args;
    let size = format!("{size:?}").to_lowercase();
    let answer_steps = match args.size {
        Size::Base => String::new(),
        _ => format!(" --answer-steps {answer_steps}"),
    };
    format!(
        "```\ncargo run --release --example train_labelers -- --size {size} \
        --lm-steps {lm_steps}{answer_steps} --batch-size {batch_size} \
        --learning-rate {learning_rate} --seed {seed}\n```"
    )
}

/// Writes the world's tokenizer into a new model folder and reads it back.
fn write_tokenizer(models: &RunDir, name: &str) -> rlaif::Result<Tokenizer> {
    let (compare, score) = (Prompt::load(COMPARE_PROMPT)?, Prompt::load(SCORE_PROMPT)?);
    let texts = [
        compare.prefix("")?,
        compare.question(&["", ""])?,
        score.prefix("")?,
        score.question(&[""])?,
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

/// Alignment with the oracle on held-out pairs, and the share of them where a position wins.
fn evaluate(mut labeler: LocalLabeler, n: usize) -> rlaif::Result<String> {
    let start = Instant::now();
    let preferences = label(&mut labeler, &held_out_pairs(n))?.preferences;
    let pairs_per_sec = n as f64 / start.elapsed().as_secs_f64();
    let positions = Positions::of(&preferences);
    let found = alignment(&preferences, &mut OracleLabeler::new(World::tiny_tldr()))?;
    Ok(format!(
        "alignment {:.3} [{:.3}, {:.3}] on {n} pairs, same position {:.3}, {pairs_per_sec:.0} pairs/s",
        found.alignment, found.ci.low, found.ci.high, positions.same_position,
    ))
}
