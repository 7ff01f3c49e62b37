//! `measures/NAME.json`: numbers that were found once, with all that they depend on, so that the same
//! question of an unchanged run costs nothing.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::RunDir;
use crate::error::{Error, Result};

impl RunDir {
    /// What `measure` found from the same `inputs` before, or else finds now.
    ///
    /// # Errors
    /// Those of `measure`, and when the folder cannot be written.
    pub fn measured<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        inputs: &Value,
        measure: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let rel = format!("measures/{name}.json");
        if let Some(found) = self.found(&rel, inputs) {
            return Ok(found);
        }
        tracing::info!("{}: measures {name}", self.root().display());
        let found = measure()?;
        let value = serde_json::to_value(&found);
        let value = value.map_err(|e| Error::file(self.path(&rel), e.to_string()))?;
        self.write_json(&rel, &json!({ "inputs": inputs, "value": value }))?;
        Ok(found)
    }

    /// A file that cannot be read is one that was not written yet.
    fn found<T: DeserializeOwned>(&self, rel: &str, inputs: &Value) -> Option<T> {
        let text = std::fs::read_to_string(self.path(rel)).ok()?;
        let mut kept: Value = serde_json::from_str(&text).ok()?;
        let value = kept.get_mut("value")?.take();
        (kept.get("inputs") == Some(inputs)).then(|| serde_json::from_value(value).ok())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_not_asked_again() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::create(root.path()).unwrap();
        let asked = |inputs: Value, answer: u32| {
            let found = run.measured("a_vs_b", &inputs, || Ok(vec![answer]));
            found.unwrap()
        };
        assert_eq!(asked(json!({"n": 1}), 5), [5]);
        assert_eq!(asked(json!({"n": 1}), 6), [5]);
        assert_eq!(asked(json!({"n": 2}), 7), [7]);
        run.write_text("measures/a_vs_b.json", "{").unwrap();
        assert_eq!(asked(json!({"n": 2}), 8), [8]);
        let failed = run.measured("c", &json!(1), || -> Result<u32> {
            Err(Error::Usage("no".into()))
        });
        assert!(failed.is_err() && !run.path("measures/c.json").exists());
    }
}
