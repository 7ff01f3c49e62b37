//! Trains the models that ship under `models/`: labelers that learn, from the oracle's judgements
//! on prompts of their own split, to continue the labeling prompts with "1" or "2" and with a score
//! of 1 to 10, and the bases that the policies of the examples start from.
//!
//! `cargo run --release --example train_labelers -- --size m` (or `s`, `xs`, `base`) writes
//! `models/labeler-m` with a card; with `--world dialogue` it is a model of both worlds of dialogue.
//! A training row is a tree: one prompt, several questions about it (`teacher.rs` makes them). The
//! first phase teaches the words of answers, and of each word whether it is right, so that the model
//! learns to look things up in the prompt; a labeler's second phase teaches the verdicts as well.

mod card;
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
use rlaif::label::config::AskConfig;
use rlaif::label::{
    Asking, LocalAnswerer, OracleLabeler, Positions, PromptedLabeler, alignment, held_out_pairs,
    label,
};
use rlaif::model::{self, CausalLm, LlamaConfig, Transformer};
use rlaif::optim::{OptimConfig, OptimKind, Schedule};
use rlaif::run::RunDir;
use rlaif::tokenizer::Tokenizer;
use rlaif::world::{self, Split, World};
use serde_json::json;

use card::Made;
use teacher::{Kind, MARKS, Subject, Targets, Teacher};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Weight of predicting the words of an answer beside the verdicts.
const WORD_WEIGHT: f32 = 0.3;
/// Weight of saying which words are right.
const MARK_WEIGHT: f32 = 4.0;

#[derive(Parser)]
struct Args {
    /// Size of the labeler, or `base` for the model that policies start from.
    #[arg(long, value_enum)]
    size: Size,
    /// What it is to read and write.
    #[arg(long, value_enum, default_value_t = School::Tldr)]
    world: School,
    /// Steps at the start that learn the words of answers, and which of them are right.
    #[arg(long, default_value_t = 1000)]
    lm_steps: usize,
    /// Steps that follow for a labeler, and learn the verdicts too.
    #[arg(long, default_value_t = 2000)]
    answer_steps: usize,
    /// Steps between two measurements on 300 held-out pairs; 0 for none.
    #[arg(long, default_value_t = 0)]
    check_every: usize,
    /// Prompts per step; those of a labeler are by turns with pairs and with scores.
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

/// Worlds that one model serves, with a tokenizer of their own.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum School {
    /// Summaries.
    Tldr,
    /// Helpful and harmless answers.
    Dialogue,
}

impl School {
    fn worlds(self) -> Vec<World> {
        match self {
            Self::Tldr => vec![World::tiny_tldr()],
            Self::Dialogue => vec![World::tiny_helpful(), World::tiny_harmless()],
        }
    }

    /// What follows the prompt that a policy reads.
    fn cue(self) -> &'static str {
        match self {
            Self::Tldr => "\nTL;DR:",
            Self::Dialogue => "\n\nAssistant:",
        }
    }
}

impl Args {
    /// Folder of the model.
    fn name(&self) -> String {
        let size = format!("{:?}", self.size).to_lowercase();
        match (self.world, self.size) {
            (School::Tldr, Size::Base) => "base-s".into(),
            (School::Dialogue, Size::Base) => "dialogue-base".into(),
            (School::Tldr, _) => format!("labeler-{size}"),
            (School::Dialogue, Size::S) => "dialogue-labeler".into(),
            (School::Dialogue, _) => format!("dialogue-labeler-{size}"),
        }
    }
}

impl Size {
    /// Hidden size, layers, heads. Texts of dialogue are shorter.
    fn shape(self, school: School) -> [usize; 3] {
        match (self, school) {
            (Self::Xs, _) => [96, 3, 3],
            (Self::S | Self::Base, School::Dialogue) => [96, 4, 4],
            (Self::S | Self::Base, School::Tldr) => [128, 4, 4],
            (Self::M, _) => [192, 5, 4],
        }
    }

    /// What it is taught; lessons take turns.
    fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Base => &[Kind::Answers],
            _ => &[Kind::Pairs, Kind::Scores],
        }
    }
}

fn main() -> rlaif::Result<()> {
    let args = Args::parse();
    let (name, [hidden, layers, heads]) = (args.name(), args.size.shape(args.world));
    let subjects = args.world.worlds().into_iter().map(Subject::new);
    let subjects = subjects.collect::<rlaif::Result<Vec<_>>>()?;
    let models = RunDir::create(&args.out)?;
    let tokenizer = write_tokenizer(&models, &name, &subjects, args.world)?;
    let config = LlamaConfig::small(tokenizer.vocab_size(), hidden, layers, heads, 512);
    let device = Device::flex().autodiff();
    let mut rng = StdRng::seed_from_u64(args.seed);
    let model = model::randomize(config.init(&device), &mut rng);
    print(format_args!("{name}: {} parameters", model.num_params()))?;
    let teacher = Teacher {
        subjects,
        cue: args.world.cue(),
        tokenizer,
    };

    let started = Instant::now();
    let mut student = Student::new(model, &device);
    student = train(&args, Phase::Words, student, &teacher)?;
    if args.size != Size::Base {
        student = train(&args, Phase::Verdicts, student, &teacher)?;
    }
    let model = student.model.valid();
    let seconds = started.elapsed().as_secs_f64();
    models.write_dir(&name, |dir| {
        model::save(&model, dir)?;
        teacher.tokenizer.save(dir)
    })?;
    let made = Made {
        parameters: model.num_params(),
        seconds,
    };
    let card = match args.size {
        Size::Base => card::base(&args, &made),
        _ => {
            let result = evaluate(&args, &model, &teacher.tokenizer, args.test_pairs)?;
            print(&result)?;
            card::labeler(&args, &made, &result)
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

    /// Losses of the words, of the verdicts and of the marks.
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
            (log_probs * targets.verdicts.clone()).sum().neg(),
            ((right + wrong) * targets.marked.clone()).sum().neg(),
        ])
    }
}

/// What a phase of the training is about.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    /// The words of answers, and which of them are right.
    Words,
    /// The verdicts too.
    Verdicts,
}

/// One phase of the training.
fn train(args: &Args, phase: Phase, student: Student, teacher: &Teacher) -> rlaif::Result<Student> {
    let (before, steps, split) = match phase {
        Phase::Words => (0, args.lm_steps, Split::Pretrain),
        Phase::Verdicts => (args.lm_steps, args.answer_steps, Split::LabelerTrain),
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
        let prompts = step * args.batch_size..(step + 1) * args.batch_size;
        let lessons = prompts
            .map(|index| teacher.lesson(split, index, kinds))
            .collect::<rlaif::Result<Vec<_>>>()?;
        let trees: Vec<Tree> = lessons.iter().map(|lesson| lesson.tree.clone()).collect();
        let vocab = learner.model.model.vocab_size();
        let batch = Batch::new(&trees, vocab, 512, &device)?;
        let targets = Targets::new(&lessons, &batch);
        let [words, verdicts, marks] = learner.model.losses(&batch, &targets)?;
        if step % 100 == 99 {
            let told = Tensor::cat(vec![words.clone(), verdicts.clone(), marks.clone()], 0);
            let told = told.try_into_vec_as::<f32>()?;
            let secs = started.elapsed().as_secs_f64();
            print(format_args!(
                "step {:>5} {secs:>5.0} s  words, verdicts, marks {told:.4?}",
                step + 1
            ))?;
        }
        let loss = match phase {
            Phase::Words => words + marks,
            Phase::Verdicts => verdicts + words * WORD_WEIGHT + marks * MARK_WEIGHT,
        };
        learner = learner.step(loss)?.0;
        if phase == Phase::Verdicts && args.check_every > 0 && (step + 1) % args.check_every == 0 {
            let model = learner.model.model.valid();
            print(evaluate(args, &model, &teacher.tokenizer, 300)?)?;
        }
    }
    Ok(learner.model)
}

/// Writes the tokenizer of the worlds into a new model folder and reads it back.
fn write_tokenizer(
    models: &RunDir,
    name: &str,
    subjects: &[Subject],
    school: School,
) -> rlaif::Result<Tokenizer> {
    let mut texts = Vec::new();
    for Subject { compare, score, .. } in subjects {
        texts.extend([compare.prefix("")?, compare.question(&["", ""])?]);
        texts.extend([score.prefix("")?, score.question(&[""])?]);
    }
    let mut texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    texts.push(school.cue());
    let tokenizer = world::build_tokenizer(subjects[0].world, &texts)?;
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

/// Alignment with the oracle on held-out pairs of each world, and the share of them where a position
/// wins.
fn evaluate(
    args: &Args,
    model: &Transformer,
    tokenizer: &Tokenizer,
    n: usize,
) -> rlaif::Result<String> {
    let mut found = Vec::new();
    for world in args.world.worlds() {
        let answerer = LocalAnswerer::new(args.name(), model.clone(), tokenizer.clone());
        let asking = Asking::new(&AskConfig::of_world(world), args.seed)?;
        let mut labeler = PromptedLabeler::new(answerer, asking);
        let pairs = held_out_pairs(world, n);
        let start = Instant::now();
        let preferences = label(&mut labeler, &pairs)?.preferences;
        let pairs_per_sec = n as f64 / start.elapsed().as_secs_f64();
        let positions = Positions::of(&preferences);
        let agrees = alignment(&preferences, &mut OracleLabeler::new(world))?;
        found.push(format!(
            "{}: alignment {:.3} [{:.3}, {:.3}] on {n} pairs, same position {:.3}, \
            {pairs_per_sec:.0} pairs/s",
            world.task.name(),
            agrees.alignment,
            agrees.ci.low,
            agrees.ci.high,
            positions.same_position,
        ));
    }
    Ok(found.join("; "))
}
