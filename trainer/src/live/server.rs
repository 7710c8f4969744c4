//! The thread that serves the page, and its responses.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use impasto_common::{Result, ResultExt};
use impasto_web::{ConnectionLimits, Connections, Guard, Hosts, Refusal, guard, serve};
use tokio::sync::oneshot;

use super::board::Board;
use super::files::ServedFiles;
use super::locked;
use crate::report::STYLE;

/// Limits: enough connections for ten browsers, and timeouts for slow networks.
const LIMITS: ConnectionLimits =
    ConnectionLimits { connections: 64, header_time: Duration::from_secs(30), write_time: Duration::from_secs(30) };

/// The maximum age of a cached response. Drawing the curves takes some milliseconds, so they are not drawn for each browser
/// separately.
const FRESH: Duration = Duration::from_secs(1);

/// Headers of every response, in addition to those of [`guard`]. The report contains its style sheet and pictures inline.
const HEADERS: [(HeaderName, &str); 2] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::CACHE_CONTROL, "no-store"),
];

/// The data that responses are made from.
#[derive(Debug)]
pub(super) struct Server {
    board: Arc<Mutex<Board>>,
    files: ServedFiles,
    drawn: Mutex<Option<DrawnState>>,
}

/// The last state that was drawn.
#[derive(Debug, Clone)]
struct DrawnState {
    revision: u64,
    at: Instant,
    json: Bytes,
}

impl Server {
    pub(super) fn new(board: Arc<Mutex<Board>>, files: ServedFiles) -> Self {
        Self { board, files, drawn: Mutex::new(None) }
    }

    /// Answers requests for `hosts` in a new thread until `stopped`.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    pub(super) fn start(self, listener: TcpListener, hosts: Hosts, stopped: oneshot::Receiver<()>) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context(|| "cannot start the server")?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener).context(|| "cannot start the server")?
        };
        let answer = move || {
            let connections = Connections::new(LIMITS);
            // The sender is dropped when the training has ended.
            let stopped = async { drop(stopped.await) };
            // A failure to accept a connection does not affect the training; the server tries again.
            runtime.block_on(serve(listener, self.router(hosts), &connections, stopped, |_| ()));
        };
        thread::Builder::new().name("live".into()).spawn(answer).context(|| "cannot start the server")?;
        Ok(())
    }

    fn router(self, hosts: Hosts) -> Router {
        let router = Router::new()
            .route("/", get(async || typed("text/html; charset=utf-8", include_str!("page.html"))))
            .route("/page.js", get(async || typed("text/javascript; charset=utf-8", include_str!("page.js"))))
            .route(
                "/page.css",
                get(async || typed("text/css; charset=utf-8", [STYLE, include_str!("page.css")].concat())),
            )
            .route("/state", get(state))
            .route("/report", get(report))
            .route("/metrics.csv", get(metrics))
            .route("/sheets/{step}", get(sheet))
            .fallback(async || not_found("page not found"))
            .with_state(Arc::new(self));
        guard(router, Guard { hosts, headers: HEADERS.into(), refuse })
    }

    /// The state as JSON. It is drawn again if it has changed and the cached one is too old.
    fn draw(&self) -> DrawnState {
        let mut last: MutexGuard<Option<DrawnState>> = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(drawn) = &*last
            && (drawn.at.elapsed() < FRESH || drawn.revision == locked(&self.board).revision())
        {
            return drawn.clone();
        }
        // On a copy, so that the training does not wait for the drawing.
        let board = locked(&self.board).clone();
        let json = board.json(&self.files.sheets()).to_string().into();
        let drawn = DrawnState { revision: board.revision(), at: Instant::now(), json };
        *last = Some(drawn.clone());
        drawn
    }
}

/// The response to a request that is not for this server.
fn refuse(refusal: Refusal) -> Response {
    match refusal {
        Refusal::ForeignHost(detail) => {
            let hint = "use a numeric address, `localhost`, or the name given to `--serve`";
            (StatusCode::MISDIRECTED_REQUEST, format!("{detail}: {hint}\n")).into_response()
        }
        Refusal::ForeignPage(detail) => {
            let text = format!("{detail}: in a browser, only the server's own page may send requests\n");
            (StatusCode::FORBIDDEN, text).into_response()
        }
    }
}

/// The state, or "no content" if the client already has it, as given by `?seen=REVISION`.
async fn state(State(server): State<Arc<Server>>, uri: Uri) -> Response {
    let drawn = server.draw();
    let seen = uri.query().and_then(|query| query.strip_prefix("seen=")).and_then(|seen| seen.parse().ok());
    if seen == Some(drawn.revision) {
        return StatusCode::NO_CONTENT.into_response();
    }
    typed("application/json", drawn.json)
}

async fn report(State(server): State<Arc<Server>>) -> Response {
    file("text/html; charset=utf-8", server.files.report())
}

async fn metrics(State(server): State<Arc<Server>>) -> Response {
    file("text/csv; charset=utf-8", server.files.metrics())
}

async fn sheet(State(server): State<Arc<Server>>, Path(step): Path<String>) -> Response {
    file("image/png", step.parse().ok().and_then(|step| server.files.sheet(step)))
}

fn file(kind: &'static str, bytes: Option<Vec<u8>>) -> Response {
    bytes.map_or_else(|| not_found("the run folder does not have this file yet"), |bytes| typed(kind, bytes))
}

fn not_found(text: &'static str) -> Response {
    (StatusCode::NOT_FOUND, format!("{text}\n")).into_response()
}

fn typed(kind: &'static str, body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, kind)], body.into()).into_response()
}
