//! Several labelers as one.

use serde::{Deserialize, Serialize};

use super::{Candidate, Judgement, Labeler, NoAnswer, Pair, Scored, Usage};
use crate::error::Result;
use crate::record::Method;

/// How several verdicts become one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Combine {
    /// The weighted mean of the probabilities.
    #[default]
    Mean,
    /// The weighted share of the labelers that prefer a completion, ties counting half. Scores are
    /// averaged as under `mean`.
    Vote,
}

/// Asks several labelers and averages what they say, or lets them vote. A labeler without verdict
/// on a pair does not count there.
pub struct Ensemble {
    name: String,
    members: Vec<(Box<dyn Labeler>, f32)>,
    combine: Combine,
}

impl Ensemble {
    /// An ensemble of labelers and their weights.
    pub fn new(members: Vec<(Box<dyn Labeler>, f32)>, combine: Combine) -> Self {
        let names: Vec<&str> = members.iter().map(|(member, _)| member.name()).collect();
        Self {
            name: names.join("+"),
            members,
            combine,
        }
    }

    fn weights(&self) -> Vec<f32> {
        self.members.iter().map(|(_, weight)| *weight).collect()
    }
}

impl Labeler for Ensemble {
    fn name(&self) -> &str {
        &self.name
    }

    fn batch_size(&self) -> usize {
        let sizes = self.members.iter().map(|(member, _)| member.batch_size());
        sizes.max().unwrap_or(1)
    }

    fn compare(&mut self, pairs: &[Pair]) -> Result<Vec<Judgement>> {
        let asked = self.members.iter_mut();
        let said = asked.map(|(member, _)| member.compare(pairs));
        let said = said.collect::<Result<Vec<_>>>()?;
        let weights = self.weights();
        Ok(transpose(said)
            .into_iter()
            .map(|verdicts| together(verdicts, &weights, self.combine))
            .collect())
    }

    fn score(&mut self, candidates: &[Candidate]) -> Result<Vec<Scored>> {
        let asked = self.members.iter_mut();
        let said = asked.map(|(member, _)| member.score(candidates));
        let said = said.collect::<Result<Vec<_>>>()?;
        let weights = self.weights();
        Ok(transpose(said)
            .into_iter()
            .map(|scores| mean_score(scores, &weights))
            .collect())
    }
}

/// Of each member's answers, in order, those of each item.
fn transpose<T>(said: Vec<Vec<T>>) -> Vec<Vec<T>> {
    let mut items: Vec<Vec<T>> = Vec::new();
    for answers in said {
        items.resize_with(answers.len().max(items.len()), Vec::new);
        for (item, answer) in items.iter_mut().zip(answers) {
            item.push(answer);
        }
    }
    items
}

fn together(verdicts: Vec<Judgement>, weights: &[f32], combine: Combine) -> Judgement {
    let vote = |p: f32| match combine {
        Combine::Mean => p,
        Combine::Vote => match p.total_cmp(&0.5) {
            std::cmp::Ordering::Less => 0.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Greater => 1.0,
        },
    };
    let heard = || verdicts.iter().zip(weights);
    let heard = || heard().filter(|(verdict, _)| verdict.no_verdict.is_none());
    let mean = |order: fn(&Judgement) -> Option<f32>| {
        let votes = heard().filter_map(|(verdict, &w)| Some((vote(order(verdict)?), w)));
        weighted_mean(votes)
    };
    let (p_a_first, p_a_second) = (mean(|v| v.p_a_first), mean(|v| v.p_a_second));
    let silent = heard().next().is_none();
    let why = || {
        verdicts
            .iter()
            .find_map(|verdict| verdict.no_verdict.clone())
    };
    Judgement {
        p_a_first,
        p_a_second,
        no_verdict: if silent { why() } else { None },
        method: weakest(heard().map(|(verdict, _)| verdict.method)),
        truncated: heard().any(|(verdict, _)| verdict.truncated),
        usage: verdicts.iter().map(|verdict| verdict.usage).sum::<Usage>(),
        rationales: verdicts.into_iter().flat_map(|v| v.rationales).collect(),
    }
}

fn mean_score(scores: Vec<Scored>, weights: &[f32]) -> Scored {
    let known = || scores.iter().zip(weights);
    let votes = known().filter_map(|(scored, &w)| Some((*scored.score.as_ref().ok()?, w)));
    let unknown = || {
        let why = scores.iter().find_map(|scored| scored.score.as_ref().err());
        why.cloned().unwrap_or(NoAnswer::Failed {
            message: "nobody was asked".into(),
        })
    };
    Scored {
        score: weighted_mean(votes).ok_or_else(unknown),
        method: weakest(scores.iter().map(|scored| scored.method)),
        truncated: scores.iter().any(|scored| scored.truncated),
        usage: scores.iter().map(|scored| scored.usage).sum::<Usage>(),
        rationales: scores.into_iter().flat_map(|s| s.rationales).collect(),
    }
}

/// `None` without values.
fn weighted_mean(values: impl Iterator<Item = (f32, f32)>) -> Option<f32> {
    let (mut total, mut weight) = (0.0, 0.0);
    for (value, w) in values {
        total += value * w;
        weight += w;
    }
    (weight > 0.0).then(|| total / weight)
}

/// Text is weaker than probabilities; truth is what nobody had to be asked for.
fn weakest(methods: impl Iterator<Item = Method>) -> Method {
    let rank = |method: &Method| match method {
        Method::Truth => 0,
        Method::LogProbs => 1,
        Method::Text => 2,
    };
    methods.max_by_key(rank).unwrap_or(Method::LogProbs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(p_a_first: f32, p_a_second: f32) -> Judgement {
        Judgement::of_both(p_a_first, p_a_second, Method::LogProbs)
    }

    /// Weights 1 and 3. First order: (0.9 + 3 * 0.5) / 4 = 0.6; second: (0.3 + 3 * 0.7) / 4 = 0.6.
    /// Votes: first order (1 + 3 * 0.5) / 4 = 0.625, second (0 + 3) / 4 = 0.75.
    #[test]
    fn verdicts_are_averaged_or_counted() {
        let verdicts = || vec![judged(0.9, 0.3), judged(0.5, 0.7)];
        let check = |combine, first: f32, second: f32| {
            let found = together(verdicts(), &[1.0, 3.0], combine);
            assert!((found.p_a_first.unwrap() - first).abs() < 1e-6, "{found:?}");
            assert!(
                (found.p_a_second.unwrap() - second).abs() < 1e-6,
                "{found:?}"
            );
        };
        check(Combine::Mean, 0.6, 0.6);
        check(Combine::Vote, 0.625, 0.75);
    }

    #[test]
    fn who_has_no_verdict_does_not_count() {
        let silent = || Judgement {
            no_verdict: Some(NoAnswer::TooLong { found: 9, limit: 8 }),
            ..judged(0.1, 0.1)
        };
        let found = together(vec![silent(), judged(0.9, 0.7)], &[5.0, 1.0], Combine::Mean);
        assert_eq!((found.p_a_first, found.p_a_second), (Some(0.9), Some(0.7)));
        assert_eq!(found.no_verdict, None);
        let nobody = together(vec![silent(), silent()], &[1.0, 1.0], Combine::Vote);
        assert_eq!((nobody.p_a(), nobody.no_verdict.is_some()), (None, true));
    }

    #[test]
    fn scores_are_averaged_by_weight() {
        let scored = |score| Scored::of(score, Method::LogProbs);
        let missing = Scored {
            score: Err(NoAnswer::TooLong { found: 9, limit: 8 }),
            ..scored(0.0)
        };
        let found = mean_score(vec![scored(0.5), missing, scored(-1.0)], &[2.0, 7.0, 1.0]);
        assert_eq!(found.score, Ok(0.0));
    }
}
