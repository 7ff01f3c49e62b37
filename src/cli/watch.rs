//! `rlaif watch`: runs in a browser, while they run.

use std::path::PathBuf;

use clap::Args;

use super::print;
use crate::error::Result;
use crate::watch::Server;

/// Show runs in a browser, while they run: curves, samples, labels, results.
#[derive(Debug, Args)]
pub(super) struct Watch {
    /// Run folders; several are laid over each other.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Name or address to listen on. Whoever can reach it can read the runs.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port to listen on; 0 takes one that is free.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

impl Watch {
    pub(super) fn run(self) -> Result<()> {
        let server = Server::bind(&self.runs, &self.host, self.port)?;
        let address = server.address();
        if !address.ip().is_loopback() {
            tracing::warn!("{address} is not loopback: whoever can reach it can read these runs");
        }
        print(format_args!("watching at http://{address}/"))?;
        server.serve();
        Ok(())
    }
}
