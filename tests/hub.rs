//! Models by their names on the Hugging Face Hub, from a server on this machine.

#![cfg(feature = "hub")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;

const COMMIT: &str = "0123456789abcdef";

/// What the server was asked for, and whether with the token.
type Log = Arc<Mutex<BTreeSet<(String, bool)>>>;

/// A Hub with one repository, `org/tiny`, that holds the files of `dir` and a README.
fn serve(dir: &Path) -> (String, Log) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (log, dir) = (Log::default(), dir.to_path_buf());
    let seen = log.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (dir, seen) = (dir.clone(), seen.clone());
            thread::spawn(move || answer(stream.unwrap(), &dir, &seen));
        }
    });
    (address, log)
}

/// Answers one request and closes the connection.
fn answer(mut stream: TcpStream, dir: &Path, log: &Log) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let Some(Ok(request)) = lines.next() else {
        return;
    };
    let path = request.split(' ').nth(1).unwrap().to_string();
    let headers: Vec<String> = lines
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .collect();
    let header = |name: &str| {
        let found = headers.iter().filter_map(|line| line.split_once(": "));
        found
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.to_string())
            .next()
    };
    let token = header("authorization").as_deref() == Some("Bearer secret");
    log.lock().unwrap().insert((path.clone(), token));
    let file = path.strip_prefix(&format!("/org/tiny/resolve/{COMMIT}/"));
    if path == "/api/models/org/tiny/revision/main" {
        let names = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let names = names.map(|name| serde_json::json!({"rfilename": name.to_str().unwrap()}));
        let names: Vec<_> = names
            .chain([serde_json::json!({"rfilename": "pytorch_model.bin"})])
            .collect();
        let body = serde_json::json!({"sha": COMMIT, "siblings": names}).to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
    } else if let Some(body) = file.and_then(|file| fs::read(dir.join(file)).ok()) {
        let range = header("range").unwrap();
        let (start, end) = range
            .strip_prefix("bytes=")
            .unwrap()
            .split_once('-')
            .unwrap();
        let (start, end): (usize, usize) = (
            start.parse().unwrap(),
            end.parse().unwrap_or(body.len() - 1),
        );
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\nx-repo-commit: {COMMIT}\r\netag: \"{}\"\r\n\
            content-range: bytes {start}-{end}/{}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            path.replace('/', "_"),
            body.len(),
            end + 1 - start,
        );
        // The client may have seen enough.
        let _ = stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(&body[start..=end]));
    } else {
        let head = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
    }
}

fn rlaif(args: &[&str], endpoint: &str, home: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rlaif"))
        .args(args)
        .env("HF_ENDPOINT", endpoint)
        .env("HF_HOME", home)
        .env("HF_TOKEN", "secret")
        .env_remove("HF_HUB_CACHE")
        .env_remove("HF_HUB_OFFLINE")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_model_is_fetched_by_its_name_once() {
    let (endpoint, log) = serve(Path::new("models/labeler-xs"));
    let home = tempfile::tempdir().unwrap();
    let asked = |file: &str| {
        let path = format!("/org/tiny/resolve/{COMMIT}/{file}");
        log.lock().unwrap().iter().any(|(found, _)| *found == path)
    };
    let inspected = stdout(&rlaif(&["inspect", "org/tiny"], &endpoint, home.path()));
    assert!(inspected.contains("llama"), "{inspected}");
    assert!(asked("config.json") && !asked("model.safetensors"));

    let prompts = home.path().join("prompts.jsonl");
    fs::write(&prompts, "{\"prompt\": \"a\"}\n").unwrap();
    let prompts = prompts.to_str().unwrap();
    let chat = |model: &str, endpoint: &str| {
        let args = [
            "chat",
            model,
            "--file",
            prompts,
            "--raw",
            "--greedy",
            "--max-new-tokens",
            "4",
        ];
        rlaif(&args, endpoint, home.path())
    };
    let answered = stdout(&chat("org/tiny", &endpoint));
    assert_eq!(answered, stdout(&chat("models/labeler-xs", &endpoint)));
    assert!(asked("model.safetensors") && asked("tokenizer.json"));
    assert!(!asked("README.md") && !asked("pytorch_model.bin"));
    assert!(
        log.lock().unwrap().iter().all(|(_, token)| *token),
        "{log:?}"
    );

    // Nobody listens there any more: what was fetched serves on.
    let gone = "http://127.0.0.1:9";
    assert_eq!(stdout(&chat("org/tiny", gone)), answered);

    let missing = rlaif(&["inspect", "org/none"], &endpoint, home.path());
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert_eq!(missing.status.code(), Some(1));
    assert!(
        said.contains("`org/none@main` is no folder") && said.contains("404"),
        "{said}"
    );
    assert!(!said.contains("secret"), "{said}");
}
