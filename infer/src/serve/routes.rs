//! Which path leads where.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};
use serde::Serialize;

use super::config::ServeEvent;
use super::fence::fence;
use super::gallery::{Card, SAMPLE};
use super::live::live;
use super::options::shortened;
use super::problem::Problem;
use super::studio::Studio;
use super::stylize::stylize;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The page, in the program: path, media type, bytes.
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

pub(super) fn router(studio: &Arc<Studio>) -> Router {
    let mut router = Router::new();
    for (path, media_type, bytes) in PAGE {
        router = router.route(path, get(move || async move { stored(media_type, bytes) }));
    }
    router
        .route(STYLIZE, post(stylize))
        .route(STYLES, get(styles))
        .route(THUMBNAIL, get(thumbnail))
        .route(LIVE, get(live))
        .route(HEALTH, get(async || ([(header::CACHE_CONTROL, "no-store")], "ok\n")))
        .route(METRICS, get(metrics))
        .method_not_allowed_fallback(wrong_method)
        .fallback(no_such_page)
        .layer(from_fn_with_state(Arc::clone(studio), fence))
        .layer(middleware::from_fn_with_state(Arc::clone(studio), observe))
        .with_state(Arc::clone(studio))
}

/// The route of a path, for counting: what clients make up is counted together.
fn route_of(path: &str) -> &'static str {
    let fixed = [STYLIZE, STYLES, LIVE, HEALTH, METRICS];
    let fixed = fixed.into_iter().chain(PAGE.iter().map(|(path, ..)| *path)).find(|fixed| *fixed == path);
    let is_thumbnail = path.starts_with("/v1/styles/") && path.ends_with("/thumbnail");
    fixed.unwrap_or(if is_thumbnail { THUMBNAIL } else { "other" })
}

/// Counts and tells what is answered.
async fn observe(State(studio): State<Arc<Studio>>, request: Request, next: Next) -> Response {
    let (method, path, started) = (request.method().to_string(), request.uri().path().to_owned(), Instant::now());
    let response = next.run(request).await;
    let status = response.status().as_u16();
    studio.metrics.answered(route_of(&path), status);
    studio.tell(&ServeEvent::Answered { method, path, status, time: started.elapsed() });
    response
}

/// A file of the program. Browsers ask again each time: the next version may have another.
fn stored(media_type: &'static str, bytes: &'static [u8]) -> Response {
    let headers = [(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, "no-cache")];
    (headers, Bytes::from_static(bytes)).into_response()
}

async fn no_such_page(uri: Uri) -> Problem {
    let detail = format!("there is nothing at `{}`", shortened(uri.path()));
    Problem::new(StatusCode::NOT_FOUND, "no_such_page", "the page is not there", detail)
        .with_hint("`/openapi.json` lists what there is")
}

async fn wrong_method(request: Request) -> Problem {
    let path = request.uri().path();
    let allow = if path == STYLIZE { "POST" } else { "GET, HEAD" };
    let detail = format!("`{}` takes no {}", shortened(path), shortened(request.method().as_str()));
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", "the request makes no sense", detail);
    Problem { allow: Some(allow), ..problem.with_hint(format!("it takes {allow}")) }
}

/// What `GET /v1/styles` answers.
#[derive(Serialize)]
struct Catalogue<'a> {
    default: &'a str,
    styles: Vec<Card<'a>>,
    limits: PublicLimits,
}

/// The limits that a client can heed.
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
        frame_pixels: super::live::FRAME_PIXELS.min(studio.limits.pixels),
    };
    let styles = studio.gallery.styles().iter().map(|style| style.card()).collect();
    let answer = Catalogue { default: &first.name, styles, limits };
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (headers, serde_json::to_string(&answer).unwrap_or_default()).into_response()
}

async fn thumbnail(State(studio): State<Arc<Studio>>, Path(name): Path<String>) -> Response {
    let style = match studio.gallery.find(&name) {
        Ok(style) => style,
        Err(problem) => return problem.into_response(),
    };
    match style.thumbnail(&studio).await {
        // Another server at this address may have another style of this name: not for long.
        Ok(bytes) => {
            ([(header::CONTENT_TYPE, "image/jpeg"), (header::CACHE_CONTROL, "max-age=60")], bytes).into_response()
        }
        Err(refused) => Problem::refused(refused, Duration::from_secs(2)).into_response(),
    }
}

async fn metrics(State(studio): State<Arc<Studio>>) -> Response {
    let mut response = studio.metrics.text(&studio).into_response();
    let media_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}
