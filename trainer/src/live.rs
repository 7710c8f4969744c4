//! A web page that shows a training while it runs: its progress, its losses up to the last step, its contact sheets.
//!
//! [`Live`] is an observer with its own thread. The training only notes its figures, under a lock that is never held for
//! longer than a copy takes. The thread does all drawing and sending, so neither a slow browser nor a failure of the server
//! affects the training. The thread reads files of the run folder only.

mod board;
mod files;
mod server;
mod table;

use std::fmt;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use impasto_common::{Error, Result, ResultExt};
use impasto_web::{Hosts, listen_hint};
use tokio::sync::oneshot;

use self::board::Board;
use self::files::ServedFiles;
use self::server::Server;
use self::table::Table;
use crate::metrics::Metrics;
use crate::run_folder::RunFiles;
use crate::train::Observer;

/// The default address of the page, which only this machine can reach.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:8017";

/// The host if none is given.
const LOOPBACK: &str = "127.0.0.1";

/// The address of the page: a host, by name or numeric address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// A name, or a numeric address without brackets.
    pub host: String,
    /// The port; 0 takes any free port.
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

    /// Reads `PORT` on this machine, or `HOST:PORT`, with an IPv6 address in brackets.
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
    /// Stops the thread when it is dropped.
    _stop: oneshot::Sender<()>,
}

impl Live {
    /// Serves the training `name` with `batch` photos per step. The run folder `run_dir` need not exist yet.
    ///
    /// # Errors
    ///
    /// If the address is in use or does not belong to this machine.
    pub fn open(address: &Address, run_dir: &Path, name: &str, batch: usize) -> Result<Self> {
        let action = || format!("cannot serve the training at `{address}`");
        let listener = listen(address).context(action)?;
        let bound = listener.local_addr().context(action)?;
        let board = Arc::new(Mutex::new(Board::new(name, batch)));
        let files = RunFiles::new(run_dir);
        let server = Server::new(board.clone(), ServedFiles::new(files.clone()));
        let (stop, stopped) = oneshot::channel();
        server.start(listener, Hosts::new([address.host.clone()]), stopped).context(action)?;
        Ok(Self { board, files, address: bound, _stop: stop })
    }

    /// The address that is served. If port 0 was requested, it contains the actual port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        locked(&self.board)
    }

    /// The table on disk, which is complete after a start, a snapshot or a roll-back.
    fn stored(&self) -> Table {
        // If earlier curves are missing, the training still continues.
        std::fs::read_to_string(self.files.metrics()).map(|text| Table::parse(&text)).unwrap_or_default()
    }
}

/// The board, even if another thread panicked while it held the lock: changes to the board are never left incomplete.
fn locked(board: &Mutex<Board>) -> MutexGuard<'_, Board> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tries all addresses of the host, and uses the first free one.
fn listen(address: &Address) -> Result<TcpListener> {
    let addresses: Vec<_> = (address.host.as_str(), address.port)
        .to_socket_addrs()
        .context(|| format!("`{}` is not a known host", address.host))?
        .collect();
    let listener = TcpListener::bind(&addresses[..])
        .map_err(|error| Error::usage(error.to_string()).with_hint(listen_hint(&error, "--serve 0")))?;
    listener.set_nonblocking(true).context(|| "cannot set up the socket")?;
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

    fn split(&mut self, size: usize, micro_batches: usize) {
        self.board().split(size, micro_batches);
    }

    fn rolled_back(&mut self, failed: usize, step: usize, rate_scale: f64) {
        let table = self.stored();
        self.board().roll_back(failed, step, rate_scale, table);
    }
}

#[cfg(test)]
mod tests;
