//! Examples with their answers, shown before the question: `k`-shot prompting.

use std::path::{Path, PathBuf};

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::index;
use serde::{Deserialize, Serialize};

use super::prompt::{Choose, Prompt, PromptFile, Slots, Task};
use crate::error::{Error, Result};
use crate::record::{Preference, read_jsonl};

/// The examples of a prompt file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExemplarBlock {
    /// Comes before each example.
    pub header: String,
    /// Comes after the last.
    pub footer: String,
    /// The examples that come with the prompt.
    pub rows: Vec<Exemplar>,
}

/// An example with its answer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exemplar {
    /// What the completions answer.
    pub prompt: String,
    /// The completion shown first.
    #[serde(default)]
    pub first: String,
    /// The completion shown second.
    #[serde(default)]
    pub second: String,
    /// The only completion, of a score.
    #[serde(default)]
    pub completion: String,
    /// One of the prompt's answers.
    pub answer: String,
    /// Why; needed where rationales are asked for.
    pub rationale: Option<String>,
    /// The principle that was followed.
    #[serde(default)]
    pub principle: String,
}

/// Where exemplars come from and how many are shown.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExemplarConfig {
    /// How many are shown with each comparison.
    pub shots: usize,
    /// JSONL with TRL's `prompt`, `chosen`, `rejected`, and `rationale` where rationales are asked
    /// for; without it, the prompt's own.
    pub file: Option<PathBuf>,
    /// Which of them are shown.
    pub draw: Draw,
}

/// Which exemplars are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Draw {
    /// The first ones.
    #[default]
    First,
    /// Some, drawn once for all questions.
    Run,
    /// Others for every pair; these share no encoding.
    Pair,
}

impl Exemplar {
    /// Refuses what does not fit the prompt.
    pub(super) fn check(&self, file: &PromptFile) -> Result<(), String> {
        if !file.answers.contains(&self.answer) {
            let answers = file.answers.join(", ");
            return Err(format!(
                "`answer` is {}, expected one of {answers}",
                self.answer
            ));
        }
        let is_complete = match file.task {
            Task::Compare => !self.first.is_empty() && !self.second.is_empty(),
            Task::Score => !self.completion.is_empty(),
        };
        if !is_complete {
            return Err(match file.task {
                Task::Compare => "expected `first` and `second`".into(),
                Task::Score => "expected `completion`".into(),
            });
        }
        if file.principles.is_empty() != self.principle.is_empty() {
            return Err("expected a `principle` where the prompt has some".into());
        }
        Ok(())
    }

    /// From a preference; chance decides which completion is shown first, and which principle.
    fn from_preference(row: Preference, file: &PromptFile, rng: &mut StdRng) -> Self {
        let chosen_first = rng.random();
        let (chosen, rejected) = (row.chosen.text, row.rejected.text);
        let (first, second) = match chosen_first {
            true => (chosen, rejected),
            false => (rejected, chosen),
        };
        let answer = usize::from(chosen_first != (file.choose == Choose::Better));
        let principle = match file.principles.len() {
            0 => String::new(),
            n => file.principles[rng.random_range(0..n)].clone(),
        };
        Self {
            prompt: row.prompt.transcript().into_owned(),
            first,
            second,
            completion: String::new(),
            answer: file.answers[answer].clone(),
            rationale: row.rationales.into_iter().next(),
            principle,
        }
    }
}

/// Reads the exemplars that a prompt may show.
///
/// # Errors
/// The file cannot be read, there are fewer than `config.shots`, or one lacks the rationale that
/// `reasoning` needs.
pub(super) fn exemplars(
    prompt: &Prompt,
    config: &ExemplarConfig,
    reasoning: bool,
    rng: &mut StdRng,
) -> Result<Vec<Exemplar>> {
    let mut rows = match &config.file {
        None => prompt.file.exemplars.rows.clone(),
        Some(path) => from_file(path, &prompt.file, rng)?,
    };
    if rows.len() < config.shots {
        let expected = format!("at most {}, for there are no more exemplars", rows.len());
        return Err(Error::field(
            "labeler.ask.exemplars.shots",
            config.shots,
            expected,
        ));
    }
    match config.draw {
        Draw::First => rows.truncate(config.shots),
        Draw::Run => rows = drawn(&rows, config.shots, rng).cloned().collect(),
        Draw::Pair => {}
    }
    let speechless = rows.iter().position(|row| row.rationale.is_none());
    if let (true, true, Some(i)) = (reasoning, config.shots > 0, speechless) {
        let message = format!("exemplar {} has no rationale to show", i + 1);
        return Err(Error::Usage(message));
    }
    Ok(rows)
}

fn from_file(path: &Path, file: &PromptFile, rng: &mut StdRng) -> Result<Vec<Exemplar>> {
    let rows: Vec<Preference> = read_jsonl(path)?;
    let exemplar = |row| Exemplar::from_preference(row, file, rng);
    Ok(rows.into_iter().map(exemplar).collect())
}

/// `n` of `rows`, in the order drawn.
pub(super) fn drawn<'a>(
    rows: &'a [Exemplar],
    n: usize,
    rng: &mut StdRng,
) -> impl Iterator<Item = &'a Exemplar> {
    let picked = index::sample(rng, rows.len(), n.min(rows.len())).into_vec();
    picked.into_iter().map(|i| &rows[i])
}

/// The text of `rows` between preamble and context; empty without rows.
///
/// # Errors
/// A template fails.
pub(super) fn shown<'a>(
    prompt: &Prompt,
    rows: impl IntoIterator<Item = &'a Exemplar>,
    reasoning: bool,
) -> Result<String> {
    let file = &prompt.file;
    let mut text = String::new();
    for row in rows {
        let completions: Vec<&str> = match file.task {
            Task::Compare => vec![&row.first, &row.second],
            Task::Score => vec![&row.completion],
        };
        let slots = Slots {
            prompt: &row.prompt,
            completions: &completions,
            principle: &row.principle,
        };
        text += &file.exemplars.header;
        text += &prompt.fill(&file.context, &slots)?;
        text += &prompt.fill(&file.sample, &slots)?;
        if let (true, Some(cot), Some(rationale)) =
            (reasoning, &file.chain_of_thought, &row.rationale)
        {
            text += &after(&prompt.fill(&cot.request, &slots)?, rationale);
        }
        text += &after(&prompt.fill(&file.ending, &slots)?, &row.answer);
    }
    if !text.is_empty() {
        text += &file.exemplars.footer;
    }
    Ok(text)
}

/// What a text is followed by: without a space after `=`, as in `Preferred Summary=1`.
pub(super) fn after(text: &str, what: &str) -> String {
    let space = if text.ends_with('=') { "" } else { " " };
    format!("{text}{space}{}", what.trim())
}
