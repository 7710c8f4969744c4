//! Reads the body of a request, within bounds of size, memory and time.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Duration, timeout};

use super::problem::Problem;
use super::studio::{BODY_UNIT, Studio};

/// How long the rest of a body that is too large is read and discarded, so that its sender can read the answer.
const DRAIN: Duration = Duration::from_secs(1);

/// A body, and its share of the memory for bodies.
pub(super) struct HeldBody {
    pub(super) bytes: Vec<u8>,
    share: Option<OwnedSemaphorePermit>,
}

/// Reads the whole body.
pub(super) async fn read(studio: &Studio, headers: &HeaderMap, body: Body) -> Result<HeldBody, Problem> {
    let claimed = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let limit = studio.limits.body;
    if claimed.is_some_and(|bytes| bytes > limit as u64) {
        if !headers.contains_key(header::EXPECT) {
            drain(body).await;
        }
        return Err(too_large(limit));
    }
    let time = studio.limits.body_time;
    timeout(time, collect(studio, body)).await.unwrap_or_else(|_| {
        let detail = format!("the body took more than {} s to arrive", time.as_secs_f32());
        Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "the request took too long", detail)
            .with_hint("send a smaller picture, or start the server with a larger `--body-time`"))
    })
}

async fn collect(studio: &Studio, mut body: Body) -> Result<HeldBody, Problem> {
    let mut held = HeldBody { bytes: Vec::new(), share: None };
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Err(cut_short());
        };
        let Ok(chunk) = frame.into_data() else { continue };
        if held.bytes.len() + chunk.len() > studio.limits.body {
            drain(body).await;
            return Err(too_large(studio.limits.body));
        }
        held.take(studio, &chunk)?;
    }
    Ok(held)
}

impl HeldBody {
    fn take(&mut self, studio: &Studio, chunk: &Bytes) -> Result<(), Problem> {
        self.bytes.extend_from_slice(chunk);
        let held = self.share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let wanted = self.bytes.len().div_ceil(BODY_UNIT) - held;
        let share = Arc::clone(&studio.bodies).try_acquire_many_owned(wanted as u32);
        let share = share.map_err(|_| Problem::busy("the memory for pictures is full", studio.retry_after()))?;
        match &mut self.share {
            Some(own) => own.merge(share),
            none => *none = Some(share),
        }
        Ok(())
    }
}

async fn drain(mut body: Body) {
    let all = async { while let Some(Ok(_)) = body.frame().await {} };
    // The rest after that time is not read.
    let _ = timeout(DRAIN, all).await;
}

fn cut_short() -> Problem {
    let detail = "the body ended early, or its chunks are malformed";
    Problem::new(StatusCode::BAD_REQUEST, "cut_short", "the request is cut short", detail)
        .with_hint("send the request again")
}

fn too_large(limit: usize) -> Problem {
    let detail = format!("the body has more than {limit} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "the request is too large", detail)
        .with_hint("send a smaller picture, or start the server with a larger `--max-body`")
}
