//! JSONL files of any row type: one JSON object per line, read as a stream and written whole.
//!
//! What the columns are called is the business of `record`; here is only what holds for all of
//! them: blank lines are skipped, columns that the row type does not know are ignored, and every
//! error names file, line and field.

use std::borrow::Borrow;
use std::fs::File;
use std::io::{BufReader, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::atomic;
use crate::error::{Error, Result};
use crate::record::Record;
use crate::record::rows::{Line, MAX_ROW_BYTES, read_line, too_long};

/// Reads a JSONL file row by row, in constant memory.
///
/// A bad row is an [`Error::Row`] with its line, and reading may go on after it.
#[derive(Debug)]
pub struct JsonlReader<T> {
    path: PathBuf,
    /// `None` once reading has failed, which ends the iteration.
    input: Option<BufReader<File>>,
    /// Line of the row read last, counted from 1.
    pub(crate) line: usize,
    bytes: Vec<u8>,
    row: PhantomData<fn() -> T>,
}

impl<T: Record> JsonlReader<T> {
    /// Opens a file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let input = Some(BufReader::new(
            File::open(&path).map_err(Error::io("read", &path))?,
        ));
        Ok(Self {
            path,
            input,
            line: 0,
            bytes: Vec::new(),
            row: PhantomData,
        })
    }

    /// The row in `bytes`, `None` when the line is blank.
    fn parse(&self) -> Result<Option<T>> {
        let row = || -> Result<Option<T>, String> {
            let Some(text) = text(&self.bytes, self.line)? else {
                return Ok(None);
            };
            record(object(text)?, self.line).map(Some)
        };
        row().map_err(|message| self.error(message))
    }

    /// Refuses the row read last.
    pub(crate) fn error(&self, message: impl Into<String>) -> Error {
        Error::Row {
            path: self.path.clone(),
            line: self.line,
            message: message.into(),
        }
    }
}

impl<T: Record> Iterator for JsonlReader<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        loop {
            match read_line(self.input.as_mut()?, &mut self.bytes, MAX_ROW_BYTES) {
                Ok(Line::End) => return None,
                Ok(Line::Whole) => self.line += 1,
                Ok(Line::TooLong) => {
                    self.line += 1;
                    return Some(Err(self.error(too_long())));
                }
                Err(source) => {
                    self.input = None;
                    return Some(Err(Error::io("read", &self.path)(source)));
                }
            }
            if let Some(row) = self.parse().transpose() {
                return Some(row);
            }
        }
    }
}

/// All rows of a file; the first bad one is the error.
pub fn read_jsonl<T: Record>(path: impl AsRef<Path>) -> Result<Vec<T>> {
    JsonlReader::open(path)?.collect()
}

/// Writes rows to a file, which is either complete afterwards or as it was before.
pub fn write_jsonl<'a, T: Record + 'a>(
    path: impl AsRef<Path>,
    rows: impl IntoIterator<Item = &'a T>,
) -> Result<()> {
    write_stream::<T>(path.as_ref(), rows.into_iter().map(Ok))
}

/// [`write_jsonl`] of rows as they come; the first that fails is the error.
pub(crate) fn write_stream<T: Record>(
    path: &Path,
    rows: impl Iterator<Item = Result<impl Borrow<T>>>,
) -> Result<()> {
    atomic::write_file(path, |out| {
        for (index, row) in rows.enumerate() {
            let row = row?;
            let row = row.borrow();
            let at = |message| Error::Row {
                path: path.to_path_buf(),
                line: index + 1,
                message,
            };
            row.check().map_err(|source| at(source.to_string()))?;
            let line = to_line(row).map_err(|source| at(say(&source)))?;
            out.write_all(line.as_bytes())
                .map_err(Error::io("write", path))?;
        }
        Ok(())
    })
}

/// A row as it stands in a file, with the line end.
pub(super) fn to_line<T: Record>(row: &T) -> serde_json::Result<String> {
    serde_json::to_string(row).map(|line| line + "\n")
}

/// The text of a line without blanks around it, `None` when there is nothing else.
pub(crate) fn text(line: &[u8], number: usize) -> Result<Option<&str>, String> {
    let text = str::from_utf8(line)
        .map_err(|source| format!("byte {} is not valid UTF-8", source.valid_up_to() + 1))?;
    // Some editors start a file with a byte order mark, which JSON does not allow.
    let text = text
        .strip_prefix('\u{feff}')
        .filter(|_| number == 1)
        .unwrap_or(text)
        .trim();
    Ok((!text.is_empty()).then_some(text))
}

/// The JSON object that a text is.
pub(crate) fn object(text: &str) -> Result<Map<String, Value>, String> {
    // Serde would take a list for a struct, field by field.
    if !text.starts_with('{') {
        return Err("expected a JSON object".into());
    }
    serde_json::from_str(text).map_err(|source| say(&source))
}

/// The columns of a row as a record, checked.
pub(crate) fn record<T: Record>(fields: Map<String, Value>, line: usize) -> Result<T, String> {
    let mut row: T = match T::deserialize(&fields) {
        Ok(row) => row,
        Err(source) => return Err(wrong_field::<T>(fields).unwrap_or_else(|| say(&source))),
    };
    row.set_default_id(line);
    row.check().map_err(|source| source.to_string())?;
    Ok(row)
}

/// A JSON error without its line, which counts within the row and not within the file.
fn say(source: &serde_json::Error) -> String {
    let text = source.to_string();
    let text = text.split(" at line ").next().unwrap_or(&text);
    match source.classify() {
        serde_json::error::Category::Data => text.to_string(),
        _ => format!("not valid JSON at column {}: {text}", source.column()),
    }
}

/// Which field has the wrong type. Serde does not say, so each field is tried alone: a good one
/// then fails at most because the others are missing.
fn wrong_field<T: Record>(row: Map<String, Value>) -> Option<String> {
    row.into_iter().find_map(|(field, value)| {
        let alone = Map::from_iter([(field.clone(), value.clone())]);
        let message = serde_json::from_value::<T>(Value::Object(alone))
            .err()?
            .to_string();
        if message.starts_with("missing field") {
            return None;
        }
        let found = match &value {
            Value::Array(items) if items.iter().all(Value::is_object) => "a list of messages",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
            scalar => &scalar.to_string(),
        };
        let expected = match message
            .rsplit_once(", expected ")
            .map_or("", |(_, end)| end)
        {
            "f32" | "f64" => "a number",
            "usize" => "a whole number",
            other => other,
        };
        Some(format!("`{field}` is {found}, expected {expected}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Comparison, Demonstration, Preference, Prompt};

    fn check<T: Record + std::fmt::Debug>(text: impl AsRef<[u8]>, error: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        std::fs::write(&path, text).unwrap();
        let found = read_jsonl::<T>(&path).unwrap_err().to_string();
        assert_eq!(found, format!("{}:{error}", path.display()));
    }

    #[test]
    fn bad_rows_are_named() {
        check::<Prompt>("\n{}", "2: missing field `prompt`");
        let number = r#"{"prompt":3}"#;
        let expected = "1: `prompt` is 3, expected a string or a list of messages";
        check::<Prompt>(number, expected);
        let list = r#"{"completion":"","prompt":[{"role":"user"},{"content":"hi"}]}"#;
        let expected = "1: `prompt` is a list of messages, expected `role`, a string, in message 2";
        check::<Demonstration>(list, expected);
        let id = r#"{"id":true,"prompt":""}"#;
        check::<Prompt>(id, "1: `id` is true, expected a string or a number");
        check::<Prompt>(r#"["a","b"]"#, "1: expected a JSON object");
        let torn = "1: not valid JSON at column 1: EOF while parsing an object";
        check::<Prompt>("{", torn);
        check::<Prompt>(b"{\"\xff\"}", "1: byte 3 is not valid UTF-8");
        let high = r#"{"prompt":"","chosen":"","rejected":"","p_chosen":1.3}"#;
        check::<Preference>(high, "1: `p_chosen` is 1.3, expected 0..=1");
        let text = r#"{"prompt":"","chosen":"","rejected":"","p_chosen":"high"}"#;
        check::<Preference>(text, "1: `p_chosen` is \"high\", expected a number");
        let negative = r#"{"prompt_id":1,"judge":"","a":"","b":"","p_win":1,"length_a":-1}"#;
        let expected = "1: `length_a` is -1, expected a whole number";
        check::<Comparison>(negative, expected);
    }

    #[test]
    fn reading_goes_on_after_a_bad_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        std::fs::write(&path, "{\"prompt\":1}\n\n{\"prompt\":\"b\"}\n").unwrap();
        let rows: Vec<_> = JsonlReader::<Prompt>::open(&path).unwrap().collect();
        assert!(rows.len() == 2 && rows[0].is_err());
        assert_eq!(rows[1].as_ref().unwrap().id, "3");
    }

    #[test]
    fn what_cannot_be_read_is_an_error_once() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("none");
        let error = read_jsonl::<Prompt>(&missing).unwrap_err().to_string();
        assert_eq!(error, format!("{}: cannot read", missing.display()));
        if let Ok(reader) = JsonlReader::<Prompt>::open(folder.path()) {
            let rows: Vec<_> = reader.collect();
            assert!(rows.len() == 1 && rows[0].is_err());
        }
    }

    #[test]
    fn a_failed_write_keeps_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        let row = |p_chosen| Preference {
            prompt_id: "p".into(),
            prompt: "q".into(),
            chosen: "c".into(),
            rejected: "r".into(),
            p_chosen,
            p_first: None,
            p_second: None,
            margin: None,
            labeler: None,
            method: None,
            rationales: Vec::new(),
        };
        write_jsonl(&path, &[row(0.5)]).unwrap();
        let error = write_jsonl(&path, &[row(0.6), row(f32::NAN)]).unwrap_err();
        let expected = format!("{}:2: `p_chosen` is NaN, expected 0..=1", path.display());
        assert_eq!(error.to_string(), expected);
        assert_eq!(read_jsonl::<Preference>(&path).unwrap(), [row(0.5)]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
