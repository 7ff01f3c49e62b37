//! A Parquet file. With an even first byte the rest is the file; with an odd one what stands in it:
//! the next two bytes say how much of its end is the metadata, which gets its length and its marks.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rlaif::record::RowReader;
use rlaif_fuzz::Folder;

static FOLDER: LazyLock<Folder> = LazyLock::new(Folder::new);
const MARK: &[u8] = b"PAR1";

fn file(data: &[u8]) -> Option<Vec<u8>> {
    let (&form, rest) = data.split_first()?;
    if form & 1 == 0 {
        return Some(rest.to_vec());
    }
    let (length, inside) = rest.split_first_chunk::<2>()?;
    let length = u32::from(u16::from_le_bytes(*length)).to_le_bytes();
    Some([MARK, inside, &length, MARK].concat())
}

fuzz_target!(|data: &[u8]| {
    let Some(file) = file(data) else {
        return;
    };
    let path = FOLDER.write("a.parquet", &file);
    if let Ok(rows) = RowReader::open(&path) {
        rows.take(10_000).for_each(drop);
    }
});
