//! `rlaif watch` from outside: what the server answers and refuses, and (`browser.rs`) what the page
//! is like in a browser.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod browser;

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
    let rate = json!({"rate": 0.7, "ci": [0.6, 0.8], "n": 90, "length_controlled": 0.69});
    let eval = json!({"win_rate": {"oracle": {"policy_vs_sft": rate}}, "policies": {HOSTILE: {}}});
    fs::write(run.join("eval.json"), eval.to_string()).unwrap();
    let bins = json!([{"confidence": 0.6, "accuracy": 0.5, "n": 8}, {"confidence": 0.9, "accuracy": 0.95, "n": 30}]);
    fs::write(
        run.join("reward.json"),
        json!({"accuracy": 0.8, "reliability": bins}).to_string(),
    )
    .unwrap();
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
fn metrics_are_handed_out_once_and_half_a_row_never() {
    let root = tempfile::tempdir().unwrap();
    let run = root.path().join("a");
    fs::create_dir_all(&run).unwrap();
    let address = serve(std::slice::from_ref(&run));
    let after = |place: &str| json_of(address, &format!("/api/metrics?run=0{place}"));
    // Nothing is there yet.
    let found = after("");
    assert_eq!(
        (&found["rows"], &found["anew"]),
        (&json!([]), &json!(false))
    );
    let path = run.join("metrics.jsonl");
    let two = metric("rl", 1, 0.5) + &metric("rl", 2, 0.25);
    fs::write(&path, format!("{two}{{\"stage\":\"rl\",\"st")).unwrap();
    let found = after("");
    assert_eq!(found["rows"].as_array().unwrap().len(), 2);
    assert_eq!(found["rows"][1]["loss"], 0.25);
    assert_eq!(found["rows"][1]["kl"], Value::Null);
    let place = format!("&after={}", found["next"].as_str().unwrap());
    assert_eq!(after(&place)["rows"], json!([]));
    // The half row is ended, a bad one and another follow.
    fs::write(
        &path,
        format!(
            "{two}{}nonsense\n{}",
            metric("rl", 3, 1.0),
            metric("rl", 4, 2.0)
        ),
    )
    .unwrap();
    let found = after(&place);
    assert_eq!(
        (&found["anew"], &found["n_bad"]),
        (&json!(false), &json!(1))
    );
    assert_eq!(
        (&found["rows"][0]["step"], &found["rows"][1]["step"]),
        (&json!(3), &json!(4))
    );
    // The run went back to step 1 and took another way.
    fs::write(
        &path,
        metric("rl", 1, 0.5) + &metric("rl", 2, 0.75) + &metric("rl", 3, 0.5),
    )
    .unwrap();
    let found = after(&place);
    assert_eq!(
        (&found["anew"], found["rows"].as_array().unwrap().len()),
        (&json!(true), 3)
    );
    fs::remove_file(&path).unwrap();
    assert_eq!(after(&place)["anew"], true);
}

#[test]
fn long_metrics_come_in_parts() {
    let root = tempfile::tempdir().unwrap();
    let n = 30_000;
    let rows: String = (1..=n).map(|step| metric("rl", step, 0.5)).collect();
    fs::write(root.path().join("metrics.jsonl"), rows).unwrap();
    let address = serve(&[root.path().to_path_buf()]);
    let (mut steps, mut place, mut parts) = (Vec::new(), String::new(), 0);
    loop {
        let found = json_of(address, &format!("/api/metrics?run=0{place}"));
        let rows = found["rows"].as_array().unwrap();
        assert!(rows.len() < n);
        steps.extend(
            rows.iter()
                .map(|row| row["step"].as_u64().unwrap() as usize),
        );
        place = format!("&after={}", found["next"].as_str().unwrap());
        parts += 1;
        if found["more"] == false {
            break;
        }
    }
    assert!(parts > 1);
    assert_eq!(steps, (1..=n).collect::<Vec<_>>());
}

#[test]
fn rows_are_paged() {
    let root = tempfile::tempdir().unwrap();
    let run = folder(root.path(), "a");
    let address = serve(std::slice::from_ref(&run));
    let page = |kind: &str, from: usize| {
        json_of(
            address,
            &format!("/api/rows?run=0&kind={kind}&from={from}&n=10"),
        )
    };
    let found = page("preferences", 20);
    assert_eq!(
        (&found["n_rows"], found["cards"].as_array().unwrap().len()),
        (&json!(25), 5)
    );
    let card = &found["cards"][0];
    assert_eq!(
        (&card["title"], &card["texts"][1]),
        (&json!("p20"), &json!({"name": "chosen", "text": HOSTILE}))
    );
    assert_eq!(
        card["facts"][3],
        json!(["orders", "disagree: the position decides"])
    );
    let found = page("evaluations", 0);
    let names: Vec<_> = found["cards"][0]["texts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|text| &text["name"])
        .collect();
    assert_eq!(names, ["prompt", "sft, 3 tokens", "policy, 3 tokens"]);
    assert_eq!(page("rollouts", 0)["n_rows"], 0);
    // A row that is being written, and one that is none.
    let path = run.join("preferences.jsonl");
    fs::write(&path, format!("{}[]\n{{\"prompt\":", preference(1, "q"))).unwrap();
    let found = page("preferences", 0);
    assert_eq!(found["n_rows"], 2);
    assert_eq!(
        found["cards"][1]["facts"][0],
        json!(["unreadable", "expected a JSON object"])
    );
}

#[test]
fn labels_are_counted_as_they_come() {
    let root = tempfile::tempdir().unwrap();
    let run = folder(root.path(), "a");
    let address = serve(std::slice::from_ref(&run));
    let labeler = || json_of(address, "/api/labels?run=0")["labeler"].clone();
    let path = run.join("preferences.jsonl");
    fs::remove_file(&path).unwrap();
    assert_eq!(labeler(), Value::Null);
    fs::write(&path, preference(1, "q") + &preference(2, "q")).unwrap();
    let found = labeler();
    // In both the first position wins both times: 0.9 first, and 1 - 0.3 when shown second.
    assert_eq!((&found["n"], &found["name"]), (&json!(2), &json!("judge")));
    assert_eq!(
        (
            &found["position"]["same_position"]["rate"],
            &found["position"]["first"]["rate"]
        ),
        (&json!(1.0), &json!(1.0))
    );
    fs::write(
        &path,
        preference(1, "q") + &preference(2, "q") + &preference(3, "q"),
    )
    .unwrap();
    assert_eq!(labeler()["n"], 3);
    fs::write(&path, preference(9, "another file")).unwrap();
    assert_eq!(labeler()["n"], 1);
    let found = json_of(address, "/api/results?run=0");
    assert_eq!(
        found["tables"][0]["rows"][0][1],
        "70.0% [60.0, 80.0] (69.0)"
    );
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
