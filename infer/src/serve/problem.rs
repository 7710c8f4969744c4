//! Errors as an HTTP client gets them: what, why and a hint, as a problem document (RFC 9457).

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use impasto_common::Error;
use serde::Serialize;

/// What went wrong with a request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Problem {
    /// A word for programs; the ones there are stand in `openapi.json`.
    pub(super) code: &'static str,
    pub(super) status: u16,
    /// What did not happen.
    pub(super) title: &'static str,
    /// Why.
    pub(super) detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hint: Option<String>,
    /// When to try again.
    #[serde(skip)]
    pub(super) retry_after: Option<Duration>,
    /// What the path would have allowed.
    #[serde(skip)]
    pub(super) allow: Option<&'static str>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        // Decoders break lines.
        let detail = detail.into().split_whitespace().collect::<Vec<_>>().join(" ");
        Self { code, status: status.as_u16(), title, detail, hint: None, retry_after: None, allow: None }
    }

    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// An option with a value that it cannot have, or one that does not exist.
    pub(super) fn option(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_option", "the request's options make no sense", detail)
            .with_hint("`/openapi.json` lists the options and what they take")
    }

    /// A picture that is none, or damaged.
    pub(super) fn picture(status: StatusCode, code: &'static str, error: &Error) -> Self {
        let problem = Self::new(status, code, "the picture cannot be read", error.to_string());
        problem.with_hint(error.hint().unwrap_or("send it as an ordinary PNG or JPEG file"))
    }

    /// Too much to do.
    pub(super) fn busy(detail: impl Into<String>, retry_after: Duration) -> Self {
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "the server has too much to do", detail)
            .with_hint(format!("try again in {} s", retry_after.as_secs()));
        Self { retry_after: Some(retry_after), ..problem }
    }

    /// The server is about to end.
    pub(super) fn stopping() -> Self {
        let retry_after = Duration::from_secs(5);
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the server stops", "it was told to")
            .with_hint("try again once it runs again");
        Self { retry_after: Some(retry_after), ..problem }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_string(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(time) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(time.as_secs().max(1)));
        }
        if let Some(allow) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}
