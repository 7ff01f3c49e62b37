//! A labeler that asks a language model.

use super::asking::{Asking, Item, Posed};
use super::config::{AskConfig, RationaleConfig};
use super::prompt::{Choose, Prompt};
use super::{
    Answered, Answerer, Candidate, Choice, Judgement, Labeler, NoAnswer, Pair, Question, Reply,
    Request, Scored, Usage,
};
use crate::error::Result;
use crate::record::Method;

/// Judges by the answers of a language model, wherever it runs.
///
/// A pair is asked in both orders unless the configuration says otherwise; with rationales, each
/// question is asked after the model has written why. All that is asked about one prompt begins
/// with the same text.
pub struct PromptedLabeler<A> {
    pub(super) answerer: A,
    asking: Asking,
}

/// What came of one question: the probability of each answer, averaged over rationales.
struct Opinion {
    probabilities: Result<Vec<f32>, NoAnswer>,
    method: Method,
    rationales: Vec<String>,
    usage: Usage,
}

impl<A: Answerer> PromptedLabeler<A> {
    /// A labeler that asks `answerer`.
    pub fn new(answerer: A, asking: Asking) -> Self {
        Self { answerer, asking }
    }

    /// A labeler that asks `answerer` what is asked by default.
    ///
    /// # Errors
    /// As [`Asking::new`].
    pub fn over(answerer: A) -> Result<Self> {
        Ok(Self::new(answerer, Asking::new(&AskConfig::default(), 0)?))
    }

    /// What the model makes of each question.
    fn opinions(
        &mut self,
        posed: &[&Posed],
        answers: &[String],
        rationale: Option<&RationaleConfig>,
    ) -> Result<Vec<Opinion>> {
        let Some(rationale) = rationale else {
            let questions: Vec<Question> = posed.iter().map(|p| p.question.clone()).collect();
            let choices = self.answerer.choose(&questions, answers)?;
            let alone = |choice| opinion(vec![choice], Vec::new());
            return Ok(choices.into_iter().map(alone).collect());
        };
        let request = |posed: &&Posed| {
            let (question, seed) = (posed.request(), posed.seed);
            let seeds = (0..rationale.samples as u64).map(move |i| seed.wrapping_add(i));
            seeds.map(move |seed| Request {
                question: question.clone(),
                seed,
            })
        };
        let requests: Vec<Request> = posed.iter().flat_map(request).collect();
        let replies = self.answerer.write(&requests, &rationale.decoding)?;
        let written = replies.chunks(rationale.samples);
        let mut questions = Vec::with_capacity(replies.len());
        for (posed, replies) in posed.iter().zip(written.clone()) {
            let texts = replies.iter().filter_map(|reply| reply.value.as_ref().ok());
            questions.extend(texts.map(|reply| posed.after(&reply.text)));
        }
        let mut choices = self.answerer.choose(&questions, answers)?.into_iter();
        let mut opinions = Vec::with_capacity(posed.len());
        for replies in written {
            let answered = |reply: &Answered<Reply>| match &reply.value {
                Ok(_) => choices.next(),
                Err(why) => Some(Answered {
                    value: Err(why.clone()),
                    usage: Usage::default(),
                }),
            };
            let choices: Vec<Answered<Choice>> = replies.iter().filter_map(answered).collect();
            opinions.push(opinion(choices, replies.to_vec()));
        }
        Ok(opinions)
    }

    fn all_opinions(
        &mut self,
        items: &[Item],
        answers: &[String],
        rationale: Option<&RationaleConfig>,
    ) -> Result<Vec<Opinion>> {
        let posed: Vec<&Posed> = items.iter().flat_map(|item| &item.posed).collect();
        self.opinions(&posed, answers, rationale)
    }
}

impl<A: Answerer> Labeler for PromptedLabeler<A> {
    fn name(&self) -> &str {
        self.answerer.name()
    }

    fn batch_size(&self) -> usize {
        // A pair is two questions.
        self.answerer.batch_size() / 2
    }

    fn compare(&mut self, pairs: &[Pair]) -> Result<Vec<Judgement>> {
        let items = self.asking.pairs(pairs, &self.answerer)?;
        let answers = self.asking.compare.file.answers.clone();
        let rationale = self.asking.config.rationale.clone();
        let opinions = self.all_opinions(&items, &answers, rationale.as_ref())?;
        let mut opinions = opinions.into_iter();
        let judge = |item: &Item| {
            let opinions = opinions.by_ref().take(item.posed.len()).collect();
            judgement(item, opinions, &self.asking)
        };
        Ok(items.iter().map(judge).collect())
    }

    /// Expected value of the answers, mapped to `[-1, 1]`: of 1 to 10, `(s - 5.5) / 4.5`.
    fn score(&mut self, candidates: &[Candidate]) -> Result<Vec<Scored>> {
        let items = self.asking.candidates(candidates, &self.answerer)?;
        let answers = self.asking.score.file.answers.clone();
        let rationale = self.asking.config.score_rationale.clone();
        let opinions = self.all_opinions(&items, &answers, rationale.as_ref())?;
        let scored = items.iter().zip(opinions);
        let score = |(item, opinion)| scored_of(item, opinion, &self.asking.score);
        Ok(scored.map(score).collect())
    }
}

/// The mean over the answers that there are.
fn opinion(choices: Vec<Answered<Choice>>, replies: Vec<Answered<Reply>>) -> Opinion {
    let usage = replies.iter().map(|reply| reply.usage);
    let usage = usage.chain(choices.iter().map(|choice| choice.usage)).sum();
    let texts = replies.into_iter().filter_map(|reply| reply.value.ok());
    let rationales = texts.map(|reply| reply.text.trim().to_string()).collect();
    let (mut totals, mut n) = (Vec::new(), 0.0);
    let (mut method, mut missing) = (Method::LogProbs, None);
    for choice in choices {
        match choice.value {
            Ok(choice) => {
                totals.resize(choice.log_probs.len(), 0.0);
                for (total, log_prob) in totals.iter_mut().zip(&choice.log_probs) {
                    *total += log_prob.exp();
                }
                n += 1.0;
                // What was read from text once was not read from probabilities.
                if choice.method == Method::Text {
                    method = Method::Text;
                }
            }
            Err(why) => missing = missing.or(Some(why)),
        }
    }
    let mean: Vec<f32> = totals.iter().map(|total: &f32| total / n).collect();
    let nobody = || NoAnswer::Failed {
        message: "there is no answer".into(),
    };
    Opinion {
        probabilities: match n {
            0.0 => Err(missing.unwrap_or_else(nobody)),
            _ if mean.iter().any(|p| p.is_nan()) => Err(NoAnswer::NotFinite),
            _ => Ok(mean),
        },
        method,
        rationales,
        usage,
    }
}

fn judgement(item: &Item, opinions: Vec<Opinion>, asking: &Asking) -> Judgement {
    let mut found = Judgement {
        p_a_first: None,
        p_a_second: None,
        no_verdict: None,
        method: Method::LogProbs,
        truncated: item.truncated,
        rationales: Vec::new(),
        usage: Usage::default(),
    };
    let inverted = asking.compare.file.choose == Choose::Worse;
    for (opinion, &a_first) in opinions.into_iter().zip(&item.a_first) {
        match opinion.probabilities {
            Ok(probabilities) => {
                // The answer that says that `a` is better.
                let answer = usize::from(a_first == inverted);
                let mut p = probabilities[answer];
                if let Some([low, high]) = asking.config.clamp {
                    p = p.clamp(low, high);
                }
                match a_first {
                    true => found.p_a_first = Some(p),
                    false => found.p_a_second = Some(p),
                }
            }
            Err(why) => found.no_verdict = found.no_verdict.or(Some(why)),
        }
        if opinion.method == Method::Text {
            found.method = Method::Text;
        }
        found.rationales.extend(opinion.rationales);
        found.usage += opinion.usage;
    }
    found
}

fn scored_of(item: &Item, opinion: Opinion, prompt: &Prompt) -> Scored {
    let expected = |probabilities: Vec<f32>| expected(&probabilities, &prompt.file.values);
    Scored {
        score: opinion.probabilities.map(expected),
        method: opinion.method,
        truncated: item.truncated,
        rationales: opinion.rationales,
        usage: opinion.usage,
    }
}

/// `sum_i v_i p_i`, mapped so that the lowest value is -1 and the highest 1.
fn expected(probabilities: &[f32], values: &[f32]) -> f32 {
    let low = values.iter().copied().fold(f32::INFINITY, f32::min);
    let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let score: f32 = values.iter().zip(probabilities).map(|(v, p)| v * p).sum();
    (score - (low + high) / 2.0) / ((high - low) / 2.0)
}

#[cfg(test)]
mod tests;
