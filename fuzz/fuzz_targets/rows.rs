//! Files of rows in every format and packing, as rows and as each record; what can be read is
//! written and read again.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rlaif::record::{
    Comparison, Completion, Demonstration, Label, LabelFailure, Preference, Prompt, Record,
    RowReader, read_records, write_jsonl,
};
use rlaif_fuzz::Folder;

static FOLDER: LazyLock<Folder> = LazyLock::new(Folder::new);
const NAMES: [&str; 8] = [
    "a.jsonl",
    "a.csv",
    "a.tsv",
    "a.parquet",
    "a.jsonl.gz",
    "a.jsonl.zst",
    "a.csv.gz",
    "a.json",
];

fn records<T: Record + PartialEq + std::fmt::Debug>(path: &std::path::Path) {
    let Ok(rows) = read_records::<T>(path) else {
        return;
    };
    let copy = FOLDER.path().join("copy.jsonl");
    write_jsonl(&copy, &rows).expect("what was read is fit to be written");
    let again = read_records::<T>(&copy).expect("what was written can be read");
    assert_eq!(again, rows);
}

fuzz_target!(|data: &[u8]| {
    let Some((&format, bytes)) = data.split_first() else {
        return;
    };
    let path = FOLDER.write(NAMES[usize::from(format) % NAMES.len()], bytes);
    if let Ok(rows) = RowReader::open(&path) {
        rows.take(10_000).for_each(drop);
    }
    records::<Prompt>(&path);
    records::<Completion>(&path);
    records::<Preference>(&path);
    records::<Comparison>(&path);
    records::<Demonstration>(&path);
    records::<Label>(&path);
    records::<LabelFailure>(&path);
});
