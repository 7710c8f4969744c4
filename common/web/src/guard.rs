//! The layer around all routes of a server: refuses foreign requests, and sends security headers with every answer.
//!
//! No answer carries CORS headers.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;

use crate::hosts::{Hosts, Refusal};

/// Sent with every answer of every server.
const HEADERS: [(HeaderName, &str); 3] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// What [`guard`] lets through, and what it adds.
#[derive(Clone)]
pub struct Guard {
    /// The host names that the server accepts.
    pub hosts: Hosts,
    /// Headers for every answer, such as the content security policy; they replace those of a route.
    pub headers: Vec<(HeaderName, &'static str)>,
    /// Makes the answer to a refused request.
    pub refuse: fn(Refusal) -> Response,
}

/// Puts `guard` around all routes and fallbacks that `router` has so far.
pub fn guard(router: Router, guard: Guard) -> Router {
    router.layer(from_fn_with_state(Arc::new(guard), check))
}

async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let mut response = match guard.hosts.check(request.method(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => (guard.refuse)(refusal),
    };
    for (name, value) in HEADERS.into_iter().chain(guard.headers.iter().cloned()) {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
