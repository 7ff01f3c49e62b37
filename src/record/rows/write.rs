//! Rows in the format that a file's name asks for.
//!
//! CSV and Parquet need to know all columns before the first row, so the rows come from a file that
//! is read twice; nothing but a few rows is held.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use flate2::Compression as Level;
use flate2::write::GzEncoder;
use serde_json::{Map, Value};

use super::columns::Columns;
use super::open::{Compression, Format, named};
use super::{RowReader, parquet_out};
use crate::error::{Error, Result};
use crate::run::atomic;

/// Copies the rows of one file to another, from any format to the one that the second's name asks
/// for: `.jsonl`, `.csv` or `.tsv`, each also with `.gz`, or `.parquet` (snappy). Returns how many.
///
/// In CSV, lists and objects are JSON text. In Parquet a column is a text, a number, a boolean or a
/// list of messages whose fields are texts, as `datasets` writes them; any other column is JSON
/// text. The file is complete afterwards or as it was before.
///
/// # Errors
/// A row of the first file is bad, its columns do not fit the format, or a file cannot be used.
pub fn convert(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<usize> {
    let (from, to) = (from.as_ref(), to.as_ref());
    let (format, compression) = named(to);
    check_writable(to)?;
    let columns = match format {
        Format::Json => Columns::default(),
        _ => Columns::of(RowReader::open(from)?)?,
    };
    let mut rows = RowReader::open(from)?.map(|row| row.map(|row| row.fields));
    let mut n_rows = 0;
    let mut counted = rows.by_ref().inspect(|_| n_rows += 1);
    atomic::write_file(to, |out| match (format, compression) {
        (Format::Parquet, _) => parquet_out::write(to, out, &columns, &mut counted),
        (_, Compression::Gzip) => {
            let mut out = GzEncoder::new(out, Level::default());
            write_texts(to, format, &mut out, &columns, &mut counted)?;
            out.finish().map(|_| ()).map_err(Error::io("write", to))
        }
        _ => write_texts::<&mut BufWriter<File>>(to, format, out, &columns, &mut counted),
    })?;
    Ok(n_rows)
}

/// Refuses a name that asks for what cannot be written.
///
/// # Errors
/// It ends in `.zst`, or is Parquet inside gzip.
pub fn check_writable(path: &Path) -> Result<()> {
    match named(path) {
        (_, Compression::Zstd) => Err(Error::file(
            path,
            "Zstandard is read only; write `.gz` or no compression",
        )),
        (Format::Parquet, Compression::Gzip) => Err(Error::file(
            path,
            "Parquet is compressed inside; leave `.gz` out",
        )),
        _ => Ok(()),
    }
}

fn write_texts<W: Write>(
    path: &Path,
    format: Format,
    out: W,
    columns: &Columns,
    rows: &mut dyn Iterator<Item = Result<Map<String, Value>>>,
) -> Result<()> {
    match format {
        Format::Csv => write_csv(path, out, b',', columns, rows),
        Format::Tsv => write_csv(path, out, b'\t', columns, rows),
        Format::Json | Format::Parquet => write_jsonl(path, out, rows),
    }
}

fn write_jsonl<W: Write>(
    path: &Path,
    mut out: W,
    rows: &mut dyn Iterator<Item = Result<Map<String, Value>>>,
) -> Result<()> {
    for row in rows {
        let line = Value::Object(row?).to_string() + "\n";
        out.write_all(line.as_bytes())
            .map_err(Error::io("write", path))?;
    }
    Ok(())
}

fn write_csv<W: Write>(
    path: &Path,
    out: W,
    delimiter: u8,
    columns: &Columns,
    rows: &mut dyn Iterator<Item = Result<Map<String, Value>>>,
) -> Result<()> {
    let failed = |e: csv::Error| Error::file(path, format!("cannot write CSV: {e}"));
    let mut out = csv::WriterBuilder::new()
        .delimiter(delimiter)
        .from_writer(out);
    out.write_record(columns.names()).map_err(failed)?;
    for row in rows {
        let row = row?;
        let cell = |name: &str| match row.get(name) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        };
        out.write_record(columns.names().map(cell))
            .map_err(failed)?;
    }
    out.flush().map_err(Error::io("write", path))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::write::GzEncoder;
    use serde_json::json;

    use super::*;
    use crate::record::{Preference, read_records};

    fn rows(path: &Path) -> Vec<Value> {
        let rows = RowReader::open(path).unwrap();
        rows.map(|row| row.unwrap().fields.into()).collect()
    }

    /// A text column that looks like a number, one with every kind of awkward character, numbers,
    /// booleans, absent values, and conversations.
    fn samples() -> Vec<Value> {
        let turn = |role: &str, content: &str| json!({"role": role, "content": content});
        vec![
            json!({"prompt_id": "007", "prompt": [turn("user", "a \"quoted\",\n\u{1F600} line\t")],
                "chosen": [turn("assistant", "yes")], "p_chosen": 0.625, "label": true, "n": 3}),
            json!({"prompt_id": "8", "prompt": [turn("system", ""), turn("user", "b")],
                "chosen": [turn("assistant", "no"), turn("user", "x")], "p_chosen": 1, "n": -1}),
        ]
    }

    fn write(path: &Path, rows: &[Value]) {
        let lines: Vec<_> = rows.iter().map(|row| row.to_string() + "\n").collect();
        std::fs::write(path, lines.concat()).unwrap();
    }

    #[test]
    fn rows_survive_every_format() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("from.jsonl");
        write(&from, &samples());
        for name in [
            "a.jsonl",
            "a.json",
            "a.jsonl.gz",
            "a.csv",
            "a.csv.gz",
            "a.tsv",
            "a.tsv.gz",
            "a.parquet",
        ] {
            let to = folder.path().join(name);
            assert_eq!(convert(&from, &to).unwrap(), 2);
            let mut expected = samples();
            if name == "a.parquet" {
                // One integer among numbers is a number.
                expected[1]["p_chosen"] = json!(1.0);
            }
            assert_eq!(rows(&to), expected, "{name}");
        }
    }

    #[test]
    fn columns_that_parquet_cannot_hold_are_texts_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (
            folder.path().join("a.jsonl"),
            folder.path().join("a.parquet"),
        );
        let nested = [
            json!({"x": [1, "a"], "y": 1}),
            json!({"x": {"b": null}, "y": 0.5}),
        ];
        write(&from, &nested);
        convert(&from, &to).unwrap();
        let expected = [
            json!({"x": "[1,\"a\"]", "y": 1.0}),
            json!({"x": "{\"b\":null}", "y": 0.5}),
        ];
        assert_eq!(rows(&to), expected);
        write(
            &from,
            &[
                json!({"x": "a"}),
                json!({"x": [{"role": "user", "content": "b"}]}),
            ],
        );
        let error = convert(&from, &to).unwrap_err().to_string();
        let expected =
            "`x` is a text in some rows and a list of messages in others, expected one of the two";
        assert_eq!(error, expected);
        assert_eq!(rows(&to).len(), 2, "the old file stays");
        let error = convert(&from, folder.path().join("a.parquet.gz"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("leave `.gz` out"), "{error}");
        let error = convert(&from, folder.path().join("a.jsonl.zst"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("read only"), "{error}");
    }

    /// More rows than one row group and one batch of the reader.
    #[test]
    fn parquet_goes_on_after_a_row_group() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (
            folder.path().join("a.jsonl"),
            folder.path().join("a.parquet"),
        );
        let long: Vec<_> = (0..2_300)
            .map(|i| json!({"prompt": i.to_string(), "n": i}))
            .collect();
        write(&from, &long);
        assert_eq!(convert(&from, &to).unwrap(), 2_300);
        assert_eq!(rows(&to), long);
    }

    #[test]
    fn first_bytes_go_before_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("no_ending");
        let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"{\"a\":1}\n").unwrap();
        let member = gzip.finish().unwrap();
        // Files are joined by joining their bytes.
        std::fs::write(&path, [&member[..], &member].concat()).unwrap();
        assert_eq!(rows(&path).len(), 2);
        // `printf '{"a":1}\n' | zstd`, zstd 1.5.4, twice.
        let frame = [
            0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x58, 0x41, 0x00, 0x00, 0x7b, 0x22, 0x61, 0x22, 0x3a,
            0x31, 0x7d, 0x0a, 0xe2, 0xef, 0xec, 0xe0,
        ];
        std::fs::write(&path, [frame, frame].concat()).unwrap();
        assert_eq!(rows(&path).len(), 2);
        std::fs::write(&path, "[{\"a\":1}]").unwrap();
        assert_eq!(rows(&path).len(), 1);
    }

    #[test]
    fn files_that_are_not_what_they_seem_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let check = |name: &str, bytes: &[u8], words: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let found = read_records::<Preference>(&path).unwrap_err();
            let source = std::error::Error::source(&found).map_or(String::new(), |e| e.to_string());
            let text = format!("{found}: {source}");
            assert!(text.contains(words) && text.contains(name), "{text}");
        };
        check("a.jsonl.gz", b"{}", "named as Gzip");
        check("a.csv.zst", b"a,b", "named as Zstd");
        check("a.parquet", b"{}", "expected `PAR1`");
        check(
            "b.parquet",
            b"PAR1 and nothing else",
            "not readable as Parquet",
        );
        check("b.jsonl.gz", &[0x1f, 0x8b, 8, 0], "cannot read");
        check(
            "c.jsonl",
            b"\n{\"prompt\":\"a\"}",
            "c.jsonl:2: missing field `chosen`",
        );
        check(
            "d.csv",
            b"prompt,chosen,rejected,p_chosen\na,b,c,2\n",
            "d.csv:2: `p_chosen` is 2",
        );
    }

    #[test]
    fn records_come_from_every_format() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a.jsonl"), folder.path().join("a.csv"));
        write(
            &from,
            &[json!({"prompt": "1", "chosen": "true", "rejected": "", "p_chosen": 0.25})],
        );
        convert(&from, &to).unwrap();
        let found = read_records::<Preference>(&to).unwrap();
        let mut expected = read_records::<Preference>(&from).unwrap();
        // The line is the id where there is none, and the first is that of the names.
        expected[0].prompt_id = "2".into();
        assert_eq!(found, expected);
        assert_eq!(
            (found[0].p_chosen, found[0].rejected.text.as_str()),
            (0.25, "")
        );
    }
}
