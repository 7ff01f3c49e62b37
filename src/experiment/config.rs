//! The file of an experiment: what is varied, what is measured, what is drawn.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::BUILT_IN;
use crate::config::at_least;
use crate::error::{Error, Result};

/// The name that stands for the policy before it is optimised.
pub const SFT: &str = "sft";

/// An experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// What it is about, in a line.
    pub title: String,
    /// What is to be known to read its tables: what the paper found, and where this is another
    /// thing.
    #[serde(default)]
    pub about: String,
    /// The run file that is varied, unless another is named.
    pub config: PathBuf,
    /// Keys of the run file that are overridden in every arm, as `--set` does.
    #[serde(default)]
    pub set: Vec<String>,
    /// Pairs, or held-out prompts, on which is measured what can be measured on any number.
    #[serde(default = "pairs")]
    pub pairs: usize,
    /// What is compared; one arm that changes nothing when absent.
    #[serde(default)]
    pub arms: Vec<ArmConfig>,
    /// What every arm is varied by: each level of each axis with each of the others.
    #[serde(default)]
    pub axes: Vec<Axis>,
    /// What is measured, a table each.
    pub measures: Vec<Measure>,
    /// What is drawn of it.
    pub plot: Plot,
}

fn pairs() -> usize {
    500
}

/// One of the things that are compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArmConfig {
    /// Its name in tables, and of its folder.
    pub name: String,
    /// Keys of the run file that it overrides.
    #[serde(default)]
    pub set: Vec<String>,
    /// Other arms whose labels it learns from, all of each, instead of labels of its own.
    #[serde(default)]
    pub labels: Vec<String>,
}

/// Something that all arms are varied by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Axis {
    /// What it is, for the plot.
    pub name: String,
    /// Its levels.
    pub levels: Vec<Level>,
}

/// One level of an axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// Its name, which follows that of the arm.
    pub name: String,
    /// Keys of the run file that it overrides.
    #[serde(default)]
    pub set: Vec<String>,
    /// Where it stands on the axis of a plot.
    pub x: Option<f64>,
}

/// Something that is measured of every arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// What it is.
    pub kind: MeasureKind,
    /// Pairs of arms that meet, of `win_rates`; `sft` is the policy before it is optimised.
    #[serde(default)]
    pub against: Vec<[String; 2]>,
    /// What the paper has for a row of the table.
    #[serde(default)]
    pub paper: BTreeMap<String, String>,
}

/// What can be measured. The truth is that of the embedded world; on other data it is the first of
/// `eval.judges`, but for `labelers`, which are held against the labels that came with the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MeasureKind {
    /// The labeler's agreement with the truth on held-out pairs, and its position bias.
    Labelers,
    /// The same on the pairs of the run, which the policy wrote.
    Labels,
    /// The reward model's accuracy on held-out labels, and on held-out pairs against the truth.
    RewardModels,
    /// The reward model's and the labeler's agreement with the truth on pairs that the optimised
    /// policy writes.
    Staleness,
    /// What the policies write: length, and with the embedded world hallucination, coverage, fluency.
    Policies,
    /// Win rates, also at equal length, before each judge of the run file.
    WinRates,
}

/// What is drawn: a point with its interval for each row of a table, unless it is said otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plot {
    /// Which table; the first when absent.
    pub table: Option<MeasureKind>,
    /// Which column of it.
    pub column: String,
    /// The axis over whose levels there is a line for each arm.
    pub over: Option<String>,
    /// Another column, which a point stands for from left to right.
    pub against: Option<String>,
}

/// An arm at one level of each axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Arm {
    /// Its name in tables.
    pub name: String,
    /// Overrides of the run file.
    pub set: Vec<String>,
    /// Arms whose labels it learns from.
    pub labels: Vec<String>,
    /// What it shares with those that differ on [`Plot::over`] alone, and where it stands there.
    pub line: (String, Option<f64>),
}

impl Experiment {
    /// The built-in experiment of this name, or the file of this path.
    ///
    /// # Errors
    /// There is none, or it is malformed; the message names the place.
    pub fn load(name: &str) -> Result<Self> {
        let built_in = BUILT_IN.iter().find(|(known, _)| *known == name);
        let (text, path) = match built_in {
            Some((_, text)) => (text.to_string(), PathBuf::from(name)),
            None if name.ends_with(".toml") => {
                let path = PathBuf::from(name);
                let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
                (text, path)
            }
            None => {
                let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
                let expected = format!("a path that ends in .toml, or {}", names.join(", "));
                return Err(Error::field("experiment", name, expected));
            }
        };
        Self::parse(&text, &path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self> {
        let experiment: Self = toml::from_str(text)
            .map_err(|e| Error::file(path, e.to_string().trim_end().to_string()))?;
        let refused = |e: Error| Error::file(path, e.to_string());
        experiment.validate().map_err(refused)?;
        Ok(experiment)
    }

    /// Checks that names lead somewhere.
    ///
    /// # Errors
    /// Names the first that does not.
    pub fn validate(&self) -> Result<()> {
        at_least("measures", self.measures.len(), 1)?;
        at_least("pairs", self.pairs, 1)?;
        let arms = self.all_arms();
        let known = |name: &str| arms.iter().any(|arm| arm.name == name);
        for (i, arm) in arms.iter().enumerate() {
            plain(&arm.name)?;
            let taken = arm.name == SFT || arms[..i].iter().any(|other| other.name == arm.name);
            if taken {
                return Err(Error::field("arms", &arm.name, "a name of its own"));
            }
            // Only arms before this one have labels when it wants them.
            let before = |name: &String| arms[..i].iter().any(|other| other.name == *name);
            if let Some(name) = arm.labels.iter().find(|name| !before(name)) {
                return Err(Error::field("arms.labels", name, "an arm before this one"));
            }
        }
        for measure in &self.measures {
            let met = measure.kind == MeasureKind::WinRates;
            if met == measure.against.is_empty() {
                let expected = "pairs of arms for `win_rates`, and nothing for others";
                let found = measure.against.len();
                return Err(Error::field("measures.against", found, expected));
            }
            let stranger = |name: &&String| name.as_str() != SFT && !known(name);
            if let Some(name) = measure.against.iter().flatten().find(stranger) {
                return Err(Error::field("measures.against", name, "an arm, or sft"));
            }
        }
        self.validate_plot()
    }

    fn validate_plot(&self) -> Result<()> {
        let plot = &self.plot;
        let is_axis = |name: &String| self.axes.iter().any(|axis| axis.name == *name);
        if let Some(over) = plot.over.as_ref().filter(|over| !is_axis(over)) {
            return Err(Error::field("plot.over", over, "the name of an axis"));
        }
        if let (Some(_), Some(against)) = (&plot.over, &plot.against) {
            return Err(Error::field(
                "plot.against",
                against,
                "absent beside `over`",
            ));
        }
        let measured = |kind: MeasureKind| self.measures.iter().any(|one| one.kind == kind);
        match plot.table {
            Some(kind) if !measured(kind) => {
                let expected = "something that is measured";
                Err(Error::field("plot.table", format!("{kind:?}"), expected))
            }
            _ => Ok(()),
        }
    }

    /// Every arm at every level of the axes, those of the first axis farthest apart.
    pub fn all_arms(&self) -> Vec<Arm> {
        let of_config = |arm: &ArmConfig| Arm {
            name: arm.name.clone(),
            set: arm.set.clone(),
            labels: arm.labels.clone(),
            line: (arm.name.clone(), None),
        };
        let mut arms: Vec<Arm> = self.arms.iter().map(of_config).collect();
        if arms.is_empty() {
            arms.push(Arm {
                name: String::new(),
                set: Vec::new(),
                labels: Vec::new(),
                line: (String::new(), None),
            });
        }
        for axis in &self.axes {
            let over = self.plot.over.as_ref() == Some(&axis.name);
            let vary = |arm: Arm| {
                let at = move |level: &Level| {
                    let (line, x) = &arm.line;
                    Arm {
                        name: joined(&arm.name, &level.name),
                        set: [arm.set.clone(), level.set.clone()].concat(),
                        labels: arm.labels.clone(),
                        line: match over {
                            true => (line.clone(), level.x),
                            false => (joined(line, &level.name), *x),
                        },
                    }
                };
                axis.levels.iter().map(at).collect::<Vec<_>>()
            };
            arms = arms.into_iter().flat_map(vary).collect();
        }
        arms
    }
}

fn joined(a: &str, b: &str) -> String {
    match (a.is_empty(), b.is_empty()) {
        (true, _) => b.into(),
        (_, true) => a.into(),
        _ => format!("{a}-{b}"),
    }
}

/// Refuses what cannot be the name of a folder.
fn plain(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !name.is_empty() && !name.starts_with('.') && name.chars().all(plain) {
        return Ok(());
    }
    let expected = "letters, digits, `-`, `_` and `.`: it names a folder";
    Err(Error::field("arms.name", format!("{name:?}"), expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
title = "t"
config = "c.toml"
arms = [{ name = "a" }, { name = "b", set = ["x=1"], labels = [] }]
measures = [{ kind = "labelers" }]
plot = { column = "both orders", over = "n" }

[[axes]]
name = "n"
levels = [{ name = "1", set = ["n=1"], x = 1 }, { name = "2", set = ["n=2"], x = 2 }]

[[axes]]
name = "size"
levels = [{ name = "s" }, { name = "" }]
"#;

    fn parse(text: &str) -> Result<Experiment> {
        Experiment::parse(text, Path::new("e.toml"))
    }

    #[test]
    fn arms_are_varied_by_all_axes() {
        let arms = parse(FILE).unwrap().all_arms();
        let names: Vec<&str> = arms.iter().map(|arm| arm.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "a-1-s", "a-1", "a-2-s", "a-2", "b-1-s", "b-1", "b-2-s", "b-2"
            ]
        );
        assert_eq!(arms[6].set, ["x=1", "n=2"]);
        assert_eq!(arms[6].line, ("b-s".into(), Some(2.0)));
    }

    #[test]
    fn names_that_lead_nowhere_are_refused() {
        let check = |from: &str, to: &str, said: &str| {
            let error = parse(&FILE.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(said) && error.contains("e.toml"), "{error}");
        };
        check("over = \"n\"", "over = \"m\"", "`plot.over` is m");
        check("{ name = \"a\" }", "{ name = \"b\" }", "a name of its own");
        check("\"a\"", "\"../a\"", "it names a folder");
        check("labels = []", "labels = [\"c\"]", "an arm before this one");
        check(
            "kind = \"labelers\"",
            "kind = \"win_rates\"",
            "measures.against",
        );
        check("column", "colum", "unknown field `colum`");
        assert!(Experiment::load("none").is_err());
    }

    #[test]
    fn those_that_come_with_the_crate_are_sound() {
        for (name, _) in BUILT_IN {
            let experiment = Experiment::load(name);
            assert!(experiment.is_ok(), "{name}: {}", experiment.unwrap_err());
        }
    }
}
