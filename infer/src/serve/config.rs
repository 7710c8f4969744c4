//! What the server serves, and how much of it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use impasto_common::{Error, Result};

use crate::Stylizer;

/// What the server does, as it does it; called from its threads.
pub type Observer = Arc<dyn Fn(&ServeEvent) + Send + Sync>;

/// Something that the server has done.
#[derive(Debug, Clone, PartialEq)]
pub enum ServeEvent {
    /// A request is answered.
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
    /// A camera has gone.
    LiveEnded {
        /// Frames painted.
        painted: u64,
        /// Frames that came too fast to be painted.
        dropped: u64,
    },
    /// Something failed that is no fault of a request.
    Failed(String),
}

/// What the server serves, where, and how much of it.
#[derive(Clone)]
pub struct ServeConfig {
    /// The address to listen on. Default: port 7400 of the loopback interface, where no other machine can reach it.
    pub listen: SocketAddr,
    /// Styles by the names on their cards; the first is painted with where a request names none.
    pub styles: Vec<Stylizer>,
    /// Names, besides `localhost` and addresses in digits, under which the server may be asked. Default: none.
    ///
    /// A page of another site can have its own name lead to this machine ("DNS rebinding"): its requests come under that
    /// name, and are refused.
    pub hosts: Vec<String>,
    /// Bytes that painting may use, all painters together. Default: half of what the machine has free.
    pub memory: Option<u64>,
    /// Bounds for everything that a request can make grow.
    pub limits: Limits,
    /// Is told what happens. Default: nobody.
    pub observer: Observer,
}

/// Bounds for everything that a request can make grow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Bytes of a picture file. Default: 32 MiB.
    pub body: usize,
    /// Pixels of a picture, checked before it is decoded. Default: 24 million.
    pub pixels: u64,
    /// Pictures painted at once. Default: 1, which uses all cores.
    pub painters: usize,
    /// Pictures that wait to be painted; one more is refused. Default: 16.
    pub queue: usize,
    /// Connections open at once; one more waits to be taken. Default: 256.
    pub connections: usize,
    /// Cameras at once. Default: 4.
    pub live: usize,
    /// For the head of a request, and for a connection that asks nothing. Default: 10 s.
    pub header_time: Duration,
    /// For the body of a request. Default: 30 s.
    pub body_time: Duration,
    /// For waiting and painting. Default: 120 s.
    pub paint_time: Duration,
    /// For a client that does not take its answer. Default: 20 s.
    pub write_time: Duration,
    /// For what is under way when the server is told to stop. Default: 30 s.
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
    /// Serves these styles with the default limits.
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
                Error::usage("there is no style to serve").with_hint("name a style-model file with `--style FILE`")
            );
        }
        let limits = &self.limits;
        let counts = [
            ("--painters", limits.painters),
            ("--queue", limits.queue),
            ("--connections", limits.connections),
            ("--live", limits.live),
            ("--max-body", limits.body),
        ];
        match counts.into_iter().find(|(_, count)| *count == 0) {
            Some((flag, _)) => Err(Error::usage(format!("nothing can be served with `{flag} 0`"))),
            None if limits.pixels == 0 => Err(Error::usage("nothing can be served with `--max-megapixels 0`")),
            None => Ok(()),
        }
    }
}
