//! What the labelers learn from: questions about posts, with the oracle's answers.

use burn::prelude::*;
use rand::rngs::StdRng;
use rlaif::batch::{Batch, Tree};
use rlaif::label::prompt::Prompt;
use rlaif::tokenizer::Tokenizer;
use rlaif::world::{self, Mark, Oracle, Post, Split, World};

/// Pairs compared per post, and summaries scored per post.
pub(crate) const PAIRS: usize = 4;
pub(crate) const SCORES: usize = 6;

/// What is taught of every word of a summary: a true fact ends here, a false one does, the words do
/// not go together.
pub(crate) const MARKS: usize = 3;

/// Makes training rows from posts and the oracle.
pub(crate) struct Teacher {
    pub(crate) world: World,
    pub(crate) oracle: Oracle,
    pub(crate) tokenizer: Tokenizer,
    /// How a pair is asked about, and a score.
    pub(crate) compare: Prompt,
    pub(crate) score: Prompt,
}

/// What is asked about a post.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// Which of two summaries is better.
    Pairs,
    /// How good a summary is, from 1 to 10.
    Scores,
    /// Nothing: the summary itself, behind the policy's prompt.
    Summaries,
}

/// A post with questions about it.
pub(crate) struct Lesson {
    /// The post, and the questions with their answers as completions.
    pub(crate) tree: Tree,
    /// For each question, what each of its tokens is; an answer may follow.
    marks: Vec<Vec<Option<Mark>>>,
}

impl Lesson {
    /// The tokens of each question with its answer, and what they are.
    fn questions(&self) -> impl Iterator<Item = (&Vec<u32>, &Vec<Option<Mark>>)> {
        self.tree.completions.iter().zip(&self.marks)
    }
}

/// A question, the answer's text, and what each token of the question is: `Some` for words of a
/// summary.
type Asked = (String, String, Vec<Option<Mark>>);

impl Teacher {
    /// The lesson on post `index` of a split.
    pub(crate) fn lesson(&self, split: Split, index: usize, kind: Kind) -> rlaif::Result<Lesson> {
        let post = self.world.post(split, index);
        let mut rng = self.world.rng(split, index, 2);
        let (prefix, n) = match kind {
            Kind::Pairs => (self.compare.prefix(&post.text)?, PAIRS),
            Kind::Scores => (self.score.prefix(&post.text)?, SCORES),
            Kind::Summaries => (format!("{}\nTL;DR:", post.text), SCORES),
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
                Kind::Pairs => self.pair(&post, &mut rng)?,
                Kind::Scores => Some(self.scored(&post, &mut rng)?),
                Kind::Summaries => Some(self.summary(&post, &mut rng)),
            };
            let Some((question, answer, marks)) = asked else {
                continue;
            };
            let text = format!("{question}{answer}");
            let mut tokens = self.tokenizer.encode_continuation(&text)?;
            if kind == Kind::Summaries {
                tokens.extend(self.tokenizer.eos().first());
            }
            lesson.tree.completions.push(tokens);
            lesson.marks.push(marks);
        }
        Ok(lesson)
    }

    /// A summary as the policy writes it, up to the end of the text, and no answer.
    fn summary(&self, post: &Post, rng: &mut StdRng) -> Asked {
        let summary = world::mixed(post, rng);
        let mut marks = self.marks(post, &summary, &[&summary]);
        // The end of the text is to be predicted too.
        marks.push(Some(Mark::default()));
        (summary, String::new(), marks)
    }

    /// `None` when neither summary is better.
    fn pair(&self, post: &Post, rng: &mut StdRng) -> rlaif::Result<Option<Asked>> {
        let (a, b) = (world::mixed(post, rng), world::mixed(post, rng));
        let p_a = world::preference(&self.oracle.assess(post, &a), &self.oracle.assess(post, &b));
        if p_a == 0.5 {
            return Ok(None);
        }
        let answer = if p_a > 0.5 { "1" } else { "2" };
        let question = self.compare.question(&[&a, &b])?;
        let marks = self.marks(post, &question, &[&a, &b]);
        Ok(Some((question, answer.into(), marks)))
    }

    fn scored(&self, post: &Post, rng: &mut StdRng) -> rlaif::Result<Asked> {
        let summary = world::mixed(post, rng);
        let score = world::score(&self.oracle.assess(post, &summary));
        let question = self.score.question(&[&summary])?;
        let marks = self.marks(post, &question, &[&summary]);
        Ok((question, score.to_string(), marks))
    }

    /// The marks of `summaries` where they stand in the question.
    fn marks(&self, post: &Post, question: &str, summaries: &[&str]) -> Vec<Option<Mark>> {
        let words = world::tokens(question);
        let mut marks = vec![None; words.len()];
        let mut from = 0;
        for summary in summaries {
            let told = world::tokens(summary);
            let found = (from..).find(|&at| words[at..].starts_with(&told));
            let start = found.unwrap_or(from);
            for (slot, mark) in marks[start..]
                .iter_mut()
                .zip(self.oracle.marks(post, summary))
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
    /// Averages over the words of summaries, `[completions, len]`.
    pub(crate) words: Tensor<2>,
    /// Averages over the answers, `[completions, len]`.
    pub(crate) answers: Tensor<2>,
    /// 1.0 where a mark holds of the token before, `[completions * len, MARKS]`.
    pub(crate) marks: Tensor<2>,
    /// Averages over the tokens that have marks, `[completions * len, 1]`.
    pub(crate) marked: Tensor<2>,
}

impl Targets {
    pub(crate) fn new(lessons: &[Lesson], batch: &Batch) -> Self {
        let [n, len] = batch.targets.dims();
        let mut words = vec![0.0f32; n * len];
        let mut answers = vec![0.0f32; n * len];
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
                answers[row * len + kinds.len()] = 1.0;
            }
        }
        let device = batch.mask.device();
        let tensor = |values: Vec<f32>, shape: [usize; 2]| {
            Tensor::<2>::from_data(TensorData::new(values, shape), &device)
        };
        Self {
            words: tensor(averaging(words), [n, len]),
            answers: tensor(averaging(answers), [n, len]),
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
