//! Lines of bounded length, and the JSON objects on them.

use std::io::{self, BufRead, Read};
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::{Row, row_error};
use crate::error::{Error, Result};
use crate::run::jsonl;

/// Longest row that is read, in bytes: 64 MiB. A longer one is an error that names its line, and
/// is passed over without being held.
pub const MAX_ROW_BYTES: usize = 64 << 20;

/// What [`read_line`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// Nothing: the input is at its end.
    End,
    /// A line, with its line end unless the input ends without one.
    Whole,
    /// A line of more than `max` bytes, passed over.
    TooLong,
}

/// Replaces `line` by the next line of `input`.
pub(crate) fn read_line(
    input: &mut impl BufRead,
    line: &mut Vec<u8>,
    max: usize,
) -> io::Result<Line> {
    line.clear();
    let n = input
        .by_ref()
        .take(max as u64 + 1)
        .read_until(b'\n', line)?;
    if n == 0 {
        return Ok(Line::End);
    }
    if n <= max {
        return Ok(Line::Whole);
    }
    let mut ended = line.ends_with(b"\n");
    *line = Vec::new();
    while !ended {
        let buffer = input.fill_buf()?;
        let end = buffer.iter().position(|&byte| byte == b'\n');
        let n = end.map_or(buffer.len(), |end| end + 1);
        ended = end.is_some() || n == 0;
        input.consume(n);
    }
    Ok(Line::TooLong)
}

pub(crate) fn too_long() -> String {
    format!("longer than {} MiB", MAX_ROW_BYTES >> 20)
}

/// Rows of a JSONL file.
pub(super) struct Jsonl<R> {
    path: PathBuf,
    input: R,
    n_lines: usize,
    line: Vec<u8>,
}

impl<R: BufRead> Jsonl<R> {
    pub(super) fn new(path: PathBuf, input: R) -> Self {
        Self {
            path,
            input,
            n_lines: 0,
            line: Vec::new(),
        }
    }
}

impl<R: BufRead> Iterator for Jsonl<R> {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        loop {
            let read = read_line(&mut self.input, &mut self.line, MAX_ROW_BYTES);
            self.n_lines += 1;
            let fields = match read {
                Ok(Line::End) => return None,
                Ok(Line::Whole) => object(&self.line, self.n_lines),
                Ok(Line::TooLong) => Err(too_long()),
                Err(source) => return Some(Err(Error::io("read", &self.path)(source))),
            };
            let row = |fields| Row {
                line: self.n_lines,
                fields,
            };
            if let Some(fields) = fields.transpose() {
                let at = |message: String| row_error(&self.path, self.n_lines, message);
                return Some(fields.map(row).map_err(at));
            }
        }
    }
}

/// The object on a line, `None` when the line is blank.
fn object(line: &[u8], number: usize) -> Result<Option<Map<String, Value>>, String> {
    let Some(text) = jsonl::text(line, number)? else {
        return Ok(None);
    };
    jsonl::object(text).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_passed_over() {
        let mut input: &[u8] = b"abc\nabcdef\n\nabcd\nabcde";
        let mut line = Vec::new();
        let mut found = Vec::new();
        loop {
            let read = read_line(&mut input, &mut line, 4).unwrap();
            found.push((read, String::from_utf8(line.clone()).unwrap()));
            if read == Line::End {
                break;
            }
        }
        let row = |read, text: &str| (read, text.to_string());
        let expected = [
            row(Line::Whole, "abc\n"),
            row(Line::TooLong, ""),
            row(Line::Whole, "\n"),
            // Five bytes with the line end.
            row(Line::TooLong, ""),
            row(Line::TooLong, ""),
            row(Line::End, ""),
        ];
        assert_eq!(found, expected);
    }

    /// A gigabyte without a line end, then a row: no more than a row's limit is held.
    #[test]
    fn a_gigabyte_of_one_line_is_passed_over() {
        let line = std::io::repeat(b'a').take(1 << 30);
        let input = line.chain(&b"\n{\"prompt\":\"q\"}\n"[..]);
        let mut rows = Jsonl::new("a.jsonl".into(), std::io::BufReader::new(input));
        let error = rows.next().unwrap().unwrap_err().to_string();
        assert_eq!(error, "a.jsonl:1: longer than 64 MiB");
        assert_eq!(rows.next().unwrap().unwrap().line, 2);
        assert!(rows.next().is_none());
        let held = rows.line.capacity();
        assert!(held <= 2 * MAX_ROW_BYTES, "{held}");
    }
}
