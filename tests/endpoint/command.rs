//! Through the binary: killed and started again, out of money, with a key.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rlaif::record::{Completion, Preference, read_jsonl, write_jsonl};
use rlaif::run::Metric;

use crate::mock::{Mock, Reaction, chat, verdict};

const KEY: &str = "sk-very-secret-0123456789";
/// Pairs in the run folder.
const N: usize = 10;

/// A run folder with completions to be labeled, and a run file whose labeler asks `mock`.
struct Job {
    folder: tempfile::TempDir,
    config: PathBuf,
}

impl Job {
    fn new(mock: &Mock, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = fs::read_to_string("configs/smoke.toml").unwrap();
        let mut table: toml::Table = text.parse().unwrap();
        let data = "kind = 'files'\npreference_prompts = 'none'\nrl_prompts = 'none'\n\
                    eval_prompts = 'none'";
        table.insert("data".into(), data.parse::<toml::Table>().unwrap().into());
        let labeler = format!(
            "kind = 'http'\nmodel = 'judge'\nmax_retries = 2\n\
             endpoints = [{{ base_url = '{}', concurrency = 1 }}]\n{more}",
            mock.base_url
        );
        table.insert(
            "labeler".into(),
            labeler.parse::<toml::Table>().unwrap().into(),
        );
        table.remove("sft");
        let config = folder.path().join("run.toml");
        fs::write(&config, toml::to_string(&table).unwrap()).unwrap();
        fs::create_dir(folder.path().join("run")).unwrap();
        let rows: Vec<Completion> = (0..2 * N).map(row).collect();
        write_jsonl(folder.path().join("run/completions.jsonl"), &rows).unwrap();
        Self { folder, config }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("run").join(name)
    }

    fn start(&self, more: &[&str], env: &[(&str, &str)]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_rlaif"))
            .args(["label", "--config"])
            .arg(&self.config)
            .arg("--run")
            .arg(self.folder.path().join("run"))
            .args(more)
            .envs(env.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// What the command says; expects it to succeed or not.
    #[track_caller]
    fn finish(&self, child: Child, succeeds: bool) -> String {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.success(), succeeds, "{said}");
        assert!(!said.contains("panicked"), "{said}");
        said
    }

    /// The labels are those of all pairs, once each and in their order: the better quality wins
    /// with its share of the two.
    #[track_caller]
    fn check_labels(&self) {
        let rows: Vec<Preference> = read_jsonl(self.path("preferences.jsonl")).unwrap();
        assert_eq!(rows.len(), N);
        for (i, row) in rows.iter().enumerate() {
            let (a, b) = qualities(i);
            assert_eq!(row.prompt_id, i.to_string());
            let expected = a.max(b) as f32 / (a + b) as f32;
            assert!(
                (row.p_chosen - expected).abs() < 1e-5,
                "{i}: {}",
                row.p_chosen
            );
        }
    }

    /// The last value of a metric of the stage.
    fn metric(&self, name: &str) -> f64 {
        let rows: Vec<Metric> = read_jsonl(self.path("metrics.jsonl")).unwrap();
        rows.last().unwrap().values[name].unwrap()
    }
}

fn qualities(i: usize) -> (usize, usize) {
    (1 + i % 9, 1 + (7 * i + 3) % 9)
}

fn row(i: usize) -> Completion {
    let (a, b) = qualities(i / 2);
    let quality = if i.is_multiple_of(2) { a } else { b };
    Completion {
        prompt_id: (i / 2).to_string(),
        prompt: format!("post {}", i / 2).into(),
        index: i % 2,
        completion: format!("quality {quality}, number {i}"),
        n_tokens: 4,
        log_prob: -1.0,
        finished: true,
    }
}

#[test]
fn a_killed_run_asks_for_the_rest_only() {
    let blocked = Arc::new(AtomicBool::new(true));
    let answered: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
    let mock = {
        let (blocked, answered) = (Arc::clone(&blocked), Arc::clone(&answered));
        Mock::start(move |seen| {
            if seen.n >= 7 && blocked.load(Ordering::SeqCst) {
                return Reaction::Silence;
            }
            *answered
                .lock()
                .unwrap()
                .entry(seen.prompt.clone())
                .or_default() += 1;
            Reaction::Body(chat(&verdict(&seen.prompt)))
        })
    };
    let job = Job::new(&mock, "");
    let mut child = job.start(&[], &[]);
    // One at a time: when the eighth is asked, seven answers are in the file.
    mock.wait_for(8);
    child.kill().unwrap();
    job.finish(child, false);
    let answers = fs::read_to_string(job.path("answers.jsonl")).unwrap();
    assert_eq!(answers.lines().count(), 7);
    // As if it had been killed in the middle of a row.
    fs::write(job.path("answers.jsonl"), answers + "{\"key\":\"0a").unwrap();
    blocked.store(false, Ordering::SeqCst);
    let said = job.finish(job.start(&[], &[]), true);
    assert!(said.contains("answers.jsonl:8: skipped"), "{said}");
    job.check_labels();
    let answered = answered.lock().unwrap();
    assert_eq!(answered.len(), 2 * N);
    assert!(answered.values().all(|&n| n == 1), "{answered:?}");
    assert_eq!(
        mock.seen().len(),
        2 * N + 1,
        "and the one without an answer"
    );
    assert_eq!(job.metric("judge/cache_hit_rate"), 7.0 / 20.0);
    assert_eq!(job.metric("judge/parse_failure_rate"), 0.0);
}

/// An answer costs 100 * $10 + 1 * $20 a million: $0.00102.
#[test]
fn the_spending_limit_stops_and_the_same_command_goes_on() {
    let mock = Mock::start(|seen| Reaction::Body(chat(&verdict(&seen.prompt))));
    let money = "price = { input = 10, output = 20 }\nmax_cost_usd = 0.008";
    let job = Job::new(&mock, money);
    let said = job.finish(job.start(&[], &[]), false);
    let n = mock.seen().len();
    assert!((1..8).contains(&n), "{n}");
    let kept = format!("{n} answers are kept in ");
    assert!(
        said.contains(&kept) && said.contains("raise the limit"),
        "{said}"
    );
    let more = ["--set", "labeler.max_cost_usd=1"];
    job.finish(job.start(&more, &[]), true);
    job.check_labels();
    assert_eq!(mock.seen().len(), 2 * N);
    let expected = 0.00102 * (2 * N - n) as f64;
    assert!((job.metric("judge/cost_usd") - expected).abs() < 1e-9);
}

#[test]
fn a_key_is_sent_and_nowhere_else() {
    let mock = Mock::start(|seen| match &seen.authorization {
        Some(key) if seen.prompt.contains("number 6") => {
            let body = format!("{{\"error\":{{\"message\":\"wrong: {key}\"}}}}");
            Reaction::Status(401, "", body)
        }
        _ => Reaction::Body(chat(&verdict(&seen.prompt))),
    });
    let job = Job::new(&mock, "api_key_env = 'RLAIF_TEST_KEY'");
    let said = job.finish(job.start(&[], &[]), false);
    assert!(
        said.contains("`labeler.api_key_env` is RLAIF_TEST_KEY, which is not set"),
        "{said}"
    );
    let env = [("RLAIF_TEST_KEY", KEY), ("RUST_LOG", "trace")];
    let said = job.finish(job.start(&[], &env), false);
    assert!(said.contains("wrong: Bearer [key]"), "{said}");
    assert!(!said.contains(KEY), "the key is in what the command says");
    let bearer = format!("Bearer {KEY}");
    assert!(
        mock.seen()
            .iter()
            .all(|seen| seen.authorization.as_ref() == Some(&bearer))
    );
    check_absent(job.folder.path());
}

/// Neither the reports of a run that had a key nor its page hold it, made by processes that have it.
#[test]
fn a_key_is_in_no_report_and_on_no_page() {
    let mock = Mock::start(|seen| Reaction::Body(chat(&verdict(&seen.prompt))));
    let job = Job::new(&mock, "api_key_env = 'RLAIF_TEST_KEY'");
    let env = [("RLAIF_TEST_KEY", KEY), ("RUST_LOG", "trace")];
    let said = job.finish(job.start(&[], &env), true);
    assert!(!said.contains(KEY), "the key is in what the command says");
    let (run, labels) = (job.path(""), job.path("preferences.jsonl"));
    let [run, labels] = [&run, &labels].map(|path| path.to_str().unwrap());
    let reports = [
        vec!["report", "--run", run],
        vec!["label", "--labels", labels, "--report", run],
    ];
    for args in reports {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rlaif"));
        let output = command.args(&args).envs(env).output().unwrap();
        let said = [output.stdout, output.stderr].map(|part| String::from_utf8(part).unwrap());
        assert!(output.status.success(), "{said:?}");
        assert!(!said.concat().contains(KEY), "{args:?}: {said:?}");
    }
    assert!(job.path("report.html").is_file() && job.path("label_report.html").is_file());
    check_absent(job.folder.path());

    let mut command = Command::new(env!("CARGO_BIN_EXE_rlaif"));
    command
        .args(["watch", run])
        .envs(env)
        .stdout(Stdio::piped());
    let mut watch = command.spawn().unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(watch.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    let address = line.trim().trim_start_matches("watching at http://");
    let address = address.trim_end_matches('/');
    for target in [
        "/",
        "/api/runs",
        "/api/metrics?run=0",
        "/api/rows?run=0&kind=preferences&from=0&n=9",
        "/api/labels?run=0",
        "/api/results?run=0",
    ] {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {target} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{target}: {answer}");
        assert!(!answer.contains(KEY), "{target} holds the key");
    }
    watch.kill().unwrap();
    watch.wait().unwrap();
}

/// No file below `folder` holds the key.
fn check_absent(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            check_absent(&path);
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let found = bytes
            .windows(KEY.len())
            .any(|window| window == KEY.as_bytes());
        assert!(!found, "{} holds the key", path.display());
    }
}
