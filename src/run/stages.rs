//! `stages.json`: the finished stages of a run, in the order in which they finished.
//!
//! A stage counts as done only for the inputs that it was run with. What came after a stage may
//! depend on it, so forgetting one forgets all that finished later.

use std::fmt;
use std::fs;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::RunDir;
use crate::error::{Error, Result};

const FILE: &str = "stages.json";

/// A finished stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Stage {
    /// The configuration and the digests of the files that it was given.
    inputs: Value,
    /// How long it took.
    seconds: f64,
}

/// A JSON object that keeps its order, which a map type would not.
#[derive(Debug, Default)]
pub(super) struct Stages(Vec<(String, Stage)>);

impl RunDir {
    /// Whether a stage is finished and was given these inputs.
    pub fn stage_done(&self, name: &str, inputs: &Value) -> bool {
        self.stage_inputs(name).as_ref() == Some(inputs)
    }

    /// What a finished stage was given.
    pub fn stage_inputs(&self, name: &str) -> Option<Value> {
        self.stage(name).map(|stage| stage.inputs)
    }

    /// How long a finished stage took.
    pub fn stage_seconds(&self, name: &str) -> Option<f64> {
        self.stage(name).map(|stage| stage.seconds)
    }

    /// Remembers a stage as finished, and forgets those that had finished after its last time.
    pub fn finish_stage(&self, name: &str, inputs: &Value, seconds: f64) -> Result<()> {
        let mut stages = self.stages()?;
        stages.forget(name);
        stages.0.push((
            name.to_string(),
            Stage {
                inputs: inputs.clone(),
                seconds,
            },
        ));
        self.write_json(FILE, &stages)
    }

    /// Forgets a stage and all that finished after it. To be called before a stage is redone, so
    /// that a run killed midway does not take the old outcome for the new one.
    pub fn forget_stage(&self, name: &str) -> Result<()> {
        let mut stages = self.stages()?;
        if stages.forget(name) {
            self.write_json(FILE, &stages)
        } else {
            Ok(())
        }
    }

    pub(super) fn stages(&self) -> Result<Stages> {
        let path = self.path(FILE);
        if !path.exists() {
            return Ok(Stages::default());
        }
        let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        serde_json::from_str(&text).map_err(|source| Error::file(&path, source.to_string()))
    }

    /// The stage, if it is finished. An unreadable file was refused when the folder was opened;
    /// should it have become one since, nothing counts as finished.
    fn stage(&self, name: &str) -> Option<Stage> {
        let stages = self.stages().ok()?;
        stages
            .0
            .into_iter()
            .find_map(|(other, stage)| (other == name).then_some(stage))
    }
}

impl Stages {
    /// Whether there was anything to forget.
    fn forget(&mut self, name: &str) -> bool {
        let found = self.0.iter().position(|(other, _)| other == name);
        self.0.truncate(found.unwrap_or(self.0.len()));
        found.is_some()
    }
}

impl Serialize for Stages {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        output.collect_map(self.0.iter().map(|(name, stage)| (name, stage)))
    }
}

impl<'de> Deserialize<'de> for Stages {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_map(InOrder)
    }
}

struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Stages;

    fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("an object with one entry per stage")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Stages, A::Error> {
        let mut stages = Vec::new();
        while let Some(entry) = map.next_entry()? {
            stages.push(entry);
        }
        Ok(Stages(stages))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_stage_is_done_for_its_inputs_only() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::create(root.path()).unwrap();
        let (abc, abd) = (json!("abc"), json!("abd"));
        assert!(!run.stage_done("sft", &abc));
        run.finish_stage("sft", &abc, 12.5).unwrap();
        let again = RunDir::create(root.path()).unwrap();
        assert!(again.stage_done("sft", &abc) && !again.stage_done("sft", &abd));
        assert_eq!(
            (again.stage_seconds("sft"), again.stage_seconds("rl")),
            (Some(12.5), None)
        );
        assert_eq!(
            fs::read_to_string(run.path(FILE)).unwrap(),
            "{\n  \"sft\": {\n    \"inputs\": \"abc\",\n    \"seconds\": 12.5\n  }\n}\n"
        );
    }

    #[test]
    fn later_stages_are_forgotten_with_an_earlier_one() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::create(root.path()).unwrap();
        let names = ["sft", "sample", "label", "eval"];
        let (v1, v2) = (json!("v1"), json!("v2"));
        let done = || names.map(|name| run.stage_done(name, &v1));
        for name in names {
            run.finish_stage(name, &v1, 1.0).unwrap();
        }
        run.forget_stage("rl").unwrap();
        assert_eq!(done(), [true; 4]);
        run.forget_stage("eval").unwrap();
        assert_eq!(done(), [true, true, true, false]);
        run.finish_stage("sample", &v2, 1.0).unwrap();
        assert_eq!(done(), [true, false, false, false]);
        assert!(run.stage_done("sample", &v2));
    }
}
