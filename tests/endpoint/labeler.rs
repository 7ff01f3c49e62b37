//! Through the library: pairs and scores.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rand::SeedableRng;
use rand::rngs::StdRng;
use rlaif::label::endpoint::{EndpointAnswerer, EndpointConfig};
use rlaif::label::{Candidate, Labeler, NoAnswer, Pair, PromptedLabeler};
use rlaif::record::{Completion, Context, Method};
use rlaif::reward::{DirectReward, Reward};
use rlaif::run::AnswerLog;

use crate::mock::{Mock, Reaction, Seen, chat, completion, text, verdict};

fn labeler(folder: &Path, mocks: &[&Mock], more: &str) -> PromptedLabeler<EndpointAnswerer> {
    let endpoint = |mock: &&Mock| format!("{{ base_url = '{}', concurrency = 4 }}", mock.base_url);
    let endpoints: Vec<String> = mocks.iter().map(endpoint).collect();
    let text = format!(
        "model = 'judge'\nendpoints = [{}]\ntimeout_secs = 0.5\n{more}",
        endpoints.join(", ")
    );
    let config: EndpointConfig = toml::from_str(&text).unwrap();
    config.validate("labeler").unwrap();
    let log = AnswerLog::open(folder.join("answers.jsonl")).unwrap();
    let rng = StdRng::seed_from_u64(3);
    PromptedLabeler::over(EndpointAnswerer::new(&config, log, rng).unwrap()).unwrap()
}

/// A prompt with two completions whose qualities are in their texts.
struct Row {
    prompt: Context,
    a: String,
    b: String,
}

fn rows(n: usize) -> Vec<Row> {
    let row = |i: usize| {
        let (a, b) = (1 + i % 9, 1 + (7 * i + 3) % 9);
        Row {
            prompt: format!("post {i}").into(),
            a: format!("quality {a}, first of {i}"),
            b: format!("quality {b}, second of {i}"),
        }
    };
    (0..n).map(row).collect()
}

fn pair(row: &Row) -> Pair<'_> {
    Pair {
        prompt_id: "1",
        prompt: &row.prompt,
        a: &row.a,
        b: &row.b,
    }
}

fn pairs(rows: &[Row]) -> Vec<Pair<'_>> {
    rows.iter().map(pair).collect()
}

/// Both orders of pair `i` say `a / (a + b)` of the qualities `a` and `b`.
#[track_caller]
fn check_all(labeler: &mut dyn Labeler, n: usize) {
    let rows = rows(n);
    let judged = labeler.compare(&pairs(&rows)).unwrap();
    assert_eq!(judged.len(), n);
    for (i, judged) in judged.iter().enumerate() {
        let (a, b) = ((1 + i % 9) as f32, (1 + (7 * i + 3) % 9) as f32);
        for p in [judged.p_a_first, judged.p_a_second] {
            let p = p.unwrap();
            assert!((p - a / (a + b)).abs() < 1e-5, "pair {i}: {p}");
        }
        assert_eq!(judged.method, Method::LogProbs);
    }
}

/// Answers as it should, except that the first attempt at a question fails in one of six ways or
/// not at all. Counts the answers to each question.
fn failing(answered: &Arc<Mutex<BTreeMap<String, usize>>>) -> Mock {
    let answered = Arc::clone(answered);
    Mock::start(move |seen: &Seen| {
        let fails = if seen.attempt == 0 { seen.n % 7 } else { 6 };
        match fails {
            0 => Reaction::Status(429, "Retry-After: 0\r\n", "slow down".into()),
            1 => {
                let past = "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
                Reaction::Status(503, past, "busy".into())
            }
            2 => Reaction::Status(500, "", "oh".into()),
            3 => Reaction::Body("{\"choices\": [".into()),
            4 => Reaction::Cut,
            5 => Reaction::Silence,
            _ => {
                *answered
                    .lock()
                    .unwrap()
                    .entry(seen.prompt.clone())
                    .or_default() += 1;
                Reaction::Body(chat(&verdict(&seen.prompt)))
            }
        }
    })
}

#[test]
fn every_pair_is_labelled_once_and_in_order_whatever_fails() {
    let folder = tempfile::tempdir().unwrap();
    let answered = Arc::default();
    let mocks = [failing(&answered), failing(&answered)];
    let mut labeler = labeler(folder.path(), &[&mocks[0], &mocks[1]], "");
    check_all(&mut labeler, 40);
    {
        let answered = answered.lock().unwrap();
        assert_eq!(answered.len(), 80, "every order of every pair");
        assert!(answered.values().all(|&n| n == 1), "{answered:?}");
    }
    assert!(mocks.iter().all(|mock| mock.seen().len() > 4), "both work");
    // Everything is in the file now: the same pairs, and six new ones.
    let before: usize = mocks.iter().map(|mock| mock.seen().len()).sum();
    check_all(&mut labeler, 46);
    assert_eq!(answered.lock().unwrap().len(), 92);
    let more = mocks.iter().map(|mock| mock.seen().len()).sum::<usize>() - before;
    assert!((12..=36).contains(&more), "{more}");
}

#[test]
fn a_file_of_answers_serves_other_labelers() {
    let folder = tempfile::tempdir().unwrap();
    let mock = Mock::start(|seen| Reaction::Body(chat(&verdict(&seen.prompt))));
    check_all(&mut labeler(folder.path(), &[&mock], ""), 5);
    assert_eq!(mock.seen().len(), 10);
    assert_eq!(mock.seen()[0].path, "/v1/chat/completions");
    let rows = rows(5);
    // Read in another way, it is still the same question.
    let mut again = labeler(folder.path(), &[&mock], "fallback = 'parse'");
    let judged = again.compare(&pairs(&rows)).unwrap();
    assert_eq!(mock.seen().len(), 10);
    let usage = judged[0].usage;
    assert_eq!((usage.requests, usage.cached), (2, 2));
    assert_eq!((usage.prompt_tokens, usage.completion_tokens), (200, 2));
}

#[test]
fn an_endpoint_without_log_probabilities_is_refused_or_read() {
    let mock = Mock::start(|seen| {
        let [(first, p), (second, _)] = verdict(&seen.prompt);
        let named = if p > 0.5 { first } else { second };
        let unsure = seen.prompt.contains("first of 2");
        Reaction::Body(text(if unsure { "Both." } else { named }))
    });
    let folder = tempfile::tempdir().unwrap();
    let rows = rows(3);
    let refused = labeler(folder.path(), &[&mock], "").compare(&pairs(&rows));
    let error = refused.unwrap_err().to_string();
    assert!(
        error.contains("without log-probabilities: set `fallback = \"parse\"`"),
        "{error}"
    );
    let mut reading = labeler(folder.path(), &[&mock], "fallback = 'parse'");
    let judged = reading.compare(&pairs(&rows)).unwrap();
    // Qualities 1 and 4, 2 and 2 (a tie goes to the second of each order), 3 and 9 (unsure).
    assert_eq!(
        (judged[0].p_a(), judged[0].method),
        (Some(0.0), Method::Text)
    );
    assert_eq!(judged[1].p_a(), Some(0.5));
    let kind = judged[2].no_verdict.as_ref().map(NoAnswer::kind);
    assert_eq!((judged[2].p_a(), kind), (None, Some("unreadable")));
}

/// 8 has 0.5, 9 has 0.2, and after a "1" with 0.3 comes a "0" with 0.9: the expected score is
/// 4 + 1.8 + 2.7 + 0.03 = 8.53, or (8.53 - 5.5) / 4.5 on the scale of rewards.
#[test]
fn a_score_over_completions_follows_its_ten_and_is_a_reward() {
    let mock = Mock::start(|seen| {
        let top: &[(&str, f64)] = match seen.prompt.ends_with(" 1") {
            true => &[("0", 0.9), ("\n", 0.1)],
            false => &[("8", 0.5), (" 1", 0.3), ("9", 0.2)],
        };
        Reaction::Body(completion(top))
    });
    let folder = tempfile::tempdir().unwrap();
    let mut labeler = labeler(folder.path(), &[&mock], "api = 'completions'");
    let candidate = Candidate {
        prompt_id: "1",
        prompt: &"a post".into(),
        completion: "a summary",
    };
    let scored = labeler.score(&[candidate]).unwrap();
    let score = scored[0].score.clone().unwrap();
    assert!((score - 0.673_333).abs() < 1e-5, "{score}");
    assert_eq!(mock.seen().len(), 2);
    assert_eq!(mock.seen()[0].path, "/v1/completions");
    assert_eq!(scored[0].usage.requests, 2);
    let completion = Completion {
        prompt_id: "1".into(),
        prompt: "a post".into(),
        index: 0,
        completion: "a summary".into(),
        n_tokens: 2,
        log_prob: 0.0,
        finished: true,
    };
    let mut reward = DirectReward::new(Box::new(labeler));
    assert_eq!(reward.reward(&[completion]).unwrap(), [score]);
}
