//! Prompts and demonstrations out of files of any layout.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use super::{AnswerPair, PairOptions, Skipped, columns};
use crate::error::Result;
use crate::record::rows::{Row, RowReader, row_error};
use crate::record::{Demonstration, Prompt};
use crate::run::jsonl;

/// All prompts of a file, whose ids must differ. A file of pairs is one of prompts too: of those
/// that their answers answer.
///
/// # Errors
/// The file cannot be read, or a row is bad and they are not skipped.
pub fn read_prompts(path: impl AsRef<Path>, options: &PairOptions) -> Result<Vec<Prompt>> {
    let mut line_of = HashMap::new();
    read(path.as_ref(), options, |row| {
        let line = row.line;
        let prompt = prompt(row, options)?;
        match line_of.insert(prompt.id.clone(), line) {
            Some(line) => Err(format!("`id` {:?} is already on line {line}", prompt.id)),
            None => Ok(Some(prompt)),
        }
    })
}

/// All demonstrations of a file. Of a pair, the better answer is one; rows whose `label` is false
/// are none.
///
/// # Errors
/// The file cannot be read, or a row is bad and they are not skipped.
pub fn read_demonstrations(
    path: impl AsRef<Path>,
    options: &PairOptions,
) -> Result<Vec<Demonstration>> {
    read(path.as_ref(), options, |row| {
        if row.fields.get("label") == Some(&Value::Bool(false)) {
            return Ok(None);
        }
        if !["chosen", "output_1", "completions", "conversation_a"]
            .iter()
            .any(|name| has(&row, name))
        {
            return jsonl::record(row.fields, row.line).map(Some);
        }
        let pair = first_pair(row, options)?;
        let p_gold = pair
            .p_gold
            .ok_or("nothing says which answer is the better one")?;
        let better = if p_gold >= 0.5 { pair.a } else { pair.b };
        Ok(Some(Demonstration::new(
            pair.prompt_id,
            pair.prompt,
            better,
        )))
    })
}

fn prompt(row: Row, options: &PairOptions) -> Result<Prompt, String> {
    if has(&row, "prompt") || has(&row, "messages") {
        return jsonl::record(row.fields, row.line);
    }
    if has(&row, "chosen") || has(&row, "conversation_a") {
        let pair = first_pair(row, options)?;
        return Ok(Prompt {
            id: pair.prompt_id,
            prompt: pair.prompt,
        });
    }
    Ok(Prompt {
        id: columns::id(&row),
        prompt: columns::prompt(row.fields)?,
    })
}

fn first_pair(row: Row, options: &PairOptions) -> Result<AnswerPair, String> {
    let mut pairs = Vec::new();
    columns::pairs(row, options, &mut None, &mut pairs)?;
    pairs
        .into_iter()
        .next()
        .ok_or_else(|| "holds no pair".into())
}

fn has(row: &Row, name: &str) -> bool {
    row.fields.get(name).is_some_and(|value| !value.is_null())
}

/// All that `convert` makes of the rows of a file.
fn read<T>(
    path: &Path,
    options: &PairOptions,
    mut convert: impl FnMut(Row) -> Result<Option<T>, String>,
) -> Result<Vec<T>> {
    let mut skipped = Skipped::new(options.on_error);
    let mut found = Vec::new();
    for row in RowReader::open(path)? {
        let row = row.and_then(|row| {
            let line = row.line;
            convert(row).map_err(|message| row_error(path, line, message))
        });
        match row {
            Ok(row) => found.extend(row),
            Err(error) if skipped.takes(&error) => {}
            Err(error) => return Err(error),
        }
    }
    skipped.tell(path);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::rows::OnError;

    fn file(folder: &tempfile::TempDir, rows: &[&str]) -> std::path::PathBuf {
        let path = folder.path().join("x.jsonl");
        std::fs::write(&path, rows.join("\n")).unwrap();
        path
    }

    #[test]
    fn prompts_come_from_prompts_and_from_pairs() {
        let folder = tempfile::tempdir().unwrap();
        let rows = [
            r#"{"id":"x","prompt":"q"}"#,
            r#"{"chosen":"\n\nHuman: a\n\nAssistant: b","rejected":"\n\nHuman: a\n\nAssistant: c"}"#,
            r#"{"instruction":"do","input":"this"}"#,
        ];
        let path = file(&folder, &rows);
        let found = read_prompts(&path, &PairOptions::default()).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|row| (row.id.as_str(), row.prompt.transcript()))
            .collect();
        let expected = [
            ("x", "q".into()),
            ("2", "\n\nHuman: a\n\nAssistant:".into()),
            ("3", "do\n\nthis".into()),
        ];
        assert_eq!(found, expected);
        let path = file(&folder, &[rows[0], rows[0], "{}"]);
        let error = read_prompts(&path, &PairOptions::default())
            .unwrap_err()
            .to_string();
        assert!(
            error.ends_with("x.jsonl:2: `id` \"x\" is already on line 1"),
            "{error}"
        );
        let skip = PairOptions {
            on_error: OnError::Skip,
            ..PairOptions::default()
        };
        assert_eq!(read_prompts(&path, &skip).unwrap().len(), 1);
    }

    #[test]
    fn demonstrations_are_completions_and_better_answers() {
        let folder = tempfile::tempdir().unwrap();
        let rows = [
            r#"{"prompt":"q","completion":"c"}"#,
            r#"{"prompt":"q","completion":"bad","label":false}"#,
            r#"{"prompt":"q","chosen":"d","rejected":"r"}"#,
            r#"{"input":"q","output_1":"x","output_2":"e","label":2}"#,
        ];
        let path = file(&folder, &rows);
        let found = read_demonstrations(&path, &PairOptions::default()).unwrap();
        let expected = [("1", "c"), ("3", "d"), ("4", "e")];
        let expected = expected.map(|(id, text)| Demonstration::new(id.into(), "q", text));
        assert_eq!(found, expected);
    }
}
