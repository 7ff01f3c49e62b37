//! Whatever a record holds, a file of any format gives it back.

use std::fs;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rlaif::record::rows::convert;
use rlaif::record::{
    Answer, Comparison, Completion, Context, Conversation, Message, Method, Preference, Prompt,
    Record, read_records, write_jsonl,
};

/// Texts of what is hard to write down: quotes, separators, line ends, controls, text beyond ASCII,
/// what looks like JSON or a number, nothing.
const PARTS: [&str; 14] = [
    "a",
    " ",
    "\"",
    ",",
    "\n",
    "\r\n",
    "\t",
    "\\",
    "\u{0}",
    "\u{2028}",
    "\u{1f600}",
    "[1]",
    "{}",
    "-1.5",
];

fn text(rng: &mut StdRng) -> String {
    let n = rng.random_range(0..6);
    (0..n)
        .map(|_| PARTS[rng.random_range(0..PARTS.len())])
        .collect()
}

/// A text that no reader takes for the absence of one.
fn word(rng: &mut StdRng) -> String {
    format!("w{}", text(rng))
}

/// The prompts of a file are all texts or all conversations.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Text,
    Turns,
}

fn context(rng: &mut StdRng, form: Form) -> Context {
    if form == Form::Text {
        return word(rng).into();
    }
    let n = rng.random_range(1..4);
    let role = |i: usize| ["user", "assistant"][i % 2];
    Context::Conversation(Conversation {
        messages: (0..n).map(|i| Message::new(role(i), &text(rng))).collect(),
        ..Conversation::default()
    })
}

fn probability(rng: &mut StdRng) -> f32 {
    rng.random()
}

fn maybe(rng: &mut StdRng) -> Option<f32> {
    rng.random::<bool>().then(|| rng.random())
}

fn preference(rng: &mut StdRng, form: Form) -> Preference {
    Preference {
        prompt_id: word(rng),
        prompt: context(rng, form),
        chosen: Answer::from(word(rng).as_str()),
        rejected: Answer::from(word(rng).as_str()),
        p_chosen: probability(rng),
        p_first: maybe(rng),
        p_second: maybe(rng),
        margin: maybe(rng).map(|x| x * 1e30 - 1e10),
        labeler: rng.random::<bool>().then(|| word(rng)),
        method: [None, Some(Method::Text), Some(Method::Truth)][rng.random_range(0..3)],
        rationales: (0..rng.random_range(0..3)).map(|_| word(rng)).collect(),
    }
}

fn completion(rng: &mut StdRng, form: Form) -> Completion {
    Completion {
        prompt_id: word(rng),
        prompt: context(rng, form),
        index: rng.random_range(0..9),
        completion: word(rng),
        n_tokens: rng.random_range(0..99),
        log_prob: -1e3 * probability(rng),
        finished: rng.random(),
    }
}

fn comparison(rng: &mut StdRng, _: Form) -> Comparison {
    Comparison {
        prompt_id: word(rng),
        judge: word(rng),
        a: word(rng),
        b: word(rng),
        p_win: probability(rng),
        length_a: rng.random_range(0..99),
        length_b: rng.random_range(0..99),
    }
}

fn prompt(rng: &mut StdRng, form: Form) -> Prompt {
    Prompt {
        id: word(rng),
        prompt: context(rng, form),
    }
}

/// 40 files of up to 20 rows, each in every format that can be written.
fn check<T: Record + PartialEq + std::fmt::Debug>(make: fn(&mut StdRng, Form) -> T) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for seed in 0..40 {
        let mut rng = StdRng::seed_from_u64(seed);
        let n = rng.random_range(1..20);
        let form = [Form::Text, Form::Turns][seed as usize % 2];
        let rows: Vec<T> = (0..n).map(|_| make(&mut rng, form)).collect();
        let plain = path("rows.jsonl");
        write_jsonl(&plain, &rows).unwrap();
        let same = |path: &Path| {
            let found: Vec<T> = read_records(path).unwrap();
            assert_eq!(found, rows, "seed {seed}, {}", path.display());
        };
        same(&plain);
        for name in ["a.csv", "a.tsv", "a.parquet", "a.jsonl.gz", "a.csv.gz"] {
            let other = path(name);
            convert(&plain, &other).unwrap();
            same(&other);
            fs::remove_file(other).unwrap();
        }
    }
}

#[test]
fn prompts_survive_every_format() {
    check(prompt);
}

#[test]
fn completions_survive_every_format() {
    check(completion);
}

#[test]
fn preferences_survive_every_format() {
    check(preference);
}

#[test]
fn comparisons_survive_every_format() {
    check(comparison);
}
