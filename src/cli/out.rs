//! The standard output. When nobody reads on, as behind `head`, the rest of it is not wanted; any
//! other failure, such as a full device, is an error.

use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, Stdout, Write};

use crate::error::{Error, Result};
use crate::record::Record;

/// The standard output as a stream.
pub(super) struct Out {
    out: BufWriter<Stdout>,
    closed: bool,
}

impl Out {
    pub(super) fn new() -> Self {
        Self {
            out: BufWriter::new(io::stdout()),
            closed: false,
        }
    }

    /// Writes a row of JSONL, in its own time. That nobody reads on is an error here, so that the
    /// work ends.
    pub(super) fn row(&mut self, row: &impl Record) -> Result<()> {
        let line = serde_json::to_string(row).map_err(|e| Error::Usage(e.to_string()))?;
        let written = writeln!(self.out, "{line}");
        self.keep(written)
    }

    /// Shows a text at once; errors as those of [`Self::row`].
    pub(super) fn text(&mut self, text: impl Display) -> Result<()> {
        let written = write!(self.out, "{text}").and_then(|()| self.out.flush());
        self.keep(written)
    }

    /// What the work that wrote here came to; no error where that is only that nobody reads on.
    pub(super) fn ended(mut self, work: Result<()>) -> Result<()> {
        let flushed = work.and_then(|()| self.text(""));
        if self.closed { Ok(()) } else { flushed }
    }

    fn keep(&mut self, written: io::Result<()>) -> Result<()> {
        self.closed |= matches!(&written, Err(error) if error.kind() == ErrorKind::BrokenPipe);
        written.map_err(Error::io("write", "standard output"))
    }
}

/// Prints a line, where anybody reads it.
///
/// # Errors
/// The standard output cannot be written, but for that.
pub fn print(line: impl Display) -> Result<()> {
    let mut out = Out::new();
    let written = out.text(format_args!("{line}\n"));
    out.ended(written)
}
