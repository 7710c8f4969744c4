//! `POST /v1/stylize`: a picture in, a painting out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use impasto_common::{Error, Result};
use impasto_picture::{EncodeOptions, Loss, Picture, PictureFormat};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::body::{self, HeldBody};
use super::inspect::{check_margin, inspect};
use super::options::RequestOptions;
use super::painters::{Interest, Lane, Refused};
use super::problem::Problem;
use super::studio::Studio;
use crate::Stylizer;

/// Bytes that are passed to a connection at a time. A painting stays in memory until its last bytes have been passed on.
const CHUNK: usize = 256 << 10;
/// A network's buffers are released after a picture of more pixels than this.
const KEPT_PIXELS: u64 = 2_500_000;

/// Times of one painting, as `Server-Timing` reports them.
#[derive(Default)]
struct Times {
    wait: Duration,
    decode: Duration,
    paint: Duration,
    encode: Duration,
}

struct PaintedPicture {
    bytes: Vec<u8>,
    format: PictureFormat,
    losses: Vec<Loss>,
    notes: Vec<String>,
    times: Times,
}

/// Paints the body.
pub(super) async fn stylize(State(studio): State<Arc<Studio>>, request: Request) -> Response {
    match answer(&studio, request).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn answer(studio: &Arc<Studio>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let options = RequestOptions::new(&studio.gallery, studio.memory).read(&studio.gallery, &parts.uri)?;
    let stylizer = options.stylizer()?;
    let held = body::read(studio, &parts.headers, body).await?;
    let (held, size) = inspect_body(studio, held).await?;
    check_margin(&stylizer, size, studio.limits.pixels)?;
    let place = Arc::clone(&studio.pictures).try_acquire_owned();
    let place =
        place.map_err(|_| Problem::busy("too many clients have not read their responses yet", studio.retry_after()))?;
    let time = studio.limits.paint_time;
    let painted = timeout(time, paint(studio, held, stylizer, &options)).await.unwrap_or_else(|_| {
        let detail = format!("waiting and painting took more than {} s", time.as_secs_f32());
        Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, "took_too_long", "the picture took too long", detail)
            .with_hint("request a smaller picture with `max_size`, or start the server with a larger `--paint-time`"))
    })?;
    studio.metrics.painted(painted.times.paint);
    Ok(respond(painted, place))
}

/// Refuses a body that is not a picture or has too many pixels, before it waits for a painter.
/// Returns the width and height of the others.
async fn inspect_body(studio: &Arc<Studio>, held: HeldBody) -> Result<(HeldBody, (u32, u32)), Problem> {
    let limit = studio.limits.pixels;
    let inspected = tokio::task::spawn_blocking(move || inspect(&held.bytes, limit).map(|size| (held, size))).await;
    inspected.unwrap_or_else(|_| Err(Problem::refused(Refused::Panicked, Duration::ZERO)))
}

async fn paint(
    studio: &Studio,
    held: HeldBody,
    stylizer: Stylizer,
    options: &RequestOptions,
) -> Result<PaintedPicture, Problem> {
    let (format, quality, pixels) = (options.format, options.quality, studio.limits.pixels);
    let asked = Instant::now();
    let work = move |interest: &Interest| {
        let mut times = Times { wait: asked.elapsed(), ..Times::default() };
        let mut stopwatch = Stopwatch(Instant::now());
        let picture = Picture::decode_within(&held.bytes, pixels).map_err(|error| Problem::damaged(&error))?;
        drop(held);
        times.decode = stopwatch.lap();
        still_wanted(interest)?;
        let format = format.or(picture.format()).unwrap_or(PictureFormat::Jpeg);
        let large = u64::from(picture.width()) * u64::from(picture.height()) > KEPT_PIXELS;
        let painting = stylizer.stylize_owned(picture);
        if large {
            stylizer.release();
        }
        let crate::Painted { picture: painting, notes } = painting.map_err(|error| Problem::failed(&error))?;
        times.paint = stopwatch.lap();
        still_wanted(interest)?;
        let losses = painting.losses(format);
        let bytes = painting.encode(EncodeOptions { format, quality }).map_err(|error| unfit(&error))?;
        times.encode = stopwatch.lap();
        Ok(PaintedPicture { bytes, format, losses, notes, times })
    };
    let result = studio.painters.run(Lane::Picture, work).await;
    let mut painted = result.unwrap_or_else(|refused| Err(Problem::refused(refused, studio.retry_after())))?;
    studio.tell_notes(std::mem::take(&mut painted.notes));
    Ok(painted)
}

/// Aborts the work for a client that has disconnected. The problem is never sent.
fn still_wanted(interest: &Interest) -> Result<(), Problem> {
    if interest.is_lost() { Err(Problem::refused(Refused::Closed, Duration::ZERO)) } else { Ok(()) }
}

/// A painting that its format cannot hold.
fn unfit(error: &Error) -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "does_not_fit",
        "the painting does not fit the output format",
        error.to_string(),
    )
    .with_hint("request another `format`, or a smaller picture with `max_size`")
}

struct Stopwatch(Instant);

impl Stopwatch {
    /// The time since the last lap.
    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now - std::mem::replace(&mut self.0, now)
    }
}

fn respond(painted: PaintedPicture, place: OwnedSemaphorePermit) -> Response {
    let PaintedPicture { bytes, format, losses, times, .. } = painted;
    let length = bytes.len();
    let chunks = stream::unfold((Bytes::from(bytes), place), |(mut rest, place)| async move {
        let chunk = rest.split_to(CHUNK.min(rest.len()));
        (!chunk.is_empty()).then_some((Ok::<_, std::convert::Infallible>(chunk), (rest, place)))
    });
    let mut response = Body::from_stream(chunks).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(format)));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let timing = format!(
        "wait;dur={:.1}, decode;dur={:.1}, paint;dur={:.1}, encode;dur={:.1}",
        milliseconds(times.wait),
        milliseconds(times.decode),
        milliseconds(times.paint),
        milliseconds(times.encode)
    );
    let lost: Vec<_> = losses.into_iter().map(loss_name).collect();
    let texts = [("server-timing", timing), ("impasto-lost", lost.join(", "))];
    for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        // Digits and our own words are always a valid header value.
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}

fn loss_name(loss: Loss) -> &'static str {
    match loss {
        Loss::Transparency => "transparency",
        Loss::PartialTransparency => "partial-transparency",
        Loss::Profile => "profile",
    }
}

fn media_type(format: PictureFormat) -> &'static str {
    match format {
        PictureFormat::Jpeg => "image/jpeg",
        PictureFormat::Png => "image/png",
        PictureFormat::WebP => "image/webp",
        PictureFormat::Tiff => "image/tiff",
        PictureFormat::Bmp => "image/bmp",
        PictureFormat::Gif => "image/gif",
    }
}
