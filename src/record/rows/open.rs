//! What a file is and how it is opened.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use super::array::Array;
use super::csv::Csv;
use super::lines::Jsonl;
use super::{Row, parquet};
use crate::error::{Error, Result};

const BUFFER_BYTES: usize = 64 << 10;
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const PARQUET: &[u8] = b"PAR1";

/// How the rows of a file are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line, or one array of objects; every ending but those below.
    Json,
    /// Comma-separated values: `.csv`.
    Csv,
    /// Tab-separated values: `.tsv`.
    Tsv,
    /// Apache Parquet: `.parquet`.
    Parquet,
}

/// How a file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// `.gz`.
    Gzip,
    /// `.zst`; read only.
    Zstd,
}

/// What a file's name promises: `pairs.csv.gz` is CSV in gzip.
pub fn named(path: &Path) -> (Format, Compression) {
    let ending = |path: &Path| {
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        ending.to_lowercase()
    };
    let (compression, inner) = match ending(path).as_str() {
        "gz" => (Compression::Gzip, path.with_extension("")),
        "zst" => (Compression::Zstd, path.with_extension("")),
        _ => (Compression::None, path.to_path_buf()),
    };
    let format = match ending(&inner).as_str() {
        "csv" => Format::Csv,
        "tsv" => Format::Tsv,
        "parquet" => Format::Parquet,
        _ => Format::Json,
    };
    (format, compression)
}

/// A name beside a file's, all of it kept: `labels.csv.gz.part.jsonl` for `labels.csv.gz`.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    path.with_added_extension(ending)
}

/// The rows of a file.
pub(super) fn rows(path: &Path) -> Result<Box<dyn Iterator<Item = Result<Row>>>> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let mut file = BufReader::with_capacity(BUFFER_BYTES, file);
    let (format, compression) = named(path);
    let magic = file.fill_buf().map_err(Error::io("read", path))?;
    let is_parquet = magic.starts_with(PARQUET);
    let found = match magic {
        magic if magic.starts_with(GZIP) => Compression::Gzip,
        magic if magic.starts_with(ZSTD) => Compression::Zstd,
        _ => Compression::None,
    };
    if compression != Compression::None && found != compression && !magic.is_empty() {
        let message = format!("is named as {compression:?}, but does not begin so");
        return Err(Error::file(path, message));
    }
    if is_parquet {
        return Ok(Box::new(parquet::ParquetRows::open(path)?));
    }
    if format == Format::Parquet {
        let message = "is named as Parquet, expected `PAR1` at its beginning, uncompressed";
        return Err(Error::file(path, message));
    }
    let plain: Box<dyn Read> = match found {
        Compression::None => Box::new(file),
        Compression::Gzip => Box::new(MultiGzDecoder::new(file)),
        Compression::Zstd => Box::new(ZstdFrames::new(file)),
    };
    let mut plain = BufReader::with_capacity(BUFFER_BYTES, plain);
    let start = plain.fill_buf().map_err(Error::io("read", path))?;
    let path_buf = path.to_path_buf();
    Ok(match format {
        Format::Csv => Box::new(Csv::new(path, Box::new(plain), b',')?),
        Format::Tsv => Box::new(Csv::new(path, Box::new(plain), b'\t')?),
        _ if begins_array(start) => Box::new(Array::new(path_buf, plain)),
        _ => Box::new(Jsonl::new(path_buf, plain)),
    })
}

fn begins_array(start: &[u8]) -> bool {
    let start = start.strip_prefix("\u{feff}".as_bytes()).unwrap_or(start);
    start.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[')
}

/// The frames of a Zstandard file one after the other, as `zstd` and `pzstd` write them.
struct ZstdFrames<R: BufRead> {
    frame: Frame<R>,
}

enum Frame<R: BufRead> {
    Between(R),
    Inside(Box<StreamingDecoder<R, FrameDecoder>>),
    Broken,
}

impl<R: BufRead> ZstdFrames<R> {
    fn new(input: R) -> Self {
        Self {
            frame: Frame::Between(input),
        }
    }
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match std::mem::replace(&mut self.frame, Frame::Broken) {
                Frame::Broken => return Ok(0),
                Frame::Between(mut input) => {
                    if input.fill_buf()?.is_empty() {
                        return Ok(0);
                    }
                    let decoder = StreamingDecoder::new(input).map_err(io::Error::other)?;
                    self.frame = Frame::Inside(Box::new(decoder));
                }
                Frame::Inside(mut decoder) => match decoder.read(buffer)? {
                    0 => self.frame = Frame::Between(decoder.into_inner()),
                    n => {
                        self.frame = Frame::Inside(decoder);
                        return Ok(n);
                    }
                },
            }
        }
    }
}
