//! What a run file says a completion is worth.

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use super::rules::{Rule, THINK_FORMAT};
use super::{DirectReward, Reward, RewardSum, WinRateReward};
use crate::error::{Error, Result};
use crate::label::{Labeler, SharedLabeler};
use crate::tokenizer::Tokenizer;

/// The terms of the reward: `"model"`, `{ kind = "win_rate" }`, or a list of such.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Value")]
pub struct RewardTerms(pub Vec<RewardTerm>);

/// One term of the reward.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value")]
pub struct RewardTerm {
    /// What it is.
    #[serde(flatten)]
    pub kind: RewardKind,
    /// What it is multiplied with; 1 when absent.
    pub weight: f32,
    /// Its name in the metrics; the kind when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What a completion can be rewarded for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RewardKind {
    /// The reward model of stage 3.
    Model {},
    /// The labeler's own score: d-RLAIF.
    Direct {},
    /// How often the labeler prefers it to the other completions of its prompt.
    WinRate {},
    /// -1 for a completion that is too long, growing from 0 as it comes near.
    SoftOverlongPunishment {
        /// Length in tokens from which the punishment is full.
        max_completion_len: usize,
        /// Tokens before it over which the punishment grows.
        soft_punish_cache: usize,
    },
    /// The share of repeated n-grams, times a penalty.
    RepetitionPenalty {
        /// Tokens of an n-gram.
        #[serde(default = "three")]
        ngram_size: usize,
        /// The penalty of a text that is one n-gram over and over.
        #[serde(default = "minus_one")]
        max_penalty: f32,
    },
    /// Half a cosine over the length.
    CosineScaled {
        /// Length in tokens at which the reward is `at_longest`.
        max_len: usize,
        /// Reward of a completion without tokens.
        #[serde(default = "unit")]
        at_shortest: f32,
        /// Reward of a completion of `max_len` tokens or more.
        #[serde(default = "half")]
        at_longest: f32,
    },
    /// 1 where a regular expression is found in the text, else 0.
    Pattern {
        /// The expression, in the syntax of the crate `fancy-regex`.
        regex: String,
    },
    /// 1 where the text thinks between `<think>` and `</think>` before it answers, else 0.
    ThinkFormat {},
}

fn three() -> usize {
    3
}

fn minus_one() -> f32 {
    -1.0
}

fn unit() -> f32 {
    1.0
}

fn half() -> f32 {
    0.5
}

impl From<RewardKind> for RewardTerms {
    fn from(kind: RewardKind) -> Self {
        Self(vec![RewardTerm {
            kind,
            weight: unit(),
            name: None,
        }])
    }
}

impl TryFrom<Value> for RewardTerms {
    type Error = serde_json::Error;

    fn try_from(value: Value) -> std::result::Result<Self, Self::Error> {
        Ok(Self(match value {
            Value::Array(_) => serde_json::from_value(value)?,
            one => vec![one.try_into()?],
        }))
    }
}

impl TryFrom<Value> for RewardTerm {
    type Error = serde_json::Error;

    fn try_from(value: Value) -> std::result::Result<Self, Self::Error> {
        let mut fields = match value {
            Value::String(kind) => Map::from_iter([("kind".into(), kind.into())]),
            fields => serde_json::from_value(fields)?,
        };
        let weight = fields.remove("weight").map(serde_json::from_value);
        let name = fields.remove("name").map(serde_json::from_value);
        Ok(Self {
            kind: serde_json::from_value(Value::Object(fields))?,
            weight: weight.transpose()?.unwrap_or(unit()),
            name: name.transpose()?,
        })
    }
}

impl Serialize for RewardTerms {
    /// A reward that is one thing is written as it is.
    fn serialize<S: Serializer>(&self, output: S) -> std::result::Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [term] => term.serialize(output),
            terms => terms.serialize(output),
        }
    }
}

impl RewardKind {
    /// The `kind` of the run file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Model {} => "model",
            Self::Direct {} => "direct",
            Self::WinRate {} => "win_rate",
            Self::SoftOverlongPunishment { .. } => "soft_overlong_punishment",
            Self::RepetitionPenalty { .. } => "repetition_penalty",
            Self::CosineScaled { .. } => "cosine_scaled",
            Self::Pattern { .. } => "pattern",
            Self::ThinkFormat {} => "think_format",
        }
    }

    /// The rule, if it is one; `field` is where it stands in the run file.
    fn rule(&self, tokenizer: &Tokenizer, field: &str) -> Result<Option<Rule>> {
        Ok(Some(match self {
            Self::Model {} | Self::Direct {} | Self::WinRate {} => return Ok(None),
            Self::SoftOverlongPunishment {
                max_completion_len,
                soft_punish_cache,
            } => Rule::SoftOverlongPunishment {
                max_completion_len: *max_completion_len,
                soft_punish_cache: *soft_punish_cache,
            },
            Self::RepetitionPenalty {
                ngram_size,
                max_penalty,
            } => Rule::RepetitionPenalty {
                tokenizer: Box::new(tokenizer.clone()),
                ngram_size: *ngram_size,
                max_penalty: *max_penalty,
            },
            Self::CosineScaled {
                max_len,
                at_shortest,
                at_longest,
            } => Rule::CosineScaled {
                max_len: *max_len,
                at_shortest: *at_shortest,
                at_longest: *at_longest,
            },
            Self::Pattern { regex } => Rule::pattern(regex, field)?,
            Self::ThinkFormat {} => Rule::pattern(THINK_FORMAT, field)?,
        }))
    }

    fn validate(&self, field: &str) -> Result<()> {
        let refused = |name: &str, found: &dyn ToString, expected: &str| {
            let field = format!("{field}.{name}");
            Err(Error::field(field, found.to_string(), expected))
        };
        match self {
            Self::SoftOverlongPunishment {
                max_completion_len,
                soft_punish_cache,
            } if soft_punish_cache > max_completion_len => {
                let expected = "at most `max_completion_len`";
                refused("soft_punish_cache", soft_punish_cache, expected)
            }
            Self::RepetitionPenalty { ngram_size: 0, .. } => {
                refused("ngram_size", &0, "at least 1")
            }
            Self::RepetitionPenalty { max_penalty, .. }
                if !(*max_penalty <= 0.0 && max_penalty.is_finite()) =>
            {
                refused("max_penalty", max_penalty, "a number <= 0")
            }
            Self::CosineScaled { max_len: 0, .. } => refused("max_len", &0, "at least 1"),
            Self::CosineScaled {
                at_shortest,
                at_longest,
                ..
            } if !(at_shortest.is_finite() && at_longest.is_finite()) => {
                refused("at_shortest", at_shortest, "finite numbers")
            }
            Self::Pattern { regex } => Rule::pattern(regex, &format!("{field}.regex")).map(|_| ()),
            _ => Ok(()),
        }
    }
}

impl RewardTerm {
    /// Its name in the metrics.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(self.kind.name())
    }
}

impl RewardTerms {
    /// Whether the reward model of stage 3 is one of the terms.
    pub fn has_model(&self) -> bool {
        self.0.iter().any(|term| term.kind == RewardKind::Model {})
    }

    /// Whether one of the terms is the labeler's score.
    pub fn has_direct(&self) -> bool {
        let scores = |term: &RewardTerm| term.kind == RewardKind::Direct {};
        self.0.iter().any(scores)
    }

    /// Whether one of the terms is what a labeler says.
    pub fn has_labeler(&self) -> bool {
        let asks =
            |kind: &RewardKind| matches!(kind, RewardKind::Direct {} | RewardKind::WinRate {});
        self.0.iter().any(|term| asks(&term.kind))
    }

    /// Checks names and ranges for groups of `num_generations` completions; `field` is the path of
    /// this table in its file.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn validate(&self, field: &str, num_generations: usize) -> Result<()> {
        if self.0.is_empty() {
            return Err(Error::field(field, "empty", "at least one term"));
        }
        for (i, term) in self.0.iter().enumerate() {
            let field = format!("{field}.{}", term.name());
            if !term.weight.is_finite() {
                let field = format!("{field}.weight");
                return Err(Error::field(field, term.weight, "a finite number"));
            }
            if self.0[..i].iter().any(|other| other.name() == term.name()) {
                let expected = "a `name` of its own for each term";
                return Err(Error::field(field, "given twice", expected));
            }
            if term.kind == (RewardKind::WinRate {}) && num_generations < 2 {
                let expected = "at least 2: win_rate compares a completion with others";
                return Err(Error::field(
                    "rl.num_generations",
                    num_generations,
                    expected,
                ));
            }
            term.kind.validate(&field)?;
        }
        Ok(())
    }

    /// The reward; `model` gives that of stage 3 and `labeler` the labeler, where a term asks for
    /// them.
    ///
    /// # Errors
    /// Those of `model` and `labeler`, or a malformed expression.
    pub fn init(
        &self,
        tokenizer: &Tokenizer,
        mut model: impl FnMut() -> Result<Box<dyn Reward>>,
        labeler: impl Fn() -> Result<Box<dyn Labeler>>,
    ) -> Result<RewardSum> {
        let mut sum = RewardSum::default();
        let mut shared: Option<SharedLabeler> = None;
        let mut ask = || -> Result<Box<dyn Labeler>> {
            let labeler = match shared.take() {
                Some(labeler) => labeler,
                None => SharedLabeler::new(labeler()?),
            };
            Ok(Box::new(shared.insert(labeler).clone()))
        };
        for term in &self.0 {
            let reward: Box<dyn Reward> = match term.kind.rule(tokenizer, "rl.reward")? {
                Some(rule) => Box::new(rule),
                None if term.kind == RewardKind::Direct {} => Box::new(DirectReward::new(ask()?)),
                None if term.kind == RewardKind::WinRate {} => Box::new(WinRateReward::new(ask()?)),
                None => model()?,
            };
            sum = sum.with(term.name(), term.weight, reward);
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Table {
        reward: RewardTerms,
    }

    fn read(text: &str) -> std::result::Result<RewardTerms, String> {
        let table: Table = toml::from_str(text).map_err(|e| e.message().to_string())?;
        table
            .reward
            .validate("rl.reward", 4)
            .map_err(|e| e.to_string())?;
        let again = toml::to_string(&table).unwrap();
        assert_eq!(toml::from_str::<Table>(&again).unwrap(), table, "{again}");
        Ok(table.reward)
    }

    #[test]
    fn a_reward_is_a_name_a_table_or_a_list() {
        let model = RewardTerms::from(RewardKind::Model {});
        assert_eq!(read("reward = \"model\""), Ok(model.clone()));
        assert_eq!(read("reward = { kind = \"model\" }"), Ok(model.clone()));
        assert_eq!(read("reward = [\"model\"]"), Ok(model));
        let both = read("reward = [\"direct\", { kind = \"repetition_penalty\", weight = 0.1 }]");
        let both = both.unwrap().0;
        assert_eq!(both[0].kind, RewardKind::Direct {});
        let penalty = RewardKind::RepetitionPenalty {
            ngram_size: 3,
            max_penalty: -1.0,
        };
        assert_eq!((&both[1].kind, both[1].weight), (&penalty, 0.1));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (reward, said) in [
            ("\"fame\"", "fame"),
            ("{ kind = \"model\", wait = 2 }", "wait"),
            ("[]", "at least one term"),
            ("[\"direct\", \"direct\"]", "`name` of its own"),
            (
                "{ kind = \"pattern\", regex = \"(\" }",
                "regular expression",
            ),
            ("{ kind = \"repetition_penalty\", max_penalty = 1 }", "<= 0"),
            (
                "{ kind = \"repetition_penalty\", ngram_size = 0 }",
                "at least 1",
            ),
            ("{ kind = \"cosine_scaled\", max_len = 0 }", "at least 1"),
            (
                "{ kind = \"soft_overlong_punishment\", max_completion_len = 5, \
                 soft_punish_cache = 6 }",
                "at most",
            ),
        ] {
            let error = read(&format!("reward = {reward}")).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        let alone = RewardTerms::from(RewardKind::WinRate {}).validate("rl.reward", 1);
        assert!(alone.unwrap_err().to_string().contains("at least 2"));
    }
}
