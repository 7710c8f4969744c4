//! Paints clips frame by frame. The video is replaced, and everything else in the file is kept.
//!
//! ffmpeg decodes and encodes. Frames pass through pipes and are never written to files. Decoding, painting and encoding
//! overlap. The painted frames are encoded in segments. A segment gets its final name once it is complete, so an
//! interrupted run can continue after the last one. At the end, the segments are joined with the sound, the subtitles and
//! the metadata of the clip, without encoding anything again.

mod codec;
mod container;
mod cover;
mod digest;
mod encoder;
mod ffmpeg_log;
mod join;
mod losses;
mod matroska;
mod memory;
mod painter;
mod pipeline;
mod scale;
mod segments;
mod sink;
mod stream;
mod time_code;
mod tracks;
mod trial;

use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use impasto_common::{Error, Result, ResultExt};
use impasto_files::move_into_place;
use impasto_video::{Ffmpeg, Ratio, ReadOptions, VideoInfo, VideoReader, probe};

use codec::{alpha_layout, encoder_named, options as codec_options, segment_format, wants_rgb};
use encoder::EncoderSettings;
use ffmpeg_log::is_disk_full;
use join::ClipJoin;
use matroska::{RawFormat, RawTrack};
use pipeline::PaintedFrames;
use segments::{RunIdentity, Segment, SegmentFolder, next_frame};
use sink::{FinishedSegments, SEGMENT_FRAMES, SegmentSink};
use tracks::KeptTracks;
use trial::try_encoder;

pub use codec::Effort;
pub use container::Container;
pub use losses::LossNotes;
pub use painter::FramePainter;
pub use pipeline::Observer;
pub use scale::{FrameShape, Scale};
pub use stream::{AnimationStream, StreamWriter, paint_stream};
pub use tracks::left_out_beside_frames;

/// How a clip is read and encoded.
#[derive(Debug, Clone)]
pub struct RenderOptions {
    /// The part of the clip and the frame rate. Its size is ignored; see `scale`.
    pub read: ReadOptions,
    /// The size.
    pub scale: Scale,
    /// The encoder, by its short name or ffmpeg's name. `None` is the container's default.
    pub codec: Option<String>,
    /// The encoder's constant quality. `None` is the default for the encoder.
    pub crf: Option<u8>,
    /// Further options of the encoder.
    pub codec_options: Vec<(String, String)>,
    /// The effort of the encoder.
    pub effort: Effort,
    /// Continue with the segments of an interrupted run.
    pub resume: bool,
    /// A text that identifies everything about the painter that changes the result. A run is resumed only with the same
    /// painter.
    pub painter: String,
}

/// The result of painting a clip.
#[derive(Debug)]
pub struct RenderedClip {
    /// Frames in the clip.
    pub frames: u64,
    /// The frames that could not be decoded and are missing, if any.
    pub damage: Option<Error>,
}

/// The hint for a full disk.
const ROOM: &str = "free some disk space; the same command with `--resume` then continues after the painted frames";

/// Paints the clip `source` into the file `output`.
///
/// The file appears under its name when it is complete. If the observer stops the run, the file has the frames painted so
/// far. The segments stay in the folder `OUTPUT.parts` until the clip is complete.
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
    let clip = FrameShape { size: (info.width, info.height), aspect: info.shown_aspect() };
    let shape = options.scale.of(clip)?;
    let read = ReadOptions { size: Some(shape.size), ..options.read };
    let mut settings = encoder_settings(ffmpeg, &info, shape, container, options);
    let folder = SegmentFolder::beside(output);
    let lock = folder.lock(output)?;
    let mut segments = folder.open(&identity(source, &settings, options)?, options.resume, observer)?;
    memory::recall(&folder, &mut segments, painter, observer)?;
    let join = ClipJoin {
        source,
        info: &info,
        start: read.start,
        duration: read.duration,
        other_rate: read.frame_rate.is_some_and(|rate| Some(rate) != info.frame_rate),
        time_base: settings.track.time_base,
        container,
        folder: folder.path(),
    };
    let read = ReadOptions { skip: next_frame(&segments), ..read };
    let opened =
        try_clip(&join, &mut settings, observer).and_then(|tracks| Ok((open_reader(source, read, &settings)?, tracks)));
    let (mut reader, tracks) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            if segments.is_empty() {
                // The error is more important than an empty folder left behind.
                let _ = folder.remove(lock);
            }
            return Err(error);
        }
    };
    notes(ffmpeg, &reader).iter().chain(&tracks.notes).for_each(|note| observer.note(note));
    let loss = opaque_note(&settings, container);
    let painter = &mut LossNotes::new(painter, |painting| loss.clone().filter(|_| painting.is_transparent()));
    let (painted, finished) = paint_segments(&mut reader, settings, &folder, segments, options, painter, observer)?;
    let FinishedSegments { segments, end } = finished;
    if segments.is_empty() {
        folder.remove(lock)?;
        return Err(Error::new(format!("there are no frames to paint in `{}`", source.display())));
    }
    let joined = join.join(&segments, &tracks, end.filter(|_| painted.stopped))?;
    join.lost_time_code(&joined)?.iter().for_each(|note| observer.note(note));
    move_into_place(&joined, output)?;
    if painted.stopped {
        return Err(stopped(&segments, output)?);
    }
    folder.remove(lock)?;
    Ok(RenderedClip { frames: next_frame(&segments), damage: reader.damage() })
}

/// Tries the encoder and the container, and chooses what is kept beside the video.
fn try_clip(join: &ClipJoin, settings: &mut EncoderSettings, observer: &mut dyn Observer) -> Result<KeptTracks> {
    let trial = try_encoder(settings, join.folder, observer)?;
    let tracks = join.choose_tracks(&trial);
    fs::remove_file(&trial).context(|| format!("cannot remove `{}`", trial.display()))?;
    tracks
}

/// What to say when a painting turns out to be transparent, and the clip cannot be.
fn opaque_note(settings: &EncoderSettings, container: Container) -> Option<String> {
    let codec = &settings.codec;
    settings.alpha.is_none().then(|| {
        format!(
            "{codec} in {container} has no transparency; transparent pixels are put on white (.webm keeps them, and .mov with \
             `--codec prores`)"
        )
    })
}

fn open_reader(source: &Path, read: ReadOptions, settings: &EncoderSettings) -> Result<VideoReader> {
    let reader = VideoReader::with_options(source, read)?;
    let (found, expected) = (reader.time_base(), settings.track.time_base);
    if found != expected {
        return Err(Error::new(format!("ffmpeg uses the time base {found} instead of {expected}")));
    }
    Ok(reader)
}

/// Paints the frames of `reader` into new segments after the existing ones.
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

/// Ends a run that the observer stopped.
fn stopped(segments: &[Segment], output: &Path) -> Result<Error> {
    // An unfinished segment is painted again from its first frame, so that it is the same as without the stop.
    if let Some(segment) = segments.last().filter(|segment| segment.count < SEGMENT_FRAMES) {
        fs::remove_file(&segment.path).context(|| format!("cannot remove `{}`", segment.path.display()))?;
    }
    let (frames, output) = (next_frame(segments), output.display());
    Ok(Error::interrupted(format!("stopped; `{output}` has the {frames} frames that were painted"))
        .with_hint("the same command with `--resume` continues"))
}

fn encoder_settings(
    ffmpeg: Ffmpeg,
    info: &VideoInfo,
    shape: FrameShape,
    container: Container,
    options: &RenderOptions,
) -> EncoderSettings {
    let read = options.read;
    let codec = encoder_named(options.codec.as_deref().unwrap_or(container.default_codec())).to_owned();
    let alpha = alpha_layout(&codec, container, &options.codec_options).filter(|_| info.can_read_alpha(ffmpeg));
    let format = match alpha {
        Some(_) => RawFormat::Rgba,
        None if wants_rgb(&codec) => RawFormat::Rgb,
        None => RawFormat::Yuv420,
    };
    EncoderSettings {
        ffmpeg,
        options: codec_options(&codec, options.effort, options.crf, &options.codec_options),
        track: RawTrack {
            size: shape.size,
            format,
            time_base: read.frame_rate.map_or(info.time_base, Ratio::inverse),
            frame_rate: read.frame_rate.or(info.frame_rate),
        },
        color: VideoReader::color_of(ffmpeg, info),
        sample_aspect: shape.aspect,
        format: segment_format(&codec, alpha),
        alpha,
        codec,
    }
}

/// Whether `output` comes from an interrupted run, which [`RenderOptions::resume`] continues.
#[must_use]
pub fn is_interrupted(output: &Path) -> bool {
    SegmentFolder::beside(output).exists()
}

/// The settings that must be equal in a resumed run; see [`SegmentFolder::open`].
fn identity(source: &Path, settings: &EncoderSettings, options: &RenderOptions) -> Result<RunIdentity> {
    let action = || format!("cannot read `{}`", source.display());
    let metadata = fs::metadata(source).context(action)?;
    let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let Ratio { numerator, denominator } = settings.track.time_base;
    let (width, height) = settings.track.size;
    let alpha = settings.alpha.map_or(String::new(), |layout| format!(" as {layout}"));
    let read = &options.read;
    let clip = format!("{} bytes of {}.{:09}", metadata.len(), changed.as_secs(), changed.subsec_nanos());
    Ok(RunIdentity::from(
        [
            ("clip", clip),
            ("codec", format!("{} {:?}{alpha} of {} frames", settings.codec, settings.options, SEGMENT_FRAMES)),
            ("frames", format!("{:?} {:?} in units of {numerator}/{denominator}", read.start, read.duration)),
            ("painter", options.painter.clone()),
            ("size", format!("{width}x{height}")),
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    ))
}

/// What is lost on the way to 8-bit RGB, in words.
fn notes(ffmpeg: Ffmpeg, reader: &VideoReader) -> Vec<String> {
    let info = reader.info();
    let mut notes = Vec::new();
    match (info.color.is_hdr(), reader.is_tone_mapped()) {
        (true, true) => notes.push("high dynamic range is converted to standard range for painting".to_owned()),
        (true, false) => notes.push(
            "high dynamic range is not converted, so the result looks pale: this ffmpeg lacks the filters `zscale` and `tonemap`"
                .to_owned(),
        ),
        (false, _) if info.bits > 8 => notes.push(format!("the clip has {} bits per channel; it is painted in 8 bits", info.bits)),
        _ => {}
    }
    notes.extend(unread_alpha(ffmpeg, info));
    if info.interlaced {
        notes.push(
            "the clip is interlaced and is painted without deinterlacing; deinterlace it first for a cleaner result"
                .into(),
        );
    }
    notes
}

/// What to say of a clip whose transparency this ffmpeg does not read.
#[must_use]
pub fn unread_alpha(ffmpeg: Ffmpeg, info: &VideoInfo) -> Option<String> {
    let decoder = info.alpha_decoder.filter(|_| !info.can_read_alpha(ffmpeg))?;
    Some(format!("the clip is painted without its transparency: this ffmpeg lacks the decoder `{decoder}`"))
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
