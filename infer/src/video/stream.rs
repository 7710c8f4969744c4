//! Paints frames from one pipe to another, or into an animation, without ffmpeg, sound or segments.

use std::io::Write;

use impasto_common::{Error, Result, ResultExt};
use impasto_picture::{AnimationFrame, AnimationWriter};
use impasto_video::{Ratio, VideoFrame, Y4mWriter};

use super::painter::FramePainter;
use super::pipeline::{FrameSink, Observer, paint_frames};

/// The time unit of animations, a thousandth of a second.
const MILLISECOND: Ratio = Ratio { numerator: 1, denominator: 1000 };

/// The destination of the paintings of a stream.
pub enum StreamWriter<W: Write> {
    /// YUV4MPEG2.
    Y4m(Y4mWriter<W>),
    /// RGB bytes without any header.
    Rgb(W),
    /// An animation; see [`AnimationStream::new`].
    Animation(AnimationStream<W>),
}

/// An animation whose frames come with timestamps.
pub struct AnimationStream<W: Write> {
    writer: AnimationWriter<W>,
    time_base: Ratio,
    /// The unit of delays, in milliseconds; 10 in GIF.
    unit: i64,
    held: Option<VideoFrame>,
    delay: i64,
}

impl<W: Write> AnimationStream<W> {
    /// Timestamps of frames are in `time_base`. A single frame is shown for `delay` milliseconds.
    pub fn new(writer: AnimationWriter<W>, time_base: Ratio, delay: i64) -> Self {
        let unit = if matches!(writer, AnimationWriter::Gif(_)) { 10 } else { 1 };
        Self { writer, time_base, unit, held: None, delay: delay.max(unit) }
    }

    fn push(&mut self, frame: VideoFrame) -> Result<()> {
        let pts = frame.pts;
        if let Some(before) = self.held.replace(frame) {
            // Timestamps are rounded instead of delays, whose rounding errors would add up.
            let moment = |pts| self.time_base.rescale(pts, Ratio { numerator: self.unit as u32, ..MILLISECOND });
            self.delay = (moment(pts) - moment(before.pts)).max(1) * self.unit;
            self.writer.push(AnimationFrame { picture: before.picture, delay: self.delay as u32 })?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        if let Some(VideoFrame { picture, .. }) = self.held.take() {
            self.writer.push(AnimationFrame { picture, delay: self.delay as u32 })?;
        }
        self.writer.finish()
    }
}

impl<W: Write + Send> FrameSink for StreamWriter<W> {
    fn push(&mut self, frame: VideoFrame) -> Result<()> {
        match self {
            Self::Y4m(writer) => writer.push(frame.picture),
            Self::Rgb(writer) => {
                let pixels = frame.picture.into_rgb8_on_white();
                writer.write_all(&pixels).and_then(|()| writer.flush()).context(|| "cannot write the stream")
            }
            Self::Animation(stream) => stream.push(frame),
        }
    }
}

/// Paints all frames of `frames` into `writer` and returns their number.
///
/// # Errors
///
/// If a frame cannot be read, painted or written; the frames before it are written. An interruption if the observer stops it.
pub fn paint_stream<W: Write + Send>(
    frames: &mut (impl Iterator<Item = Result<VideoFrame>> + Send),
    mut writer: StreamWriter<W>,
    painter: &mut dyn FramePainter,
    observer: &mut dyn Observer,
) -> Result<u64> {
    painter.reset();
    let painted = paint_frames(frames, painter, &mut writer, observer, 0, &mut |_, _| None);
    if let StreamWriter::Animation(stream) = writer {
        // An earlier error is more informative than one at the end.
        let finished = stream.finish();
        painted.as_ref().map_or(Ok(()), |_| finished)?;
    }
    let painted = painted?;
    if painted.stopped {
        return Err(Error::interrupted(format!("stopped after {} frames", painted.frames)));
    }
    Ok(painted.frames)
}
