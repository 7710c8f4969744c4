//! A web page that shows a training while it runs: where it is, its losses up to the last step, its contact sheets.
//!
//! [`Live`] is an observer with a thread of its own behind it. The training only notes its figures under a lock that is held
//! for as long as a copy takes; all drawing and sending happens in that thread, so that neither a slow browser nor a failure
//! of the server reaches the training. What the thread reads lies in the run folder.

mod board;
mod connections;
mod files;
mod host;
mod server;
mod table;

use std::fmt;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use impasto_common::{Error, Result, ResultExt};
use tokio::sync::oneshot;

use self::board::Board;
use self::files::Files;
use self::host::Hosts;
use self::server::Server;
use self::table::Table;
use crate::metrics::Metrics;
use crate::run_folder::RunFiles;
use crate::train::Observer;

/// Where the page is served if nobody says where: for this machine only.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:8017";

/// The host where none is named.
const LOOPBACK: &str = "127.0.0.1";

/// Where the page is served: a host, by name or number, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// A name, or a number without brackets.
    pub host: String,
    /// The port; 0 takes any that is free.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl FromStr for Address {
    type Err = String;

    /// Reads `PORT` on this machine, or `HOST:PORT`, where an IPv6 number stands in brackets.
    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = text.rsplit_once(':').unwrap_or((LOOPBACK, text));
        let port = port.parse().map_err(|_| "expected `PORT` or `HOST:PORT`")?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            Err("expected `PORT` or `HOST:PORT`".into())
        } else {
            Ok(Self { host: host.into(), port })
        }
    }
}

/// The page of one training.
#[derive(Debug)]
pub struct Live {
    board: Arc<Mutex<Board>>,
    files: RunFiles,
    address: SocketAddr,
    /// Dropped with this: the thread ends then.
    _stop: oneshot::Sender<()>,
}

impl Live {
    /// Serves the training called `name`, of `batch` photos a step, whose run folder is or will be `run_dir`.
    ///
    /// # Errors
    ///
    /// If the address is taken or not this machine's.
    pub fn open(address: &Address, run_dir: &Path, name: &str, batch: usize) -> Result<Self> {
        let action = || format!("cannot serve the training at `{address}`");
        let hint = "another program may listen there; `--serve 0` takes any port that is free";
        let listener = listen(address).context(action).map_err(|error| error.with_hint(hint))?;
        let bound = listener.local_addr().context(action)?;
        let board = Arc::new(Mutex::new(Board::new(name, batch)));
        let files = RunFiles::new(run_dir);
        let server = Server::new(board.clone(), Files::new(files.clone()), Hosts::new(&address.host));
        let (stop, stopped) = oneshot::channel();
        server.start(listener, stopped).context(action)?;
        Ok(Self { board, files, address: bound, _stop: stop })
    }

    /// The address that is served: with the port that was found, where any would do.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        locked(&self.board)
    }

    /// The table as it is on disk: whole after a start, a snapshot or a roll-back.
    fn stored(&self) -> Table {
        // A page without its first curve is no reason to stop a training.
        std::fs::read_to_string(self.files.metrics()).map(|text| Table::parse(&text)).unwrap_or_default()
    }
}

/// The board, whatever became of another thread that held it: every change of it is whole.
fn locked(board: &Mutex<Board>) -> MutexGuard<'_, Board> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All addresses of a name are tried, the first that is free is taken.
fn listen(address: &Address) -> Result<TcpListener> {
    let addresses: Vec<_> = (address.host.as_str(), address.port)
        .to_socket_addrs()
        .context(|| format!("`{}` is not a known host", address.host))?
        .collect();
    let listener = TcpListener::bind(&addresses[..]).map_err(|error| Error::usage(error.to_string()))?;
    listener.set_nonblocking(true).context(|| "the system refuses")?;
    Ok(listener)
}

impl Observer for Live {
    fn started(&mut self, done: usize, steps: usize, photos: usize) {
        let table = self.stored();
        self.board().start(done, steps, photos, table);
    }

    fn stepped(&mut self, metrics: &Metrics) {
        self.board().step(metrics);
    }

    fn saved(&mut self, _step: usize) {
        self.board().saved();
    }

    fn split(&mut self, size: usize, parts: usize) {
        self.board().split(size, parts);
    }

    fn rolled_back(&mut self, failed: usize, step: usize, rate_scale: f64) {
        let table = self.stored();
        self.board().roll_back(failed, step, rate_scale, table);
    }
}

#[cfg(test)]
mod tests;
