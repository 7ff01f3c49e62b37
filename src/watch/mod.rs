//! `rlaif watch`: a page that shows runs while they run.
//!
//! A small HTTP server over `std::net`, a thread per connection and few of them: one person looks
//! at it. It reads run folders and writes nothing. Files are read on from where reading had ended,
//! so that a request costs what is new. It listens on the loopback interface unless told otherwise,
//! answers GET on fixed paths, and its page runs no script but its own and takes nothing from
//! elsewhere. What models wrote is hostile text: it travels as JSON and is set as text. Start
//! reading at [`Server`] and `routes.rs`.

mod cards;
mod folder;
mod followed;
mod http;
mod index;
mod lines;
mod mark;
mod routes;
mod verdicts;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use self::folder::{Folder, runs_of};
use crate::error::{Error, Result};
use crate::run::RunDir;

/// Connections answered at a time; more are closed at once.
const MAX_CONNECTIONS: usize = 64;
/// How long to wait when the system has no connection to give, for want of handles say.
const AFTER_FAULT: Duration = Duration::from_millis(100);

/// The server of the page.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    site: Arc<Site>,
}

/// What is served.
#[derive(Debug)]
struct Site {
    /// Name or address that the server was given.
    host: String,
    /// Folders that the server was given.
    given: Vec<PathBuf>,
    /// Those and the runs inside them, in the order in which they were found: a run keeps its
    /// number.
    folders: Mutex<Vec<Arc<Folder>>>,
    /// When the server was started, by which a page notices that it is another one.
    started: u64,
}

impl Server {
    /// Listens on `host`, a name or an address, and `port`, 0 for any that is free. Whoever can
    /// reach that address can read the runs, so it should be loopback (`127.0.0.1`).
    ///
    /// # Errors
    /// A folder is not there, or the address cannot be used.
    pub fn bind(folders: &[PathBuf], host: &str, port: u16) -> Result<Self> {
        for folder in folders {
            RunDir::open(folder)?;
        }
        let refused = |fault| Error::Usage(format!("cannot listen on {host}:{port}: {fault}"));
        let listener = TcpListener::bind((host, port)).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let started = SystemTime::now().duration_since(UNIX_EPOCH);
        let site = Site {
            host: host.into(),
            given: folders.to_vec(),
            folders: Mutex::default(),
            started: started.unwrap_or_default().as_micros() as u64,
        };
        Ok(Self {
            listener,
            address,
            site: Arc::new(site),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests, for ever.
    pub fn serve(&self) {
        // Each connection holds a ticket until it is over.
        let tickets = Arc::new(());
        for stream in self.listener.incoming() {
            let stream = match stream {
                Ok(stream) => stream,
                Err(fault) => {
                    tracing::warn!("a connection failed: {fault}");
                    std::thread::sleep(AFTER_FAULT);
                    continue;
                }
            };
            if Arc::strong_count(&tickets) > MAX_CONNECTIONS {
                continue;
            }
            let (site, ticket) = (Arc::clone(&self.site), Arc::clone(&tickets));
            std::thread::spawn(move || {
                site.answer(&stream);
                drop(ticket);
            });
        }
    }
}

impl Site {
    fn answer(&self, stream: &TcpStream) {
        let answered = http::answer(stream, &self.host, |request| routes::route(self, request));
        if let Err(fault) = answered {
            tracing::debug!("a connection ended: {fault}");
        }
    }

    /// The runs, with those that have come since the last time.
    fn folders(&self) -> Vec<Arc<Folder>> {
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        for given in &self.given {
            for path in runs_of(given) {
                if !folders.iter().any(|known| known.path == path) {
                    let name = self.name(given, &path);
                    folders.push(Arc::new(Folder::new(name, path)));
                }
            }
        }
        folders.clone()
    }

    fn folder(&self, number: usize) -> Option<Arc<Folder>> {
        self.folders().get(number).cloned()
    }

    /// `tiny` for a folder, `tiny/rlhf` for a run inside it; the whole path where two folders have
    /// one name.
    fn name(&self, given: &Path, path: &Path) -> String {
        let last = crate::report::folder_name;
        let namesakes = self.given.iter().filter(|other| last(other) == last(given));
        let name = match namesakes.count() {
            0 | 1 => last(given),
            _ => given.display().to_string(),
        };
        if path == given {
            name
        } else {
            format!("{name}/{}", last(path))
        }
    }
}
