//! The terminal between the log and the dashboard of `--tui`: while the one is on it, the other
//! waits.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use clap::Args;

use crate::error::Result;
use crate::run::Interrupt;

/// Log lines that wait for the terminal; `None` while nothing is on it.
static HELD: Mutex<Option<Vec<u8>>> = Mutex::new(None);

/// Most bytes of log lines that wait; of more the first are kept.
const MAX_HELD_BYTES: usize = 1 << 20;

/// How a stage shows what it does.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(super) struct ScreenArg {
    /// Show curves, progress and the time left on the terminal; `q` stops, as Ctrl-C does. Needs
    /// the cargo feature `tui`.
    #[arg(long)]
    tui: bool,
}

/// Writes to standard error, or keeps what is written for later.
#[derive(Debug)]
pub(super) struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match HELD.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(held) if held.len() < MAX_HELD_BYTES => held.extend_from_slice(bytes),
            Some(_) => {}
            // There is no other place for it.
            None => drop(io::stderr().write_all(bytes)),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Gives the terminal back and writes what was held.
pub(super) fn release() {
    let Some(held) = HELD.lock().unwrap_or_else(PoisonError::into_inner).take() else {
        return;
    };
    #[cfg(feature = "tui")]
    crate::dashboard::restore();
    let _ = io::stderr().write_all(&held);
}

/// Does some work with the dashboard on the terminal, if that is wished.
#[cfg(feature = "tui")]
pub(super) fn with(
    screen: ScreenArg,
    interrupt: &Interrupt,
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    use std::io::IsTerminal;
    use std::sync::Arc;

    use crate::dashboard::Dashboard;
    use crate::error::Error;
    use crate::progress;

    if !screen.tui {
        return work();
    }
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Error::Usage("`--tui` needs a terminal".into()));
    }
    *HELD.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
    let kill = || {
        release();
        std::process::exit(super::INTERRUPTED.into());
    };
    let dashboard = Arc::new(Dashboard::on_terminal(interrupt, kill));
    progress::show_on(Some(dashboard));
    let result = work();
    progress::show_on(None);
    release();
    result
}

#[cfg(not(feature = "tui"))]
pub(super) fn with(
    screen: ScreenArg,
    _interrupt: &Interrupt,
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    if screen.tui {
        return Err(crate::error::Error::FeatureMissing {
            what: "`--tui`",
            feature: "tui",
        });
    }
    work()
}
