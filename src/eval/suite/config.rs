//! The file of an evaluation.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::config::{self, PolicyConfig};
use crate::error::{Error, Result};
use crate::eval::best_of::BestOfConfig;
use crate::eval::rouge::Stemming;
use crate::generate::SamplingConfig;
use crate::label::LabelerConfig;

/// What is evaluated, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuiteConfig {
    /// Seed of completions, of what judges leave to chance and of the bootstrap.
    #[serde(default = "config::default_seed")]
    pub seed: u64,
    /// Where tensors are computed.
    #[serde(default)]
    pub backend: Backend,
    /// Prompts for contenders that are models.
    pub prompts: Option<PathBuf>,
    /// What models read for a prompt that is a text.
    #[serde(default = "as_it_is")]
    pub prompt_template: String,
    /// How models answer.
    #[serde(default)]
    pub sampling: SamplingConfig,
    /// Who is compared.
    #[serde(default)]
    pub contenders: Vec<ContenderConfig>,
    /// The contender that each other one is compared with; all with each other when absent.
    pub baseline: Option<String>,
    /// Labelers that compare completions, in both orders where they are asked so.
    #[serde(default)]
    pub judges: Vec<LabelerConfig>,
    /// Reward models: the higher reward wins.
    #[serde(default)]
    pub reward_models: Vec<PathBuf>,
    /// Verdicts made elsewhere: rows of `comparisons.jsonl`, or AlpacaEval's annotations.
    #[serde(default)]
    pub verdicts: Vec<PathBuf>,
    /// Good completions, for ROUGE: `completion` of the rows with the prompt's id. Several rows with
    /// one id are several references, the best of which counts.
    pub references: Option<PathBuf>,
    /// Whether ROUGE takes words of one stem for the same.
    #[serde(default)]
    pub rouge_stemming: Stemming,
    /// A model that says how surprising the completions are, for perplexity.
    pub perplexity_model: Option<PathBuf>,
    /// The model that a policy started from, for the KL divergence of contenders that are models.
    pub kl_reference: Option<PathBuf>,
    /// What a completion must or must not hold.
    #[serde(default)]
    pub rules: Vec<RuleConfig>,
    /// Classes that people or programs put completions into.
    #[serde(default)]
    pub classes: Vec<ClassConfig>,
    /// Questions that a labeler answers of each completion by yes or no.
    #[serde(default)]
    pub questions: Vec<QuestionConfig>,
    /// Verdicts on RewardBench's pairs: columns `subset` and `results`.
    pub reward_bench: Option<PathBuf>,
}

/// Who wrote completions: a file of them, or a model that is asked for them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContenderConfig {
    /// Name in tables and files.
    pub name: String,
    /// Their file: columns `prompt` and `completion`, or `instruction` and `output`.
    pub completions: Option<PathBuf>,
    /// Hugging Face folder.
    pub model: Option<PathBuf>,
    /// Takes the best of several completions of the model.
    pub best_of: Option<BestOfConfig>,
}

/// A rule that a completion passes or fails.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// Name in tables.
    pub name: String,
    /// The expression, in the syntax of the crate `fancy-regex`.
    pub regex: String,
    /// What passes.
    #[serde(default)]
    pub passes: Passes,
}

/// Which texts pass a rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Passes {
    /// Those in which the expression is found.
    #[default]
    Found,
    /// Those in which it is not.
    Absent,
}

/// A question about each completion by itself, such as whether it is harmless.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuestionConfig {
    /// Name in tables, such as `harmless`.
    pub name: String,
    /// Who answers; its `ask.score_prompt` is the question, whose answers are yes and no.
    pub labeler: LabelerConfig,
}

/// The share of rows whose class is one of some, such as the harmless rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassConfig {
    /// Name in tables, such as `harmless`.
    pub name: String,
    /// A file with a row for each completion.
    pub file: PathBuf,
    /// Column that holds the class.
    pub column: String,
    /// Classes that count.
    pub accept: Vec<String>,
    /// Column by which the share is also told apart.
    pub group_by: Option<String>,
    /// Counts only the rows whose group begins so, such as `contrast_` of XSTest's `type`.
    pub only: Option<String>,
}

fn as_it_is() -> String {
    "{prompt}".into()
}

impl SuiteConfig {
    /// Reads the file, applies `overrides` and checks the result.
    ///
    /// # Errors
    /// The file is missing or malformed, an override names no key, or a value is out of range.
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self> {
        let config: Self = config::read_toml(path, overrides)?;
        config.validate()?;
        Ok(config)
    }

    /// Checks every range and that there is something to be done.
    ///
    /// # Errors
    /// Names the first field that is out of range.
    pub fn validate(&self) -> Result<()> {
        self.sampling.validate("sampling")?;
        self.policy(PathBuf::new()).validate("suite")?;
        let names: Vec<&str> = self
            .contenders
            .iter()
            .map(|who| who.name.as_str())
            .collect();
        for (i, contender) in self.contenders.iter().enumerate() {
            contender.validate(i, self.prompts.is_some())?;
            if names[..i].contains(&contender.name.as_str()) {
                let field = format!("contenders[{i}].name");
                return Err(Error::field(field, &contender.name, "a name of its own"));
            }
        }
        if let Some(baseline) = &self.baseline
            && !names.contains(&baseline.as_str())
        {
            return Err(Error::field(
                "baseline",
                baseline,
                "the name of a contender",
            ));
        }
        for (i, judge) in self.judges.iter().enumerate() {
            judge.validate(&format!("judges[{i}]"))?;
            judge.ready()?;
        }
        for (i, question) in self.questions.iter().enumerate() {
            question
                .labeler
                .validate(&format!("questions[{i}].labeler"))?;
            question.labeler.ready()?;
        }
        for (i, class) in self.classes.iter().enumerate() {
            let field = format!("classes[{i}].accept");
            config::at_least(&field, class.accept.len(), 1)?;
            if class.only.is_some() && class.group_by.is_none() {
                let field = format!("classes[{i}].group_by");
                return Err(Error::field(
                    field,
                    "absent",
                    "a column, for `only` to look at",
                ));
            }
        }
        let given = [
            self.contenders.len(),
            self.verdicts.len(),
            self.classes.len(),
            usize::from(self.reward_bench.is_some()),
        ];
        match given.iter().sum() {
            0 => Err(Error::field(
                "contenders",
                "absent",
                "something to evaluate: `contenders`, `verdicts`, `classes` or `reward_bench`",
            )),
            _ => Ok(()),
        }
    }

    /// How a model is shown prompts.
    pub(super) fn policy(&self, model: PathBuf) -> PolicyConfig {
        PolicyConfig {
            model,
            prompt_template: self.prompt_template.clone(),
            dtype: Default::default(),
            lora: None,
            chat_template_kwargs: Default::default(),
        }
    }
}

impl ContenderConfig {
    fn validate(&self, i: usize, has_prompts: bool) -> Result<()> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.name.is_empty() || self.name.starts_with('.') || !self.name.chars().all(plain) {
            let expected = "letters, digits, `-`, `_` and `.`: it names a file";
            return Err(Error::field(
                format!("contenders[{i}].name"),
                &self.name,
                expected,
            ));
        }
        if let Some(best_of) = &self.best_of {
            self.validate_best_of(best_of, &format!("contenders[{i}].best_of"))?;
        }
        let field = format!("contenders[{i}].completions");
        match (&self.completions, &self.model) {
            (Some(_), None) => Ok(()),
            (None, Some(_)) if has_prompts => Ok(()),
            (None, Some(_)) => Err(Error::field("prompts", "absent", "prompts for the models")),
            (Some(_), Some(_)) => Err(Error::field(field, "given", "this or `model`, not both")),
            (None, None) => Err(Error::field(field, "absent", "this or `model`")),
        }
    }

    fn validate_best_of(&self, best_of: &BestOfConfig, field: &str) -> Result<()> {
        best_of.validate(field)?;
        let absent = |name: &str, expected: &str| {
            Err(Error::field(format!("{field}.{name}"), "absent", expected))
        };
        if self.model.is_none() {
            return Err(Error::field(field, "given", "absent without `model`"));
        }
        if best_of.reward.has_model() && best_of.reward_model.is_none() {
            return absent("reward_model", "the folder of a reward model");
        }
        match &best_of.labeler {
            None if best_of.reward.has_labeler() => absent("labeler", "who is asked"),
            Some(labeler) => labeler.ready(),
            None => Ok(()),
        }
    }
}
