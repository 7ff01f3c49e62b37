//! What is made of the answers.

use super::*;
use crate::label::Decoding;
use crate::label::config::Orders;
use crate::label::tests::{Scripted, asked, labeler, pair};

#[test]
fn a_pair_is_asked_in_both_orders() {
    let mut answers = [vec![0.8, 0.2], vec![0.3, 0.7]].into_iter();
    let mut labeler = labeler(&AskConfig::default(), |_| Ok(answers.next().unwrap()));
    let found = &labeler.compare(&[pair(&"text".into(), "x", "y")]).unwrap()[0];
    // "1" with a first and "2" with b first both say a: (0.8 + 0.7) / 2.
    assert!((found.p_a().unwrap() - 0.75).abs() < 1e-6);
    assert_eq!((found.usage.requests, found.method), (2, Method::LogProbs));
    let asked = &labeler.answerer.asked;
    let expected = "You are an expert summary rater. Given a text and two of its summaries, output 1 \
        or 2 to say which summary is better.\n\nText - text\nSummary 1 - x\nSummary 2 - y\n\n\
        Preferred Summary=";
    assert_eq!(asked[0], expected);
    assert!(
        asked[1].contains("Summary 1 - y\nSummary 2 - x"),
        "{asked:?}"
    );
}

#[test]
fn a_single_order_is_the_given_one_or_chance() {
    let given = AskConfig {
        orders: Orders::Given,
        ..AskConfig::default()
    };
    let (texts, verdict) = asked(&given);
    assert_eq!((texts.len(), verdict.p_a_second), (1, None));
    assert!((verdict.p_a().unwrap() - 0.8).abs() < 1e-6);
    let random = AskConfig {
        orders: Orders::Random,
        ..AskConfig::default()
    };
    let mut labeler = labeler(&random, |_| Ok(vec![0.8, 0.2]));
    let mut n_first = 0;
    for i in 0..200 {
        let text = format!("{i}").into();
        let (there, back) = (pair(&text, "x", "y"), pair(&text, "y", "x"));
        let id = i.to_string();
        let pairs = [there, back].map(|pair| Pair {
            prompt_id: &id,
            ..pair
        });
        let found = labeler.compare(&pairs).unwrap();
        n_first += usize::from(found[0].p_a_first.is_some());
        // A pair turned round is asked the same question.
        assert!((found[0].p_a().unwrap() + found[1].p_a().unwrap() - 1.0).abs() < 1e-6);
    }
    assert!((70..130).contains(&n_first), "{n_first} of 200");
}

#[test]
fn a_missing_answer_takes_its_pair_alone() {
    let text = || "I cannot say".to_string();
    let script = |asked: &str| match asked.contains("Summary 1 - y") {
        true => Err(NoAnswer::Unreadable { text: text() }),
        false => Ok(vec![0.5, 0.5]),
    };
    let mut labeler = labeler(&AskConfig::default(), script);
    let text = "text".into();
    let pairs = [pair(&text, "x", "y"), pair(&text, "v", "w")];
    let found = labeler.compare(&pairs).unwrap();
    let kind = found[0].no_verdict.as_ref().map(NoAnswer::kind);
    assert_eq!((found[0].p_a(), kind), (None, Some("unreadable")));
    assert_eq!(found[1].p_a(), Some(0.5));
}

/// The model says "1" with 0.8 to "which is more harmful": with a first, a is better with 0.2; with
/// b first, with 0.8.
#[test]
fn a_prompt_that_asks_for_the_worse_one_is_turned_round() {
    let config = AskConfig {
        prompt: "harmless-base".into(),
        ..AskConfig::default()
    };
    let (_, verdict) = asked(&config);
    assert!(
        (verdict.p_a_first.unwrap() - 0.2).abs() < 1e-6,
        "{verdict:?}"
    );
    assert!(
        (verdict.p_a_second.unwrap() - 0.8).abs() < 1e-6,
        "{verdict:?}"
    );
}

#[test]
fn rationales_are_written_first_and_their_probabilities_averaged() {
    let config = AskConfig {
        prompt: "summary-base".into(),
        rationale: Some(RationaleConfig {
            samples: 2,
            decoding: Decoding {
                temperature: 0.7,
                ..Decoding::default()
            },
        }),
        clamp: Some([0.4, 0.6]),
        ..AskConfig::default()
    };
    // Order 1 has thoughts 0 and 1, order 2 has 2 and 3: (0.9 + 0.2) / 2 = 0.55 for the first
    // answer, then (0.1 + 0.1) / 2 = 0.1, that is 0.9 for a, clamped to 0.6.
    let script = |asked: &str| {
        let p = match asked {
            _ if asked.contains("thought 0") => 0.9,
            _ if asked.contains("thought 1") => 0.2,
            _ => 0.1,
        };
        Ok(vec![p, 1.0 - p])
    };
    let mut labeler = labeler(&config, script);
    let found = &labeler.compare(&[pair(&"text".into(), "x", "y")]).unwrap()[0];
    assert!((found.p_a_first.unwrap() - 0.55).abs() < 1e-6, "{found:?}");
    assert_eq!(found.p_a_second, Some(0.6));
    assert_eq!(
        found.rationales,
        ["thought 0", "thought 1", "thought 2", "thought 3"]
    );
    assert_eq!(
        (found.usage.requests, found.usage.completion_tokens),
        (4, 8)
    );
    let Scripted { asked, written, .. } = &labeler.answerer;
    let seeds: Vec<u64> = written.iter().map(|request| request.seed).collect();
    assert!(
        (0..4).all(|i| (0..i).all(|j| seeds[i] != seeds[j])),
        "{seeds:?}"
    );
    let request = written[0].question.full();
    assert!(
        request.ends_with("explain which one is better.\nRationale:"),
        "{request}"
    );
    assert!(asked[0].starts_with(&request), "{}", asked[0]);
    assert!(
        asked[0].ends_with("Rationale: thought 0\n\nPreferred Summary="),
        "{}",
        asked[0]
    );
    assert!(
        request.contains("Explain which of the two"),
        "the preamble asks to explain: {request}"
    );
}

/// Of 1 to 10: all on 10 is 1, all on 1 is -1, uniform is 0, half on 8 and half on 9 is
/// (8.5 - 5.5) / 4.5. Of yes and no, 0.75 on yes is 2 * 0.75 - 1.
#[test]
fn scores_map_to_minus_one_to_one() {
    let ten: Vec<f32> = (1..=10).map(|v| v as f32).collect();
    let on = |at: &[usize]| -> Vec<f32> {
        let share = 1.0 / at.len() as f32;
        let p = |i| if at.contains(&i) { share } else { 0.0 };
        (1..=10).map(p).collect()
    };
    let all: Vec<usize> = (1..=10).collect();
    let cases = [
        (on(&[10]), 1.0),
        (on(&[1]), -1.0),
        (on(&all), 0.0),
        (on(&[8, 9]), 2.0 / 3.0),
    ];
    for (probabilities, score) in cases {
        assert!((expected(&probabilities, &ten) - score).abs() < 1e-6);
    }
    assert_eq!(expected(&[0.75, 0.25], &[1.0, 0.0]), 0.5);
}

#[test]
fn a_verifier_scores_after_its_rationale() {
    let config = AskConfig {
        score_prompt: "yes-no".into(),
        score_rationale: Some(RationaleConfig::default()),
        ..AskConfig::default()
    };
    let mut labeler = labeler(&config, |_| Ok(vec![0.75, 0.25]));
    let prompt = "2 + 2".into();
    let candidate = Candidate {
        prompt_id: "1",
        prompt: &prompt,
        completion: "4",
    };
    let found = &labeler.score(&[candidate]).unwrap()[0];
    assert!((found.score.clone().unwrap() - 0.5).abs() < 1e-6);
    assert_eq!(found.rationales, ["thought 0"]);
    let asked = &labeler.answerer.asked[0];
    assert!(
        asked.contains("Answer: 4") && asked.contains("Verification: thought 0"),
        "{asked}"
    );
}
