//! What a judgement makes of a pair.

use super::{Judgement, NoAnswer};
use crate::record::{AnswerPair, Method, Preference, Unlabeled};

/// The preference between two answers, or the pair with the reason why there is none.
pub(super) fn verdict(
    pair: AnswerPair,
    judged: Judgement,
    labeler: &str,
) -> Result<Preference, Box<Unlabeled>> {
    match judged.p_a() {
        Some(p_a) => Ok(preference(pair, p_a, judged, labeler)),
        None => Err(Box::new(unlabeled(pair, judged, labeler))),
    }
}

/// A pair without a preference, and why.
fn unlabeled(pair: AnswerPair, judged: Judgement, labeler: &str) -> Unlabeled {
    let unasked = || NoAnswer::Failed {
        message: "no order was asked".into(),
    };
    let why = judged.no_verdict.unwrap_or_else(unasked);
    Unlabeled {
        prompt_id: pair.prompt_id,
        prompt: pair.prompt,
        a: pair.a.text,
        b: pair.b.text,
        labeler: labeler.to_string(),
        kind: why.kind().to_string(),
        reason: why.to_string(),
        rationales: judged.rationales,
    }
}

/// The preference between two answers, of which `a` is better with probability `p_a`.
fn preference(pair: AnswerPair, p_a: f32, judged: Judgement, labeler: &str) -> Preference {
    let (first, second) = (judged.p_a_first, judged.p_a_second);
    let not = |p: f32| 1.0 - p;
    let (chosen, rejected, p_chosen, p_first, p_second) = if p_a >= 0.5 {
        (pair.a, pair.b, p_a, first, second)
    } else {
        // What is shown first when `a` is second is `b`.
        (pair.b, pair.a, not(p_a), second.map(not), first.map(not))
    };
    let probability = |p: f32| p.clamp(0.0, 1.0);
    Preference {
        prompt_id: pair.prompt_id,
        prompt: pair.prompt,
        chosen,
        rejected,
        p_chosen: probability(p_chosen),
        p_first: p_first.map(probability),
        p_second: p_second.map(probability),
        margin: None,
        labeler: Some(labeler.to_string()),
        method: Some(judged.method).filter(|&method| method == Method::Text),
        rationales: judged.rationales,
    }
}
