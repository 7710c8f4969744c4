//! A web page and an HTTP API that paint, for people who have no Rust and programs that are not written in it.
//!
//! The server trusts nobody who can reach it: pages of other origins are refused (a browser would send their requests to
//! the loopback address too), a request names no file, whatever it sends is bounded in size, pixels and time, and painting
//! happens on threads of its own, so that a busy machine still answers. It stores nothing.
//!
//! ```no_run
//! use impasto_infer::Stylizer;
//! use impasto_infer::serve::{ServeConfig, Server};
//!
//! let config = ServeConfig::new(vec![Stylizer::open("mosaic.safetensors")?]);
//! let server = Server::bind(config)?;
//! println!("http://{}", server.address());
//! server.run(std::future::pending())?;
//! # Ok::<(), impasto_common::Error>(())
//! ```

mod body;
mod config;
mod connection;
mod fence;
mod gallery;
mod live;
mod metrics;
mod options;
mod painters;
mod patience;
mod problem;
mod routes;
mod studio;
mod stylize;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use impasto_common::{Error, Result, ResultExt};

pub use config::{Limits, Observer, ServeConfig, ServeEvent};
use studio::Studio;

/// Threads that move bytes; painting has its own.
const MOVING_THREADS: usize = 2;
/// Threads that decode the heads of pictures and encode frames.
const BLOCKING_THREADS: usize = 16;

/// A server that listens, and does not answer yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    studio: Arc<Studio>,
}

impl Server {
    /// Takes the address that `config` asks for.
    ///
    /// # Errors
    ///
    /// If the configuration does not hold together, or the address is taken or not ours.
    pub fn bind(config: ServeConfig) -> Result<Self> {
        config.validate()?;
        let action = || format!("cannot listen on `{}`", config.listen);
        let listener = TcpListener::bind(config.listen).context(action).map_err(|error| {
            error.with_hint("another program may hold the port: `--listen 127.0.0.1:0` takes a free one")
        })?;
        listener.set_nonblocking(true).context(action)?;
        let address = listener.local_addr().context(action)?;
        Ok(Self { listener, address, studio: Arc::new(Studio::new(config)?) })
    }

    /// Where the server listens; the port is a real one if any was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `shutdown` is ready, and then finishes what is under way, for as long as the limits allow.
    ///
    /// Blocks the calling thread.
    ///
    /// # Errors
    ///
    /// If the threads cannot be started.
    pub fn run(self, shutdown: impl Future<Output = ()>) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(MOVING_THREADS)
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name("serve")
            .enable_all()
            .build()
            .context(|| "cannot start the server's threads")?;
        let Self { listener, studio, .. } = self;
        let ended = runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            connection::serve(listener, &studio, shutdown).await;
            Ok::<(), std::io::Error>(())
        });
        // Whoever still paints for nobody is not waited for.
        runtime.shutdown_background();
        studio.painters.close();
        ended.map_err(|error| Error::new("cannot listen").with_source(error))
    }
}
