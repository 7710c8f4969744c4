//! `/v1/live`: a camera's frames up, paintings down, over a WebSocket.
//!
//! A frame is worth something only while it is new. Of one camera, one frame is painted at a time and one waits: a newer
//! one takes its place, so a slow machine shows fewer frames, not older ones. While a frame is painted, the one before it
//! is encoded and sent.

mod frame;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::config::ServeEvent;
use super::options::Options;
use super::painters::{Lane, Refused};
use super::problem::Problem;
use super::studio::Studio;
use frame::{Painted, Slot, Waiting, decode, encode};

pub(super) use frame::FRAME_PIXELS;

/// Answers that are encoded or wait to be sent, besides the one being painted.
const OUTGOING: usize = 1;
/// Times that a silent client is asked whether it is still there, before it is given up.
const PINGS: usize = 2;

/// What goes to the client.
enum Outgoing {
    Message(Message),
    /// A painting that is being encoded.
    Painting(JoinHandle<Result<Bytes, Problem>>, u32),
}

pub(super) async fn live(
    State(studio): State<Arc<Studio>>,
    uri: Uri,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    match open(studio, &uri, upgrade) {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

fn open(
    studio: Arc<Studio>,
    uri: &Uri,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let options = Options::new(&studio.gallery, studio.memory).read(&studio.gallery, uri)?;
    let slot = Slot::new(&options)?;
    let upgrade = upgrade.map_err(|rejection| {
        let (status, title) = (StatusCode::UPGRADE_REQUIRED, "the request is no WebSocket");
        Problem::new(status, "upgrade_required", title, rejection.to_string())
            .with_hint("open it as a WebSocket: `/openapi.json` tells what is spoken there")
    })?;
    let place = Arc::clone(&studio.cameras).try_acquire_owned();
    let place = place.map_err(|_| Problem::busy("as many cameras are open as may", studio.retry_after()))?;
    let upgrade = upgrade.max_message_size(frame::MESSAGE_BYTES).max_frame_size(frame::MESSAGE_BYTES);
    Ok(upgrade.on_upgrade(move |socket| session(studio, options, slot, socket, place)))
}

async fn session(studio: Arc<Studio>, options: Options, slot: Slot, socket: WebSocket, _place: OwnedSemaphorePermit) {
    let (mut sink, mut stream) = socket.split();
    let (outgoing, mut queue) = mpsc::channel(OUTGOING);
    let ending = tokio::select! {
        ending = read(&studio, options, &slot, &mut stream, &outgoing) => ending,
        () = paint(&studio, &slot, &outgoing) => None,
        () = write(&mut queue, &mut sink) => None,
        () = studio.stopped() => Some((close_code::AWAY, "the server stops")),
    };
    if let Some((code, reason)) = ending {
        let close = Message::Close(Some(CloseFrame { code, reason: Utf8Bytes::from_static(reason) }));
        // A client that is gone already needs no farewell, and one that does not listen gets none.
        let _ = timeout(studio.limits.header_time, sink.send(close)).await;
    }
    let (painted, dropped) = slot.counts();
    studio.metrics.frames_painted.fetch_add(painted, Ordering::Relaxed);
    studio.metrics.frames_dropped.fetch_add(dropped, Ordering::Relaxed);
    studio.tell(&ServeEvent::LiveEnded { painted, dropped });
}

/// Takes what the client sends until it goes or falls silent.
async fn read(
    studio: &Studio,
    mut options: Options,
    slot: &Slot,
    stream: &mut SplitStream<WebSocket>,
    outgoing: &mpsc::Sender<Outgoing>,
) -> Option<(u16, &'static str)> {
    let mut pings = 0;
    loop {
        let message = match timeout(studio.limits.header_time, stream.next()).await {
            Ok(Some(Ok(message))) => message,
            Ok(None) => return None,
            // Broken rules of the protocol, a message that is too large, a lost connection: the library has said so.
            Ok(Some(Err(_))) => {
                return Some((close_code::POLICY, "messages have to be WebSocket frames of bounded size"));
            }
            Err(_) if pings == PINGS => return Some((close_code::POLICY, "nothing was heard for too long")),
            Err(_) => {
                pings += 1;
                outgoing.send(Outgoing::Message(Message::Ping(Bytes::new()))).await.ok()?;
                continue;
            }
        };
        pings = 0;
        match message {
            Message::Binary(bytes) => slot.put(Waiting { bytes, arrived: Instant::now() }),
            Message::Text(text) => {
                if let Err(problem) = change(studio, &mut options, slot, text.as_str()) {
                    outgoing.send(Outgoing::Message(complaint(None, &problem))).await.ok()?;
                }
            }
            Message::Close(_) => return None,
            Message::Ping(_) | Message::Pong(_) => {}
        }
    }
}

/// Changes the options as a message such as `{"strength": 0.5}` says; all of it, or nothing.
fn change(studio: &Studio, options: &mut Options, slot: &Slot, text: &str) -> Result<(), Problem> {
    let settings: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text)
        .map_err(|error| Problem::option(format!("the message is not a JSON object of options: {error}")))?;
    let mut changed = options.clone();
    for (name, value) in &settings {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        changed.set(&studio.gallery, name, &value)?;
    }
    slot.change(&changed)?;
    *options = changed;
    Ok(())
}

/// Paints the newest frame, again and again.
async fn paint(studio: &Studio, slot: &Slot, outgoing: &mpsc::Sender<Outgoing>) {
    loop {
        let (waiting, brush, dropped) = slot.take().await;
        let id = frame::id_of(&waiting.bytes);
        let work = move |_: &_| {
            let begun = Instant::now();
            let picture = decode(&waiting.bytes)?;
            let painting = brush.stylizer.stylize_owned(picture);
            let painting = painting.map_err(|error| super::stylize::damaged(&error))?;
            Ok(Painted {
                id,
                dropped,
                painting,
                quality: brush.quality,
                wait: begun - waiting.arrived,
                paint: begun.elapsed(),
            })
        };
        let painted = studio.painters.run(Lane::Frame, work).await;
        let painted = painted.unwrap_or_else(|refused: Refused| Err(Problem::refused(refused, studio.retry_after())));
        let next = match painted {
            Ok(mut painted) => {
                studio.tell_notes(std::mem::take(&mut painted.painting.notes));
                slot.count_painted();
                Outgoing::Painting(tokio::task::spawn_blocking(move || encode(painted)), id)
            }
            Err(problem) => Outgoing::Message(complaint(Some(id), &problem)),
        };
        if outgoing.send(next).await.is_err() {
            return;
        }
    }
}

/// Sends what there is to send, in order.
async fn write(queue: &mut mpsc::Receiver<Outgoing>, sink: &mut SplitSink<WebSocket, Message>) {
    while let Some(outgoing) = queue.recv().await {
        let message = match outgoing {
            Outgoing::Message(message) => message,
            Outgoing::Painting(encoding, id) => match encoding.await {
                Ok(Ok(bytes)) => Message::Binary(bytes),
                Ok(Err(problem)) => complaint(Some(id), &problem),
                Err(_) => return,
            },
        };
        if sink.send(message).await.is_err() {
            return;
        }
    }
}

/// What was wrong, with the number of the frame if it was one.
fn complaint(id: Option<u32>, problem: &Problem) -> Message {
    Message::Text(serde_json::json!({ "id": id, "problem": problem }).to_string().into())
}
