//! `rlaif watch` from outside: what the server answers and refuses, what it hands out of a run
//! (`rows.rs`), and what the page is like in a browser (`browser.rs`).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod browser;
mod rows;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use rlaif::watch::Server;
use serde_json::{Value, json};

/// What a model might write to take over the page that shows it.
const HOSTILE: &str =
    "</pre></script><script>hacked=1</script><img src=x onerror=hacked=1>\u{202e}'\"&";

/// Starts a server on folders, for as long as the process lives.
fn serve(folders: &[PathBuf]) -> SocketAddr {
    let server = Server::bind(folders, "127.0.0.1", 0).unwrap();
    let address = server.address();
    assert!(address.ip().is_loopback());
    std::thread::spawn(move || server.serve());
    address
}

/// What a server answers to `request`: head and body.
fn ask(address: SocketAddr, request: &[u8]) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.into(), body.into())
}

fn get(address: SocketAddr, target: &str) -> (String, String) {
    let request = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    ask(address, request.as_bytes())
}

#[track_caller]
fn status(address: SocketAddr, target: &str, expected: u16) -> String {
    let (head, body) = get(address, target);
    assert!(
        head.starts_with(&format!("HTTP/1.1 {expected} ")),
        "{target}: {head}\n{body}"
    );
    body
}

#[track_caller]
fn json_of(address: SocketAddr, target: &str) -> Value {
    serde_json::from_str(&status(address, target, 200)).unwrap()
}

fn metric(stage: &str, step: usize, loss: f64) -> String {
    json!({"stage": stage, "step": step, "time": 0.5, "loss": loss, "kl": null}).to_string() + "\n"
}

fn preference(id: usize, text: &str) -> String {
    let row = json!({
        "prompt_id": format!("p{id}"), "prompt": text, "chosen": text, "rejected": "worse",
        "p_chosen": 0.6, "p_first": 0.9, "p_second": 0.3, "labeler": "judge", "rationale": text,
    });
    row.to_string() + "\n"
}

fn completion(id: usize, text: &str) -> String {
    let row = json!({
        "prompt_id": format!("p{id}"), "prompt": text, "index": 0, "completion": text,
        "n_tokens": 3, "log_prob": -1.5, "finished": true,
    });
    row.to_string() + "\n"
}

/// A rollout to the only prompt.
fn rollout(step: usize, reward: f64, text: &str) -> String {
    let mut row: Value = serde_json::from_str(&completion(1, text)).unwrap();
    (row["step"], row["reward"]) = (json!(step), json!(reward));
    row.to_string() + "\n"
}

/// A run folder with something of everything, all texts of which are hostile.
fn folder(root: &Path, name: &str) -> PathBuf {
    let run = root.join(name);
    fs::create_dir_all(run.join("eval")).unwrap();
    let steps = |stage: &str| {
        (1..=40)
            .map(|step| metric(stage, step, 1.0 / step as f64))
            .collect::<String>()
    };
    fs::write(
        run.join("metrics.jsonl"),
        steps("sft") + &steps("rl") + &metric(HOSTILE, 1, 0.5),
    )
    .unwrap();
    let pairs: String = (0..25).map(|id| preference(id, HOSTILE)).collect();
    fs::write(run.join("preferences.jsonl"), pairs).unwrap();
    for policy in ["sft", "policy"] {
        fs::write(
            run.join(format!("eval/{policy}.jsonl")),
            completion(1, HOSTILE),
        )
        .unwrap();
    }
    let verdict = json!({
        "prompt_id": "p1", "judge": HOSTILE, "a": "policy", "b": "sft", "p_win": 0.25,
        "length_a": 3, "length_b": 3,
    });
    fs::write(run.join("comparisons.jsonl"), verdict.to_string() + "\n").unwrap();
    let rollouts = [(1, -0.5), (6, 0.0), (6, 0.5), (11, 0.75)];
    let rollouts = rollouts.map(|(step, reward)| rollout(step, reward, HOSTILE));
    fs::write(run.join("rollouts.jsonl"), rollouts.concat()).unwrap();
    let rate = json!({"rate": 0.7, "ci": [0.6, 0.8], "n": 90, "length_controlled": 0.69});
    let eval = json!({"win_rate": {"oracle": {"policy_vs_sft": rate}}, "policies": {HOSTILE: {}}});
    fs::write(run.join("eval.json"), eval.to_string()).unwrap();
    let bins = json!([{"confidence": 0.6, "accuracy": 0.5, "n": 8}, {"confidence": 0.9, "accuracy": 0.95, "n": 30}]);
    for (name, found) in [
        ("reward.json", json!({"accuracy": 0.8, "reliability": bins})),
        (
            "label.json",
            json!({"alignment": 0.75, "ci": [0.6, 0.9], "n": 38, "reliability": bins, "ece": 0.06}),
        ),
    ] {
        fs::write(run.join(name), found.to_string()).unwrap();
    }
    fs::write(run.join("config.toml"), format!("# {HOSTILE}\nseed = 17\n")).unwrap();
    run
}

#[test]
fn every_answer_forbids_foreign_scripts() {
    let root = tempfile::tempdir().unwrap();
    let address = serve(&[folder(root.path(), "a")]);
    for target in [
        "/",
        "/main.js",
        "/style.css",
        "/icon.svg",
        "/api/runs",
        "/nothing",
    ] {
        let (head, body) = get(address, target);
        for line in [
            "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; ",
            "X-Content-Type-Options: nosniff",
            "Cross-Origin-Resource-Policy: same-origin",
        ] {
            assert!(head.contains(line), "{target}: {head}");
        }
        assert!(
            !head.contains("unsafe") && !head.contains("Access-Control"),
            "{head}"
        );
        assert!(
            !body.contains("http://") || body.contains("http://www.w3.org/2000/svg"),
            "{target}"
        );
    }
    // The page's own code has no way from a string to markup or code.
    for script in [
        "main", "dom", "chart", "curves", "samples", "labels", "results",
    ] {
        let text = status(address, &format!("/{script}.js"), 200);
        for way in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "DOMParser",
            "srcdoc",
        ] {
            assert!(!text.contains(way), "{script}.js: {way}");
        }
    }
}

#[test]
fn only_gets_of_fixed_paths_by_an_own_name_are_answered() {
    let root = tempfile::tempdir().unwrap();
    let address = serve(&[folder(root.path(), "a")]);
    fs::write(root.path().join("secret"), "secret").unwrap();
    for target in [
        "/../secret",
        "/%2e%2e/secret",
        "/a/../../secret",
        "//etc/passwd",
        "/config.toml",
        "/api/",
        "/api/rows/../../secret",
        "/.lock",
        "/index.html",
    ] {
        let body = status(address, target, 404);
        assert!(!body.contains("secret"), "{target}: {body}");
    }
    for target in [
        "/api/rows?run=0&kind=../secret&from=0&n=1",
        "/api/rows?run=0&kind=preferences&from=-1&n=1",
        "/api/rows?run=0&kind=config.toml&from=0&n=1",
        "/api/metrics?run=0&after=x",
        "/api/rows?run=0",
    ] {
        status(address, target, 400);
    }
    for target in [
        "/api/metrics",
        "/api/metrics?run=1",
        "/api/metrics?run=..",
        "/api/labels?run=-1",
    ] {
        status(address, target, 404);
    }
    let host = |host: &str, method: &str| {
        let request =
            format!("{method} /api/runs HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\n\r\nhi");
        ask(address, request.as_bytes()).0
    };
    for method in ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "CONNECT"] {
        assert!(
            host("localhost", method).starts_with("HTTP/1.1 405 "),
            "{method}"
        );
    }
    // A site that has pointed its name at this machine.
    assert!(host("evil.example", "GET").starts_with("HTTP/1.1 421 "));
    assert!(host("localhost", "GET").starts_with("HTTP/1.1 200 "));
    let long = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: {}",
        "x".repeat(20_000)
    );
    assert!(ask(address, long.as_bytes()).0.starts_with("HTTP/1.1 431 "));
    assert!(
        ask(address, b"\x16\x03\x01\x02\x00\x01\r\n\r\n")
            .0
            .starts_with("HTTP/1.1 400 ")
    );
    // Nobody waits for a request that does not come.
    assert_eq!(ask(address, b"GET / HT").0, "");
}

#[test]
fn runs_are_found_as_they_come() {
    let root = tempfile::tempdir().unwrap();
    let run = folder(root.path(), "tiny");
    let address = serve(std::slice::from_ref(&run));
    let names = || {
        let found = json_of(address, "/api/runs");
        let runs = found["runs"].as_array().unwrap().iter();
        runs.map(|run| run["name"].as_str().unwrap().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(), ["tiny"]);
    folder(&run, "rlhf");
    assert_eq!(names(), ["tiny", "tiny/rlhf"]);
    // A run keeps its number.
    folder(&run, "d_rlaif");
    assert_eq!(names(), ["tiny", "tiny/rlhf", "tiny/d_rlaif"]);
    let missing = Server::bind(&[root.path().join("none")], "127.0.0.1", 0);
    assert!(
        missing
            .unwrap_err()
            .to_string()
            .ends_with("expected the folder of a run")
    );
}
