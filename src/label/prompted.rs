//! A labeler that asks a language model.

use super::prompt::{
    COMPARE_ANSWERS, SCORE_ANSWERS, compare_prefix, compare_question, score_prefix, score_question,
};
use super::{
    Answered, Answerer, Candidate, Choice, Judgement, Labeler, NoAnswer, Pair, Scored, Usage,
};
use crate::error::Result;
use crate::record::Method;

/// Judges by the answers of a language model, wherever it runs.
///
/// A pair is asked in both orders. All that is asked about one prompt begins with the same text.
pub struct PromptedLabeler<A> {
    answerer: A,
    compare_answers: Vec<String>,
    score_answers: Vec<String>,
}

impl<A: Answerer> PromptedLabeler<A> {
    /// A labeler that asks `answerer`.
    pub fn over(answerer: A) -> Self {
        Self {
            answerer,
            compare_answers: COMPARE_ANSWERS.map(String::from).into(),
            score_answers: SCORE_ANSWERS.map(String::from).into(),
        }
    }
}

impl<A: Answerer> Labeler for PromptedLabeler<A> {
    fn name(&self) -> &str {
        self.answerer.name()
    }

    fn compare(&mut self, pairs: &[Pair]) -> Result<Vec<Judgement>> {
        let mut questions = Vec::with_capacity(2 * pairs.len());
        for group in pairs.chunk_by(|a, b| a.prompt == b.prompt) {
            let prefix = compare_prefix(&group[0].prompt.transcript()).into();
            let orders = group
                .iter()
                .flat_map(|pair| [(pair.a, pair.b), (pair.b, pair.a)]);
            let question = |(first, second)| compare_question(&prefix, first, second);
            questions.extend(orders.map(question));
        }
        let choices = self.answerer.choose(&questions, &self.compare_answers)?;
        Ok(choices.chunks_exact(2).map(judgement).collect())
    }

    /// Expected score `s` of 1 to 10 under the answer probabilities, mapped to `(s - 5.5) / 4.5`.
    fn score(&mut self, candidates: &[Candidate]) -> Result<Vec<Scored>> {
        let mut questions = Vec::with_capacity(candidates.len());
        for group in candidates.chunk_by(|a, b| a.prompt == b.prompt) {
            let prefix = score_prefix(&group[0].prompt.transcript()).into();
            let question = |row: &Candidate| score_question(&prefix, row.completion);
            questions.extend(group.iter().map(question));
        }
        let choices = self.answerer.choose(&questions, &self.score_answers)?;
        Ok(choices.into_iter().map(scored).collect())
    }
}

/// The verdict of two orders, the first with `a` first.
fn judgement(orders: &[Answered<Choice>]) -> Judgement {
    let p = |order: usize, answer: usize| {
        let choice = orders[order].value.as_ref().ok()?;
        Some(choice.log_probs[answer].exp())
    };
    Judgement {
        p_a_first: p(0, 0),
        p_a_second: p(1, 1),
        no_verdict: orders.iter().find_map(|order| order.value.clone().err()),
        method: method(orders.iter().filter_map(|order| order.value.as_ref().ok())),
        rationales: Vec::new(),
        usage: orders.iter().map(|order| order.usage).sum::<Usage>(),
    }
}

/// The weaker of the methods: what was read from text once was not read from probabilities.
fn method<'a>(mut choices: impl Iterator<Item = &'a Choice>) -> Method {
    match choices.find(|choice| choice.method == Method::Text) {
        Some(_) => Method::Text,
        None => Method::LogProbs,
    }
}

fn scored(answer: Answered<Choice>) -> Scored {
    let score = |choice: &Choice| expected_score(&choice.log_probs);
    Scored {
        score: answer.value.as_ref().map(score).map_err(NoAnswer::clone),
        method: method(answer.value.iter()),
        rationales: Vec::new(),
        usage: answer.usage,
    }
}

fn expected_score(log_probs: &[f32]) -> f32 {
    let score: f32 = (1..)
        .zip(log_probs)
        .map(|(score, p)| score as f32 * p.exp())
        .sum();
    (score - 5.5) / 4.5
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::{Decoding, Question, Reply, Request};
    use crate::record::Context;

    /// Says what it is told, question by question, and remembers what it was asked.
    struct Scripted {
        choices: Vec<Result<Vec<f32>, NoAnswer>>,
        asked: Vec<String>,
    }

    impl Answerer for Scripted {
        fn name(&self) -> &str {
            "scripted"
        }

        fn choose(
            &mut self,
            questions: &[Question],
            _: &[String],
        ) -> Result<Vec<Answered<Choice>>> {
            self.asked.extend(questions.iter().map(Question::full));
            let choice = |probs: Vec<f32>| Choice {
                log_probs: probs.into_iter().map(f32::ln).collect(),
                method: Method::LogProbs,
            };
            let answer = |value: Result<Vec<f32>, NoAnswer>| Answered {
                value: value.map(choice),
                usage: Usage {
                    requests: 1,
                    ..Usage::default()
                },
            };
            Ok(self.choices.drain(..questions.len()).map(answer).collect())
        }

        fn write(&mut self, _: &[Request], _: &Decoding) -> Result<Vec<Answered<Reply>>> {
            Ok(Vec::new())
        }
    }

    fn pair<'a>(prompt: &'a Context, a: &'a str, b: &'a str) -> Pair<'a> {
        Pair {
            prompt_id: "1",
            prompt,
            a,
            b,
        }
    }

    #[test]
    fn a_pair_is_asked_in_both_orders() {
        let choices = vec![Ok(vec![0.8, 0.2]), Ok(vec![0.3, 0.7])];
        let asked = Vec::new();
        let mut labeler = PromptedLabeler::over(Scripted { choices, asked });
        let found = &labeler.compare(&[pair(&"text".into(), "x", "y")]).unwrap()[0];
        // "1" with a first and "2" with b first both say a: (0.8 + 0.7) / 2.
        assert!((found.p_a().unwrap() - 0.75).abs() < 1e-6);
        assert_eq!((found.usage.requests, found.method), (2, Method::LogProbs));
        let asked = &labeler.answerer.asked;
        assert!(
            asked[0].contains("Summary 1 - x\nSummary 2 - y"),
            "{asked:?}"
        );
        assert!(
            asked[1].contains("Summary 1 - y\nSummary 2 - x"),
            "{asked:?}"
        );
        assert!(asked[0].ends_with("Preferred Summary="), "{asked:?}");
    }

    #[test]
    fn a_missing_answer_takes_its_pair_alone() {
        let text = "I cannot say".to_string();
        let choices = vec![
            Ok(vec![0.8, 0.2]),
            Err(NoAnswer::Unreadable { text }),
            Ok(vec![0.5, 0.5]),
            Ok(vec![0.5, 0.5]),
        ];
        let asked = Vec::new();
        let mut labeler = PromptedLabeler::over(Scripted { choices, asked });
        let text = "text".into();
        let pairs = [pair(&text, "x", "y"), pair(&text, "v", "w")];
        let found = labeler.compare(&pairs).unwrap();
        let kind = found[0].no_verdict.as_ref().map(NoAnswer::kind);
        assert_eq!((found[0].p_a(), kind), (None, Some("unreadable")));
        assert_eq!(found[1].p_a(), Some(0.5));
    }

    /// All on 10 is 1, all on 1 is -1, uniform is 0, half on 8 and half on 9 is (8.5 - 5.5) / 4.5.
    #[test]
    fn scores_map_to_minus_one_to_one() {
        let never = f32::NEG_INFINITY;
        let mut top = [never; 10];
        top[9] = 0.0;
        let mut bottom = [never; 10];
        bottom[0] = 0.0;
        let mut mixed = [never; 10];
        (mixed[7], mixed[8]) = (0.5f32.ln(), 0.5f32.ln());
        let cases = [
            (top, 1.0),
            (bottom, -1.0),
            ([0.1f32.ln(); 10], 0.0),
            (mixed, 2.0 / 3.0),
        ];
        for (log_probs, expected) in cases {
            assert!((expected_score(&log_probs) - expected).abs() < 1e-6);
        }
    }
}
