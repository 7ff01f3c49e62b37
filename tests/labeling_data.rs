//! A local labeler on data that nobody here made: 500 pairs of Anthropic's HH and the 419 of
//! LLMBar, judged by a language model of children's stories with 512 tokens of context.
//!
//! The data is read from `../shared/data`, beside the repository; without it the tests say so and
//! pass.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

use burn::tensor::Device;
use rlaif::label::config::{AskConfig, Truncation};
use rlaif::label::{Asking, Judgement, Labeler, LocalAnswerer, NoAnswer, Pair, PromptedLabeler};
use rlaif::record::Context;
use serde_json::Value;

fn data() -> Option<PathBuf> {
    let dir = Path::new("../shared/data");
    if !dir.is_dir() {
        eprintln!("skipped: {} is absent", dir.display());
        return None;
    }
    Some(dir.into())
}

/// A prompt and two answers to it.
struct Row {
    id: String,
    prompt: Context,
    answers: [String; 2],
}

impl Row {
    fn pair(&self) -> Pair<'_> {
        Pair {
            prompt_id: &self.id,
            prompt: &self.prompt,
            a: &self.answers[0],
            b: &self.answers[1],
        }
    }
}

fn row(i: usize, prompt: &str, answers: [&str; 2]) -> Row {
    Row {
        id: i.to_string(),
        prompt: prompt.into(),
        answers: answers.map(String::from),
    }
}

/// The first pairs of a file, whose two columns hold a conversation that differs in its end.
fn hh(dir: &Path, n: usize) -> Vec<Row> {
    let path = dir.join("hh-rlhf/helpful-base-test.jsonl.gz");
    let unpacked = Command::new("gzip").arg("-dc").arg(path).output().unwrap();
    let text = String::from_utf8(unpacked.stdout).unwrap();
    let pair = |(i, line): (usize, &str)| {
        let found: Value = serde_json::from_str(line).unwrap();
        let turn = "\n\nAssistant:";
        let split = |name: &str| {
            let text = found[name].as_str().unwrap();
            text.split_at(text.rfind(turn).unwrap() + turn.len())
        };
        let ((prompt, chosen), (_, rejected)) = (split("chosen"), split("rejected"));
        row(i, prompt, [chosen, rejected])
    };
    text.lines().take(n).enumerate().map(pair).collect()
}

fn llmbar(dir: &Path) -> Vec<Row> {
    let names = ["Natural", "Neighbor", "GPTInst", "GPTOut", "Manual"];
    let subset = |name: &str| {
        let path = dir.join(format!("llmbar/llmbar_{name}.json"));
        let text = std::fs::read_to_string(path).unwrap();
        serde_json::from_str::<Vec<Value>>(&text).unwrap()
    };
    let pair = |(i, found): (usize, Value)| {
        let text = |name: &str| found[name].as_str().unwrap();
        row(i, text("input"), [text("output_1"), text("output_2")])
    };
    let rows = names.into_iter().flat_map(subset);
    rows.enumerate().map(pair).collect()
}

/// Judges every pair as it is and turned round: what is said of one is the mirror of the other.
/// Returns how many pairs have a verdict, how many texts were cut, how many do not fit.
fn check(dir: &Path, rows: &[Row], truncation: Truncation) -> [usize; 3] {
    let config = AskConfig {
        prompt: "helpful-base".into(),
        truncation,
        ..AskConfig::default()
    };
    let answerer = LocalAnswerer::load(&dir.join("stories260k"), &Device::flex()).unwrap();
    let mut labeler = PromptedLabeler::new(answerer, Asking::new(&config, 1).unwrap());
    let pairs: Vec<Pair> = rows.iter().map(Row::pair).collect();
    let turned: Vec<Pair> = (pairs.iter())
        .map(|pair| Pair {
            a: pair.b,
            b: pair.a,
            ..*pair
        })
        .collect();
    let mut judge = |pairs: &[Pair]| -> Vec<Judgement> {
        let chunks = pairs
            .chunks(64)
            .map(|chunk| labeler.compare(chunk).unwrap());
        chunks.collect::<Vec<_>>().concat()
    };
    let (found, mirrored) = (judge(&pairs), judge(&turned));
    assert_eq!(found.len(), rows.len());
    for (i, (found, mirrored)) in found.iter().zip(&mirrored).enumerate() {
        assert_eq!(found.p_a().is_some(), mirrored.p_a().is_some(), "pair {i}");
        let orders = [
            (found.p_a_first, mirrored.p_a_second),
            (found.p_a_second, mirrored.p_a_first),
            (found.p_a(), mirrored.p_a()),
        ];
        for (there, back) in orders {
            if let (Some(there), Some(back)) = (there, back) {
                assert!(
                    (there + back - 1.0).abs() < 1e-5,
                    "pair {i}: {there} and {back}"
                );
            }
        }
        let kind = found.no_verdict.as_ref().map(NoAnswer::kind);
        assert!(
            matches!(kind, None | Some("too_long")),
            "pair {i}: {kind:?}"
        );
    }
    let count = |is: fn(&Judgement) -> bool| found.iter().filter(|row| is(row)).count();
    [
        count(|row| row.p_a().is_some()),
        count(|row| row.p_a().is_some() && row.truncated),
        count(|row| row.no_verdict.is_some()),
    ]
}

#[test]
fn hh_pairs_turned_round_give_the_mirrored_label() {
    let Some(dir) = data() else { return };
    let rows = hh(&dir, 500);
    assert_eq!(rows.len(), 500);
    let [labeled, cut, lost] = check(&dir, &rows, Truncation::KeepEnd);
    eprintln!("HH: {labeled} labeled, {cut} of them cut, {lost} do not fit");
    assert_eq!(labeled + lost, 500);
    let [whole, none, more_lost] = check(&dir, &rows, Truncation::Skip);
    eprintln!("HH, nothing cut: {whole} labeled, {more_lost} do not fit");
    assert_eq!((none, whole + more_lost), (0, 500));
    // A text is cut to leave some room for the answer, so it may be cut where it just fits.
    assert!((labeled - cut..labeled).contains(&whole), "{whole}");
}

#[test]
fn llmbar_pairs_turned_round_give_the_mirrored_label() {
    let Some(dir) = data() else { return };
    let rows = llmbar(&dir);
    assert_eq!(rows.len(), 419);
    let [labeled, cut, lost] = check(&dir, &rows, Truncation::KeepEnd);
    eprintln!("LLMBar: {labeled} labeled, {cut} of them cut, {lost} do not fit");
    assert_eq!(labeled + lost, 419);
}
