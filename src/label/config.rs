//! Who judges and how it is asked: the run file's table `[labeler]`.

use std::path::{Path, PathBuf};

use burn::prelude::*;
use serde::{Deserialize, Serialize};

use super::endpoint::EndpointConfig;
use super::ensemble::{Combine, Ensemble};
pub use super::exemplar::{Draw, ExemplarConfig};
use super::{
    Answerer, Asking, Decoding, Format, Labeler, LocalAnswerer, OracleLabeler, PromptedLabeler,
};
use crate::error::{Error, Result};
use crate::precision::Precision;
use crate::world::{self, World};

/// Who judges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LabelerConfig {
    /// A language model on this machine.
    Local {
        /// Hugging Face folder.
        model: PathBuf,
        /// Number format of its weights and activations.
        #[serde(default)]
        dtype: Precision,
        /// How a question becomes the text that it reads.
        #[serde(default)]
        format: Format,
        /// What it is asked.
        #[serde(default)]
        ask: Box<AskConfig>,
    },
    /// A language model behind OpenAI-compatible endpoints.
    Http(Box<EndpointConfig>),
    /// Several labelers together.
    Ensemble {
        /// How their verdicts become one.
        #[serde(default)]
        combine: Combine,
        /// Who they are.
        members: Vec<MemberConfig>,
    },
    /// The truth of the embedded world that the texts are from: the simulated human.
    Oracle {},
}

/// One labeler of several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberConfig {
    /// How much its verdict counts beside the others'.
    #[serde(default = "one")]
    pub weight: f32,
    /// Who it is.
    pub labeler: LabelerConfig,
}

fn one() -> f32 {
    1.0
}

/// What a language model is asked, and what is made of its answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AskConfig {
    /// Prompt of a comparison: a built-in one by its name, or the path of a TOML file.
    pub prompt: String,
    /// Prompt of a score.
    pub score_prompt: String,
    /// Examples shown before a comparison.
    pub exemplars: ExemplarConfig,
    /// In which orders a pair is shown.
    pub orders: Orders,
    /// Lets the model write before a comparison is answered.
    pub rationale: Option<RationaleConfig>,
    /// Lets the model write before a score is answered.
    pub score_rationale: Option<RationaleConfig>,
    /// Smallest and largest probability of a comparison, such as `[0.4, 0.6]` for rationales
    /// (Bai et al. 2022, arXiv:2212.08073, section 4.1).
    pub clamp: Option<[f32; 2]>,
    /// What happens to questions that do not fit the model.
    pub truncation: Truncation,
}

impl Default for AskConfig {
    fn default() -> Self {
        Self {
            prompt: "tiny-tldr".into(),
            score_prompt: "tiny-tldr-score".into(),
            exemplars: ExemplarConfig::default(),
            orders: Orders::default(),
            rationale: None,
            score_rationale: None,
            clamp: None,
            truncation: Truncation::default(),
        }
    }
}

/// In which orders a pair is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Orders {
    /// Both, and their probabilities averaged (section 2.1.1 of the paper).
    #[default]
    Both,
    /// As the pair came.
    Given,
    /// Either, by chance.
    Random,
}

/// What happens to questions that do not fit the model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Truncation {
    /// The pair has no verdict.
    #[default]
    Skip,
    /// The text that is judged loses its beginning, in both orders as much; a pair that does not
    /// fit even without it has no verdict. Completions are never cut.
    KeepEnd,
}

/// Chain of thought (section 2.1.2 of the paper), and self-consistency with several samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RationaleConfig {
    /// Rationales for each question, whose probabilities are averaged.
    pub samples: usize,
    /// How they are written.
    pub decoding: Decoding,
}

impl Default for RationaleConfig {
    fn default() -> Self {
        Self {
            samples: 1,
            decoding: Decoding::default(),
        }
    }
}

impl LabelerConfig {
    /// Checks every range; `field` is the path of this table in the run file.
    ///
    /// # Errors
    /// Names the first field that is out of range.
    pub fn validate(&self, field: &str) -> Result<()> {
        match self {
            Self::Oracle {} => Ok(()),
            Self::Local { ask, .. } => ask.validate(&format!("{field}.ask")),
            Self::Http(endpoint) => endpoint.validate(field),
            Self::Ensemble { members, .. } => {
                if members.is_empty() {
                    let name = format!("{field}.members");
                    return Err(Error::field(name, "empty", "a labeler at least"));
                }
                for (i, member) in members.iter().enumerate() {
                    let name = format!("{field}.members[{i}]");
                    if !(member.weight > 0.0 && member.weight.is_finite()) {
                        let name = format!("{name}.weight");
                        return Err(Error::field(name, member.weight, "a number > 0"));
                    }
                    member.labeler.validate(&format!("{name}.labeler"))?;
                }
                Ok(())
            }
        }
    }

    /// Checks before a long run what is needed only when the labeler is made: that this binary
    /// holds it, and that the environment holds its key.
    ///
    /// # Errors
    /// Names what is missing.
    pub fn ready(&self) -> Result<()> {
        match self {
            Self::Local { .. } | Self::Oracle {} => Ok(()),
            Self::Http(endpoint) => endpoint.ready(),
            Self::Ensemble { members, .. } => {
                members.iter().try_for_each(|member| member.labeler.ready())
            }
        }
    }

    /// The labeler. `truth` is the world that the texts are from, where they are from one;
    /// `answers` is the file that keeps what endpoints answer; `seed` decides what is left to
    /// chance.
    ///
    /// # Errors
    /// A model or a prompt cannot be loaded, or the oracle is asked about texts that it does not
    /// know.
    pub fn init(
        &self,
        device: &Device,
        truth: Option<World>,
        answers: &Path,
        seed: u64,
    ) -> Result<Box<dyn Labeler>> {
        Ok(match self {
            Self::Local {
                model,
                dtype,
                format,
                ask,
            } => {
                let asking = Asking::new(ask, seed)?;
                let answerer =
                    LocalAnswerer::load_in(model, device, *dtype)?.with_format(*format)?;
                Box::new(PromptedLabeler::new(answerer, asking))
            }
            Self::Http(endpoint) => {
                let asking = Asking::new(&endpoint.ask, seed)?;
                Box::new(PromptedLabeler::new(endpoint.init(answers, seed)?, asking))
            }
            Self::Ensemble { combine, members } => {
                let member = |member: &MemberConfig| {
                    let labeler = member.labeler.init(device, truth, answers, seed)?;
                    Ok((labeler, member.weight))
                };
                let members = members.iter().map(member).collect::<Result<_>>()?;
                Box::new(Ensemble::new(members, *combine))
            }
            Self::Oracle {} => {
                let unknown = || {
                    let expected = "another: no truth is known about files";
                    Error::field("labeler.kind", "oracle", expected)
                };
                Box::new(OracleLabeler::new(truth.ok_or_else(unknown)?))
            }
        })
    }
}

impl LabelerConfig {
    /// Checks that it is one model that can be asked to write, and that nothing is said of verdicts;
    /// `field` is the path of this table.
    ///
    /// # Errors
    /// Names what is out of place.
    pub fn writes(&self, field: &str) -> Result<()> {
        let ask = match self {
            Self::Local { ask, .. } => ask.as_ref(),
            Self::Http(endpoint) => &endpoint.ask,
            Self::Ensemble { .. } | Self::Oracle {} => {
                let expected = "local or http: a model that writes";
                return Err(Error::field(format!("{field}.kind"), "another", expected));
            }
        };
        if *ask != AskConfig::default() {
            let expected = "absent: nothing is compared or scored";
            return Err(Error::field(format!("{field}.ask"), "given", expected));
        }
        Ok(())
    }

    /// The model as one that writes; as for [`init`](Self::init) `answers` keeps what endpoints
    /// answer.
    ///
    /// # Errors
    /// It cannot be loaded, or does not write.
    pub fn answerer(
        &self,
        device: &Device,
        answers: &Path,
        seed: u64,
    ) -> Result<Box<dyn Answerer>> {
        Ok(match self {
            Self::Local {
                model,
                dtype,
                format,
                ..
            } => {
                let answerer = LocalAnswerer::load_in(model, device, *dtype)?;
                Box::new(answerer.with_format(*format)?)
            }
            Self::Http(endpoint) => Box::new(endpoint.init(answers, seed)?),
            Self::Ensemble { .. } | Self::Oracle {} => {
                let message = "an ensemble and the oracle judge, they do not write";
                return Err(Error::Usage(message.into()));
            }
        })
    }
}

impl AskConfig {
    /// What the shipped labelers of an embedded world were trained on.
    pub fn of_world(world: World) -> Self {
        let prompt = match world.task {
            world::Task::Tldr => "tiny-tldr",
            world::Task::Helpful => "tiny-helpful",
            world::Task::Harmless => "tiny-harmless",
        };
        Self {
            prompt: prompt.into(),
            score_prompt: format!("{prompt}-score"),
            ..Self::default()
        }
    }

    /// Checks every range; `field` is the path of this table in the run file. Prompts are read when
    /// the labeler is made.
    ///
    /// # Errors
    /// Names the first field that is out of range.
    pub fn validate(&self, field: &str) -> Result<()> {
        let rationales = [
            ("rationale", &self.rationale),
            ("score_rationale", &self.score_rationale),
        ];
        for (name, rationale) in rationales {
            if let Some(rationale) = rationale {
                rationale.validate(&format!("{field}.{name}"))?;
            }
        }
        if let Some([low, high]) = self.clamp
            && !((0.0..=0.5).contains(&low) && (0.5..=1.0).contains(&high))
        {
            let found = format!("[{low}, {high}]");
            let expected = "one number in [0, 0.5] and one in [0.5, 1]";
            return Err(Error::field(format!("{field}.clamp"), found, expected));
        }
        if self.exemplars.shots == 0 && self.exemplars != ExemplarConfig::default() {
            let name = format!("{field}.exemplars.shots");
            return Err(Error::field(
                name,
                0,
                "at least 1 where exemplars are named",
            ));
        }
        Ok(())
    }
}

impl RationaleConfig {
    fn validate(&self, field: &str) -> Result<()> {
        if self.samples == 0 {
            return Err(Error::field(format!("{field}.samples"), 0, "at least 1"));
        }
        self.decoding.validate(&format!("{field}.decoding"))?;
        if self.samples > 1 && self.decoding.temperature == 0.0 {
            let name = format!("{field}.decoding.temperature");
            let expected = "a number > 0 for several samples: they would be one and the same";
            return Err(Error::field(name, 0, expected));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::LabelerConfig;

    #[test]
    fn the_oracle_has_no_model() {
        let read = |text: &str| toml::from_str::<LabelerConfig>(text);
        assert!(read("kind = 'oracle'").is_ok());
        let said = read("kind = 'oracle'\nmodel = 'm'")
            .unwrap_err()
            .to_string();
        assert!(said.contains("unknown field `model`"), "{said}");
    }
}
