//! Rows that are left out.

use std::path::Path;

use crate::error::Error;
use crate::record::rows::OnError;

/// Bad rows that are logged each; the others are only counted.
const LOGGED: usize = 3;

/// Rows that could not be used.
pub(super) struct Skipped {
    on_error: OnError,
    pub(super) n: usize,
}

impl Skipped {
    pub(super) fn new(on_error: OnError) -> Self {
        Self { on_error, n: 0 }
    }

    /// Whether a bad row is passed over; it is counted then.
    pub(super) fn takes(&mut self, error: &Error) -> bool {
        let takes = matches!(error, Error::Row { .. }) && self.on_error == OnError::Skip;
        if takes {
            self.n += 1;
            if self.n <= LOGGED {
                tracing::warn!("left out: {error}");
            }
        }
        takes
    }

    /// Says how many there were.
    pub(super) fn tell(&self, path: &Path) {
        if self.n > 0 {
            tracing::warn!("{}: {} rows left out", path.display(), self.n);
        }
    }
}
