//! What the server serves, where, and within which limits.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use impasto_common::{Error, Result};

use crate::Stylizer;

/// Upper bound of painters: each has a thread, and each picture uses all cores anyway.
const MOST_PAINTERS: usize = 256;
/// Upper bound of all other counts.
const MOST_WAITING: usize = 65_536;
/// Upper bound of the bytes of a body.
const MOST_BODY_BYTES: usize = 1 << 30;

/// A callback for the server's events; called from the server's threads.
pub type ServeObserver = Arc<dyn Fn(&ServeEvent) + Send + Sync>;

/// An event of the server.
#[derive(Debug, Clone, PartialEq)]
pub enum ServeEvent {
    /// A request was answered.
    Answered {
        /// `GET`, `POST` and so on.
        method: String,
        /// The path, without the query.
        path: String,
        /// The status of the answer.
        status: u16,
        /// From the end of the request's head to the beginning of the answer.
        time: Duration,
    },
    /// A camera was closed.
    LiveEnded {
        /// Frames painted.
        painted: u64,
        /// Frames that were replaced by newer ones before they were painted.
        dropped: u64,
    },
    /// A failure that was not caused by a request.
    Failed(String),
}

/// What the server serves, where, and within which limits.
#[derive(Clone)]
pub struct ServeConfig {
    /// The address to listen on. Default: port 7400 of the loopback interface, which no other machine can reach.
    pub listen: SocketAddr,
    /// The styles, under the names on their cards. A request that names no style gets the first.
    pub styles: Vec<Stylizer>,
    /// Accepted host names besides `localhost` and numeric addresses. Requests under other names are refused. Default:
    /// none.
    pub hosts: Vec<String>,
    /// Bytes that all painters together may use. Default: half of what is free and allowed to the process.
    pub memory: Option<u64>,
    /// Limits for everything that a request can make grow.
    pub limits: Limits,
    /// A callback for the server's events. Default: ignores them.
    pub observer: ServeObserver,
}

/// Limits for everything that a request can make grow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Bytes of a picture file. Default: 32 MiB.
    pub body: usize,
    /// Pixels of a picture, checked before it is decoded. Default: 24 million.
    pub pixels: u64,
    /// Pictures painted at once, at most 256. Default: 1, which uses all cores.
    pub painters: usize,
    /// Pictures that may wait to be painted; one more is refused. Default: 16.
    pub queue: usize,
    /// Connections open at once. One more waits, or replaces one that has been idle for a second. Default: 256.
    pub connections: usize,
    /// Cameras at once. Default: 4.
    pub live: usize,
    /// Time for the head of a request, and for an idle connection. Default: 10 s.
    pub header_time: Duration,
    /// Time for the body of a request. Default: 30 s.
    pub body_time: Duration,
    /// Time for waiting and painting. Default: 120 s.
    pub paint_time: Duration,
    /// Time limit for a client to read some of its answer. Default: 20 s.
    pub write_time: Duration,
    /// Time to finish requests in progress when the server is stopped. Default: 30 s.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 32 << 20,
            pixels: 24_000_000,
            painters: 1,
            queue: 16,
            connections: 256,
            live: 4,
            header_time: Duration::from_secs(10),
            body_time: Duration::from_secs(30),
            paint_time: Duration::from_secs(120),
            write_time: Duration::from_secs(20),
            grace: Duration::from_secs(30),
        }
    }
}

impl ServeConfig {
    /// Serves `styles` within the default limits.
    #[must_use]
    pub fn new(styles: Vec<Stylizer>) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7400)),
            styles,
            hosts: Vec::new(),
            memory: None,
            limits: Limits::default(),
            observer: Arc::new(|_| ()),
        }
    }

    pub(super) fn validate(&self) -> Result<()> {
        if self.styles.is_empty() {
            return Err(
                Error::usage("there is no style to serve").with_hint("use `--style FILE` with a style-model file")
            );
        }
        let limits = &self.limits;
        let counts = [
            ("--painters", limits.painters, MOST_PAINTERS),
            ("--queue", limits.queue, MOST_WAITING),
            ("--connections", limits.connections, MOST_WAITING),
            ("--live", limits.live, MOST_WAITING),
            ("--max-body", limits.body, MOST_BODY_BYTES),
            ("--max-megapixels", limits.pixels as usize, usize::MAX),
        ];
        for (flag, count, most) in counts {
            if count == 0 {
                return Err(Error::usage(format!("`{flag}` must be above 0")));
            }
            if count > most {
                return Err(Error::usage(format!("`{flag} {count}` is too large"))
                    .with_hint(format!("`{flag}` can be at most {most}")));
            }
        }
        Ok(())
    }
}
