//! Where the rows of a file begin, found out bit by bit as the file grows.

use std::io;
use std::path::PathBuf;

use super::lines::Lines;
use super::mark::Mark;
use crate::error::{Error, Result};

/// Every so many rows the place is remembered.
const EVERY: usize = 64;
/// Bytes that are gone through at a time: well under a second.
const AT_ONCE: u64 = 64 << 20;
/// Bytes of rows handed out at a time, but for a single longer row.
const MAX_PAGE_BYTES: usize = 1 << 20;

/// An index of a file of rows.
#[derive(Debug)]
pub(super) struct Index {
    path: PathBuf,
    /// Where rows 0, 64, 128 ... begin.
    places: Vec<u64>,
    n_rows: usize,
    end: Mark,
}

/// Some rows of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    /// The rows, as they stand in the file.
    pub(super) rows: Vec<Vec<u8>>,
    /// Rows of the file, as far as it has been gone through.
    pub(super) n_rows: usize,
    /// Whether that is all of it.
    pub(super) whole: bool,
}

/// What happens to an index as it is brought up to date.
pub(super) enum Seen<'a> {
    /// The file is another one: all that was seen of it counts no longer.
    Anew,
    /// The next row.
    Row(&'a [u8]),
}

impl Index {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            places: Vec::new(),
            n_rows: 0,
            end: Mark::default(),
        }
    }

    /// Rows found so far.
    pub(super) fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Goes on through the file; `visit` is given each new row once. Says whether the end is
    /// reached, for a file may take several calls.
    pub(super) fn update(&mut self, visit: impl FnMut(Seen)) -> Result<bool> {
        let Some(mut lines) = Lines::open(&self.path)? else {
            self.clear();
            return Ok(true);
        };
        let result = self.read_on(&mut lines, visit);
        result.map_err(Error::io("read", &self.path))
    }

    /// `n` rows from row `from` on, after bringing the index up to date.
    pub(super) fn page(&mut self, from: usize, n: usize) -> Result<Page> {
        let Some(mut lines) = Lines::open(&self.path)? else {
            self.clear();
            return Ok(Page {
                whole: true,
                ..Page::default()
            });
        };
        let page = self.read_page(&mut lines, from, n);
        page.map_err(Error::io("read", &self.path))
    }

    fn clear(&mut self) {
        self.places.clear();
        (self.n_rows, self.end) = (0, Mark::default());
    }

    fn read_on(&mut self, lines: &mut Lines, mut visit: impl FnMut(Seen)) -> io::Result<bool> {
        if !lines.go_to(self.end)? {
            self.clear();
            visit(Seen::Anew);
        }
        let (start, mut line) = (lines.offset(), Vec::new());
        let mut place = start;
        let whole = loop {
            if lines.offset() - start > AT_ONCE {
                break false;
            }
            if !lines.next(&mut line)? {
                break true;
            }
            if self.n_rows.is_multiple_of(EVERY) {
                self.places.push(place);
            }
            self.n_rows += 1;
            place = lines.offset();
            visit(Seen::Row(&line));
        };
        self.end = lines.mark()?;
        Ok(whole)
    }

    fn read_page(&mut self, lines: &mut Lines, from: usize, n: usize) -> io::Result<Page> {
        let whole = self.read_on(lines, |_| ())?;
        let n_rows = self.n_rows;
        let (mut rows, mut n_bytes, mut line) = (Vec::new(), 0, Vec::new());
        if let Some(&place) = self.places.get(from / EVERY).filter(|_| from < n_rows) {
            lines.seek(place)?;
            let mut row = from / EVERY * EVERY;
            while row < (from + n).min(n_rows) && lines.next(&mut line)? {
                if row >= from {
                    n_bytes += line.len();
                    if n_bytes > MAX_PAGE_BYTES && !rows.is_empty() {
                        break;
                    }
                    rows.push(line.clone());
                }
                row += 1;
            }
        }
        Ok(Page {
            rows,
            n_rows,
            whole,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn texts(page: &Page) -> Vec<&str> {
        let rows = page.rows.iter();
        rows.map(|row| str::from_utf8(row.trim_ascii()).unwrap())
            .collect()
    }

    #[test]
    fn rows_are_found_by_number_as_the_file_grows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let mut index = Index::new(path.clone());
        let page = index.page(0, 5).unwrap();
        assert_eq!((page.n_rows, page.whole, page.rows.len()), (0, true, 0));
        let rows = |n: usize| (0..n).map(|i| format!("{i}\n")).collect::<String>();
        // A blank line is no row, and 199 is not ended.
        fs::write(&path, format!("\n{}199", rows(199))).unwrap();
        let page = index.page(127, 3).unwrap();
        assert_eq!(
            (page.n_rows, texts(&page)),
            (199, vec!["127", "128", "129"])
        );
        fs::write(&path, format!("\n{}", rows(201))).unwrap();
        let page = index.page(198, 9).unwrap();
        assert_eq!(
            (page.n_rows, texts(&page)),
            (201, vec!["198", "199", "200"])
        );
        assert_eq!(index.page(201, 9).unwrap().rows.len(), 0);
        assert_eq!(index.page(usize::MAX - 9, 9).unwrap().rows.len(), 0);
    }

    #[test]
    fn another_file_is_gone_through_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let mut index = Index::new(path.clone());
        let mut seen = Vec::new();
        let mut update = |index: &mut Index| {
            let visit = |found: Seen| match found {
                Seen::Anew => seen.clear(),
                Seen::Row(row) => seen.push(row.trim_ascii().to_vec()),
            };
            assert!(index.update(visit).unwrap());
            seen.clone()
        };
        fs::write(&path, "a\nb\n").unwrap();
        assert_eq!(update(&mut index), [b"a", b"b"]);
        fs::write(&path, "a\nb\nc\n").unwrap();
        assert_eq!(update(&mut index), [b"a", b"b", b"c"]);
        fs::write(&path, "x\ny\nz\nw\n").unwrap();
        assert_eq!(update(&mut index), [b"x", b"y", b"z", b"w"]);
        assert_eq!(texts(&index.page(3, 1).unwrap()), ["w"]);
    }
}
