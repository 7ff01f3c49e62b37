//! Rows on the standard output.

use std::io::{BufWriter, ErrorKind, Stdout, Write};

use crate::error::{Error, Result};
use crate::record::Record;

/// Writes rows as JSONL to the standard output. When nobody reads on (as behind `head`), the rest
/// is dropped.
pub(super) struct Rows {
    out: BufWriter<Stdout>,
    closed: bool,
}

impl Rows {
    pub(super) fn to_stdout() -> Self {
        Self {
            out: BufWriter::new(std::io::stdout()),
            closed: false,
        }
    }

    pub(super) fn write(&mut self, row: &impl Record) -> Result<()> {
        let line = serde_json::to_string(row).map_err(|e| Error::Usage(e.to_string()))?;
        let written = writeln!(self.out, "{line}");
        self.keep(written)
    }

    pub(super) fn finish(mut self) -> Result<()> {
        let written = self.out.flush();
        self.keep(written)
    }

    fn keep(&mut self, written: std::io::Result<()>) -> Result<()> {
        match written {
            Err(error) if error.kind() == ErrorKind::BrokenPipe || self.closed => {
                self.closed = true;
                Ok(())
            }
            written => written.map_err(Error::io("write", "standard output")),
        }
    }
}
