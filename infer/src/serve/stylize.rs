//! `POST /v1/stylize`: a picture in, a painting out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use impasto_common::{Error, Result};
use impasto_picture::{EncodeOptions, Loss, Picture, PictureFormat, claimed_size};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::body::{self, Held};
use super::options::Options;
use super::painters::{Interest, Lane, Refused};
use super::problem::Problem;
use super::studio::Studio;

/// Bytes that are handed to a connection at a time: a painting gives back its place when the last are.
const CHUNK: usize = 256 << 10;
/// A network's buffers for pictures above this many pixels are not kept for the next one.
const KEPT_PIXELS: u64 = 2_500_000;

/// Times of one painting, as `Server-Timing` tells them.
#[derive(Default)]
struct Times {
    wait: Duration,
    decode: Duration,
    paint: Duration,
    encode: Duration,
}

struct Painted {
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
    let options = Options::new(&studio.gallery, studio.memory).read(&studio.gallery, &parts.uri)?;
    let held = body::read(studio, &parts.headers, body).await?;
    let held = inspect(studio, held).await?;
    let place = Arc::clone(&studio.pictures).try_acquire_owned();
    let place = place.map_err(|_| Problem::busy("its answers wait for clients to take them", studio.retry_after()))?;
    let time = studio.limits.paint_time;
    let painted = timeout(time, paint(studio, held, &options)).await.unwrap_or_else(|_| {
        let detail = format!("waiting and painting took more than {} s", time.as_secs_f32());
        Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, "took_too_long", "the picture is given up", detail)
            .with_hint("ask for less with `max_size`, or start the server with a larger `--paint-time`"))
    })?;
    studio.metrics.painted(painted.times.paint);
    Ok(respond(painted, place))
}

/// Refuses what is no picture, and what claims more pixels than are allowed, before it waits for a painter.
async fn inspect(studio: &Arc<Studio>, held: Held) -> Result<Held, Problem> {
    let limit = studio.limits.pixels;
    let inspected = tokio::task::spawn_blocking(move || check(&held.bytes, limit).map(|()| held)).await;
    inspected.unwrap_or_else(|_| Err(Problem::refused(Refused::Panicked, Duration::ZERO)))
}

/// Looks at the head of a picture file.
pub(super) fn check(bytes: &[u8], limit: u64) -> Result<(), Problem> {
    PictureFormat::of_bytes(bytes)
        .map_err(|error| Problem::picture(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_a_picture", &error))?;
    let (height, width) = claimed_size(bytes).map_err(|error| damaged(&error))?;
    if u64::from(height) * u64::from(width) > limit {
        let error = Error::new(format!(
            "a picture of {width}x{height} pixels is over the limit of {} million",
            limit as f64 / 1e6
        ))
        .with_hint("send a smaller picture, or start the server with a larger `--max-megapixels`");
        return Err(Problem::picture(StatusCode::PAYLOAD_TOO_LARGE, "too_many_pixels", &error));
    }
    Ok(())
}

pub(super) fn damaged(error: &Error) -> Problem {
    Problem::picture(StatusCode::UNPROCESSABLE_ENTITY, "damaged_picture", error)
}

async fn paint(studio: &Studio, held: Held, options: &Options) -> Result<Painted, Problem> {
    let stylizer = options.stylizer()?;
    let (format, quality, pixels) = (options.format, options.quality, studio.limits.pixels);
    let asked = Instant::now();
    let work = move |interest: &Interest| {
        let mut times = Times { wait: asked.elapsed(), ..Times::default() };
        let mut lap = Lap(Instant::now());
        let picture = Picture::decode_within(&held.bytes, pixels).map_err(|error| damaged(&error))?;
        drop(held);
        times.decode = lap.lap();
        still_wanted(interest)?;
        let format = format.or(picture.format()).unwrap_or(PictureFormat::Jpeg);
        let large = u64::from(picture.width()) * u64::from(picture.height()) > KEPT_PIXELS;
        let painting = stylizer.stylize_owned(picture);
        if large {
            stylizer.release();
        }
        let crate::Painted { picture: painting, notes } = painting.map_err(|error| failed(&error))?;
        times.paint = lap.lap();
        still_wanted(interest)?;
        let losses = painting.losses(format);
        let bytes = painting.encode(EncodeOptions { format, quality }).map_err(|error| unfit(&error))?;
        times.encode = lap.lap();
        Ok(Painted { bytes, format, losses, notes, times })
    };
    let result = studio.painters.run(Lane::Picture, work).await;
    let mut painted = result.unwrap_or_else(|refused| Err(Problem::refused(refused, studio.retry_after())))?;
    studio.tell_notes(std::mem::take(&mut painted.notes));
    Ok(painted)
}

/// Ends the work for a client that has gone. Nobody reads the problem.
fn still_wanted(interest: &Interest) -> Result<(), Problem> {
    if interest.is_lost() { Err(Problem::refused(Refused::Closed, Duration::ZERO)) } else { Ok(()) }
}

fn failed(error: &Error) -> Problem {
    let problem =
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", "the picture is not painted", error.to_string());
    problem.with_hint(error.hint().unwrap_or("try a smaller picture").to_owned())
}

/// A painting that its format cannot hold.
fn unfit(error: &Error) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "does_not_fit", "the painting cannot be written", error.to_string())
        .with_hint("ask for another `format`, or for less with `max_size`")
}

impl Problem {
    pub(super) fn refused(refused: Refused, retry_after: Duration) -> Self {
        match refused {
            Refused::Busy => Self::busy("as many pictures wait as may", retry_after),
            Refused::Closed => Self::stopping(),
            Refused::Panicked => failed(&Error::new("the painter failed in a way it should not")),
        }
    }
}

struct Lap(Instant);

impl Lap {
    /// The time since the last lap.
    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now - std::mem::replace(&mut self.0, now)
    }
}

fn respond(painted: Painted, place: OwnedSemaphorePermit) -> Response {
    let Painted { bytes, format, losses, times, .. } = painted;
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
        // Digits and our own words: always a value.
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
