//! The thread behind the page, and what it answers.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderName, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use impasto_common::{Result, ResultExt};
use tokio::sync::oneshot;

use super::board::Board;
use super::connections::Connections;
use super::files::Files;
use super::host::Hosts;
use super::locked;
use crate::report::STYLE;

/// How old an answer may be: drawing the curves takes some milliseconds, however many browsers ask.
const FRESH: Duration = Duration::from_secs(1);

/// Nothing but what comes from here, in no other page's frame, kept by no cache. (The report has its style and its pictures
/// inside.)
const HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];

/// What all answers come from.
#[derive(Debug)]
pub(super) struct Server {
    board: Arc<Mutex<Board>>,
    files: Files,
    hosts: Hosts,
    told: Mutex<Option<Told>>,
}

/// The last state that was drawn.
#[derive(Debug, Clone)]
struct Told {
    revision: u64,
    at: Instant,
    json: Bytes,
}

impl Server {
    pub(super) fn new(board: Arc<Mutex<Board>>, files: Files, hosts: Hosts) -> Self {
        Self { board, files, hosts, told: Mutex::new(None) }
    }

    /// Answers in a thread of its own until `stopped`.
    ///
    /// # Errors
    ///
    /// If the system has no thread to give.
    pub(super) fn start(self, listener: TcpListener, stopped: oneshot::Receiver<()>) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context(|| "cannot start the server")?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener).context(|| "cannot start the server")?
        };
        let serve = move || {
            runtime.block_on(async {
                tokio::select! {
                    // It ends by an error only if the listener does, and then there is nobody to tell.
                    _ = async { axum::serve(Connections::new(listener), self.router()).await } => {}
                    // The sender is dropped: the training has ended.
                    _ = stopped => {}
                }
            });
        };
        thread::Builder::new().name("live".into()).spawn(serve).context(|| "cannot start the server")?;
        Ok(())
    }

    fn router(self) -> Router {
        let server = Arc::new(self);
        Router::new()
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
            .fallback(async || not_found("there is no such page"))
            .layer(middleware::from_fn_with_state(server.clone(), guard))
            .with_state(server)
    }

    /// The state as JSON, drawn anew if it changed and the last one is not fresh.
    fn told(&self) -> Told {
        let mut last: MutexGuard<Option<Told>> = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(told) = &*last
            && (told.at.elapsed() < FRESH || told.revision == locked(&self.board).revision())
        {
            return told.clone();
        }
        // A copy: the training does not wait for the drawing.
        let board = locked(&self.board).clone();
        let json = board.told(&self.files.sheets()).to_string().into();
        let told = Told { revision: board.revision(), at: Instant::now(), json };
        *last = Some(told.clone());
        told
    }
}

/// Refuses requests by other names, and adds the headers to all answers.
async fn guard(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let target = request.uri().authority().map(Authority::as_str);
    let allowed =
        named.is_some_and(|host| server.hosts.allow(host)) && target.is_none_or(|host| server.hosts.allow(host));
    let mut response = if allowed {
        next.run(request).await
    } else {
        let text = "ask by a number, by localhost, or by the name that `--serve` was given\n";
        (StatusCode::MISDIRECTED_REQUEST, text).into_response()
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, header::HeaderValue::from_static(value));
    }
    response
}

/// The state; no content where it is the one that `?seen=REVISION` names.
async fn state(State(server): State<Arc<Server>>, uri: Uri) -> Response {
    let told = server.told();
    let seen = uri.query().and_then(|query| query.strip_prefix("seen=")).and_then(|seen| seen.parse().ok());
    if seen == Some(told.revision) {
        return StatusCode::NO_CONTENT.into_response();
    }
    typed("application/json", told.json)
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
    bytes.map_or_else(|| not_found("there is no such file in the run folder, yet"), |bytes| typed(kind, bytes))
}

fn not_found(text: &'static str) -> Response {
    (StatusCode::NOT_FOUND, format!("{text}\n")).into_response()
}

fn typed(kind: &'static str, body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, kind)], body.into()).into_response()
}
