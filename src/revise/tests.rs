//! Chains of a scripted model, wherever they are interrupted.

use std::fs;

use super::*;
use crate::error::Error;
use crate::label::{Choice, Decoding, Format, NoAnswer};
use crate::precision::Precision;
use crate::record::{JsonlReader, read_demonstrations, read_jsonl};

/// Answers with what it is asked for and a number for each question it was asked before; says
/// nothing to prompt 3, and nothing to the critique of prompt 5.
struct Scripted {
    calls_left: usize,
    n_asked: usize,
}

impl Answerer for Scripted {
    fn name(&self) -> &str {
        "scripted"
    }

    fn choose(&mut self, _: &[Question], _: &[String]) -> Result<Vec<Answered<Choice>>> {
        Err(Error::Usage("not asked".into()))
    }

    fn write(&mut self, requests: &[Request], decoding: &Decoding) -> Result<Vec<Answered<Reply>>> {
        assert!(decoding.stop.contains(&"\n\nHuman:".to_string()));
        if self.calls_left == 0 {
            return Err(Error::Usage("killed".into()));
        }
        self.calls_left -= 1;
        self.n_asked += requests.len();
        let reply = |request: &Request| {
            let text = request.question.full();
            let silent = text == "p3" || (text.contains("p5") && text.ends_with("Critique:"));
            let written = match text.as_str() {
                text if text.ends_with("Critique:") => format!("bad {} ", request.seed % 100),
                text if text.ends_with("Revision:") => format!("better {}", request.seed % 100),
                text => format!("answer to {text}"),
            };
            let message = "no".to_string();
            Answered {
                value: match silent {
                    true => Err(NoAnswer::Failed { message }),
                    false => Ok(Reply {
                        text: written,
                        finished: true,
                    }),
                },
                usage: Usage::default(),
            }
        };
        Ok(requests.iter().map(reply).collect())
    }
}

fn scripted(calls_left: usize) -> Scripted {
    Scripted {
        calls_left,
        n_asked: 0,
    }
}

struct Job {
    folder: tempfile::TempDir,
    config: ReviseConfig,
}

impl Job {
    /// Seven prompts, three at a time, two rounds.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let row = |i: usize| format!("{{\"id\":\"{i}\",\"prompt\":\"p{i}\"}}\n");
        let text: String = (0..7).map(row).collect();
        fs::write(folder.path().join("in.jsonl"), text).unwrap();
        let mut config = ReviseConfig::of_model("m".into(), Precision::F32, Format::Plain);
        (config.rounds, config.batch) = (2, 3);
        Self { folder, config }
    }

    fn run(&self, answerer: &mut Scripted) -> Result<ReviseRun> {
        let [input, output] = ["in.jsonl", "out.jsonl"].map(|name| self.folder.path().join(name));
        revise_file(answerer, &self.config, &input, &output)
    }

    fn bytes(&self) -> [Vec<u8>; 2] {
        let names = ["out.jsonl", "out.jsonl.unanswered.jsonl"];
        names.map(|name| fs::read(self.folder.path().join(name)).unwrap_or_default())
    }
}

#[test]
fn a_chain_ends_in_a_demonstration() {
    let job = Job::new();
    let run = job.run(&mut scripted(99)).unwrap();
    assert_eq!(
        (
            run.n_prompts,
            run.n_revised,
            run.n_stopped,
            run.n_unanswered
        ),
        (7, 6, 1, 1)
    );
    let path = job.folder.path().join("out.jsonl");
    let rows: Vec<Revised> = read_jsonl(&path).unwrap();
    let chain = &rows[0].chain;
    assert_eq!(chain.response, "answer to p0");
    assert_eq!(chain.rounds.len(), 2);
    assert_ne!(chain.rounds[0].principle, chain.rounds[1].principle);
    assert!(chain.rounds[0].critique.starts_with("bad "));
    assert_eq!(rows[0].completion, chain.rounds[1].revision);
    // The critique of prompt 5 failed: it stays as it was answered.
    assert_eq!(
        (
            rows[4].index,
            rows[4].completion.as_str(),
            rows[4].chain.stopped.as_deref()
        ),
        (5, "answer to p5", Some("no"))
    );
    let unanswered = job.folder.path().join("out.jsonl.unanswered.jsonl");
    let lost: Vec<Unanswered> = JsonlReader::open(unanswered)
        .unwrap()
        .collect::<Result<_>>()
        .unwrap();
    assert_eq!((lost[0].index, lost[0].reason.as_str()), (3, "no"));
    // A training reads it as it is.
    let rows = read_demonstrations(&path, &PairOptions::default()).unwrap();
    assert_eq!((rows.len(), rows[0].id.as_str()), (6, "0"));
}

/// Five questions to each group of prompts.
#[test]
fn it_goes_on_wherever_it_was_stopped() {
    let whole = Job::new();
    let mut all = scripted(99);
    whole.run(&mut all).unwrap();
    let n = all.n_asked;
    let mut again = scripted(0);
    assert_eq!(whole.run(&mut again).unwrap().n_before, 7);
    for calls in 0..15 {
        let job = Job::new();
        assert!(job.run(&mut scripted(calls)).is_err());
        let mut rest = scripted(99);
        job.run(&mut rest).unwrap();
        assert_eq!(job.bytes(), whole.bytes(), "stopped after {calls}");
        assert!(calls < 5 || rest.n_asked < n, "{calls}");
    }
    // Cut anywhere.
    let bytes = whole.bytes();
    for cut in (0..bytes[0].len()).step_by(61) {
        fs::write(whole.folder.path().join("out.jsonl"), &bytes[0][..cut]).unwrap();
        whole.run(&mut scripted(99)).unwrap();
        assert_eq!(whole.bytes(), bytes, "cut at {cut}");
    }
}

#[test]
fn another_input_or_model_is_refused() {
    let mut job = Job::new();
    job.run(&mut scripted(5)).unwrap_err();
    let path = job.folder.path().join("out.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let check = |job: &Job, from: &str, to: &str, said: &str| {
        fs::write(&path, text.replace(from, to)).unwrap();
        let error = job.run(&mut scripted(99)).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    };
    check(&job, "scripted", "other", "by `other`, expected `scripted`");
    check(
        &job,
        "\"prompt\":\"p2\"",
        "\"prompt\":\"q\"",
        "of another input",
    );
    job.config.rounds = 1;
    check(&job, "x", "x", "holds 2 rounds, expected 1");
}
