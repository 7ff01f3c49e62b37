//! Rows of a CSV or TSV file whose first record names the columns.
//!
//! Cells are texts. In columns that hold texts by their name a cell is taken as it is, except that
//! one which is a JSON list of messages is a conversation; in all others a cell that is JSON is
//! that value (`0.7`, `true`, `[...]`) and an empty one is absent. Python's `True` and `False`
//! count as JSON's.

use std::cell::Cell;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use csv::{ByteRecord, ErrorKind, Reader, ReaderBuilder};
use serde_json::{Map, Value};

use super::lines::{MAX_ROW_BYTES, too_long};
use super::{Row, row_error};
use crate::error::{Error, Result};

/// Columns that hold texts, whatever a cell looks like.
pub(super) const TEXTS: [&str; 20] = [
    "a",
    "b",
    "chosen",
    "completion",
    "completion_a",
    "completion_b",
    "id",
    "input",
    "instruction",
    "judge",
    "labeler",
    "output",
    "output_1",
    "output_2",
    "prompt",
    "prompt_id",
    "rationale",
    "rejected",
    "response",
    "text",
];

/// Rows of CSV.
pub(super) struct Csv {
    path: PathBuf,
    reader: Reader<Bounded<Box<dyn Read>>>,
    /// Bytes that may still be read for the current record.
    budget: Rc<Cell<usize>>,
    head: Vec<String>,
    record: ByteRecord,
}

/// A reader that fails once its budget is spent.
struct Bounded<R> {
    input: R,
    budget: Rc<Cell<usize>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buffer)?;
        match self.budget.get().checked_sub(n) {
            Some(left) => self.budget.set(left),
            None => return Err(io::Error::new(io::ErrorKind::InvalidData, too_long())),
        }
        Ok(n)
    }
}

impl Csv {
    /// Reads the names of the columns.
    pub(super) fn new(path: &Path, input: Box<dyn Read>, delimiter: u8) -> Result<Self> {
        let budget = Rc::new(Cell::new(MAX_ROW_BYTES));
        let input = Bounded {
            input,
            budget: budget.clone(),
        };
        let mut reader = ReaderBuilder::new()
            .delimiter(delimiter)
            .has_headers(true)
            .from_reader(input);
        let head = reader.byte_headers().map_err(|e| refused(path, 1, e))?;
        let name = |cell: &[u8]| {
            let name = str::from_utf8(cell).map_err(|_| "a column's name is not UTF-8")?;
            Ok(name.trim_start_matches('\u{feff}').trim().to_string())
        };
        let head: Result<Vec<String>, &str> = head.iter().map(name).collect();
        Ok(Self {
            path: path.to_path_buf(),
            reader,
            budget,
            head: head.map_err(|message| Error::file(path, message))?,
            record: ByteRecord::new(),
        })
    }

    fn row(&self, line: usize) -> Result<Row, String> {
        let cells = self.head.iter().zip(self.record.iter());
        let field = |(name, cell): (&String, &[u8])| {
            let text = str::from_utf8(cell).map_err(|_| format!("`{name}` is not valid UTF-8"))?;
            Ok(value(name, text).map(|value| (name.clone(), value)))
        };
        let fields: Result<Vec<_>, String> = cells.map(field).collect();
        let fields: Map<_, _> = fields?.into_iter().flatten().collect();
        Ok(Row { line, fields })
    }
}

impl Iterator for Csv {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        // One record may end just where the reader's buffer began; the buffer is far smaller.
        self.budget.set(MAX_ROW_BYTES);
        let line = self.reader.position().line() as usize;
        match self.reader.read_byte_record(&mut self.record) {
            Ok(false) => return None,
            Ok(true) => {}
            Err(error) => return Some(Err(refused(&self.path, line, error))),
        }
        let position = self.record.position();
        let line = position.map_or(line, |position| position.line() as usize);
        Some(
            self.row(line)
                .map_err(|message| row_error(&self.path, line, message)),
        )
    }
}

/// A cell as JSON; an empty one of a column that holds no texts is absent.
fn value(name: &str, cell: &str) -> Option<Value> {
    let text = || Value::String(cell.to_string());
    if TEXTS.contains(&name) {
        let messages = cell
            .starts_with("[{")
            .then(|| serde_json::from_str(cell).ok());
        return Some(
            messages
                .flatten()
                .filter(is_conversation)
                .unwrap_or_else(text),
        );
    }
    match cell.trim() {
        "" => None,
        "True" => Some(true.into()),
        "False" => Some(false.into()),
        trimmed => Some(serde_json::from_str(trimmed).unwrap_or_else(|_| text())),
    }
}

fn is_conversation(value: &Value) -> bool {
    let is_message = |item: &Value| item.get("role").is_some_and(Value::is_string);
    value
        .as_array()
        .is_some_and(|items| items.iter().all(is_message))
}

fn refused(path: &Path, line: usize, error: csv::Error) -> Error {
    let message = match error.into_kind() {
        ErrorKind::Io(source) if source.kind() == io::ErrorKind::InvalidData => {
            // The rest of the record would be taken for the next one, so this ends the file.
            return Error::file(path, format!("line {line}: {source}"));
        }
        ErrorKind::Io(source) => return Error::io("read", path)(source),
        ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => format!("{len} cells, expected {expected_len}"),
        other => format!("{other:?}"),
    };
    row_error(path, line, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<String> {
        let input = Box::new(io::Cursor::new(text.as_bytes().to_vec()));
        let show = |row: Result<Row>| match row {
            Ok(row) => format!(
                "{} {}",
                row.line,
                serde_json::to_string(&row.fields).unwrap()
            ),
            Err(error) => error.to_string(),
        };
        let csv = Csv::new(Path::new("x.csv"), input, b',').unwrap();
        csv.map(show).collect()
    }

    #[test]
    fn cells_are_texts_or_json_by_their_column() {
        let text =
            "\u{feff}prompt,label,p_chosen,tools\n\"a, \"\"b\"\"\nc\",True,0.5,\n7,x,,[{}]\n";
        let expected = [
            r#"2 {"prompt":"a, \"b\"\nc","label":true,"p_chosen":0.5}"#,
            r#"4 {"prompt":"7","label":"x","tools":[{}]}"#,
        ];
        assert_eq!(rows(text), expected);
        let conversation =
            "prompt\n\"[{\"\"role\"\":\"\"user\"\",\"\"content\"\":\"\"hi\"\"}]\"\n[{x\n";
        let expected = [
            r#"2 {"prompt":[{"role":"user","content":"hi"}]}"#,
            r#"3 {"prompt":"[{x"}"#,
        ];
        assert_eq!(rows(conversation), expected);
    }

    #[test]
    fn bad_records_are_named_and_passed_over() {
        let found = rows("a,b\n1\n2,3\n");
        assert_eq!(
            found,
            ["x.csv:2: 1 cells, expected 2", r#"3 {"a":"2","b":"3"}"#]
        );
        assert_eq!(rows("a,b\n"), [""; 0]);
    }

    #[test]
    fn a_quote_that_never_ends_is_not_held() {
        let start = io::Cursor::new(b"a\n\"".to_vec());
        let endless = Box::new(start.chain(io::repeat(b'x')));
        let mut csv = Csv::new(Path::new("x.csv"), endless, b',').unwrap();
        let error = csv.next().unwrap().unwrap_err().to_string();
        assert_eq!(error, "x.csv: line 2: longer than 64 MiB");
    }
}
