//! Encodes paintings into segments. Each segment has its own encoder; the next one starts while the last one finishes.

use std::path::PathBuf;
use std::thread::{self, JoinHandle};

use impasto_common::{Error, Result};
use impasto_picture::Picture;
use impasto_video::{VideoFrame, rgb_to_planar};

use super::encoder::{Encoder, EncoderSettings};
use super::matroska::RawFormat;
use super::pipeline::FrameSink;
use super::segments::{Segment, SegmentFolder, next_frame, unfinished};

/// Frames in a segment. x264 sets a key frame at least every 250 frames. Twice as many cost little, and an interrupted run
/// repeats at most this many frames.
pub(super) const SEGMENT_FRAMES: u64 = 125;

/// Encodes paintings into the segments of a folder.
pub(super) struct SegmentSink {
    settings: EncoderSettings,
    folder: SegmentFolder,
    segments: Vec<Segment>,
    next: u64,
    open: Option<OpenSegment>,
    finishing: Option<JoinHandle<Result<Segment>>>,
    /// The previous frame. Its duration is known when the next one arrives.
    held: Option<(Vec<u8>, i64)>,
    step: i64,
}

/// A segment that is being written.
struct OpenSegment {
    encoder: Encoder,
    path: PathBuf,
    first: u64,
    count: u64,
    pts: i64,
}

impl SegmentSink {
    /// Continues after `segments`. A frame whose end is unknown is shown for `step`.
    pub(super) fn new(settings: EncoderSettings, folder: SegmentFolder, segments: Vec<Segment>, step: i64) -> Self {
        let next = next_frame(&segments);
        Self { settings, folder, segments, next, open: None, finishing: None, held: None, step }
    }

    /// Ends the last segment and returns all of them; `end` is when the last frame's time is over. If the clip goes on after
    /// it, as `stopped` says, a segment that is too short gets no name, so that no other run takes it for complete.
    pub(super) fn finish(mut self, end: Option<i64>, stopped: bool) -> Result<FinishedSegments> {
        let mut over = None;
        if let Some((pixels, pts)) = self.held.take() {
            let duration = end.map_or(self.step, |end| end - pts);
            let duration = if duration > 0 { duration } else { self.step };
            self.encode(&pixels, pts, duration)?;
            over = Some(pts + duration);
        }
        self.close(stopped)?;
        self.settle()?;
        Ok(FinishedSegments { segments: self.segments, end: over })
    }

    fn encode(&mut self, pixels: &[u8], pts: i64, duration: i64) -> Result<()> {
        if self.open.as_ref().is_some_and(|open| open.count == SEGMENT_FRAMES) {
            self.close(false)?;
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.start(pts)?,
        };
        if let Err(error) = open.encoder.push(pixels, pts - open.pts, duration) {
            // The pipe's own error says only that the pipe was closed.
            drop(error);
            return Err(open.encoder.failure());
        }
        open.count += 1;
        self.next += 1;
        self.open = Some(open);
        Ok(())
    }

    fn start(&self, pts: i64) -> Result<OpenSegment> {
        let path = self.folder.path().join(unfinished(self.next, self.settings.format));
        let encoder = Encoder::start(&self.settings, &path)?;
        Ok(OpenSegment { encoder, path, first: self.next, count: 0, pts })
    }

    /// Lets the open segment finish in the background.
    fn close(&mut self, stopped: bool) -> Result<()> {
        self.settle()?;
        if let Some(OpenSegment { encoder, path, first, count, pts }) = self.open.take() {
            let folder = self.folder.clone();
            self.finishing = Some(thread::spawn(move || {
                encoder.finish().inspect_err(|_| {
                    // An incomplete segment is useless, and disk space may be short.
                    let _ = std::fs::remove_file(&path);
                })?;
                if stopped && count < SEGMENT_FRAMES {
                    return Ok(Segment { first, count, pts, path });
                }
                folder.complete(&path, first, count, pts)
            }));
        }
        Ok(())
    }

    /// Waits for the segment that is finishing.
    fn settle(&mut self) -> Result<()> {
        if let Some(finishing) = self.finishing.take() {
            let segment = finishing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            self.segments.push(segment);
        }
        Ok(())
    }

    fn pixels(&self, frame: VideoFrame) -> Result<Vec<u8>> {
        let (width, height) = self.settings.track.size;
        let mut image = frame.picture.into_image();
        if image.width() < width || image.height() < height {
            return Err(Error::new(format!("a painting of {}x{} pixels is too small", image.width(), image.height())));
        }
        if (image.width(), image.height()) != (width, height) {
            image = image.crop_imm(0, 0, width, height);
        }
        if self.settings.track.format == RawFormat::Rgba {
            return Ok(image.into_rgba8().into_raw());
        }
        let image = Picture::from(image).into_rgb8_on_white();
        Ok(match self.settings.track.format {
            RawFormat::Rgb | RawFormat::Rgba => image.into_raw(),
            RawFormat::Yuv420 => rgb_to_planar(&image, &self.settings.color),
        })
    }
}

impl FrameSink for SegmentSink {
    fn push(&mut self, frame: VideoFrame) -> Result<()> {
        let pts = frame.pts;
        let pixels = self.pixels(frame)?;
        if let Some((before, earlier)) = self.held.replace((pixels, pts)) {
            self.encode(&before, earlier, pts - earlier)?;
        }
        Ok(())
    }
}

/// All segments of a run that ended.
pub(super) struct FinishedSegments {
    pub(super) segments: Vec<Segment>,
    /// The time at which the last frame ends; `None` if there was no frame.
    pub(super) end: Option<i64>,
}
