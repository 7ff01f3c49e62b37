//! What is told of a model in its folder.

use super::teacher::{PAIRS, SCORES};
use super::{Args, School, Size};

/// What is taught of each word, in all worlds.
const MARKED: &str = "of each word whether it ends what belongs in the answer (a true fact, a refusal \
    that is due), what does not, or does not fit the one before (an extra head on the last block but \
    one, dropped afterwards)";

impl School {
    /// The worlds, what is read in them and what is written, and the prompts of their labelers.
    fn described(self) -> [&'static str; 4] {
        match self {
            Self::Tldr => [
                "the embedded world \"tiny TL;DR\"",
                "posts",
                "summaries",
                "tiny-tldr*.toml",
            ],
            Self::Dialogue => [
                "the embedded worlds \"tiny helpful\" and \"tiny harmless\"",
                "prompts, of both worlds by turns,",
                "answers",
                "tiny-help*.toml` and `tiny-harm*.toml",
            ],
        }
    }
}

/// How a model came about, for its card.
pub(crate) struct Made {
    pub(crate) parameters: usize,
    pub(crate) seconds: f64,
}

pub(crate) fn labeler(args: &Args, made: &Made, result: &str) -> String {
    let Args {
        lm_steps,
        answer_steps,
        batch_size,
        ..
    } = args;
    let (words, verdicts) = (lm_steps * batch_size, answer_steps * batch_size);
    let [worlds, prompts, answers, asked] = args.world.described();
    format!(
        "# {name}\n\n\
        Decoder-only transformer (Llama architecture) of {parameters} parameters, trained from \
        scratch by this project to judge {answers} of {worlds}. It continues the labeling prompts of \
        `src/label/prompts/`: `{asked}` with \"1\" or \"2\", and with a score of 1 to 10. It knows a \
        few hundred words and no other task.\n\n{command}\n\n\
        - first {lm_steps} steps: {words} {prompts} of split `pretrain`; the words of {answers} of \
        mixed quality, and {MARKED}\n\
        - then {answer_steps} steps: {verdicts} {prompts} of split `labeler_train`; the verdicts on \
        {PAIRS} pairs or {SCORES} scored {answers} each, as the oracle gives them, and still the \
        words\n\
        - time: {seconds:.0} s, backend flex, float32\n\
        - held out (split `labeler_test`): {result}\n",
        name = args.name(),
        command = command(args),
        parameters = made.parameters,
        seconds = made.seconds,
    )
}

pub(crate) fn base(args: &Args, made: &Made) -> String {
    let [worlds, prompts, answers, _] = args.world.described();
    format!(
        "# {name}\n\n\
        Decoder-only transformer (Llama architecture) of {parameters} parameters, trained from \
        scratch by this project: the model that the policies of {worlds} start from. It writes \
        {answers} of mixed quality, as people do. It has seen no preference and no \
        score.\n\n{command}\n\n\
        - data: {n} {prompts} of split `pretrain`, {SCORES} {answers} of mixed quality each\n\
        - beside the next word it was taught {MARKED}: so that it can tell them apart, as a \
        language model of the world's size can\n\
        - time: {seconds:.0} s, backend flex, float32\n",
        name = args.name(),
        command = command(args),
        parameters = made.parameters,
        seconds = made.seconds,
        n = args.lm_steps * args.batch_size,
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
    let world = match args.world {
        School::Tldr => "",
        School::Dialogue => " --world dialogue",
    };
    let answer_steps = match args.size {
        Size::Base => String::new(),
        _ => format!(" --answer-steps {answer_steps}"),
    };
    format!(
        "```\ncargo run --release --example train_labelers -- --size {size}{world} \
        --lm-steps {lm_steps}{answer_steps} --batch-size {batch_size} \
        --learning-rate {learning_rate} --seed {seed}\n```"
    )
}
