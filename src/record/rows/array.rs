//! Rows of a JSON file that is one array of objects, cut out one by one.

use std::io::BufRead;
use std::path::PathBuf;

use super::lines::{MAX_ROW_BYTES, too_long};
use super::{Row, row_error};
use crate::error::{Error, Result};
use crate::run::jsonl;

/// Elements of the array that the input consists of.
pub(super) struct Array<R> {
    path: PathBuf,
    input: R,
    /// Line of the next byte.
    line: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Inside,
    End,
}

/// An element as it stands in the file, up to the comma or bracket that ends it.
#[derive(Default)]
struct Element {
    bytes: Vec<u8>,
    /// Line of its first byte.
    line: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
    too_long: bool,
}

impl<R: BufRead> Array<R> {
    pub(super) fn new(path: PathBuf, input: R) -> Self {
        Self {
            path,
            input,
            line: 1,
            state: State::Start,
        }
    }

    /// The next element; the array's end is `None`.
    fn element(&mut self) -> Result<Option<Element>> {
        let mut element = Element::default();
        while let Some(byte) = self.byte()? {
            if self.state == State::Start {
                // The bracket, and before it blanks or a byte order mark.
                if byte == b'[' {
                    self.state = State::Inside;
                }
                continue;
            }
            if element.ends_at(byte) {
                if byte == b']' {
                    self.state = State::End;
                }
                let some = byte == b',' || element.line > 0;
                element.line = element.line.max(1);
                return Ok(some.then_some(element));
            }
            element.push(byte, self.line);
        }
        self.state = State::End;
        Err(Error::file(&self.path, "ends within the JSON array"))
    }

    fn byte(&mut self) -> Result<Option<u8>> {
        let failed = Error::io("read", &self.path);
        let buffer = match self.input.fill_buf() {
            Ok(buffer) => buffer,
            Err(source) => return Err(failed(source)),
        };
        let byte = buffer.first().copied();
        self.input.consume(usize::from(byte.is_some()));
        self.line += usize::from(byte == Some(b'\n'));
        Ok(byte)
    }
}

impl Element {
    fn ends_at(&self, byte: u8) -> bool {
        self.depth == 0 && !self.in_string && matches!(byte, b',' | b']')
    }

    fn push(&mut self, byte: u8, line: usize) {
        if self.line == 0 {
            if byte.is_ascii_whitespace() {
                return;
            }
            self.line = line;
        }
        if self.escaped {
            self.escaped = false;
        } else {
            match byte {
                b'"' => self.in_string = !self.in_string,
                b'\\' if self.in_string => self.escaped = true,
                b'{' | b'[' if !self.in_string => self.depth += 1,
                b'}' | b']' if !self.in_string => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        if self.bytes.len() == MAX_ROW_BYTES {
            self.too_long = true;
            self.bytes = Vec::new();
        }
        if !self.too_long {
            self.bytes.push(byte);
        }
    }

    fn row(&self) -> Result<Row, String> {
        if self.too_long {
            return Err(too_long());
        }
        // A byte order mark is no matter here: the line is never the file's first byte.
        let text = jsonl::text(&self.bytes, 0)?.ok_or("expected a JSON object, found nothing")?;
        let fields = jsonl::object(text)?;
        Ok(Row {
            line: self.line,
            fields,
        })
    }
}

impl<R: BufRead> Iterator for Array<R> {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        if self.state == State::End {
            return None;
        }
        let element = match self.element() {
            Ok(element) => element?,
            Err(error) => return Some(Err(error)),
        };
        let at = |message: String| row_error(&self.path, element.line, message);
        Some(element.row().map_err(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<String> {
        let show = |row: Result<Row>| match row {
            Ok(row) => format!(
                "{} {}",
                row.line,
                serde_json::to_string(&row.fields).unwrap()
            ),
            Err(error) => error.to_string(),
        };
        Array::new("x.json".into(), text.as_bytes())
            .map(show)
            .collect()
    }

    #[test]
    fn elements_are_cut_at_their_commas() {
        let text = "[\n {\"a\": \"x, ] \\\" }\"},\n\n {\n\"b\": [1, {\"c\": 2}]}\n]\n";
        let expected = [r#"2 {"a":"x, ] \" }"}"#, r#"4 {"b":[1,{"c":2}]}"#];
        assert_eq!(rows(text), expected);
        assert!(rows("[]").is_empty() && rows(" [ ] ").is_empty());
        assert_eq!(rows("\u{feff}[{}]"), ["1 {}"]);
    }

    #[test]
    fn bad_elements_are_named_and_passed_over() {
        let found = rows("[3,\n{\"a\":},\n{\"b\":1}, , {\"c\":1}]");
        assert_eq!(found[0], "x.json:1: expected a JSON object");
        assert!(
            found[1].starts_with("x.json:2: not valid JSON at column 6"),
            "{}",
            found[1]
        );
        assert_eq!(found[2], "3 {\"b\":1}");
        assert_eq!(found[3], "x.json:1: expected a JSON object, found nothing");
        assert_eq!(found[4], "3 {\"c\":1}");
        assert_eq!(
            rows("[{}, {"),
            ["1 {}", "x.json: ends within the JSON array"]
        );
    }
}
