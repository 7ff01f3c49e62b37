//! Completions of one prompt as pairs: a list of them in one row, or neighbouring rows.

use serde_json::Value;

use super::columns::{Fields, answer, prompt, take};
use super::{AnswerPair, Pairing};
use crate::record::{Answer, Context};

/// Names of a completion's text in a list of them, and of its score.
const TEXTS: [&str; 4] = ["response", "completion", "output", "text"];
const SCORES: [&str; 3] = ["overall_score", "score", "rating"];

/// Completions of one prompt in neighbouring rows.
#[derive(Debug)]
pub(super) struct Open {
    prompt_id: String,
    prompt: Context,
    completions: Vec<(Answer, Option<bool>)>,
}

/// The completions of a list with their scores.
pub(super) fn scored(list: Value) -> Result<Vec<(Answer, Option<f64>)>, String> {
    let Value::Array(items) = list else {
        return Err("`completions` is no list".into());
    };
    let completion = |item: Value| {
        let Value::Object(mut fields) = item else {
            return Ok((answer(item)?, None));
        };
        let Some(name) = TEXTS.iter().find(|name| fields.contains_key(**name)) else {
            return Err(format!("a completion has none of `{}`", TEXTS.join("`, `")));
        };
        let score = SCORES.iter().find_map(|name| fields.get(*name)?.as_f64());
        Ok((answer(take(&mut fields, name))?, score))
    };
    items.into_iter().map(completion).collect()
}

pub(super) fn paired(
    prompt_id: &str,
    prompt: &Context,
    completions: Vec<(Answer, Option<f64>)>,
    pairing: Pairing,
) -> Result<Vec<AnswerPair>, String> {
    let none = completions.iter().all(|(_, score)| score.is_none());
    let known = |(_, score): &(Answer, Option<f64>)| none || score.is_some();
    let mut left: Vec<_> = completions.into_iter().filter(known).collect();
    if left.len() < 2 {
        return Err(format!(
            "`completions` has {} to compare, expected two or more",
            left.len()
        ));
    }
    if none || pairing == Pairing::Neighbours {
        return Ok(left
            .chunks_exact(2)
            .map(|two| pair(prompt_id, prompt, &two[0], &two[1]))
            .collect());
    }
    // Stable: of equals, the first of the file is the better.
    left.sort_by(|a, b| b.1.unwrap_or(0.0).total_cmp(&a.1.unwrap_or(0.0)));
    let (best, others) = left.split_at(1);
    let others = match pairing {
        Pairing::BestOthers => others,
        _ => &others[others.len() - 1..],
    };
    Ok(others
        .iter()
        .map(|other| pair(prompt_id, prompt, &best[0], other))
        .collect())
}

fn pair(
    prompt_id: &str,
    prompt: &Context,
    (a, score_a): &(Answer, Option<f64>),
    (b, score_b): &(Answer, Option<f64>),
) -> AnswerPair {
    let better = |(a, b): (f64, f64)| match a.total_cmp(&b) {
        std::cmp::Ordering::Greater => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Less => 0.0,
    };
    AnswerPair {
        prompt_id: prompt_id.into(),
        prompt: prompt.clone(),
        a: a.clone(),
        b: b.clone(),
        p_gold: score_a.zip(*score_b).map(better),
        margin: score_a.zip(*score_b).map(|(a, b)| (a - b).abs() as f32),
    }
}

/// Adds a completion to those of its prompt, or closes them and begins anew.
pub(super) fn completion(
    prompt_id: String,
    mut fields: Fields,
    open: &mut Option<Open>,
    pairs: &mut Vec<AnswerPair>,
) -> Result<(), String> {
    let text = answer(take(&mut fields, "completion"))?;
    let label = match fields.get("label") {
        None | Some(Value::Null) => None,
        Some(Value::Bool(label)) => Some(*label),
        Some(other) => return Err(format!("`label` is {other}, expected true or false")),
    };
    let prompt = prompt(fields)?;
    if open.as_ref().is_none_or(|open| open.prompt != prompt) {
        pairs.extend(open.take().into_iter().flat_map(|open| open.pairs()));
        *open = Some(Open {
            prompt_id,
            prompt,
            completions: Vec::new(),
        });
    }
    if let Some(open) = open {
        open.completions.push((text, label));
    }
    Ok(())
}

impl Open {
    /// True against false in their order where there are labels, neighbours where there are none.
    pub(super) fn pairs(self) -> Vec<AnswerPair> {
        let score = |label: Option<bool>| label.map(|label| f64::from(u8::from(label)));
        let scored = self
            .completions
            .into_iter()
            .map(|(text, label)| (text, score(label)));
        let scored: Vec<_> = scored.collect();
        let (prompt_id, prompt) = (&self.prompt_id, &self.prompt);
        let found: Vec<_> = if scored.iter().all(|(_, score)| score.is_none()) {
            scored
                .chunks_exact(2)
                .map(|two| pair(prompt_id, prompt, &two[0], &two[1]))
                .collect()
        } else {
            let of = |label: f64| {
                scored
                    .iter()
                    .filter(move |(_, score)| *score == Some(label))
            };
            of(1.0)
                .zip(of(0.0))
                .map(|(a, b)| pair(prompt_id, prompt, a, b))
                .collect()
        };
        // A true and a false are no distance apart.
        found
            .into_iter()
            .map(|pair| AnswerPair {
                margin: None,
                ..pair
            })
            .collect()
    }
}
