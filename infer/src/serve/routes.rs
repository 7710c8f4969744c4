//! The routes, and the layers around all of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use impasto_web::{Guard, Hosts, Refusal, guard};
use serde::Serialize;

use super::config::ServeEvent;
use super::gallery::{SAMPLE, StyleListing};
use super::live::{FRAME_PIXELS, live};
use super::problem::{Problem, shortened};
use super::studio::Studio;
use super::stylize::stylize;

/// The page may load only its own files, its own pictures (`blob:`) and its own server; no other content may run in it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
    media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Sent with every answer, besides those of [`impasto_web::guard`].
const HEADERS: [(HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(self), microphone=(), geolocation=()"),
];

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The files of the page, which are part of the program: path, media type, bytes.
const PAGE: [(&str, &str, &[u8]); 7] = [
    ("/", HTML, include_bytes!("page/index.html")),
    ("/style.css", CSS, include_bytes!("page/style.css")),
    ("/app.js", SCRIPT, include_bytes!("page/app.js")),
    ("/camera.js", SCRIPT, include_bytes!("page/camera.js")),
    ("/icon.svg", "image/svg+xml", include_bytes!("page/icon.svg")),
    ("/sample.jpg", "image/jpeg", SAMPLE),
    ("/openapi.json", "application/json", include_bytes!("openapi.json")),
];

const STYLIZE: &str = "/v1/stylize";
const STYLES: &str = "/v1/styles";
const THUMBNAIL: &str = "/v1/styles/{name}/thumbnail";
const LIVE: &str = "/v1/live";
const HEALTH: &str = "/healthz";
const METRICS: &str = "/metrics";

/// All routes, for requests that come under a name of `hosts`.
pub(super) fn router(studio: &Arc<Studio>, hosts: Hosts) -> Router {
    let mut router = Router::new();
    for (path, media_type, bytes) in PAGE {
        router = router.route(path, get(move || async move { stored(media_type, bytes) }));
    }
    let router = router
        .route(STYLIZE, post(stylize))
        .route(STYLES, get(styles))
        .route(THUMBNAIL, get(thumbnail))
        .route(LIVE, get(live))
        .route(HEALTH, get(async || ([(header::CACHE_CONTROL, "no-store")], "ok\n")))
        .route(METRICS, get(metrics))
        .method_not_allowed_fallback(wrong_method)
        .fallback(no_such_page)
        .with_state(Arc::clone(studio));
    guard(router, Guard { hosts, headers: HEADERS.into(), refuse })
        .layer(from_fn_with_state(Arc::clone(studio), observe))
}

/// The answer to a request that is not for this server.
fn refuse(refusal: Refusal) -> Response {
    let status = StatusCode::FORBIDDEN;
    let problem = match refusal {
        Refusal::ForeignHost(detail) => {
            Problem::new(status, "foreign_host", "the request is for another server", detail)
                .with_hint("use `localhost` or a numeric address, or start the server with `--allow-host NAME`")
        }
        Refusal::ForeignPage(detail) => {
            Problem::new(status, "foreign_page", "the request comes from another site", detail)
                .with_hint("in a browser, only the server's own page may send requests")
        }
    };
    problem.into_response()
}

/// The route of a path, for counting. All unknown paths are counted together.
fn route_of(path: &str) -> &'static str {
    let fixed = [STYLIZE, STYLES, LIVE, HEALTH, METRICS];
    let fixed = fixed.into_iter().chain(PAGE.iter().map(|(path, ..)| *path)).find(|fixed| *fixed == path);
    let is_thumbnail = path.starts_with("/v1/styles/") && path.ends_with("/thumbnail");
    fixed.unwrap_or(if is_thumbnail { THUMBNAIL } else { "other" })
}

/// Counts and reports each answer.
async fn observe(State(studio): State<Arc<Studio>>, request: Request, next: Next) -> Response {
    let (method, path, started) = (request.method().to_string(), request.uri().path().to_owned(), Instant::now());
    let response = next.run(request).await;
    let status = response.status().as_u16();
    studio.metrics.answered(route_of(&path), status);
    studio.tell(&ServeEvent::Answered { method, path, status, time: started.elapsed() });
    response
}

/// A file of the page. Browsers check it each time: the next version of the program may have another.
fn stored(media_type: &'static str, bytes: &'static [u8]) -> Response {
    let headers = [(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, "no-cache")];
    (headers, Bytes::from_static(bytes)).into_response()
}

async fn no_such_page(uri: Uri) -> Problem {
    let detail = format!("there is no page at `{}`", shortened(uri.path()));
    Problem::new(StatusCode::NOT_FOUND, "no_such_page", "the page does not exist", detail)
        .with_hint("`/openapi.json` lists all paths")
}

async fn wrong_method(request: Request) -> Problem {
    let path = request.uri().path();
    let allow = if path == STYLIZE { "POST" } else { "GET, HEAD" };
    let detail = format!("`{}` does not support {}", shortened(path), shortened(request.method().as_str()));
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", "the method is not allowed", detail);
    Problem { allow: Some(allow), ..problem.with_hint(format!("use {allow}")) }
}

/// The answer to `GET /v1/styles`.
#[derive(Serialize)]
struct Catalogue<'a> {
    default: &'a str,
    styles: Vec<StyleListing<'a>>,
    limits: PublicLimits,
}

/// The limits that concern a client.
#[derive(Serialize)]
struct PublicLimits {
    body_bytes: usize,
    pixels: u64,
    frame_pixels: u64,
}

async fn styles(State(studio): State<Arc<Studio>>) -> Response {
    let first = studio.gallery.first();
    let limits = PublicLimits {
        body_bytes: studio.limits.body,
        pixels: studio.limits.pixels,
        frame_pixels: FRAME_PIXELS.min(studio.limits.pixels),
    };
    let styles = studio.gallery.styles().iter().map(|style| style.listing()).collect();
    let answer = Catalogue { default: &first.name, styles, limits };
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (headers, serde_json::to_string(&answer).unwrap_or_default()).into_response()
}

async fn thumbnail(State(studio): State<Arc<Studio>>, Path(name): Path<String>) -> Response {
    let style = match studio.gallery.find(&name) {
        Ok(style) => style,
        Err(problem) => return problem.into_response(),
    };
    match style.thumbnail(&studio.painters, |notes| studio.tell_notes(notes)).await {
        // A later server at this address may have another style with this name, so it is not cached for long.
        Ok(bytes) => {
            ([(header::CONTENT_TYPE, "image/jpeg"), (header::CACHE_CONTROL, "max-age=60")], bytes).into_response()
        }
        Err(refused) => Problem::refused(refused, Duration::from_secs(2)).into_response(),
    }
}

async fn metrics(State(studio): State<Arc<Studio>>) -> Response {
    let mut response = studio.metrics.text(studio.gauges()).into_response();
    let media_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}
