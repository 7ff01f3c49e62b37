//! Labels that came with the data, such as those of people.

use std::path::Path;

use super::{AnswerPair, PairOptions, PairReader};
use crate::error::{Error, Result};
use crate::record::Preference;

/// All preferences of a file of any format and layout, the better
/// answer as `chosen`. Pairs that the file calls a tie are left out.
///
/// # Errors
/// The file cannot be read, a row is bad and they are not skipped, or there is no label.
pub fn read_preferences(path: impl AsRef<Path>, options: &PairOptions) -> Result<Vec<Preference>> {
    let path = path.as_ref();
    let mut preferences = Vec::new();
    let mut pairs = PairReader::open(path, options)?;
    for pair in pairs.by_ref() {
        let pair = pair?;
        let p_gold = pair.p_gold.ok_or_else(|| {
            let columns = "`chosen` and `rejected`, or a label beside each pair";
            Error::file(
                path,
                format!("says of no pair which answer is better, expected {columns}"),
            )
        })?;
        if p_gold != 0.5 {
            preferences.push(pair.preference(p_gold));
        }
    }
    pairs.skipped.tell(path);
    Ok(preferences)
}

impl AnswerPair {
    fn preference(self, p_gold: f32) -> Preference {
        let (chosen, rejected, p_chosen) = if p_gold > 0.5 {
            (self.a, self.b, p_gold)
        } else {
            (self.b, self.a, 1.0 - p_gold)
        };
        Preference {
            prompt_id: self.prompt_id,
            prompt: self.prompt,
            chosen,
            rejected,
            p_chosen,
            p_first: None,
            p_second: None,
            margin: self.margin,
            labeler: None,
            method: None,
            rationales: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_people_become_preferences() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        let row = |label: i32| {
            format!(r#"{{"input":"q","output_1":"x","output_2":"y","label":{label}}}"#)
        };
        std::fs::write(&path, [row(1), row(0), row(2)].join("\n")).unwrap();
        let found = read_preferences(&path, &PairOptions::default()).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|row| (row.chosen.text.as_str(), row.p_chosen))
            .collect();
        assert_eq!(found, [("x", 1.0), ("y", 1.0)]);
        std::fs::write(&path, r#"{"prompt":"q","completions":["x","y"]}"#).unwrap();
        let error = read_preferences(&path, &PairOptions::default())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("says of no pair which answer is better"),
            "{error}"
        );
    }
}
