//! Camera frames: their byte format, and the slot where the newest frame waits.
//!
//! Numbers are little-endian. Client to server: the frame's number (u32), width and height (u16 each), then RGBA, 8 bits
//! each; or 0 for both sizes, then a picture file. Server to client: the frame's number, frames dropped so far,
//! microseconds waited and painted (u32 each), then a JPEG.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::StatusCode;
use image::RgbImage;
use impasto_common::Error;
use impasto_picture::{Picture, PictureFormat};
use jpeg_encoder::{ColorType, Encoder};
use tokio::sync::Notify;

use super::super::inspect::inspect;
use super::super::options::RequestOptions;
use super::super::problem::Problem;
use crate::Stylizer;

/// The most pixels of a frame: 1920x1088, the full HD size of cameras.
pub(in crate::serve) const FRAME_PIXELS: u64 = 1920 * 1088;

/// Bytes before the pixels in a message from the client.
const HEAD: usize = 8;
/// The most bytes of a message: those of the largest frame without compression.
pub(super) const MESSAGE_BYTES: usize = HEAD + 4 * FRAME_PIXELS as usize;

/// A frame as received.
pub(super) struct WaitingFrame {
    pub(super) bytes: Bytes,
    pub(super) arrived: Instant,
}

/// How frames are painted.
#[derive(Clone)]
pub(super) struct FrameOptions {
    pub(super) stylizer: Arc<Stylizer>,
    pub(super) quality: u8,
}

impl FrameOptions {
    fn new(options: &RequestOptions) -> Result<Self, Problem> {
        if options.format.is_some_and(|format| format != PictureFormat::Jpeg) {
            return Err(Problem::option("paintings of a camera are always JPEG"));
        }
        Ok(Self { stylizer: Arc::new(options.stylizer()?), quality: options.quality })
    }
}

struct SlotContents {
    frame: Option<WaitingFrame>,
    frame_options: FrameOptions,
    painted: u64,
    dropped: u64,
}

/// A slot for one frame.
pub(super) struct Slot {
    held: Mutex<SlotContents>,
    filled: Notify,
}

impl Slot {
    pub(super) fn new(options: &RequestOptions) -> Result<Self, Problem> {
        let held = SlotContents { frame: None, frame_options: FrameOptions::new(options)?, painted: 0, dropped: 0 };
        Ok(Self { held: Mutex::new(held), filled: Notify::new() })
    }

    fn held(&self) -> MutexGuard<'_, SlotContents> {
        // No code that holds this lock can panic.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a frame into the slot; one that is already there is dropped.
    pub(super) fn put(&self, frame: WaitingFrame) {
        let mut held = self.held();
        held.dropped += u64::from(held.frame.replace(frame).is_some());
        drop(held);
        self.filled.notify_one();
    }

    /// Waits for a frame and takes it, with its painting options and the number of frames dropped so far.
    pub(super) async fn take(&self) -> (WaitingFrame, FrameOptions, u32) {
        loop {
            {
                let mut held = self.held();
                if let Some(frame) = held.frame.take() {
                    return (frame, held.frame_options.clone(), held.dropped as u32);
                }
            }
            self.filled.notified().await;
        }
    }

    /// Changes how the next frames are painted.
    pub(super) fn change(&self, options: &RequestOptions) -> Result<(), Problem> {
        self.held().frame_options = FrameOptions::new(options)?;
        Ok(())
    }

    pub(super) fn count_painted(&self) {
        self.held().painted += 1;
    }

    /// Frames painted and dropped.
    pub(super) fn counts(&self) -> (u64, u64) {
        let held = self.held();
        (held.painted, held.dropped)
    }
}

/// A frame after painting.
pub(super) struct PaintedFrame {
    pub(super) id: u32,
    pub(super) dropped: u32,
    pub(super) painting: crate::Painted,
    pub(super) quality: u8,
    pub(super) wait: Duration,
    pub(super) paint: Duration,
}

/// The number that the client gave to a frame; 0 if the frame is too short to have one.
pub(super) fn id_of(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |id| u32::from_le_bytes(*id))
}

/// The pixels of a frame.
pub(super) fn decode(bytes: &[u8]) -> Result<Picture, Problem> {
    let (head, rest) =
        bytes.split_first_chunk::<HEAD>().ok_or_else(|| bad_frame("it is shorter than its header of 8 bytes"))?;
    let &[_, _, _, _, w0, w1, h0, h1] = head;
    let [width, height] = [[w0, w1], [h0, h1]].map(u16::from_le_bytes).map(u32::from);
    if (width, height) == (0, 0) {
        inspect(rest, FRAME_PIXELS)?;
        return Picture::decode_within(rest, FRAME_PIXELS).map_err(|error| Problem::damaged(&error));
    }
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 || pixels > FRAME_PIXELS || rest.len() as u64 != 4 * pixels {
        let detail = format!("{} bytes are not {width}x{height} pixels in RGBA, or the frame is too large", rest.len());
        return Err(bad_frame(&detail));
    }
    let rgb = rest.as_chunks::<4>().0.iter().flat_map(|&[red, green, blue, _]| [red, green, blue]).collect();
    // The length matches the sizes, so there is always an image.
    RgbImage::from_raw(width, height, rgb)
        .map(Picture::from)
        .ok_or_else(|| bad_frame("its size does not match its pixels"))
}

fn bad_frame(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_frame", "the frame cannot be read", detail)
        .with_hint("`/openapi.json` describes the bytes of a frame")
}

/// The answer to a frame. It uses a vectorised JPEG encoder: the encoder for files takes as long as a small network.
pub(super) fn encode(painted: PaintedFrame) -> Result<Bytes, Problem> {
    let PaintedFrame { id, dropped, painting, quality, wait, paint } = painted;
    let microseconds = |time: Duration| time.as_micros().min(u128::from(u32::MAX)) as u32;
    let head = [id, dropped, microseconds(wait), microseconds(paint)];
    let mut bytes: Vec<u8> = head.into_iter().flat_map(u32::to_le_bytes).collect();
    let image = painting.picture.into_rgb8();
    // The sides of a frame are below 2^16: they came as 16-bit numbers, or the frame has few pixels.
    let (width, height) = (image.width() as u16, image.height() as u16);
    Encoder::new(&mut bytes, quality)
        .encode(image.as_raw(), width, height, ColorType::Rgb)
        .map_err(|error| Problem::damaged(&Error::new("the painting cannot be encoded").with_source(error)))?;
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(width: u16, height: u16, pixels: &[u8]) -> Vec<u8> {
        [&7u32.to_le_bytes()[..], &width.to_le_bytes(), &height.to_le_bytes(), pixels].concat()
    }

    #[test]
    fn raw_frames_are_rgba_from_the_top_left() {
        let frame = raw(2, 1, &[1, 2, 3, 255, 4, 5, 6, 0]);
        assert_eq!(id_of(&frame), 7);
        let picture = decode(&frame).unwrap();
        assert_eq!((picture.width(), picture.height()), (2, 1));
        assert_eq!(picture.into_rgb8().into_raw(), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn frames_that_do_not_match_their_header_are_refused() {
        let code = |bytes: &[u8]| decode(bytes).unwrap_err().code;
        assert_eq!(code(b""), "bad_frame");
        assert_eq!(code(&raw(2, 1, &[0; 7])), "bad_frame");
        assert_eq!(code(&raw(2, 0, &[])), "bad_frame");
        assert_eq!(code(&raw(u16::MAX, u16::MAX, &[0; 64])), "bad_frame");
        assert_eq!(code(&raw(0, 0, b"no picture at all")), "not_a_picture");
        assert_eq!(code(&raw(0, 0, b"\xFF\xD8\xFF\xE0 cut")), "damaged_picture");
    }

    #[test]
    fn an_encoded_frame_and_its_answer_are_whole_pictures() {
        let picture = Picture::from(RgbImage::from_pixel(24, 16, image::Rgb([200, 100, 50])));
        let jpeg = picture.encode(PictureFormat::Jpeg.into()).unwrap();
        let painting = decode(&raw(0, 0, &jpeg)).unwrap().into();
        let (wait, paint) = (Duration::from_micros(3), Duration::from_millis(4));
        let answer = encode(PaintedFrame { id: 7, dropped: 2, painting, quality: 90, wait, paint }).unwrap();
        let numbers: Vec<_> = answer[..16].as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        assert_eq!(numbers, [7, 2, 3, 4000]);
        assert_eq!(Picture::decode(&answer[16..]).unwrap().into_rgb8().dimensions(), (24, 16));
    }
}
