//! `/v1/live`: receives the frames of a camera and sends their paintings, over a WebSocket.
//!
//! A frame is useful only while it is new. For each camera, one frame is painted at a time and one waits. A newer frame
//! replaces the waiting one, so a slow machine shows fewer frames, not older ones. While a frame is painted, the one before
//! it is encoded and sent.

mod frame;
mod handshake;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::config::ServeEvent;
use super::inspect::check_margin;
use super::options::RequestOptions;
use super::painters::{Lane, Refused};
use super::problem::Problem;
use super::studio::Studio;
use frame::{PaintedFrame, Slot, WaitingFrame, decode, encode};

pub(super) use frame::FRAME_PIXELS;

/// The pixels of a camera's frame, a message of bytes. Only in builds for fuzzing.
#[cfg(fuzzing)]
#[must_use]
pub fn read_camera_frame(bytes: &[u8]) -> Option<impasto_picture::Picture> {
    decode(bytes).ok()
}

/// Answers that are being encoded or wait to be sent, besides the one being painted.
const OUTGOING: usize = 1;
/// Unanswered pings after which a client's connection is closed.
const PINGS: usize = 2;

/// A message to the client.
enum Outgoing {
    Message(Message),
    /// A painting that is being encoded.
    Painting(JoinHandle<Result<Bytes, Problem>>, u32),
}

/// How the connection of a camera ends.
enum Ending {
    /// The client disconnected without a close frame.
    Lost,
    /// The client sent a close frame and waits for the reply.
    ClosedByClient,
    /// The server closes, with a code and a reason.
    ClosedByServer(u16, &'static str),
}

/// Opens a camera.
pub(super) async fn live(
    State(studio): State<Arc<Studio>>,
    uri: Uri,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    match open(studio, &uri, &headers, upgrade) {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

fn open(
    studio: Arc<Studio>,
    uri: &Uri,
    headers: &HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let options = RequestOptions::new(&studio.gallery, studio.memory).read(&studio.gallery, uri)?;
    let slot = Slot::new(&options)?;
    let upgrade = handshake::check(headers, upgrade)?;
    let place = Arc::clone(&studio.cameras).try_acquire_owned();
    let place = place.map_err(|_| Problem::busy("too many cameras are open", studio.retry_after()))?;
    let upgrade = upgrade.max_message_size(frame::MESSAGE_BYTES).max_frame_size(frame::MESSAGE_BYTES);
    Ok(upgrade.on_upgrade(move |socket| session(studio, options, slot, socket, place)))
}

async fn session(
    studio: Arc<Studio>,
    options: RequestOptions,
    slot: Slot,
    socket: WebSocket,
    _place: OwnedSemaphorePermit,
) {
    let (mut sink, mut stream) = socket.split();
    let (outgoing, mut queue) = mpsc::channel(OUTGOING);
    let ending = tokio::select! {
        ending = read(&studio, options, &slot, &mut stream, &outgoing) => ending,
        () = paint(&studio, &slot, &outgoing) => Ending::Lost,
        () = write(&mut queue, &mut sink) => Ending::Lost,
        () = studio.connections.stopped() => Ending::ClosedByServer(close_code::AWAY, "the server is stopping"),
    };
    // A disconnected client gets no close frame, and a client that does not read is not waited for.
    let _ = timeout(studio.limits.header_time, close(&mut sink, ending)).await;
    let (painted, dropped) = slot.counts();
    studio.metrics.frames_painted.fetch_add(painted, Ordering::Relaxed);
    studio.metrics.frames_dropped.fetch_add(dropped, Ordering::Relaxed);
    studio.tell(&ServeEvent::LiveEnded { painted, dropped });
}

/// Sends the last message, if the client is still connected.
async fn close(sink: &mut SplitSink<WebSocket, Message>, ending: Ending) -> Result<(), axum::Error> {
    match ending {
        Ending::Lost => Ok(()),
        // The library has the answer ready: a close frame with the client's own code.
        Ending::ClosedByClient => sink.close().await,
        Ending::ClosedByServer(code, reason) => {
            let reason = Utf8Bytes::from_static(reason);
            sink.send(Message::Close(Some(CloseFrame { code, reason }))).await
        }
    }
}

/// Receives the client's messages until it disconnects or stops answering pings.
async fn read(
    studio: &Studio,
    mut options: RequestOptions,
    slot: &Slot,
    stream: &mut SplitStream<WebSocket>,
    outgoing: &mpsc::Sender<Outgoing>,
) -> Ending {
    let mut pings = 0;
    loop {
        let answer = match timeout(studio.limits.header_time, stream.next()).await {
            Ok(Some(Ok(message))) => {
                pings = 0;
                match message {
                    Message::Binary(bytes) => {
                        slot.put(WaitingFrame { bytes, arrived: Instant::now() });
                        None
                    }
                    Message::Text(text) => {
                        change(studio, &mut options, slot, text.as_str()).err().map(|problem| complaint(None, &problem))
                    }
                    Message::Close(_) => return Ending::ClosedByClient,
                    Message::Ping(_) | Message::Pong(_) => None,
                }
            }
            Ok(None) => return Ending::Lost,
            // The protocol is broken, a message is too large, or the connection is lost.
            Ok(Some(Err(_))) => {
                let reason = "messages must be WebSocket frames within the size limit";
                return Ending::ClosedByServer(close_code::POLICY, reason);
            }
            Err(_) if pings == PINGS => {
                return Ending::ClosedByServer(close_code::POLICY, "the client was silent for too long");
            }
            Err(_) => {
                pings += 1;
                Some(Message::Ping(Bytes::new()))
            }
        };
        if let Some(message) = answer
            && outgoing.send(Outgoing::Message(message)).await.is_err()
        {
            return Ending::Lost;
        }
    }
}

/// Changes the options to those of a message such as `{"strength": 0.5}`. If any option is invalid, none is changed.
fn change(studio: &Studio, options: &mut RequestOptions, slot: &Slot, text: &str) -> Result<(), Problem> {
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

/// Repeatedly paints the newest frame.
async fn paint(studio: &Studio, slot: &Slot, outgoing: &mpsc::Sender<Outgoing>) {
    loop {
        let (waiting, frame_options, dropped) = slot.take().await;
        let (id, limit) = (frame::id_of(&waiting.bytes), studio.limits.pixels);
        let work = move |_: &_| {
            let begun = Instant::now();
            let picture = decode(&waiting.bytes)?;
            check_margin(&frame_options.stylizer, (picture.width(), picture.height()), limit)?;
            let painting = frame_options.stylizer.stylize_owned(picture);
            let painting = painting.map_err(|error| Problem::damaged(&error))?;
            Ok(PaintedFrame {
                id,
                dropped,
                painting,
                quality: frame_options.quality,
                wait: begun - waiting.arrived,
                paint: begun.elapsed(),
            })
        };
        let painted = studio.painters.run(Lane::CameraFrame, work).await;
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

/// Sends everything to the client, in order.
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

/// Tells the client of a problem, with the number of the frame if it concerns one.
fn complaint(id: Option<u32>, problem: &Problem) -> Message {
    Message::Text(serde_json::json!({ "id": id, "problem": problem }).to_string().into())
}
