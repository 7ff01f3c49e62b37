//! Rows of evaluations made elsewhere: completions, AlpacaEval's annotations, labels of people.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::pairs::columns;
use super::rows::{Row, RowReader, row_error};
use super::{Answer, Comparison, Context, Record, id_text};
use crate::error::Result;

/// A prompt and what somebody made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Name of the prompt, its row's number where the file has none.
    pub prompt_id: String,
    /// The prompt.
    pub prompt: Context,
    /// The text.
    pub completion: String,
}

/// A row of AlpacaEval's `annotations.json`: which of two outputs an annotator prefers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Annotation {
    /// What was asked.
    pub instruction: String,
    /// Output of the baseline.
    pub output_1: String,
    /// Who wrote it.
    pub generator_1: String,
    /// Output of the model that is evaluated.
    pub output_2: String,
    /// Who wrote it.
    pub generator_2: String,
    /// Who judged.
    pub annotator: String,
    /// From 1, `output_1` is better, to 2, `output_2` is; 0 and 1.5 are ties; nothing without a
    /// verdict.
    pub preference: Option<f64>,
}

/// A row that somebody put into a class, in any column.
#[derive(Debug, Clone, PartialEq)]
pub struct Classified {
    /// What the row says in the column.
    pub class: String,
    /// What it says in the column that groups rows, if one was asked for.
    pub group: Option<String>,
}

/// A verdict on a pair of RewardBench.
#[derive(Debug, Clone, PartialEq)]
pub struct SubsetVerdict {
    /// The subset that the pair belongs to.
    pub subset: String,
    /// 1 where the chosen text was preferred, 0 where not, 0.5 for a tie.
    pub points: f64,
}

impl Record for Annotation {}

/// The completions of a file: columns `prompt` and `completion`, AlpacaEval's `instruction` and
/// `output`, or those of a run's completions.
///
/// # Errors
/// The file cannot be read, or a row holds no prompt and completion.
pub fn read_outputs(path: &Path) -> Result<Vec<Output>> {
    read(path, |mut row| {
        let names = ["completion", "output", "response"];
        let found = names.iter().find(|name| row.fields.contains_key(**name));
        let name = found.ok_or("no column `completion`, `output` or `response`")?;
        let completion: Answer = columns::answer(columns::take(&mut row.fields, name))?;
        Ok(Output {
            prompt_id: columns::id(&row),
            prompt: columns::prompt(row.fields)?,
            completion: completion.text,
        })
    })
}

/// The verdicts of a file: our comparisons, or AlpacaEval's annotations, whose model is then `a` and
/// whose lengths are in characters. Also how many rows hold no verdict.
///
/// # Errors
/// The file cannot be read, or a row is neither.
pub fn read_verdicts(path: &Path) -> Result<(Vec<Comparison>, usize)> {
    let rows = read(path, |row| match row.fields.contains_key("preference") {
        true => annotated(row),
        false => crate::run::jsonl::record(row.fields, row.line).map(Some),
    })?;
    let n = rows.len();
    let found: Vec<Comparison> = rows.into_iter().flatten().collect();
    let missing = n - found.len();
    Ok((found, missing))
}

fn annotated(row: Row) -> Result<Option<Comparison>, String> {
    let id = columns::id(&row);
    let annotation: Annotation = crate::run::jsonl::record(row.fields, row.line)?;
    let Some(preference) = annotation.preference.filter(|found| !found.is_nan()) else {
        return Ok(None);
    };
    let p_win = match preference {
        0.0 => 0.5,
        1.0..=2.0 => preference - 1.0,
        _ => return Err(format!("`preference` is {preference}, expected 0 or 1..=2")),
    };
    Ok(Some(Comparison {
        prompt_id: id,
        judge: annotation.annotator,
        a: annotation.generator_2,
        b: annotation.generator_1,
        p_win: p_win as f32,
        length_a: annotation.output_2.chars().count(),
        length_b: annotation.output_1.chars().count(),
    }))
}

/// The classes of a file's rows: what `column` says, and what `group` does.
///
/// # Errors
/// The file cannot be read, or a row lacks a column.
pub fn read_classes(path: &Path, column: &str, group: Option<&str>) -> Result<Vec<Classified>> {
    read(path, |row| {
        let group = group.map(|name| text(&row.fields, name)).transpose()?;
        let class = text(&row.fields, column)?;
        Ok(Classified { class, group })
    })
}

/// RewardBench's verdicts: columns `subset` and `results` (0, 1 or 0.5 for a tie).
///
/// # Errors
/// The file cannot be read, or a row lacks a column.
pub fn read_subset_verdicts(path: &Path) -> Result<Vec<SubsetVerdict>> {
    read(path, |row| {
        let points = match row.fields.get("results") {
            Some(Value::Bool(right)) => Some(f64::from(u8::from(*right))),
            Some(Value::Number(points)) => points.as_f64(),
            Some(Value::String(points)) => points.parse().ok(),
            _ => None,
        };
        let points = points.filter(|points| (0.0..=1.0).contains(points));
        Ok(SubsetVerdict {
            subset: text(&row.fields, "subset")?,
            points: points.ok_or("`results` is no number in 0..=1")?,
        })
    })
}

fn text(fields: &Map<String, Value>, name: &str) -> Result<String, String> {
    let value = fields.get(name).cloned().unwrap_or_default();
    id_text(value).map_err(|_| format!("no text or number in column `{name}`"))
}

fn read<T>(path: &Path, convert: impl Fn(Row) -> Result<T, String>) -> Result<Vec<T>> {
    let rows = RowReader::open(path)?.map(|row| {
        let row = row?;
        let line = row.line;
        convert(row).map_err(|message| row_error(path, line, message))
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> std::path::PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn annotations_are_comparisons_of_the_model_with_the_baseline() {
        let folder = tempfile::tempdir().unwrap();
        let row = |preference: &str| {
            format!(
                r#"{{"instruction":"q","output_1":"ab","generator_1":"base","output_2":"xyz","generator_2":"new","annotator":"j","preference":{preference}}}"#
            )
        };
        let rows = ["2.0", "1.25", "0.0", "null", "1.5"].map(row).join(",");
        let path = file(&folder, "annotations.json", &format!("[{rows}]"));
        let (found, missing) = read_verdicts(&path).unwrap();
        let p: Vec<f32> = found.iter().map(|row| row.p_win).collect();
        assert_eq!((p, missing), (vec![1.0, 0.25, 0.5, 0.5], 1));
        assert_eq!((found[0].a.as_str(), found[0].b.as_str()), ("new", "base"));
        assert_eq!((found[0].length_a, found[0].length_b), (3, 2));
        let path = file(&folder, "bad.json", &format!("[{}]", row("3")));
        let error = read_verdicts(&path).unwrap_err().to_string();
        assert!(error.contains("`preference` is 3"), "{error}");
    }

    #[test]
    fn outputs_of_the_field_load() {
        let folder = tempfile::tempdir().unwrap();
        let text = "{\"instruction\":\"q\",\"output\":\"a\",\"generator\":\"m\"}\n\
                    {\"id\":\"x\",\"prompt\":\"p\",\"completion\":\"b\"}";
        let found = read_outputs(&file(&folder, "o.jsonl", text)).unwrap();
        assert_eq!(
            (found[0].prompt_id.as_str(), found[0].completion.as_str()),
            ("1", "a")
        );
        assert_eq!(
            (found[1].prompt_id.as_str(), found[1].completion.as_str()),
            ("x", "b")
        );
        let error = read_outputs(&file(&folder, "p.jsonl", "{\"prompt\":\"q\"}")).unwrap_err();
        assert!(
            error.to_string().contains("p.jsonl:1: no column"),
            "{error}"
        );
    }

    #[test]
    fn classes_and_subsets_are_columns() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, "c.csv", "kind,label\na,yes\nb,no\n");
        let found = read_classes(&path, "label", Some("kind")).unwrap();
        let groups: Vec<_> = found.iter().map(|row| row.group.as_deref()).collect();
        assert_eq!(
            (found[0].class.as_str(), groups),
            ("yes", vec![Some("a"), Some("b")])
        );
        assert!(read_classes(&path, "other", None).is_err());
        let text = "{\"subset\":\"hep-go\",\"results\":1}\n{\"subset\":\"hep-go\",\"results\":0.5}";
        let found = read_subset_verdicts(&file(&folder, "r.jsonl", text)).unwrap();
        assert_eq!(found.iter().map(|row| row.points).sum::<f64>(), 1.5);
    }
}
