//! Errors as an HTTP client gets them: what failed, why, and a hint, as a problem document (RFC 9457).

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use impasto_common::Error;
use serde::Serialize;

use super::painters::Refused;

/// What went wrong with a request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Problem {
    /// A machine-readable code; `openapi.json` lists all codes.
    pub(super) code: &'static str,
    pub(super) status: u16,
    /// What failed.
    pub(super) title: &'static str,
    /// Why.
    pub(super) detail: String,
    /// A hint at what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hint: Option<String>,
    /// When to try again.
    #[serde(skip)]
    pub(super) retry_after: Option<Duration>,
    /// The methods that the path supports.
    #[serde(skip)]
    pub(super) allow: Option<&'static str>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        // Decoders' messages may contain line breaks.
        let detail = detail.into().split_whitespace().collect::<Vec<_>>().join(" ");
        Self { code, status: status.as_u16(), title, detail, hint: None, retry_after: None, allow: None }
    }

    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// An option that does not exist or whose value is not valid.
    pub(super) fn option(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_option", "the options of the request are not valid", detail)
            .with_hint("`/openapi.json` lists the options and their values")
    }

    /// A style that does not exist. `known` lists those that do.
    pub(super) fn no_such_style(name: &str, known: &str) -> Self {
        let detail = format!("there is no style `{}`", shortened(name));
        Self::new(StatusCode::NOT_FOUND, "no_such_style", "the style is not known", detail)
            .with_hint(format!("the styles are {known}"))
    }

    /// A file that is not a picture, or one that is damaged or too large.
    pub(super) fn picture(status: StatusCode, code: &'static str, error: &Error) -> Self {
        let problem = Self::new(status, code, "the picture cannot be read", error.to_string());
        problem.with_hint(error.hint().unwrap_or("send it as an ordinary PNG or JPEG file"))
    }

    /// A picture whose pixels cannot be read.
    pub(super) fn damaged(error: &Error) -> Self {
        Self::picture(StatusCode::UNPROCESSABLE_ENTITY, "damaged_picture", error)
    }

    /// A painting that failed.
    pub(super) fn failed(error: &Error) -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self::new(status, "failed", "the picture could not be painted", error.to_string())
            .with_hint(error.hint().unwrap_or("try a smaller picture"))
    }

    /// A picture that the painters refused or did not finish.
    pub(super) fn refused(refused: Refused, retry_after: Duration) -> Self {
        match refused {
            Refused::Busy => Self::busy("the queue of pictures is full", retry_after),
            Refused::Closed => Self::stopping(),
            Refused::Panicked => Self::failed(&Error::new("painting panicked, which is a bug in this program")),
        }
    }

    /// The work exceeds the limits.
    pub(super) fn busy(detail: impl Into<String>, retry_after: Duration) -> Self {
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "the server is busy", detail)
            .with_hint(format!("try again in {} s", retry_after.as_secs()));
        Self { retry_after: Some(retry_after), ..problem }
    }

    /// The server is shutting down.
    pub(super) fn stopping() -> Self {
        let retry_after = Duration::from_secs(5);
        let problem =
            Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the server is stopping", "it is shutting down")
                .with_hint("try again once it is running again");
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

/// A value for a message: whole if it is short.
pub(super) fn shortened(value: &str) -> String {
    let mut short: String = value.chars().take(60).collect();
    if short.len() < value.len() {
        short.push_str("..");
    }
    short
}
