//! What the models learn from: questions about prompts, with the oracle's verdicts.

use burn::prelude::*;
use rand::rngs::StdRng;
use rlaif::batch::{Batch, Tree};
use rlaif::label::config::AskConfig;
use rlaif::label::prompt::{Choose, Prompt};
use rlaif::tokenizer::Tokenizer;
use rlaif::world::{self, Case, Mark, Oracle, Split, World};

/// Pairs compared per prompt, and answers scored per prompt.
pub(crate) const PAIRS: usize = 4;
pub(crate) const SCORES: usize = 6;

/// What is taught of every word of an answer: what belongs there ends here, such as a true fact, what
/// does not belong there does, the words do not go together.
pub(crate) const MARKS: usize = 3;

/// Makes training rows from prompts and the oracle.
pub(crate) struct Teacher {
    /// By turns.
    pub(crate) subjects: Vec<Subject>,
    /// What follows the prompt that a policy reads.
    pub(crate) cue: &'static str,
    pub(crate) tokenizer: Tokenizer,
}

/// A world with its truth.
pub(crate) struct Subject {
    pub(crate) world: World,
    oracle: Oracle,
    /// How a pair is asked about, and a score.
    pub(crate) compare: Prompt,
    pub(crate) score: Prompt,
}

/// What is asked about a prompt.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// Which of two answers is better.
    Pairs,
    /// How good an answer is, from 1 to 10.
    Scores,
    /// Nothing: the answer itself, behind the policy's prompt.
    Answers,
}

/// A prompt with questions about it.
pub(crate) struct Lesson {
    /// The prompt, and the questions with their verdicts as completions.
    pub(crate) tree: Tree,
    /// For each question, what each of its tokens is; a verdict may follow.
    marks: Vec<Vec<Option<Mark>>>,
}

impl Lesson {
    /// The tokens of each question with its verdict, and what they are.
    fn questions(&self) -> impl Iterator<Item = (&Vec<u32>, &Vec<Option<Mark>>)> {
        self.tree.completions.iter().zip(&self.marks)
    }
}

/// A question, the verdict's text, and what each token of the question is: `Some` for words of an
/// answer.
type Asked = (String, String, Vec<Option<Mark>>);

impl Teacher {
    /// The lesson on prompt `index` of a split; kinds and subjects take turns.
    pub(crate) fn lesson(
        &self,
        split: Split,
        index: usize,
        kinds: &[Kind],
    ) -> rlaif::Result<Lesson> {
        let kind = kinds[index % kinds.len()];
        let subject = &self.subjects[index / kinds.len() % self.subjects.len()];
        let case = subject.world.case(split, index);
        let mut rng = subject.world.rng(split, index, 2);
        let (prefix, n) = match kind {
            Kind::Pairs => (subject.compare.prefix(case.text())?, PAIRS),
            Kind::Scores => (subject.score.prefix(case.text())?, SCORES),
            Kind::Answers => (format!("{}{}", case.text(), self.cue), SCORES),
        };
        let mut lesson = Lesson {
            tree: Tree {
                prompt: self.tokenizer.encode_prompt(&prefix)?,
                completions: Vec::new(),
            },
            marks: Vec::new(),
        };
        while lesson.marks.len() < n {
            let asked = match kind {
                Kind::Pairs => subject.pair(&case, &mut rng)?,
                Kind::Scores => Some(subject.scored(&case, &mut rng)?),
                Kind::Answers => Some(subject.answer(&case, &mut rng)),
            };
            let Some((question, verdict, marks)) = asked else {
                continue;
            };
            let text = format!("{question}{verdict}");
            let mut tokens = self.tokenizer.encode_continuation(&text)?;
            if kind == Kind::Answers {
                tokens.extend(self.tokenizer.eos().first());
            }
            lesson.tree.completions.push(tokens);
            lesson.marks.push(marks);
        }
        Ok(lesson)
    }
}

impl Subject {
    /// The world with the questions that its labelers are asked.
    pub(crate) fn new(world: World) -> rlaif::Result<Self> {
        let ask = AskConfig::of_world(world);
        Ok(Self {
            world,
            oracle: Oracle::new(world),
            compare: Prompt::load(&ask.prompt)?,
            score: Prompt::load(&ask.score_prompt)?,
        })
    }

    /// An answer as the policy writes it, up to the end of the text, and no verdict.
    fn answer(&self, case: &Case, rng: &mut StdRng) -> Asked {
        let answer = case.mixed(rng);
        let mut marks = self.marks(case, &answer, &[&answer]);
        // The end of the text is to be predicted too.
        marks.push(Some(Mark::default()));
        (answer, String::new(), marks)
    }

    /// `None` when neither answer is better.
    fn pair(&self, case: &Case, rng: &mut StdRng) -> rlaif::Result<Option<Asked>> {
        let (a, b) = (case.mixed(rng), case.mixed(rng));
        let p_a = world::preference(&self.oracle.assess(case, &a), &self.oracle.assess(case, &b));
        if p_a == 0.5 {
            return Ok(None);
        }
        let is_first = (p_a > 0.5) == (self.compare.file.choose == Choose::Better);
        let verdict = if is_first { "1" } else { "2" };
        let question = self.compare.question(&[&a, &b])?;
        let marks = self.marks(case, &question, &[&a, &b]);
        Ok(Some((question, verdict.into(), marks)))
    }

    fn scored(&self, case: &Case, rng: &mut StdRng) -> rlaif::Result<Asked> {
        let answer = case.mixed(rng);
        let score = world::score(&self.oracle.assess(case, &answer));
        let question = self.score.question(&[&answer])?;
        let marks = self.marks(case, &question, &[&answer]);
        Ok((question, score.to_string(), marks))
    }

    /// The marks of `answers` where they stand in the question.
    fn marks(&self, case: &Case, question: &str, answers: &[&str]) -> Vec<Option<Mark>> {
        let words = world::tokens(question);
        let mut marks = vec![None; words.len()];
        let mut from = 0;
        for answer in answers {
            let told = world::tokens(answer);
            let found = (from..).find(|&at| words[at..].starts_with(&told));
            let start = found.unwrap_or(from);
            for (slot, mark) in marks[start..]
                .iter_mut()
                .zip(self.oracle.marks(case, answer))
            {
                *slot = Some(mark);
            }
            from = start + told.len();
        }
        marks
    }
}

/// Weights and targets of one batch, all on the rows of [`Batch::predictors`].
pub(crate) struct Targets {
    /// Averages over the words of answers, `[completions, len]`.
    pub(crate) words: Tensor<2>,
    /// Averages over the verdicts, `[completions, len]`.
    pub(crate) verdicts: Tensor<2>,
    /// 1.0 where a mark holds of the token before, `[completions * len, MARKS]`.
    pub(crate) marks: Tensor<2>,
    /// Averages over the tokens that have marks, `[completions * len, 1]`.
    pub(crate) marked: Tensor<2>,
}

impl Targets {
    pub(crate) fn new(lessons: &[Lesson], batch: &Batch) -> Self {
        let [n, len] = batch.targets.dims();
        let mut words = vec![0.0f32; n * len];
        let mut verdicts = vec![0.0f32; n * len];
        let mut marked = vec![0.0f32; n * len];
        let mut marks = vec![0.0f32; n * len * MARKS];
        for (row, (tokens, kinds)) in lessons.iter().flat_map(Lesson::questions).enumerate() {
            for (t, mark) in kinds.iter().enumerate() {
                let Some(mark) = mark else { continue };
                words[row * len + t] = 1.0;
                // The state at a token is the one that predicts the next, where there is one.
                if t + 1 == tokens.len() {
                    continue;
                }
                let at = row * len + t + 1;
                marked[at] = 1.0;
                let holds = [
                    mark.mention == Some(true),
                    mark.mention == Some(false),
                    mark.disfluent,
                ];
                for (slot, holds) in marks[at * MARKS..].iter_mut().zip(holds) {
                    *slot = f32::from(u8::from(holds));
                }
            }
            if kinds.len() < tokens.len() {
                verdicts[row * len + kinds.len()] = 1.0;
            }
        }
        let device = batch.mask.device();
        let tensor = |values: Vec<f32>, shape: [usize; 2]| {
            Tensor::<2>::from_data(TensorData::new(values, shape), &device)
        };
        Self {
            words: tensor(averaging(words), [n, len]),
            verdicts: tensor(averaging(verdicts), [n, len]),
            marks: tensor(marks, [n * len, MARKS]),
            marked: tensor(averaging(marked), [n * len, 1]),
        }
    }
}

/// Divides weights by their sum.
fn averaging(mut weights: Vec<f32>) -> Vec<f32> {
    let total = weights.iter().sum::<f32>().max(1.0);
    weights.iter_mut().for_each(|weight| *weight /= total);
    weights
}
