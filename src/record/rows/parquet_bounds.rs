//! Bounds of a Parquet file, looked at before the `parquet` crate trusts them.
//!
//! The crate (60.1) takes time without end for lists and maps of booleans that it passes over, for it
//! counts no byte for their elements; reserves as many children of a column as are announced, goes down
//! into them on the stack, and asserts that offsets are not negative. The walk here follows the
//! bytes exactly as the crate does and refuses these. It has to know the types of the fields that
//! the crate knows, for the crate takes them for what they should be. Everything else that is wrong
//! is left to the crate.
//!
//! Thrift's compact protocol is in its `doc/specs/thrift-compact-protocol.md`.

mod fields;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};

use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;

use self::fields::Kind::{Binary, Bool, Byte, Double, Int, List, Noted, Struct};
use self::fields::{FILE, Fields, Kind, PAGE};

type Result<T> = std::result::Result<T, ParquetError>;

/// Structures and columns within each other.
const MAX_DEPTH: usize = 64;
/// Length of the metadata, then `PAR1`.
const TAIL: u64 = 8;

/// Looks at the metadata at the end of a file.
pub(super) fn check_metadata(file: &File) -> Result<()> {
    let mut input = file.try_clone()?;
    let size = input.seek(SeekFrom::End(0))?;
    let Some(end) = size.checked_sub(TAIL) else {
        return Ok(());
    };
    input.seek(SeekFrom::Start(end))?;
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    let length = u64::from(u32::from_le_bytes(length));
    let Some(start) = end.checked_sub(length) else {
        return Ok(());
    };
    input.seek(SeekFrom::Start(start))?;
    let mut walk = Walk::new(BufReader::new(input).take(length));
    walk.structure(FILE, 0)?;
    check_nesting(&walk.noted)
}

/// Looks at the headers of a row group's pages.
pub(super) fn check_pages(file: &File, group: &RowGroupMetaData) -> Result<()> {
    for column in group.columns() {
        let start = column.dictionary_page_offset();
        let start = start.unwrap_or_else(|| column.data_page_offset());
        let (Ok(start), Ok(length)) = (start.try_into(), column.compressed_size().try_into())
        else {
            return Err(damaged("an offset or a length is negative"));
        };
        let mut input = file.try_clone()?;
        input.seek(SeekFrom::Start(start))?;
        let mut walk = Walk::new(BufReader::new(input).take(length));
        while let Some(n_bytes) = walk.page()? {
            let left = walk.input.limit().checked_sub(n_bytes);
            let left = left.ok_or_else(|| damaged("a page is longer than its column"))?;
            walk.input.get_mut().seek_relative(n_bytes.cast_signed())?;
            walk.input.set_limit(left);
        }
    }
    Ok(())
}

/// Columns within columns: the children that each announces follow it, depth first.
fn check_nesting(n_children: &[i32]) -> Result<()> {
    // Children that each open column still lacks.
    let mut open: Vec<usize> = Vec::new();
    for (i, &n) in n_children.iter().enumerate() {
        let n = usize::try_from(n).map_err(|_| damaged("a number of columns is negative"))?;
        if n >= n_children.len() - i {
            return Err(damaged("more columns are announced than there are"));
        }
        if n > 0 {
            open.push(n);
        } else {
            while let Some(lacking) = open.last_mut() {
                *lacking -= 1;
                if *lacking > 0 {
                    break;
                }
                open.pop();
            }
        }
        if open.len() > MAX_DEPTH {
            return Err(damaged("its columns are nested too deep"));
        }
    }
    Ok(())
}

/// A walk over a structure in Thrift's compact protocol.
struct Walk<R> {
    input: R,
    noted: Vec<i32>,
}

impl<R: BufRead> Walk<R> {
    fn new(input: R) -> Self {
        let noted = Vec::new();
        Self { input, noted }
    }

    /// The header of the next page: the bytes that follow it, or none where no header does.
    fn page(&mut self) -> Result<Option<u64>> {
        match self.structure(PAGE, 0) {
            Err(ParquetError::External(_)) => return Ok(None),
            header => header?,
        }
        let n_bytes = u64::try_from(self.noted.pop().unwrap_or(0));
        n_bytes
            .map(Some)
            .map_err(|_| damaged("a page's length is negative"))
    }

    fn structure(&mut self, known: Fields, depth: usize) -> Result<()> {
        if depth == MAX_DEPTH {
            return Err(damaged("its metadata is nested too deep"));
        }
        if known.iter().any(|(_, kind)| matches!(kind, Noted)) {
            self.noted.push(0);
        }
        let mut id: i16 = 0;
        loop {
            let header = self.byte()?;
            let (delta, wire) = (i16::from(header >> 4), header & 0xf);
            if wire == 0 {
                return Ok(());
            }
            id = match delta {
                0 => self.int()? as i16,
                delta => id.wrapping_add(delta),
            };
            let kind = known.iter().find(|(known, _)| *known == id);
            self.value(wire, kind.map(|(_, kind)| *kind), depth + 1)?;
        }
    }

    /// Passes over a value of a wire type, which has to be that of what it is known to hold.
    fn value(&mut self, wire: u8, known: Option<Kind>, depth: usize) -> Result<()> {
        match (wire, known) {
            (1 | 2, None | Some(Bool)) => Ok(()),
            (3, None | Some(Byte)) => self.pass(1),
            (4..=6, None | Some(Int)) => self.int().map(drop),
            (5, Some(Noted)) => {
                let value = self.int()? as i32;
                self.noted.pop();
                self.noted.push(value);
                Ok(())
            }
            (7, None | Some(Double)) => self.pass(8),
            (8, None | Some(Binary)) => {
                let n_bytes = self.varint()?;
                self.pass(n_bytes)
            }
            (9, Some(List(of))) => self.list(Some(*of), depth),
            (9 | 10, None) => self.list(None, depth),
            (11, None) => match self.varint()? {
                0 => Ok(()),
                _ => Err(damaged("its metadata has a map")),
            },
            (12, Some(Struct(known))) => self.structure(known, depth),
            (12, None) => self.structure(&[], depth),
            (13, None) => self.pass(16),
            _ => Err(damaged("a field of its metadata is of another type")),
        }
    }

    fn list(&mut self, of: Option<Kind>, depth: usize) -> Result<()> {
        if depth == MAX_DEPTH {
            return Err(damaged("its metadata is nested too deep"));
        }
        let header = self.byte()?;
        let n = match header >> 4 {
            15 => self.varint()?,
            n => u64::from(n),
        };
        let wire = header & 0xf;
        if n > 0 && matches!(wire, 1 | 2) {
            return Err(damaged("its metadata has a list of booleans"));
        }
        // Each element takes a byte or more: a number of them that is too high meets the end.
        (0..n).try_for_each(|_| self.value(wire, of, depth + 1))
    }

    fn byte(&mut self) -> Result<u8> {
        let mut byte = [0];
        self.input.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(damaged("a number of its metadata does not end"))
    }

    /// A number in zigzag.
    fn int(&mut self) -> Result<i64> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn pass(&mut self, n_bytes: u64) -> Result<()> {
        let passed = std::io::copy(&mut self.input.by_ref().take(n_bytes), &mut std::io::sink())?;
        match passed == n_bytes {
            true => Ok(()),
            false => Err(damaged("its end is missing")),
        }
    }
}

fn damaged(message: &str) -> ParquetError {
    ParquetError::General(message.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use serde_json::json;

    use crate::record::RowReader;

    /// 2^31 - 1 booleans: a field of id 9, a list, 15 for a count that follows, type 1.
    const ENDLESS: &[u8] = &[0x99, 0xf1, 0xff, 0xff, 0xff, 0xff, 0x07];

    /// The columns of a Parquet file, each a name, a length of one and its number of children in
    /// zigzag: `INT32` where that is none.
    fn schema(n_children: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0xfc, n_children.len() as u8];
        for &n in n_children {
            match n {
                0 => bytes.extend([0x15, 0x02, 0x25, 0x00, 0x18, 0x01, b'a', 0x00]),
                n => bytes.extend([0x35, 0x00, 0x18, 0x01, b'g', 0x15, n, 0x00]),
            }
        }
        bytes
    }

    /// A file of this page and of this schema, one row and one column chunk at `offset` (in zigzag).
    fn rows(page: &[u8], schema: &[u8], offset: u8) -> Result<Vec<serde_json::Value>, String> {
        let n_bytes = 2 * page.len() as u8;
        let column = [
            0x15, 0x02, 0x19, 0x15, 0x00, 0x19, 0x18, 0x01, b'a', 0x15, 0x00, 0x16, 0x02, 0x16,
            n_bytes, 0x16, n_bytes, 0x26, offset, 0x00,
        ];
        let mut footer = [&[0x15, 0x02, 0x19], schema, &[0x16, 0x02, 0x19, 0x1c]].concat();
        footer.extend([&[0x19, 0x1c, 0x26, 0x00, 0x1c], &column[..], &[0x00]].concat());
        footer.extend([0x16, n_bytes, 0x16, 0x02, 0x00, 0x00]);
        let length = (footer.len() as u32).to_le_bytes();
        read(&[b"PAR1", page, &footer, &length, b"PAR1"].concat())
    }

    fn read(bytes: &[u8]) -> Result<Vec<serde_json::Value>, String> {
        let mut file = tempfile::NamedTempFile::with_suffix(".parquet").unwrap();
        file.write_all(bytes).unwrap();
        let rows = RowReader::open(file.path()).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let fields = |row: crate::record::rows::Row| row.fields.into();
        rows.map(|rows| rows.into_iter().map(fields).collect())
            .map_err(|error| error.to_string())
    }

    #[track_caller]
    fn refused(found: Result<Vec<serde_json::Value>, String>, words: &str) {
        let said = found.unwrap_err();
        assert!(said.contains("not readable as Parquet"), "{said}");
        assert!(said.contains(words), "{said}");
    }

    /// 103 bytes that keep `parquet` 60.1 busy for a minute; found by fuzzing.
    #[test]
    fn what_takes_no_bytes_does_not_keep_it_busy() {
        let bytes =
            b"PAR1\x08chosen\x22: \x22 \x22p_\x01\x00\x00\x0et\x22: 0.6,\xdb\xdb\xdb\xdb\xdb\
              \xdb\xdb\xdb\xdb\xdb \x22\x11\x00\x00\x00cond\x22:\x01\x00\x00\x00\xff\xff\xff\
              \xff\xff\xff\xff4argin\x22: 1.0, \x22ra\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\
              \x00\x00\x00\x22:\x00\x00\x00PAR1";
        assert_eq!(bytes.len(), 103);
        refused(read(bytes), "a map");
    }

    #[test]
    fn what_a_page_and_columns_promise_is_bounded() {
        // A data page of 4 bytes, PLAIN: 7.
        let page = [
            0x15, 0x00, 0x15, 0x08, 0x15, 0x08, 0x2c, 0x15, 0x02, 0x15, 0x00, 0x15, 0x06, 0x15,
            0x06, 0x00, 0x00, 0x07, 0x00, 0x00, 0x00,
        ];
        let flat = schema(&[2, 0]);
        assert_eq!(rows(&page, &flat, 8).unwrap(), [json!({ "a": 7 })]);
        refused(rows(&page, &flat, 7), "negative");
        refused(rows(ENDLESS, &flat, 8), "a list of booleans");
        refused(rows(&page, &schema(&[4, 0]), 8), "more columns");
        // Of an optional column in another a run of one level, 3 where 2 is the highest: the crate
        // asserts.
        let (mut optional, mut levels) = (schema(&[2, 2, 0]), page.to_vec());
        (optional[11], optional[21]) = (0x02, 0x02);
        (levels[3], levels[5]) = (0x0c, 0x0c);
        levels.splice(17.., [0x02, 0x00, 0x00, 0x00, 0x02, 0x03]);
        refused(
            rows(&levels, &optional, 8),
            "max definition level: 2, current level: 3",
        );
        // 99 columns, each in the one before it, then a leaf.
        let mut deep = [2; 100];
        deep[99] = 0;
        refused(rows(&page, &schema(&deep), 8), "nested too deep");
    }
}
