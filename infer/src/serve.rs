//! A web page and an HTTP API that paint.
//!
//! Every client is treated as untrusted. Requests from other sites' pages are refused. Requests cannot name files. Requests
//! are limited in size, pixels and time. Painting has its own threads, so a busy server still answers. The server stores
//! nothing.
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
mod gallery;
mod inspect;
mod live;
mod metrics;
mod options;
mod painters;
mod problem;
mod routes;
mod studio;
mod stylize;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use impasto_common::{Error, Result, ResultExt};
use impasto_web::{Hosts, listen_hint};
use tokio::time::timeout;

pub use config::{Limits, ServeConfig, ServeEvent, ServeObserver};
#[cfg(fuzzing)]
pub use live::read_camera_frame;
use studio::Studio;

/// Threads that read and write; painting has its own.
const MOVING_THREADS: usize = 2;
/// Threads that read the heads of pictures and encode frames.
const BLOCKING_THREADS: usize = 16;

/// A server that listens but does not yet answer.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    hosts: Hosts,
    studio: Arc<Studio>,
}

impl Server {
    /// Listens on the address of `config`.
    ///
    /// # Errors
    ///
    /// If a limit is invalid, or the address is in use or does not belong to this machine.
    pub fn bind(config: ServeConfig) -> Result<Self> {
        config.validate()?;
        let action = || format!("cannot listen on `{}`", config.listen);
        let listener = TcpListener::bind(config.listen).map_err(|error| {
            let hint = listen_hint(&error, "--listen 127.0.0.1:0");
            Error::new(action()).with_source(error).with_hint(hint)
        })?;
        listener.set_nonblocking(true).context(action)?;
        let address = listener.local_addr().context(action)?;
        let hosts = Hosts::new(config.hosts.clone());
        Ok(Self { listener, address, hosts, studio: Arc::new(Studio::new(config)?) })
    }

    /// The address on which the server listens. If port 0 was requested, it contains the port that was assigned.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `shutdown` is ready, and then finishes requests in progress within the limits.
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
        let Self { listener, hosts, studio, .. } = self;
        let ended = runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            answer(listener, &studio, hosts, shutdown).await;
            Ok::<(), std::io::Error>(())
        });
        // Paintings that no client waits for are abandoned.
        runtime.shutdown_background();
        studio.painters.close();
        ended.map_err(|error| Error::new("cannot listen").with_source(error))
    }
}

/// Answers until `shutdown` is ready; then finishes requests in progress.
async fn answer(
    listener: tokio::net::TcpListener,
    studio: &Arc<Studio>,
    hosts: Hosts,
    shutdown: impl Future<Output = ()>,
) {
    let early = Arc::clone(studio);
    let thumbnails = tokio::spawn(async move {
        early.gallery.paint_thumbnails(&early.painters, |notes| early.tell_notes(notes)).await;
    });
    let failed =
        |error: &std::io::Error| studio.tell(&ServeEvent::Failed(format!("cannot accept a connection: {error}")));
    impasto_web::serve(listener, routes::router(studio, hosts), &studio.connections, shutdown, failed).await;
    thumbnails.abort();
    studio.connections.stop();
    // Requests that are not finished by then are aborted.
    let _ = timeout(studio.limits.grace, studio.closed()).await;
}
