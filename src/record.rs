//! The rows that move between stages, and the only place that knows how they look in a file.
//!
//! Files are written as JSONL: UTF-8, one JSON object per line; what comes from outside may be CSV
//! or Parquet too, and compressed ([`rows`]). Columns carry the names that TRL uses (`prompt`,
//! `completion`, `chosen`, `rejected`, `margin`), columns unknown here are ignored, and blank lines
//! are skipped, so that files made elsewhere load as they are. A prompt is a text or a conversation
//! ([`Context`]). This room knows nothing of models or run folders; start reading at [`Prompt`] and
//! [`RecordReader`].

mod conversation;
mod demonstration;
mod evaluation;
mod inference;
mod judged;
pub(crate) mod kept;
mod label;
mod logged;
mod pairs;
mod revised;
pub mod rows;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

pub use self::conversation::{Answer, Context, Conversation, Message, transcript};
pub use self::demonstration::{Demonstration, Form};
pub use self::evaluation::{
    Annotation, Classified, Output, SubsetVerdict, read_classes, read_outputs,
    read_subset_verdicts, read_verdicts,
};
pub use self::inference::{Answered, Rewarded, Scored};
pub use self::judged::{Compared, Judged, Usage, Verdict};
pub use self::kept::Kept;
pub use self::label::{Label, LabelFailure};
pub use self::logged::LoggedRollout;
pub use self::pairs::{
    AnswerPair, PairOptions, PairReader, Pairing, Transcripts, read_demonstrations,
    read_preferences, read_prompts,
};
pub use self::revised::{Chain, Revised, Revision, Unanswered};
pub use self::rows::{RecordReader, RowReader, read_records};
use crate::error::{Error, Result};
pub use crate::run::jsonl::{JsonlReader, read_jsonl, write_jsonl};

/// A row of a data file.
pub trait Record: Serialize + DeserializeOwned {
    /// Refuses values outside their range; called on every row read and written.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Fills an absent id with the row's line, counted from 1.
    fn set_default_id(&mut self, _line: usize) {}
}

/// Something to complete.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prompt {
    /// Name of the prompt, unique in its file; its line when the file gives none.
    #[serde(default, deserialize_with = "id_text")]
    pub id: String,
    /// What the model is shown.
    #[serde(flatten)]
    pub prompt: Context,
}

/// One answer of a policy to a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// [`Prompt::id`].
    #[serde(deserialize_with = "id_text")]
    pub prompt_id: String,
    /// [`Prompt::prompt`].
    #[serde(flatten)]
    pub prompt: Context,
    /// Which of the prompt's completions this is, from 0.
    pub index: usize,
    /// The text, without the end-of-sequence token.
    pub completion: String,
    /// Tokens generated, the end-of-sequence token included.
    pub n_tokens: usize,
    /// Log-probability of the whole completion under the policy: a sum over tokens, in nats.
    pub log_prob: f32,
    /// Whether the policy ended it itself, rather than running into the length limit.
    pub finished: bool,
}

/// Two completions of one prompt and how sure the labeler is that the chosen one is better.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preference {
    /// [`Prompt::id`]; the row's line when the file gives none.
    #[serde(default, deserialize_with = "id_text")]
    pub prompt_id: String,
    /// [`Prompt::prompt`].
    #[serde(flatten)]
    pub prompt: Context,
    /// The completion preferred.
    pub chosen: Answer,
    /// The completion it was compared with.
    pub rejected: Answer,
    /// Probability that `chosen` is better, averaged over both orders; 1 for a hard label, which
    /// is what a file without this column holds.
    #[serde(default = "hard_label")]
    pub p_chosen: f32,
    /// Probability that `chosen` is better when it is shown first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p_first: Option<f32>,
    /// Probability that `chosen` is better when it is shown second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p_second: Option<f32>,
    /// By how much `chosen` is better, on the scale of whoever scored it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<f32>,
    /// Who judged; an empty name, as in the cell of a table, is none.
    #[serde(
        default,
        deserialize_with = "named",
        skip_serializing_if = "Option::is_none"
    )]
    pub labeler: Option<String>,
    /// How the verdict was found where it was not from the probabilities of the answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// Why, in the labeler's words: one text, or several where it was asked several times.
    #[serde(
        default,
        alias = "rationale",
        deserialize_with = "one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub rationales: Vec<String>,
}

/// How a labeler's verdict was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// From the probabilities of the answer tokens.
    LogProbs,
    /// Read from generated text.
    Text,
    /// Known, not asked.
    Truth,
}

/// Two completions of one prompt that the labeler gave no verdict on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unlabeled {
    /// [`Prompt::id`].
    #[serde(deserialize_with = "id_text")]
    pub prompt_id: String,
    /// [`Prompt::prompt`].
    #[serde(flatten)]
    pub prompt: Context,
    /// One completion.
    pub a: String,
    /// The other.
    pub b: String,
    /// Who was asked.
    pub labeler: String,
    /// What went wrong: `too_long`, `unreadable`, `not_finite`, `failed`.
    pub kind: String,
    /// The same in words.
    pub reason: String,
    /// The labeler's reasons as far as it came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rationales: Vec<String>,
}

/// A judge's verdict on two policies' completions of one prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// [`Prompt::id`].
    #[serde(deserialize_with = "id_text")]
    pub prompt_id: String,
    /// Who judged.
    pub judge: String,
    /// Name of the first policy.
    pub a: String,
    /// Name of the second policy.
    pub b: String,
    /// Probability that `a`'s completion is better than `b`'s.
    pub p_win: f32,
    /// Tokens in `a`'s completion; characters where files of completions are compared.
    pub length_a: usize,
    /// The same of `b`'s.
    pub length_b: usize,
}

impl Record for Prompt {
    fn set_default_id(&mut self, line: usize) {
        default_id(&mut self.id, line);
    }
}

impl Record for Completion {
    fn check(&self) -> Result<()> {
        finite("log_prob", self.log_prob)
    }
}

impl Record for Preference {
    fn check(&self) -> Result<()> {
        probability("p_chosen", self.p_chosen)?;
        self.p_first.map_or(Ok(()), |p| probability("p_first", p))?;
        self.p_second
            .map_or(Ok(()), |p| probability("p_second", p))?;
        self.margin
            .map_or(Ok(()), |margin| finite("margin", margin))
    }

    fn set_default_id(&mut self, line: usize) {
        default_id(&mut self.prompt_id, line);
    }
}

impl Record for Unlabeled {}

impl Record for Comparison {
    fn check(&self) -> Result<()> {
        probability("p_win", self.p_win)
    }
}

/// An id, which other tools also write as a number.
fn id_text<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    match Value::deserialize(input)? {
        Value::String(id) => Ok(id),
        Value::Number(id) => Ok(id.to_string()),
        _ => Err(D::Error::custom(
            "wrong type, expected a string or a number",
        )),
    }
}

/// A name, unless it is empty.
fn named<'de, D: Deserializer<'de>>(input: D) -> Result<Option<String>, D::Error> {
    let name = Option::<String>::deserialize(input)?;
    Ok(name.filter(|name| !name.is_empty()))
}

/// A text or a list of texts, which Parquet holds as the text of that list.
fn one_or_many<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        None,
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(input)? {
        OneOrMany::None => Vec::new(),
        OneOrMany::One(text) => serde_json::from_str(&text).unwrap_or_else(|_| vec![text]),
        OneOrMany::Many(texts) => texts,
    })
}

fn default_id(id: &mut String, line: usize) {
    if id.is_empty() {
        *id = line.to_string();
    }
}

fn hard_label() -> f32 {
    1.0
}

fn probability(field: &str, value: f32) -> Result<()> {
    let inside = (0.0..=1.0).contains(&value);
    if inside {
        Ok(())
    } else {
        Err(Error::field(field, value, "0..=1"))
    }
}

fn finite(field: &str, value: f32) -> Result<()> {
    if value.is_finite() {
        Ok(())
    } else {
        Err(Error::field(field, value, "a finite number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<T: Record + PartialEq + std::fmt::Debug>(text: &str) -> Vec<T> {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy) = (
            folder.path().join("a.jsonl"),
            folder.path().join("new/b.jsonl"),
        );
        std::fs::write(&path, text).unwrap();
        let rows = read_jsonl(&path).unwrap();
        write_jsonl(&copy, &rows).unwrap();
        assert_eq!(read_jsonl::<T>(&copy).unwrap(), rows);
        rows
    }

    #[test]
    fn preferences_survive_a_file() {
        let text = concat!(
            r#"{"prompt_id":"p","prompt":"q\n","chosen":"c","rejected":"r","p_chosen":0.7,"#,
            r#""p_first":0.1,"p_second":null,"margin":-2,"labeler":"l","rationale":"w","x":[]}"#
        );
        let row = &round_trip::<Preference>(text)[0];
        assert_eq!((row.p_chosen, row.p_first), (0.7, Some(0.1)));
        assert_eq!((row.p_second, row.margin), (None, Some(-2.0)));
        assert_eq!(
            (row.prompt.transcript().as_ref(), row.rationales.as_slice()),
            ("q\n", ["w".to_string()].as_slice())
        );
    }

    #[test]
    fn completions_and_comparisons_survive_a_file() {
        let text = concat!(
            r#"{"prompt_id":"p","prompt":"q","index":1,"completion":"","n_tokens":1,"#,
            r#""log_prob":-0.1,"finished":true}"#
        );
        assert_eq!(round_trip::<Completion>(text)[0].log_prob, -0.1);
        let text = concat!(
            r#"{"prompt_id":3,"judge":"j","a":"x","b":"y","p_win":0.25,"#,
            r#""length_a":1,"length_b":2}"#
        );
        assert_eq!(round_trip::<Comparison>(text)[0].prompt_id, "3");
    }

    #[test]
    fn files_made_elsewhere_load() {
        let text = "\u{feff}{\"prompt\":\"a\"}\r\n \n{\"id\":7,\"prompt\":\"b\",\"y\":1}";
        let rows = round_trip::<Prompt>(text);
        let rows: Vec<_> = rows
            .iter()
            .map(|row| (row.id.as_str(), row.prompt.transcript()))
            .collect();
        assert_eq!(rows, [("1", "a".into()), ("7", "b".into())]);
        let hard = round_trip::<Preference>(r#"{"prompt":"q","chosen":"c","rejected":"r"}"#);
        assert_eq!((hard[0].p_chosen, hard[0].prompt_id.as_str()), (1.0, "1"));
        let row = round_trip::<Demonstration>("\n{\"prompt\":\"q\",\"completion\":\"c\"}");
        assert_eq!(row[0].id, "2");
    }
}
