//! A server on the loopback that knows what it should answer, and fails on request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use serde_json::{Value, json};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Requests before it.
    pub(crate) n: usize,
    /// Requests before it with the same prompt.
    pub(crate) attempt: usize,
    /// Path of the request.
    pub(crate) path: String,
    /// The `Authorization` header.
    pub(crate) authorization: Option<String>,
    /// The question, of either interface.
    pub(crate) prompt: String,
}

/// What the server does.
#[derive(Debug, Clone)]
pub(crate) enum Reaction {
    /// Sends a body with status 200.
    Body(String),
    /// Sends a status, further header lines and a body.
    Status(u16, &'static str, String),
    /// Sends half of a response and hangs up.
    Cut,
    /// Says nothing until the client hangs up.
    Silence,
}

type Behaviour = dyn Fn(&Seen) -> Reaction + Send + Sync;

/// The server; it lives as long as the process.
pub(crate) struct Mock {
    /// What a run file says of it.
    pub(crate) base_url: String,
    shared: Arc<Shared>,
}

struct Shared {
    seen: Mutex<Vec<Seen>>,
    arrived: Condvar,
    behaviour: Box<Behaviour>,
}

impl Mock {
    /// Starts a server that does what `behaviour` says.
    pub(crate) fn start(behaviour: impl Fn(&Seen) -> Reaction + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            arrived: Condvar::new(),
            behaviour: Box::new(behaviour),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&serving);
                thread::spawn(move || serve(stream.unwrap(), &shared));
            }
        });
        Self { base_url, shared }
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Waits until so many requests have arrived.
    pub(crate) fn wait_for(&self, n: usize) {
        let seen = self.shared.seen.lock().unwrap();
        let few = |seen: &mut Vec<Seen>| seen.len() < n;
        drop(self.shared.arrived.wait_while(seen, few).unwrap());
    }
}

/// Answers one connection's requests until it closes or is cut.
fn serve(stream: TcpStream, shared: &Shared) {
    let mut output = stream.try_clone().unwrap();
    let mut input = BufReader::new(stream);
    while let Some((path, authorization, body)) = request(&mut input) {
        let prompt = prompt(&body);
        let seen = {
            let mut all = shared.seen.lock().unwrap();
            let attempt = all.iter().filter(|other| other.prompt == prompt).count();
            let n = all.len();
            let seen = Seen {
                n,
                attempt,
                path,
                authorization,
                prompt,
            };
            all.push(seen.clone());
            shared.arrived.notify_all();
            seen
        };
        let (status, headers, body) = match (shared.behaviour)(&seen) {
            Reaction::Body(body) => (200, "", body),
            Reaction::Status(status, headers, body) => (status, headers, body),
            Reaction::Cut => {
                let _ = output.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"choi");
                return;
            }
            Reaction::Silence => {
                let _ = input.read(&mut [0]);
                return;
            }
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{headers}\r\n",
            body.len()
        );
        if output.write_all((head + &body).as_bytes()).is_err() {
            return;
        }
    }
}

/// Path, authorization and body of the next request.
fn request(input: &mut impl BufRead) -> Option<(String, Option<String>, Value)> {
    let mut line = String::new();
    input.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_string();
    let (mut length, mut authorization) = (0, None);
    loop {
        line.clear();
        input.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().ok()?;
            }
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                authorization = Some(value.to_string());
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    input.read_exact(&mut body).ok()?;
    Some((path, authorization, serde_json::from_slice(&body).ok()?))
}

fn prompt(body: &Value) -> String {
    let message = &body["messages"][0]["content"];
    let text = message.as_str().or(body["prompt"].as_str());
    text.unwrap_or_default().to_string()
}

/// A chat response whose only token has these alternatives, the first of which is written.
pub(crate) fn chat(top: &[(&str, f64)]) -> String {
    let alternatives: Vec<Value> = top.iter().map(|top| alternative(*top)).collect();
    let mut token = alternative(top[0]);
    token["top_logprobs"] = alternatives.into();
    json!({
        "id": "x",
        "object": "chat.completion",
        "choices": [{
            "index": 0,
            "finish_reason": "stop",
            "message": { "role": "assistant", "content": top[0].0 },
            "logprobs": { "content": [token] },
        }],
        "usage": { "prompt_tokens": 100, "completion_tokens": 1, "total_tokens": 101 },
    })
    .to_string()
}

fn alternative((token, p): (&str, f64)) -> Value {
    json!({ "token": token, "logprob": p.ln(), "bytes": token.as_bytes() })
}

/// A chat response without log-probabilities.
pub(crate) fn text(content: &str) -> String {
    let message = json!({ "role": "assistant", "content": content });
    let choice = json!({ "index": 0, "finish_reason": "stop", "message": message });
    json!({ "choices": [choice], "usage": { "prompt_tokens": 100, "completion_tokens": 1 } })
        .to_string()
}

/// A response of the `completions` interface.
pub(crate) fn completion(top: &[(&str, f64)]) -> String {
    let listed: serde_json::Map<String, Value> = top
        .iter()
        .map(|(token, p)| (token.to_string(), p.ln().into()))
        .collect();
    let log_probs = json!({
        "tokens": [top[0].0], "token_logprobs": [top[0].1.ln()], "top_logprobs": [listed],
    });
    let choice = json!({ "text": top[0].0, "finish_reason": "length", "logprobs": log_probs });
    json!({ "choices": [choice], "usage": { "prompt_tokens": 100, "completion_tokens": 1 } })
        .to_string()
}

/// The verdict on a comparison whose completions name their qualities `a` and `b`: "1" has
/// `a / (a + b)`.
pub(crate) fn verdict(prompt: &str) -> [(&'static str, f64); 2] {
    let quality = |text: &str| text[..1].parse::<f64>().unwrap();
    let mut qualities = prompt.split("quality ").skip(1).map(quality);
    let (a, b) = (qualities.next().unwrap(), qualities.next().unwrap());
    [("1", a / (a + b)), ("2", b / (a + b))]
}
