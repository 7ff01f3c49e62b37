//! What a labeler asks, as data: preamble, exemplars, sample, ending (table 15 of the paper).
//!
//! A prompt is a TOML file whose texts are minijinja templates; the built-in ones stand in
//! `src/label/prompts/`, one file each. A question comes in two parts. The first holds preamble,
//! exemplars and the text that is judged; it is the same for both orders of a pair and for all
//! samples of a prompt, so it is encoded once. The second holds the completions and the ending.

use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior, Value, context};
use serde::{Deserialize, Serialize};

use super::exemplar::ExemplarBlock;
use crate::error::{Error, Result};

/// Names and texts of the prompts that come with the crate.
pub const BUILT_IN: [(&str, &str); 17] = [
    ("tiny-tldr", include_str!("prompts/tiny-tldr.toml")),
    (
        "tiny-tldr-score",
        include_str!("prompts/tiny-tldr-score.toml"),
    ),
    ("tiny-helpful", include_str!("prompts/tiny-helpful.toml")),
    (
        "tiny-helpful-score",
        include_str!("prompts/tiny-helpful-score.toml"),
    ),
    ("tiny-harmless", include_str!("prompts/tiny-harmless.toml")),
    (
        "tiny-harmless-score",
        include_str!("prompts/tiny-harmless-score.toml"),
    ),
    ("summary-base", include_str!("prompts/summary-base.toml")),
    (
        "summary-detailed",
        include_str!("prompts/summary-detailed.toml"),
    ),
    ("summary-score", include_str!("prompts/summary-score.toml")),
    ("helpful-base", include_str!("prompts/helpful-base.toml")),
    (
        "helpful-detailed",
        include_str!("prompts/helpful-detailed.toml"),
    ),
    ("helpful-score", include_str!("prompts/helpful-score.toml")),
    ("harmless-base", include_str!("prompts/harmless-base.toml")),
    (
        "harmless-detailed",
        include_str!("prompts/harmless-detailed.toml"),
    ),
    (
        "harmless-score",
        include_str!("prompts/harmless-score.toml"),
    ),
    (
        "constitutional",
        include_str!("prompts/constitutional.toml"),
    ),
    ("yes-no", include_str!("prompts/yes-no.toml")),
];

/// A prompt file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptFile {
    /// What is asked.
    pub task: Task,
    /// The possible answers: of a comparison the first stands for the completion shown first.
    pub answers: Vec<String>,
    /// What each answer of a score is worth, on any scale: the lowest becomes -1, the highest 1.
    #[serde(default)]
    pub values: Vec<f32>,
    /// Which completion a comparison asks for.
    #[serde(default)]
    pub choose: Choose,
    /// Introduction and instructions.
    pub preamble: String,
    /// What both completions answer; `{{ prompt }}` stands for it.
    pub context: String,
    /// The completions, `{{ first }}` and `{{ second }}`, or `{{ completion }}`.
    pub sample: String,
    /// What the answer follows.
    pub ending: String,
    /// One of these is drawn for each question; `{{ principle }}` stands for it.
    #[serde(default)]
    pub principles: Vec<String>,
    /// How a rationale is asked for.
    pub chain_of_thought: Option<ChainOfThought>,
    /// Examples with their answers.
    #[serde(default)]
    pub exemplars: ExemplarBlock,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Which of two completions it is.
    Compare,
    /// How good one completion is.
    Score,
}

/// Which completion a comparison asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choose {
    /// The better one.
    #[default]
    Better,
    /// The worse one: the label is turned round, as the paper does for harmlessness.
    Worse,
}

/// How a rationale is asked for (section 2.1.2 of the paper): the request takes the place of the
/// ending, and what the model writes goes between the request and the ending.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainOfThought {
    /// Takes the place of the preamble.
    pub preamble: Option<String>,
    /// Asks for the rationale.
    pub request: String,
}

/// What stands for the variables of a prompt.
#[derive(Debug, Clone, Copy, Default)]
pub struct Slots<'a> {
    /// What the completions answer.
    pub prompt: &'a str,
    /// The completions: two of a comparison, one of a score.
    pub completions: &'a [&'a str],
    /// The principle that was drawn.
    pub principle: &'a str,
}

/// A prompt file that was checked, with where it came from.
#[derive(Debug, Clone)]
pub struct Prompt {
    /// What the file says.
    pub file: PromptFile,
    source: PathBuf,
    templates: Environment<'static>,
}

impl Prompt {
    /// The built-in prompt of this name, or the file of this path.
    ///
    /// # Errors
    /// There is none, or it is malformed; the message names the place.
    pub fn load(name: &str) -> Result<Self> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return Self::parse(text, Path::new(name));
        }
        let path = Path::new(name);
        if !name.ends_with(".toml") {
            let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            let expected = format!("a path that ends in .toml, or {}", names.join(", "));
            return Err(Error::field("prompt", name, expected));
        }
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, source: &Path) -> Result<Self> {
        let file = toml::from_str(text)
            .map_err(|e| Error::file(source, e.to_string().trim_end().to_string()))?;
        let mut templates = Environment::new();
        let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
        templates.set_syntax(syntax.map_err(|e| Error::Usage(e.to_string()))?);
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        let prompt = Self {
            file,
            source: source.into(),
            templates,
        };
        prompt.check()?;
        Ok(prompt)
    }

    /// What all questions about a text begin with, without exemplars.
    ///
    /// # Errors
    /// A template fails.
    pub fn prefix(&self, text: &str) -> Result<String> {
        let slots = Slots {
            prompt: text,
            ..Slots::default()
        };
        let preamble = self.preamble(false, &slots)?;
        Ok(preamble + &self.fill(&self.file.context, &slots)?)
    }

    /// What follows [`Prompt::prefix`]: the completions of a question, and what its answer follows.
    ///
    /// # Errors
    /// A template fails.
    pub fn question(&self, completions: &[&str]) -> Result<String> {
        let slots = Slots {
            completions,
            ..Slots::default()
        };
        let sample = self.fill(&self.file.sample, &slots)?;
        Ok(sample + &self.fill(&self.file.ending, &slots)?)
    }

    /// What is shared by all questions about one text, but for the exemplars.
    pub(super) fn preamble(&self, reasoning: bool, slots: &Slots) -> Result<String> {
        let special = self.file.chain_of_thought.as_ref().filter(|_| reasoning);
        let special = special.and_then(|cot| cot.preamble.as_deref());
        self.fill(special.unwrap_or(&self.file.preamble), slots)
    }

    /// Fills one of the file's texts.
    pub(super) fn fill(&self, template: &str, slots: &Slots) -> Result<String> {
        let [first, second] = match slots.completions {
            [first, second, ..] => [*first, *second],
            _ => ["", ""],
        };
        let values = context! {
            prompt => slots.prompt,
            first => first,
            second => second,
            completion => slots.completions.first().copied().unwrap_or_default(),
            principle => slots.principle,
        };
        self.render(template, &values)
    }

    fn render(&self, template: &str, values: &Value) -> Result<String> {
        let rendered = self.templates.render_str(template, values);
        rendered.map_err(|e| self.refused(e.to_string()))
    }

    fn refused(&self, message: String) -> Error {
        Error::file(&self.source, message)
    }

    /// Refuses what a later question would stumble over.
    fn check(&self) -> Result<()> {
        let file = &self.file;
        let expected = |message: String| Err(self.refused(message));
        match file.task {
            Task::Compare if file.answers.len() != 2 => {
                let n = file.answers.len();
                return expected(format!("`answers` has {n} answers, expected 2"));
            }
            Task::Score if file.answers.len() != file.values.len() || file.answers.len() < 2 => {
                return expected("expected as many `values` as `answers`, at least 2".into());
            }
            Task::Score if file.choose == Choose::Worse => {
                return expected("`choose` is for comparisons".into());
            }
            _ => {}
        }
        let is_flat = file.values.windows(2).all(|pair| pair[0] == pair[1]);
        if file.task == Task::Score && (is_flat || !file.values.iter().all(|v| v.is_finite())) {
            return expected("`values` must be numbers that differ".into());
        }
        if file.answers.iter().any(|answer| answer.trim().is_empty()) {
            return expected("an answer is empty".into());
        }
        self.check_variables()?;
        for (row, i) in file.exemplars.rows.iter().zip(1..) {
            if let Err(what) = row.check(file) {
                return expected(format!("exemplar {i}: {what}"));
            }
        }
        Ok(())
    }

    /// Each text knows the variables that it may use, and uses those that it must.
    fn check_variables(&self) -> Result<()> {
        let file = &self.file;
        let samples: &[&str] = match file.task {
            Task::Compare => &["first", "second"],
            Task::Score => &["completion"],
        };
        let mut texts: Vec<(&str, &str, &[&str])> = vec![
            ("preamble", &file.preamble, &[]),
            ("context", &file.context, &["prompt"]),
            ("sample", &file.sample, samples),
            ("ending", &file.ending, &[]),
        ];
        if let Some(cot) = &file.chain_of_thought {
            texts.push(("chain_of_thought.request", &cot.request, &[]));
            texts.extend(
                (cot.preamble.iter()).map(|text| -> (&str, &str, &[&str]) {
                    ("chain_of_thought.preamble", text, &[])
                }),
            );
        }
        let mut principle = false;
        for (name, text, must) in texts {
            let used = self.variables(name, text)?;
            principle |= used.iter().any(|used| used == "principle");
            if let Some(missing) = must.iter().find(|must| !used.iter().any(|u| u == *must)) {
                return Err(self.refused(format!("`{name}` is without {{{{ {missing} }}}}")));
            }
            let known = |used: &&String| must.contains(&used.as_str()) || *used == "principle";
            if let Some(unknown) = used.iter().find(|used| !known(used)) {
                let message = format!("`{name}` uses {{{{ {unknown} }}}}, which it does not know");
                return Err(self.refused(message));
            }
        }
        if principle == file.principles.is_empty() {
            let message = "`principles` and {{ principle }} go together: one is missing";
            return Err(self.refused(message.into()));
        }
        Ok(())
    }

    fn variables(&self, name: &str, text: &str) -> Result<Vec<String>> {
        let template = self.templates.template_from_str(text);
        let template = template.map_err(|e| self.refused(format!("`{name}`: {e}")))?;
        let mut used: Vec<String> = template.undeclared_variables(false).into_iter().collect();
        used.sort();
        Ok(used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_prompt_is_valid_and_every_file_built_in() {
        for (name, _) in BUILT_IN {
            let prompt = Prompt::load(name).unwrap();
            let is_score = name.ends_with("score") || name == "yes-no";
            assert_eq!(prompt.file.task == Task::Score, is_score, "{name}");
            let inverted = name.contains("harmless") && !is_score;
            assert_eq!(prompt.file.choose == Choose::Worse, inverted, "{name}");
        }
        let files = std::fs::read_dir("src/label/prompts").unwrap();
        assert_eq!(files.count(), BUILT_IN.len());
    }

    #[track_caller]
    fn refused(from: &str, to: &str, says: &str) {
        let text = BUILT_IN[0].1;
        assert!(text.contains(from));
        let found = Prompt::parse(&text.replacen(from, to, 1), Path::new("my.toml"));
        let error = found.unwrap_err().to_string();
        assert!(error.starts_with("my.toml: "), "{error}");
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn a_prompt_that_cannot_be_asked_is_refused_by_name() {
        refused(
            r#"["1", "2"]"#,
            r#"["1"]"#,
            "`answers` has 1 answers, expected 2",
        );
        refused("{{ second }}", "two", "`sample` is without {{ second }}");
        refused(
            "{{ prompt }}",
            "{{ propmt }}",
            "`context` is without {{ prompt }}",
        );
        refused("Summary=", "{{ first }}", "`ending` uses {{ first }}");
        refused("{{ first }}", "{{ first", "`sample`: ");
        refused("Summary=", "{{ principle }}", "`principles`");
        refused("ending", "end", "unknown field `end`");
        let error = Prompt::load("summary").unwrap_err().to_string();
        assert!(
            error.contains("`prompt` is summary") && error.contains("summary-base"),
            "{error}"
        );
    }

    #[test]
    fn texts_are_filled_as_they_are() {
        let prompt = Prompt::load("tiny-tldr").unwrap();
        let slots = Slots {
            prompt: "<b> {{ x }} & more\n",
            completions: &["one", "two"],
            principle: "",
        };
        let filled = |text: &str| prompt.fill(text, &slots).unwrap();
        assert_eq!(
            filled(&prompt.file.context),
            "\n\nText - <b> {{ x }} & more\n"
        );
        assert_eq!(
            filled(&prompt.file.sample),
            "\nSummary 1 - one\nSummary 2 - two"
        );
    }
}
