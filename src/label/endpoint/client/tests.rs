//! The client against a script instead of servers, on a clock of its own.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use serde_json::json;
use tokio::time::Instant;

use super::super::transport::script::{Received, Script, Sent};
use super::super::transport::{Failure, Reply};
use super::*;

fn reply(status: u16, body: impl Into<String>) -> Reply {
    Reply {
        status,
        retry_after: None,
        body: body.into(),
    }
}

/// Echoes the prompt, for 10 tokens read and 1 written.
fn echo(prompt: &str) -> Reply {
    let message = json!({ "content": prompt });
    let usage = json!({ "prompt_tokens": 10, "completion_tokens": 1 });
    let body = json!({ "choices": [{ "message": message }], "usage": usage });
    reply(200, body.to_string())
}

fn scripted(
    folder: &Path,
    more: &str,
    answer: impl Fn(usize, &str, usize) -> Received + 'static,
) -> (Client, Sent) {
    let defaults = "model = 'm'\n";
    let one = "endpoints = [{ base_url = 'http://a/v1', concurrency = 4 }]\n";
    let one = if more.contains("endpoints") { "" } else { one };
    let retries = if more.contains("max_retries") {
        ""
    } else {
        "max_retries = 3\n"
    };
    let text = format!("{defaults}{retries}{one}{more}");
    let config: EndpointConfig = toml::from_str(&text).unwrap();
    config.validate("labeler").unwrap();
    let mut runtime = Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    let sent = Sent::default();
    let script = Script {
        sent: Arc::clone(&sent),
        start: Arc::default(),
        answer: Box::new(answer),
    };
    let log = AnswerLog::open(folder.join("answers.jsonl")).unwrap();
    let rng = StdRng::seed_from_u64(5);
    let made = Client::over(Box::new(script), runtime, &config, log, rng);
    (made, sent)
}

fn requests(prompts: &[&str]) -> Vec<Query> {
    let request = |prompt: &&str| Query {
        prompt: prompt.to_string(),
        max_tokens: 1,
        temperature: 0.0,
        top_p: 1.0,
        top_k: 0,
        seed: None,
        stop: Vec::new(),
        top_logprobs: 5,
    };
    prompts.iter().map(request).collect()
}

fn texts(asked: &[Asked]) -> Vec<String> {
    let text = |answer: &Answered| answer.clone().map_or("refused".into(), |found| found.text);
    asked.iter().map(|asked| text(&asked.answer)).collect()
}

#[test]
fn duplicates_and_known_answers_need_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let (mut client, sent) = scripted(folder.path(), "", |_, prompt, _| Ok(echo(prompt)));
    let asked = client.ask(&requests(&["a", "b", "a", "c"])).unwrap();
    assert_eq!(texts(&asked), ["a", "b", "a", "c"]);
    let cached: Vec<bool> = asked.iter().map(|asked| asked.cached).collect();
    assert_eq!(cached, [false, false, true, false]);
    let asked = client.ask(&requests(&["c", "d"])).unwrap();
    assert_eq!(texts(&asked), ["c", "d"]);
    let prompts: Vec<String> = sent
        .lock()
        .unwrap()
        .iter()
        .map(|row| row.1.clone())
        .collect();
    assert_eq!(prompts, ["a", "b", "c", "d"]);
    let expected = Account {
        questions: 6,
        cached: 2,
        requests: 4,
        prompt_tokens: 40,
        completion_tokens: 4,
        ..Account::default()
    };
    assert_eq!(client.account(), expected);
}

/// Six failures among the first attempts: every request is answered all the same, in order.
#[test]
fn what_fails_is_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let (mut client, sent) = scripted(folder.path(), "", |_, prompt, n| match n {
        0 => Ok(reply(500, "")),
        1 => Err(Failure::Timeout),
        2 => Ok(reply(200, "{\"choices\":")),
        3 => Err(Failure::Broken("reset".into())),
        4 => Ok(reply(503, "busy")),
        5 => Err(Failure::Connect("refused".into())),
        _ => Ok(echo(prompt)),
    });
    let prompts = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let asked = client.ask(&requests(&prompts)).unwrap();
    assert_eq!(texts(&asked), prompts);
    assert_eq!(sent.lock().unwrap().len(), 14);
    assert_eq!(client.account().retries, 6);
}

#[test]
fn an_endpoint_is_left_alone_for_as_long_as_it_asks() {
    let folder = tempfile::tempdir().unwrap();
    let (mut client, sent) = scripted(folder.path(), "", |_, prompt, n| match n {
        0 => Ok(Reply {
            retry_after: Some(Duration::from_secs(30)),
            ..reply(429, "slow down")
        }),
        _ => Ok(echo(prompt)),
    });
    assert_eq!(texts(&client.ask(&requests(&["a"])).unwrap()), ["a"]);
    let second = sent.lock().unwrap()[1].2;
    assert!((31.0..31.1).contains(&second), "{second}");
}

/// Two a second: of ten requests, two go at once and the last one four seconds later.
#[test]
fn the_limit_per_minute_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let limited = "endpoints = [{ base_url = 'http://a', requests_per_minute = 120 }]";
    let (mut client, sent) = scripted(folder.path(), limited, |_, prompt, _| Ok(echo(prompt)));
    let prompts = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    client.ask(&requests(&prompts)).unwrap();
    let last = sent.lock().unwrap()[9].2;
    assert!((4.0..4.1).contains(&last), "{last}");
}

/// The first endpoint is down. It gets its four requests, all of which the second answers, and
/// is tried again by one at a time.
#[test]
fn a_fleet_does_without_an_endpoint_that_is_down() {
    let folder = tempfile::tempdir().unwrap();
    let two = "endpoints = [{ base_url = 'http://a', concurrency = 4 }, \
        { base_url = 'http://b', concurrency = 4 }]";
    let (mut client, sent) = scripted(folder.path(), two, |endpoint, prompt, _| match endpoint {
        0 => Err(Failure::Connect("refused".into())),
        _ => Ok(echo(prompt)),
    });
    let letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN";
    let prompts: Vec<&str> = letters.split("").filter(|one| !one.is_empty()).collect();
    assert_eq!(texts(&client.ask(&requests(&prompts)).unwrap()), prompts);
    let sent = sent.lock().unwrap();
    let to_first = sent.iter().filter(|row| row.0 == 0).count();
    assert!((5..=10).contains(&to_first), "{to_first}");
    assert_eq!(sent.len(), 40 + to_first);
}

/// 10 tokens read and 1 written cost $12 a million each: $0.000132 an answer. $0.0005 pay for
/// three; the next run, allowed twice as much, asks the rest.
#[test]
fn the_spending_limit_keeps_what_is_paid_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let price = "price = { input = 12, output = 12 }\nmax_cost_usd = ";
    let prompts = ["a", "b", "c", "d", "e"];
    let limited = format!("{price}0.0005");
    let (mut first, _) = scripted(folder.path(), &limited, |_, prompt, _| Ok(echo(prompt)));
    let error = first.ask(&requests(&prompts)).unwrap_err().to_string();
    assert!(error.starts_with("$0.0004 are spent"), "{error}");
    assert!(error.contains("3 answers are kept in ") && error.contains("raise the limit"));
    let raised = format!("{price}0.001");
    let (mut second, sent) = scripted(folder.path(), &raised, |_, prompt, _| Ok(echo(prompt)));
    assert_eq!(texts(&second.ask(&requests(&prompts)).unwrap()), prompts);
    assert_eq!(sent.lock().unwrap().len(), 2);
    assert!((second.account().cost_usd - 0.000264).abs() < 1e-9);
}

#[test]
fn one_question_that_is_refused_does_not_stop_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let (mut client, _) = scripted(folder.path(), "", |_, prompt, _| match prompt {
        "b" => Ok(reply(400, "too long")),
        "d" => Ok(reply(500, "crashed")),
        _ => Ok(echo(prompt)),
    });
    let asked = client.ask(&requests(&["a", "b", "c", "d"])).unwrap();
    assert_eq!(texts(&asked), ["a", "refused", "c", "refused"]);
    assert_eq!(asked[1].answer, Err("status 400: too long".into()));
    let gave_up = "gave up after 4 attempts: status 500: crashed";
    assert_eq!(asked[3].answer, Err(gave_up.into()));
}

#[test]
fn what_no_retry_mends_stops_the_run_and_keeps_what_was_under_way() {
    let folder = tempfile::tempdir().unwrap();
    let (mut client, sent) = scripted(folder.path(), "", |_, prompt, _| match prompt {
        "a" => Ok(reply(401, r#"{"error":{"message":"wrong key"}}"#)),
        _ => Ok(echo(prompt)),
    });
    let prompts = ["a", "b", "c", "d", "e", "f"];
    let error = client.ask(&requests(&prompts)).unwrap_err().to_string();
    let expected = "http://a/v1: status 401: wrong key; 3 answers are kept";
    assert!(error.starts_with(expected), "{error}");
    assert_eq!(sent.lock().unwrap().len(), 4);
    assert_eq!(texts(&client.ask(&requests(&["b"])).unwrap()), ["b"]);
    assert_eq!(sent.lock().unwrap().len(), 4);
    // A server that takes no question at all is at fault itself.
    let folder = tempfile::tempdir().unwrap();
    let (mut client, _) = scripted(folder.path(), "", |_, _, _| Ok(reply(400, "no logprobs")));
    let error = client.ask(&requests(&["a", "b"])).unwrap_err();
    assert_eq!(error.to_string(), "http://a/v1: status 400: no logprobs");
}

/// Seconds since this was called first, by the runtime's own clock.
fn seconds(start: &Cell<Option<Instant>>) -> f64 {
    let now = Instant::now();
    let first = start.get().unwrap_or(now);
    start.set(Some(first));
    (now - first).as_secs_f64()
}

/// The only endpoint is dead from second 3 to second 603. With the retries of a run file that does
/// not say, everything is answered, once.
#[test]
fn ten_minutes_without_an_endpoint_are_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let start = Cell::new(None);
    let answer = move |_, prompt: &str, _| match seconds(&start) {
        3.0..603.0 => Err(Failure::Connect("refused".into())),
        _ => Ok(echo(prompt)),
    };
    let (mut client, sent) = scripted(folder.path(), "max_retries = 8", answer);
    let prompts: Vec<String> = (0..40).map(|i| i.to_string()).collect();
    let prompts: Vec<&str> = prompts.iter().map(String::as_str).collect();
    assert_eq!(texts(&client.ask(&requests(&prompts)).unwrap()), prompts);
    let sent = sent.lock().unwrap();
    let (dead, alive): (Vec<_>, Vec<_>) =
        (sent.iter()).partition(|row| (3.0..603.0).contains(&row.2));
    assert_eq!(alive.len(), 40);
    // Tried again all the while, at most a minute later each time.
    assert!(dead.len() < 40, "{}", dead.len());
    assert!(alive[12].2 < 664.0, "{}", alive[12].2);
}

/// With fewer retries the run ends with an error, and the same command goes on when the endpoint
/// lives again: what was answered is not asked again.
#[test]
fn a_run_that_gave_an_endpoint_up_goes_on_later() {
    let folder = tempfile::tempdir().unwrap();
    let start = Cell::new(None);
    let answer = move |_, prompt: &str, _| match seconds(&start) {
        0.0..3.0 => Ok(echo(prompt)),
        _ => Err(Failure::Connect("refused".into())),
    };
    let (mut client, _) = scripted(folder.path(), "", answer);
    let prompts: Vec<String> = (0..40).map(|i| i.to_string()).collect();
    let prompts: Vec<&str> = prompts.iter().map(String::as_str).collect();
    let error = client.ask(&requests(&prompts)).unwrap_err().to_string();
    let expected =
        "http://a/v1: gave up after 4 attempts: no connection: refused; 12 answers are kept in ";
    assert!(error.starts_with(expected), "{error}");
    drop(client);
    let (mut later, sent) = scripted(folder.path(), "", |_, prompt, _| Ok(echo(prompt)));
    assert_eq!(texts(&later.ask(&requests(&prompts)).unwrap()), prompts);
    assert_eq!(sent.lock().unwrap().len(), 28);
}
