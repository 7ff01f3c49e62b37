//! An answerer that follows a script, for tests.

use super::{
    Answered, Answerer, AskConfig, Asking, Choice, Decoding, Judgement, Labeler, NoAnswer, Pair,
    PromptedLabeler, Question, Reply, Request, Usage,
};
use crate::error::Result;
use crate::record::{Context, Method};

/// Says what the script says, and remembers what it was asked.
pub(super) struct Scripted<F> {
    /// Probabilities of the answers after a text.
    pub(super) choose: F,
    pub(super) asked: Vec<String>,
    pub(super) written: Vec<Request>,
    /// A token is a character.
    pub(super) max_len: Option<usize>,
}

impl<F: FnMut(&str) -> Result<Vec<f32>, NoAnswer>> Answerer for Scripted<F> {
    fn name(&self) -> &str {
        "scripted"
    }

    fn choose(&mut self, questions: &[Question], _: &[String]) -> Result<Vec<Answered<Choice>>> {
        let mut answer = |question: &Question| {
            self.asked.push(question.full());
            let probs = (self.choose)(&question.full());
            Answered {
                value: probs.map(|probs| Choice {
                    log_probs: probs.into_iter().map(f32::ln).collect(),
                    method: Method::LogProbs,
                }),
                usage: Usage {
                    requests: 1,
                    ..Usage::default()
                },
            }
        };
        Ok(questions.iter().map(&mut answer).collect())
    }

    fn write(&mut self, requests: &[Request], _: &Decoding) -> Result<Vec<Answered<Reply>>> {
        let reply = |i: usize| Answered {
            value: Ok(Reply {
                text: format!(" thought {i} "),
                finished: true,
            }),
            usage: Usage {
                completion_tokens: 2,
                ..Usage::default()
            },
        };
        let before = self.written.len();
        self.written.extend_from_slice(requests);
        Ok((before..self.written.len()).map(reply).collect())
    }

    fn max_len(&self) -> Option<usize> {
        self.max_len
    }

    fn count_tokens(&self, question: &Question) -> Result<Option<usize>> {
        Ok(Some(question.full().chars().count()))
    }
}

pub(super) fn labeler<F: FnMut(&str) -> Result<Vec<f32>, NoAnswer>>(
    config: &AskConfig,
    choose: F,
) -> PromptedLabeler<Scripted<F>> {
    let answerer = Scripted {
        choose,
        asked: Vec::new(),
        written: Vec::new(),
        max_len: None,
    };
    PromptedLabeler::new(answerer, Asking::new(config, 1).unwrap())
}

pub(super) fn pair<'a>(prompt: &'a Context, a: &'a str, b: &'a str) -> Pair<'a> {
    Pair {
        prompt_id: "1",
        prompt,
        a,
        b,
    }
}

/// What is asked about the pair x, y under `config`, and the verdict of a model that always says
/// the first answer with 0.8.
pub(super) fn asked(config: &AskConfig) -> (Vec<String>, Judgement) {
    let mut labeler = labeler(config, |_| Ok(vec![0.8, 0.2]));
    let verdict = labeler.compare(&[pair(&"text".into(), "x", "y")]).unwrap();
    (labeler.answerer.asked, verdict[0].clone())
}
