//! Pairs of answers to one prompt, out of the files in which the field keeps them.
//!
//! | columns | what they are |
//! |---|---|
//! | `prompt`, `chosen`, `rejected` | TRL's preferences; `p_chosen` makes the label a soft one |
//! | `chosen`, `rejected` | the same with the prompt inside both: what they begin with |
//! | the same as `"\n\nHuman: ..\n\nAssistant: .."` | Anthropic's HH transcripts |
//! | `conversation_a`, `conversation_b`, `winner` | Chatbot Arena |
//! | `output_1`, `output_2`, `label` or `preference` | LLMBar, AlpacaFarm: 1, 2, or 0 for a tie |
//! | `completions`, a list of objects | UltraFeedback; see [`Pairing`] |
//! | `prompt`, `completion`, `label` | TRL's unpaired: true against false, of neighbours |
//! | `prompt`, `completion` | completions: the first against the second, and so on |
//!
//! The prompt is `prompt`, or `instruction` (with `input` after an empty line), `input`,
//! `question`. Answers are texts or messages. A gold label is what the file itself says of a pair.

pub(super) mod columns;
mod completions;
mod preferences;
mod prefix;
mod skipped;
mod texts;

use std::collections::VecDeque;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use self::preferences::read_preferences;
use self::skipped::Skipped;
pub use self::texts::{read_demonstrations, read_prompts};
use super::rows::{OnError, Row, RowReader, row_error};
use super::{Answer, Context};
use crate::error::Result;

/// Two answers to one prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerPair {
    /// Name of the prompt; the row's line when the file gives none.
    pub prompt_id: String,
    /// What both answer.
    pub prompt: Context,
    /// One answer.
    pub a: Answer,
    /// The other.
    pub b: Answer,
    /// Probability that `a` is better, as the file says.
    pub p_gold: Option<f32>,
    /// By how much, as the file says.
    pub margin: Option<f32>,
}

/// How pairs are read from files that leave a choice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PairOptions {
    /// What happens to a row that cannot be used.
    pub on_error: OnError,
    /// What HH transcripts become.
    pub transcripts: Transcripts,
    /// Which of several scored completions meet.
    pub pairing: Pairing,
}

/// What HH transcripts become.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Transcripts {
    /// Texts: the prompt ends with `"\n\nAssistant:"`, an answer begins with a space.
    #[default]
    Text,
    /// Conversations of `user` and `assistant`.
    Messages,
}

/// Which completions of a row of `completions` meet. The score is `overall_score`, `score` or
/// `rating`; completions without one are left out, unless none has one: then neighbours meet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Pairing {
    /// The best and the worst.
    #[default]
    BestWorst,
    /// The best and each of the others.
    BestOthers,
    /// The first and the second, the third and the fourth, and so on.
    Neighbours,
}

/// Reads pairs from a file of any format and layout.
///
/// The pairs of a file are always the same, in the same order. Pairs of equal texts are left out,
/// for there is nothing to prefer.
pub struct PairReader {
    rows: RowReader,
    options: PairOptions,
    ready: VecDeque<AnswerPair>,
    /// Completions of one prompt whose partners may follow.
    open: Option<completions::Open>,
    skipped: Skipped,
    /// Pairs of equal texts.
    pub n_equal: usize,
}

impl PairReader {
    /// Opens a file.
    ///
    /// # Errors
    /// As [`RowReader::open`].
    pub fn open(path: impl AsRef<Path>, options: &PairOptions) -> Result<Self> {
        Ok(Self {
            rows: RowReader::open(path)?,
            options: options.clone(),
            ready: VecDeque::new(),
            open: None,
            skipped: Skipped::new(options.on_error),
            n_equal: 0,
        })
    }

    fn take(&mut self, row: Row) -> Result<()> {
        let line = row.line;
        let mut pairs = Vec::new();
        let taken = columns::pairs(row, &self.options, &mut self.open, &mut pairs);
        self.keep(pairs);
        taken.map_err(|message| row_error(self.rows.path(), line, message))
    }

    fn keep(&mut self, pairs: Vec<AnswerPair>) {
        let n_pairs = pairs.len();
        let n_before = self.ready.len();
        let different = pairs.into_iter().filter(|pair| pair.a.text != pair.b.text);
        self.ready.extend(different);
        self.n_equal += n_pairs - (self.ready.len() - n_before);
    }

    /// Rows so far that could not be used, with [`OnError::Skip`].
    pub fn n_bad(&self) -> usize {
        self.skipped.n
    }
}

impl AnswerPair {
    /// The same pair with the answers in the order of the alphabet: an order that tells nothing of
    /// which is the better one, as that of a file often does.
    pub fn in_order(self) -> Self {
        if self.a.text <= self.b.text {
            return self;
        }
        Self {
            a: self.b,
            b: self.a,
            p_gold: self.p_gold.map(|p| 1.0 - p),
            ..self
        }
    }
}

impl Iterator for PairReader {
    type Item = Result<AnswerPair>;

    fn next(&mut self) -> Option<Result<AnswerPair>> {
        loop {
            if let Some(pair) = self.ready.pop_front() {
                return Some(Ok(pair));
            }
            let Some(row) = self.rows.next() else {
                let last = self.open.take()?;
                self.keep(last.pairs());
                continue;
            };
            if let Err(error) = row.and_then(|row| self.take(row))
                && !self.skipped.takes(&error)
            {
                return Some(Err(error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(rows: &[Value], options: &PairOptions) -> Vec<Result<AnswerPair>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        let lines: Vec<_> = rows.iter().map(|row| row.to_string() + "\n").collect();
        std::fs::write(&path, lines.concat()).unwrap();
        PairReader::open(&path, options).unwrap().collect()
    }

    /// `prompt | a | b | p_gold` of each pair.
    fn shown(rows: &[Value], options: &PairOptions) -> Vec<String> {
        let show = |pair: Result<AnswerPair>| {
            let AnswerPair {
                prompt,
                a,
                b,
                p_gold,
                ..
            } = pair.unwrap();
            let gold = p_gold.map_or("-".into(), |p| p.to_string());
            format!("{} | {} | {} | {gold}", prompt.transcript(), a.text, b.text)
        };
        read(rows, options).into_iter().map(show).collect()
    }

    #[track_caller]
    fn check(row: Value, expected: &[&str]) {
        assert_eq!(shown(&[row], &PairOptions::default()), expected);
    }

    #[test]
    fn preferences_hold_their_prompt_or_share_it() {
        check(
            json!({"prompt": "q", "chosen": "c", "rejected": "r"}),
            &["q | c | r | 1"],
        );
        let soft = json!({"prompt": "q", "chosen": "c", "rejected": "r", "p_chosen": 0.25});
        check(soft, &["q | c | r | 0.25"]);
        let implicit = json!({"chosen": "It is blue.", "rejected": "It is green."});
        check(implicit, &["It is |  blue. |  green. | 1"]);
        check(json!({"prompt": "q", "chosen": "c", "rejected": "c"}), &[]);
    }

    #[test]
    fn conversations_hold_their_prompt_or_share_it() {
        let turn = |role: &str, content: &str| json!({"role": role, "content": content});
        let (ask, yes, no) = (
            turn("user", "q"),
            turn("assistant", "c"),
            turn("assistant", "r"),
        );
        let expected = ["Human: q | c | r | 1"];
        check(
            json!({"prompt": [ask], "chosen": [yes], "rejected": [no]}),
            &expected,
        );
        check(
            json!({"chosen": [ask, yes], "rejected": [ask, no]}),
            &expected,
        );
        // As UltraFeedback is binarized: the prompt is a text, and again the first turn.
        check(
            json!({"prompt": "q", "chosen": [ask, yes], "rejected": [ask, no]}),
            &expected,
        );
        check(
            json!({"prompt": [ask], "chosen": [ask, yes], "rejected": [ask, no]}),
            &expected,
        );
        check(
            json!({"prompt": "q", "chosen": [yes], "rejected": [no]}),
            &expected,
        );
        let arena = json!({
            "conversation_a": [ask, yes], "conversation_b": [ask, no], "winner": "model_b",
        });
        check(arena, &["Human: q | c | r | 0"]);
        let with_tools = json!({"chosen": [ask, yes], "rejected": [ask, no], "tools": [{"x": 1}]});
        let pair = read(&[with_tools], &PairOptions::default())
            .remove(0)
            .unwrap();
        let Context::Conversation(found) = pair.prompt else {
            panic!("{pair:?}")
        };
        assert_eq!((found.tools.len(), pair.a.messages.len()), (1, 1));
    }

    #[test]
    fn transcripts_are_texts_or_conversations() {
        let start = "\n\nHuman: hi\n\nAssistant: yo\n\nHuman: why\n\nAssistant:";
        let row = json!({"chosen": format!("{start} so"), "rejected": format!("{start} no")});
        let expected = format!("{start} |  so |  no | 1");
        assert_eq!(
            shown(std::slice::from_ref(&row), &PairOptions::default()),
            [expected]
        );
        let options = PairOptions {
            transcripts: Transcripts::Messages,
            ..PairOptions::default()
        };
        let expected = "Human: hi\n\nAssistant: yo\n\nHuman: why | so | no | 1";
        assert_eq!(shown(&[row], &options), [expected]);
    }

    #[test]
    fn outputs_carry_their_label() {
        let row =
            |label: Value| json!({"input": "q", "output_1": "x", "output_2": "y", "label": label});
        check(row(json!(1)), &["q | x | y | 1"]);
        check(row(json!(2)), &["q | x | y | 0"]);
        check(row(json!(0)), &["q | x | y | 0.5"]);
        check(row(json!(null)), &["q | x | y | -"]);
        let alpaca = json!({
            "instruction": "do", "input": "this", "output_1": "x", "output_2": "y", "preference": 2.0,
        });
        check(alpaca, &["do\n\nthis | x | y | 0"]);
    }

    #[test]
    fn scored_completions_meet_as_told() {
        let answer = |text: &str, score: Value| json!({"response": text, "overall_score": score});
        let row = json!({"instruction": "q", "completions": [
            answer("x", json!(5)), answer("y", json!(8.5)), answer("z", json!(null)), answer("w", json!(1)),
        ]});
        check(row.clone(), &["q | y | w | 1"]);
        let with = |pairing| PairOptions {
            pairing,
            ..PairOptions::default()
        };
        let found = shown(std::slice::from_ref(&row), &with(Pairing::BestOthers));
        assert_eq!(found, ["q | y | x | 1", "q | y | w | 1"]);
        let found = shown(std::slice::from_ref(&row), &with(Pairing::Neighbours));
        assert_eq!(found, ["q | x | y | 0"]);
        let pair = read(&[row], &PairOptions::default()).remove(0).unwrap();
        assert_eq!(pair.margin, Some(7.5));
        check(
            json!({"prompt": "q", "completions": ["x", "y", "z"]}),
            &["q | x | y | -"],
        );
    }

    #[test]
    fn rows_of_one_prompt_are_paired() {
        let row = |prompt: &str, text: &str, label: Value| json!({"prompt": prompt, "completion": text, "label": label});
        let unpaired = [
            row("q", "a", json!(true)),
            row("q", "b", json!(true)),
            row("q", "c", json!(false)),
            row("q", "d", json!(false)),
            row("q", "e", json!(false)),
            row("p", "f", json!(true)),
        ];
        let found = shown(&unpaired, &PairOptions::default());
        assert_eq!(found, ["q | a | c | 1", "q | b | d | 1"]);
        let plain = ["a", "b", "c", "d", "e"].map(|text| row("q", text, json!(null)));
        let found = shown(&plain, &PairOptions::default());
        assert_eq!(found, ["q | a | b | -", "q | c | d | -"]);
    }

    #[test]
    fn bad_rows_stop_or_are_counted() {
        let good = json!({"prompt": "q", "chosen": "c", "rejected": "r"});
        let rows = [
            good.clone(),
            json!({"prompt": "q"}),
            json!({"input": "q", "output_1": "x", "output_2": "y", "label": 3}),
            json!({"chosen": "c", "rejected": [{"role": "user", "content": ""}]}),
            good,
        ];
        let found = read(&rows, &PairOptions::default());
        let errors = found
            .iter()
            .filter_map(|row| row.as_ref().err())
            .map(ToString::to_string);
        let errors: Vec<_> = errors
            .map(|text| text.split("x.jsonl:").nth(1).unwrap().to_string())
            .collect();
        assert_eq!(
            errors,
            [
                "2: no columns of a pair among `prompt`",
                "3: `label` is 3, expected 1, 2, or 0 for a tie",
                "4: one answer is a text and the other a list of messages",
            ]
        );
        let skip = PairOptions {
            on_error: OnError::Skip,
            ..PairOptions::default()
        };
        assert_eq!(shown(&rows, &skip).len(), 2);
    }
}
