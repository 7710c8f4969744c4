//! Paintings into parts: an encoder for each, the next one started while the last one finishes.

use std::path::PathBuf;
use std::thread::{self, JoinHandle};

use impasto_common::{Error, Result};
use impasto_video::{VideoFrame, rgb_to_planar};

use super::encoder::{Encoder, Encoding};
use super::matroska::RawFormat;
use super::parts::{Part, PartsFolder, unfinished};
use super::pipeline::Sink;

/// Frames of a part. x264 sets a key frame after 250 at the latest; half of that costs little, and a run that is
/// interrupted paints no more than these again.
pub(super) const PART_FRAMES: u64 = 125;

/// Encodes paintings into the parts of a folder.
pub(super) struct PartsSink {
    encoding: Encoding,
    folder: PartsFolder,
    parts: Vec<Part>,
    next: u64,
    open: Option<Open>,
    finishing: Option<JoinHandle<Result<Part>>>,
    /// The frame before: how long it shows is known when the next one comes.
    held: Option<(Vec<u8>, i64)>,
    step: i64,
}

/// A part that takes frames.
struct Open {
    encoder: Encoder,
    path: PathBuf,
    first: u64,
    count: u64,
    pts: i64,
}

impl PartsSink {
    /// Goes on behind `parts`; a frame shows for `step` where nothing tells its end.
    pub(super) fn new(encoding: Encoding, folder: PartsFolder, parts: Vec<Part>, step: i64) -> Self {
        let next = next_frame(&parts);
        Self { encoding, folder, parts, next, open: None, finishing: None, held: None, step }
    }

    /// Ends the last part and returns all of them; `end` is when the last frame's time is over.
    pub(super) fn finish(mut self, end: Option<i64>) -> Result<Parts> {
        let mut over = None;
        if let Some((pixels, pts)) = self.held.take() {
            let duration = end.map_or(self.step, |end| end - pts);
            let duration = if duration > 0 { duration } else { self.step };
            self.encode(&pixels, pts, duration)?;
            over = Some(pts + duration);
        }
        self.close()?;
        self.settle()?;
        Ok(Parts { parts: self.parts, end: over })
    }

    fn encode(&mut self, pixels: &[u8], pts: i64, duration: i64) -> Result<()> {
        if self.open.as_ref().is_some_and(|open| open.count == PART_FRAMES) {
            self.close()?;
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.start(pts)?,
        };
        if let Err(error) = open.encoder.push(pixels, pts - open.pts, duration) {
            // The pipe's own error says only that it is broken.
            drop(error);
            return Err(open.encoder.failure());
        }
        open.count += 1;
        self.next += 1;
        self.open = Some(open);
        Ok(())
    }

    fn start(&self, pts: i64) -> Result<Open> {
        let path = self.folder.path().join(unfinished(self.next, self.encoding.format));
        let encoder = Encoder::start(&self.encoding, &path)?;
        Ok(Open { encoder, path, first: self.next, count: 0, pts })
    }

    /// Lets the open part finish beside what comes next.
    fn close(&mut self) -> Result<()> {
        self.settle()?;
        if let Some(Open { encoder, path, first, count, pts }) = self.open.take() {
            let folder = self.folder.clone();
            self.finishing = Some(thread::spawn(move || {
                encoder.finish()?;
                folder.complete(&path, first, count, pts)
            }));
        }
        Ok(())
    }

    /// Waits for the part that finishes.
    fn settle(&mut self) -> Result<()> {
        if let Some(finishing) = self.finishing.take() {
            let part = finishing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            self.parts.push(part);
        }
        Ok(())
    }

    fn pixels(&self, frame: VideoFrame) -> Result<Vec<u8>> {
        let (width, height) = self.encoding.track.size;
        let mut image = frame.picture.into_rgb8();
        if image.width() < width || image.height() < height {
            return Err(Error::new(format!("a painting of {}x{} pixels is too small", image.width(), image.height())));
        }
        if image.dimensions() != (width, height) {
            image = image::imageops::crop_imm(&image, 0, 0, width, height).to_image();
        }
        Ok(match self.encoding.track.format {
            RawFormat::Rgb => image.into_raw(),
            RawFormat::Yuv420 => rgb_to_planar(&image, &self.encoding.color),
        })
    }
}

impl Sink for PartsSink {
    fn push(&mut self, frame: VideoFrame) -> Result<()> {
        let pts = frame.pts;
        let pixels = self.pixels(frame)?;
        if let Some((before, earlier)) = self.held.replace((pixels, pts)) {
            self.encode(&before, earlier, pts - earlier)?;
        }
        Ok(())
    }
}

/// All parts of a run that ended.
pub(super) struct Parts {
    pub(super) parts: Vec<Part>,
    /// When the last frame's time is over; `None` if none came.
    pub(super) end: Option<i64>,
}

/// The number of the first frame that is in none of the parts.
pub(super) fn next_frame(parts: &[Part]) -> u64 {
    parts.last().map_or(0, |part| part.first + part.count)
}
