//! Files of rows.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use rlaif::record::rows::OnError;
use rlaif::record::{PairOptions, PairReader, Prompt, RowReader, read_prompts, read_records};

use super::says;

fn file(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// 1 GiB of one letter on one line, 1 MB in the file, then a row: the line is an error, is never
/// held, and the row behind it is read.
#[test]
fn a_bomb_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bomb.jsonl.gz");
    let mut out = GzEncoder::new(fs::File::create(&path).unwrap(), Compression::default());
    io::copy(&mut io::repeat(b'a').take(1 << 30), &mut out).unwrap();
    out.write_all(b"\n{\"prompt\":\"q\"}\n").unwrap();
    out.finish().unwrap();
    assert!(fs::metadata(&path).unwrap().len() < 8 << 20);
    let rows: Vec<_> = RowReader::open(&path).unwrap().collect();
    assert_eq!(rows.len(), 2);
    says(
        rows[0].as_ref().unwrap_err(),
        &path,
        &[":1: longer than 64 MiB"],
    );
    assert_eq!(rows[1].as_ref().unwrap().line, 2);
}

#[test]
fn deep_json_is_an_error_of_its_row() {
    let folder = tempfile::tempdir().unwrap();
    let deep = "[".repeat(1_000_000);
    let text = format!("{{\"prompt\":{deep}\n{{\"prompt\":\"q\"}}\n");
    let path = file(folder.path(), "deep.jsonl", text);
    let rows: Vec<_> = RowReader::open(&path).unwrap().collect();
    says(
        rows[0].as_ref().unwrap_err(),
        &path,
        &[":1: ", "recursion limit"],
    );
    assert_eq!((rows.len(), rows[1].is_ok()), (2, true));
    let closed = "]".repeat(1_000_000);
    let path = file(folder.path(), "deep.json", format!("[{deep}{closed}]"));
    let rows: Vec<_> = RowReader::open(&path).unwrap().collect();
    assert!(rows[0].is_err());
}

#[test]
fn invalid_utf8_is_an_error_of_its_row() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = b"{\"prompt\":\"a\"}\n{\"prompt\":\"\xff\"}\n";
    let path = file(folder.path(), "a.jsonl", bytes);
    let error = read_records::<Prompt>(&path).unwrap_err();
    says(&error, &path, &[":2: byte 12 is not valid UTF-8"]);
    let path = file(folder.path(), "a.csv", b"prompt\na\n\xff\n");
    let error = read_records::<Prompt>(&path).unwrap_err();
    says(&error, &path, &["UTF-8"]);
}

#[test]
fn an_id_of_two_prompts_is_refused_or_counted() {
    let folder = tempfile::tempdir().unwrap();
    let text = "{\"id\":\"a\",\"prompt\":\"x\"}\n{\"id\":\"a\",\"prompt\":\"y\"}\n";
    let path = file(folder.path(), "a.jsonl", text);
    let error = read_prompts(&path, &PairOptions::default()).unwrap_err();
    says(&error, &path, &[":2: `id` \"a\" is already on line 1"]);
    let skip = PairOptions {
        on_error: OnError::Skip,
        ..PairOptions::default()
    };
    assert_eq!(read_prompts(&path, &skip).unwrap().len(), 1);
}

/// A bad row among pairs: the error, or left out and counted.
#[test]
fn bad_pairs_are_refused_or_counted() {
    let folder = tempfile::tempdir().unwrap();
    let pair = "{\"prompt\":\"q\",\"chosen\":\"c\",\"rejected\":\"\"}\n";
    let path = file(folder.path(), "a.jsonl", format!("{pair}{{\n{pair}"));
    let mut stopped = PairReader::open(&path, &PairOptions::default()).unwrap();
    // An empty answer is an answer.
    assert_eq!(stopped.next().unwrap().unwrap().b.text, "");
    says(&stopped.next().unwrap().unwrap_err(), &path, &[":2: "]);
    let skip = PairOptions {
        on_error: OnError::Skip,
        ..PairOptions::default()
    };
    let mut skipped = PairReader::open(&path, &skip).unwrap();
    let n = skipped.by_ref().filter(|pair| pair.is_ok()).count();
    assert_eq!((n, skipped.n_bad()), (2, 1));
}
