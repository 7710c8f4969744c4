//! Clips, painted frame by frame: the video is new, everything else in the file stays.
//!
//! ffmpeg decodes and encodes; frames pass through pipes and are never files. Decoding, painting and encoding overlap. The
//! painting is encoded in segments. A segment gets its name once it is complete, so an interrupted run can continue behind
//! the last one. At the end the segments are joined with the sound, the subtitles and the metadata of the clip, without
//! encoding anything again.

mod codec;
mod container;
mod digest;
mod encoder;
mod ffmpeg_log;
mod join;
mod matroska;
mod memory;
mod painter;
mod pipeline;
mod scale;
mod segments;
mod sink;
mod stream;
mod trial;

use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use impasto_common::{Error, Result, ResultExt};
use impasto_files::move_into_place;
use impasto_video::{Ffmpeg, Ratio, ReadOptions, VideoInfo, VideoReader, probe};

use codec::{encoder_named, options as codec_options, segment_format, wants_rgb};
use encoder::EncoderSettings;
use ffmpeg_log::is_disk_full;
use join::ClipJoin;
use matroska::{RawFormat, RawTrack};
use pipeline::PaintedFrames;
use segments::{RunIdentity, Segment, SegmentFolder, next_frame};
use sink::{FinishedSegments, SEGMENT_FRAMES, SegmentSink};
use trial::try_encoder;

pub use codec::Effort;
pub use container::Container;
pub use painter::FramePainter;
pub use pipeline::Observer;
pub use scale::Scale;
pub use stream::{AnimationStream, StreamWriter, paint_stream};

/// How a clip is read and encoded.
#[derive(Debug, Clone)]
pub struct RenderOptions {
    /// The range of the clip and the frame rate; the size is that of `scale`.
    pub read: ReadOptions,
    /// The size.
    pub scale: Scale,
    /// The encoder, by a short name or ffmpeg's; the container's usual one if `None`.
    pub codec: Option<String>,
    /// The encoder's constant quality; its usual one if `None`.
    pub crf: Option<u8>,
    /// Further options of the encoder.
    pub codec_options: Vec<(String, String)>,
    /// The effort of the encoder.
    pub effort: Effort,
    /// Continue with the segments of an interrupted run.
    pub resume: bool,
    /// Everything about the painter that changes paintings, in words: a run is only resumed with the same painter.
    pub painter: String,
}

/// How a painted clip came out.
#[derive(Debug)]
pub struct RenderedClip {
    /// Frames in the clip.
    pub frames: u64,
    /// What could not be decoded and is missing.
    pub damage: Option<Error>,
}

/// What to do when the disk is full.
const ROOM: &str = "make room on the disk; the same command with `--resume` then continues with what is painted";

/// Paints the clip `source` into the file `output`.
///
/// The file appears under its name when it is complete, or if the observer stops the run: then with what is painted so far.
/// The segments stay in the folder `OUTPUT.parts` until the clip is complete.
///
/// # Errors
///
/// If ffmpeg is missing, the clip cannot be read, an option is not possible, or a frame cannot be painted or encoded. An
/// [`ErrorKind::Interrupted`](impasto_common::error::ErrorKind) if the observer stops it.
pub fn render(
    source: &Path,
    output: &Path,
    container: Container,
    options: &RenderOptions,
    painter: &mut dyn FramePainter,
    observer: &mut dyn Observer,
) -> Result<RenderedClip> {
    render_segments(source, output, container, options, painter, observer)
        .map_err(|error| if is_disk_full(&error) { error.with_hint(ROOM) } else { error })
}

fn render_segments(
    source: &Path,
    output: &Path,
    container: Container,
    options: &RenderOptions,
    painter: &mut dyn FramePainter,
    observer: &mut dyn Observer,
) -> Result<RenderedClip> {
    let ffmpeg = Ffmpeg::find()?;
    let info = probe(source)?;
    let read = ReadOptions { size: Some(options.scale.of((info.width, info.height))?), ..options.read };
    let mut settings = encoder_settings(ffmpeg, &info, read, container, options);
    let folder = SegmentFolder::beside(output);
    let lock = folder.lock(output)?;
    let mut segments = folder.open(&identity(source, &settings, options)?, options.resume, observer)?;
    memory::recall(&folder, &mut segments, painter, observer)?;
    let join = ClipJoin {
        source,
        info: &info,
        start: read.start,
        duration: read.duration,
        time_base: settings.track.time_base,
        container,
        folder: folder.path(),
    };
    let read = ReadOptions { skip: next_frame(&segments), ..read };
    let opened = try_encoder(&mut settings, folder.path(), observer)
        .and_then(|()| join.check_others())
        .and_then(|()| open_reader(source, read, &settings));
    let mut reader = match opened {
        Ok(reader) => reader,
        Err(error) => {
            if segments.is_empty() {
                // The error matters more than an empty folder that stays.
                let _ = folder.remove(lock);
            }
            return Err(error);
        }
    };
    notes(&reader).into_iter().chain(join.notes()).for_each(|note| observer.note(&note));
    let (painted, finished) = paint_segments(&mut reader, settings, &folder, segments, options, painter, observer)?;
    let FinishedSegments { segments, end } = finished;
    if segments.is_empty() {
        folder.remove(lock)?;
        return Err(Error::new(format!("there is no frame to paint in `{}`", source.display())));
    }
    let joined = join.join(&segments, end.filter(|_| painted.stopped))?;
    move_into_place(&joined, output)?;
    if painted.stopped {
        return Err(stopped(&segments, output)?);
    }
    folder.remove(lock)?;
    Ok(RenderedClip { frames: next_frame(&segments), damage: reader.damage() })
}

fn open_reader(source: &Path, read: ReadOptions, settings: &EncoderSettings) -> Result<VideoReader> {
    let reader = VideoReader::with_options(source, read)?;
    let (found, expected) = (reader.time_base(), settings.track.time_base);
    if found != expected {
        return Err(Error::new(format!("ffmpeg uses the time base {found}, not {expected}")));
    }
    Ok(reader)
}

/// Paints the frames of `reader` into segments behind those that are there.
fn paint_segments(
    reader: &mut VideoReader,
    settings: EncoderSettings,
    folder: &SegmentFolder,
    segments: Vec<Segment>,
    options: &RenderOptions,
    painter: &mut dyn FramePainter,
    observer: &mut dyn Observer,
) -> Result<(PaintedFrames, FinishedSegments)> {
    let info = reader.info().clone();
    let next = next_frame(&segments);
    observer.begin(expected_frames(&info, options.read), next);
    let step = info.frame_rate.map_or(1, |rate| rate.inverse().rescale(1, settings.track.time_base).max(1));
    let mut sink = SegmentSink::new(settings, folder.clone(), segments, step);
    let mut after = |frames: u64, painter: &dyn FramePainter| memory::store_at_end_of_segment(folder, frames, painter);
    let painted = pipeline::paint_frames(reader, painter, &mut sink, observer, next, &mut after)?;
    // The last frame of a whole clip ends with the clip.
    let whole = options.read == ReadOptions { size: options.read.size, ..Default::default() } && !painted.stopped;
    let end = info.start.zip(info.duration).filter(|_| whole).map(|(start, duration)| start + duration);
    Ok((painted, sink.finish(end, painted.stopped)?))
}

/// The end of a run that the observer stopped.
fn stopped(segments: &[Segment], output: &Path) -> Result<Error> {
    // Painted again from its first frame, an unfinished segment becomes what it would have been without the stop.
    if let Some(segment) = segments.last().filter(|segment| segment.count < SEGMENT_FRAMES) {
        fs::remove_file(&segment.path).context(|| format!("cannot remove `{}`", segment.path.display()))?;
    }
    let (frames, output) = (next_frame(segments), output.display());
    Ok(Error::interrupted(format!("stopped; `{output}` holds the {frames} frames that are painted"))
        .with_hint("the same command with `--resume` continues"))
}

fn encoder_settings(
    ffmpeg: Ffmpeg,
    info: &VideoInfo,
    read: ReadOptions,
    container: Container,
    options: &RenderOptions,
) -> EncoderSettings {
    let codec = encoder_named(options.codec.as_deref().unwrap_or(container.default_codec())).to_owned();
    let rgb = wants_rgb(&codec);
    let scaled = read.size != Some((info.width, info.height));
    EncoderSettings {
        ffmpeg,
        options: codec_options(&codec, options.effort, options.crf, &options.codec_options),
        track: RawTrack {
            size: read.size.unwrap_or((info.width, info.height)),
            format: if rgb { RawFormat::Rgb } else { RawFormat::Yuv420 },
            time_base: read.frame_rate.map_or(info.time_base, Ratio::inverse),
            frame_rate: read.frame_rate.or(info.frame_rate),
        },
        color: VideoReader::color_of(ffmpeg, info),
        sample_aspect: if scaled { None } else { info.shown_aspect() },
        format: segment_format(&codec),
        codec,
    }
}

/// Whether `output` was left by an interrupted run, which [`RenderOptions::resume`] continues.
#[must_use]
pub fn is_interrupted(output: &Path) -> bool {
    SegmentFolder::beside(output).exists()
}

/// What makes two runs the same; see [`SegmentFolder::open`].
fn identity(source: &Path, settings: &EncoderSettings, options: &RenderOptions) -> Result<RunIdentity> {
    let action = || format!("cannot read `{}`", source.display());
    let metadata = fs::metadata(source).context(action)?;
    let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let Ratio { numerator, denominator } = settings.track.time_base;
    let (width, height) = settings.track.size;
    let read = &options.read;
    let clip = format!("{} bytes of {}.{:09}", metadata.len(), changed.as_secs(), changed.subsec_nanos());
    Ok(RunIdentity::from(
        [
            ("clip", clip),
            ("codec", format!("{} {:?} of {} frames", settings.codec, settings.options, SEGMENT_FRAMES)),
            ("frames", format!("{:?} {:?} in units of {numerator}/{denominator}", read.start, read.duration)),
            ("painter", options.painter.clone()),
            ("size", format!("{width}x{height}")),
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    ))
}

/// What is lost on the way to 8-bit RGB, in words.
fn notes(reader: &VideoReader) -> Vec<String> {
    let info = reader.info();
    let mut notes = Vec::new();
    match (info.color.is_hdr(), reader.is_tone_mapped()) {
        (true, true) => notes.push("high dynamic range is converted to standard range for painting".to_owned()),
        (true, false) => notes.push(
            "high dynamic range is painted unconverted and looks pale: this ffmpeg lacks the filters `zscale` and `tonemap`"
                .to_owned(),
        ),
        (false, _) if info.bits > 8 => notes.push(format!("painted in 8 bits; the clip has {}", info.bits)),
        _ => {}
    }
    if info.has_alpha {
        notes.push("transparency is not kept".into());
    }
    if info.interlaced {
        notes.push("the clip is interlaced and painted like that; deinterlace it first for a cleaner result".into());
    }
    notes
}

/// The number of frames to expect, if the file says it.
fn expected_frames(info: &VideoInfo, read: ReadOptions) -> Option<u64> {
    let whole = read.start.is_none() && read.duration.is_none() && read.frame_rate.is_none();
    if let Some(frames) = info.frames.filter(|_| whole) {
        return Some(frames);
    }
    let rate = read.frame_rate.or(info.frame_rate)?;
    let left = info.seconds().map(|seconds| (seconds - read.start.unwrap_or(0.0)).max(0.0));
    let seconds = match (left, read.duration) {
        (Some(left), Some(duration)) => left.min(duration),
        (left, duration) => left.or(duration)?,
    };
    Some((seconds * rate.value()).round().max(1.0) as u64)
}
