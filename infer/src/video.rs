//! Clips, painted frame by frame: the video is new, all else of the file stays.
//!
//! ffmpeg decodes and encodes; frames go through pipes and are never files. Decoding, painting and encoding overlap. The
//! painting is encoded in parts that are complete once they have their names, so that an interrupted run can go on; in the
//! end the parts are joined with the sound, the subtitles and the metadata of the clip, none of which is encoded again.

mod codec;
mod container;
mod encoder;
mod join;
mod matroska;
mod painter;
mod parts;
mod pipeline;
mod scale;
mod sink;
mod stream;

use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use impasto_common::{Error, Result, ResultExt};
use impasto_video::{Ffmpeg, Ratio, ReadOptions, VideoInfo, VideoReader, probe};

use codec::{encoder_named, options as codec_options, part_format, wants_rgb};
use encoder::{Encoder, Encoding};
use join::Join;
use matroska::{RawFormat, Track};
use parts::{Identity, PartsFolder};
use sink::{PART_FRAMES, Parts, PartsSink, next_frame};

pub use codec::Effort;
pub use container::Container;
pub use painter::FramePainter;
pub use pipeline::Observer;
pub use scale::Scale;
pub use stream::{AnimationStream, StreamWriter, paint_stream};

/// How a clip is read and encoded.
#[derive(Debug, Clone)]
pub struct RenderOptions {
    /// The part of the clip and the rate; the size is that of `scale`.
    pub read: ReadOptions,
    /// The size.
    pub scale: Scale,
    /// The encoder, by a short name or ffmpeg's; the container's usual one if `None`.
    pub codec: Option<String>,
    /// The encoder's constant quality; its usual one if `None`.
    pub crf: Option<u8>,
    /// More options of the encoder.
    pub codec_options: Vec<(String, String)>,
    /// How hard the encoder tries.
    pub effort: Effort,
    /// Go on with the parts of an interrupted run.
    pub resume: bool,
    /// Everything of the painter that changes paintings, in words: a run is resumed with the same only.
    pub painter: String,
}

/// How a painted clip came out.
#[derive(Debug)]
pub struct Rendered {
    /// Frames in the clip.
    pub frames: u64,
    /// What of the clip could not be decoded and is missing.
    pub damage: Option<Error>,
}

/// What to do where an encoder finds no room.
const ROOM: &str = "make room on the disk; the same command with `--resume` then goes on with what is painted";

/// Paints the clip `source` into the file `output`.
///
/// The file appears under its name when it is complete, or if the observer stops the run: then with what is painted so far.
/// The parts stay in the folder `OUTPUT.parts` until the clip is complete.
///
/// # Errors
///
/// If ffmpeg is missing, the clip cannot be read, an option cannot be, or a frame cannot be painted or encoded. An
/// [`ErrorKind::Interrupted`](impasto_common::error::ErrorKind) if the observer stops it.
pub fn render(
    source: &Path,
    output: &Path,
    container: Container,
    options: &RenderOptions,
    painter: &mut dyn FramePainter,
    observer: &mut dyn Observer,
) -> Result<Rendered> {
    render_parts(source, output, container, options, painter, observer)
        .map_err(|error| if is_disk_full(&error.to_string()) { error.with_hint(ROOM) } else { error })
}

/// Whether an error's text, ffmpeg's perhaps, says so in the words of Unix or of Windows.
fn is_disk_full(text: &str) -> bool {
    ["No space left on device", "not enough space on the disk"].iter().any(|words| text.contains(words))
}

fn render_parts(
    source: &Path,
    output: &Path,
    container: Container,
    options: &RenderOptions,
    painter: &mut dyn FramePainter,
    observer: &mut dyn Observer,
) -> Result<Rendered> {
    let ffmpeg = Ffmpeg::find()?;
    let info = probe(source)?;
    let read = ReadOptions { size: Some(options.scale.of((info.width, info.height))?), ..options.read };
    let mut encoding = encoding(ffmpeg, &info, read, container, options);
    let folder = PartsFolder::beside(output);
    let parts = folder.open(&identity(source, &encoding, options)?, options.resume)?;
    let next = next_frame(&parts);
    let join = Join {
        source,
        info: &info,
        start: read.start,
        duration: read.duration,
        time_base: encoding.track.time_base,
        container,
        folder: folder.path(),
    };
    let tried = try_encoder(&mut encoding, folder.path(), observer).and_then(|()| join.check_others());
    if let Err(error) = tried {
        if parts.is_empty() {
            folder.remove()?;
        }
        return Err(error);
    }
    let mut reader = VideoReader::with_options(source, ReadOptions { skip: next, ..read }).inspect_err(|_| {
        if parts.is_empty() {
            // Nothing is in it; why the clip cannot be read matters more than a folder that stays.
            let _ = folder.remove();
        }
    })?;
    if reader.time_base() != encoding.track.time_base {
        return Err(Error::new(format!(
            "ffmpeg counts in {}, not in {}",
            reader.time_base(),
            encoding.track.time_base
        )));
    }
    notes(&reader).into_iter().chain(join.notes()).for_each(|note| observer.note(&note));
    observer.begin(expected_frames(&info, read), next);
    let step = info.frame_rate.map_or(1, |rate| rate.inverse().rescale(1, encoding.track.time_base).max(1));
    let mut sink = PartsSink::new(encoding, folder.clone(), parts, step);
    let painted = pipeline::paint_frames(&mut reader, painter, &mut sink, observer, next)?;
    // Where the clip is whole, its last frame ends with it.
    let whole = options.read == ReadOptions { size: options.read.size, ..Default::default() } && !painted.stopped;
    let end = info.start.zip(info.duration).filter(|_| whole).map(|(start, duration)| start + duration);
    let Parts { parts, end } = sink.finish(end)?;
    if next_frame(&parts) == 0 {
        folder.remove()?;
        return Err(Error::new(format!("there is no frame to paint in `{}`", source.display())));
    }
    let joined = join.join(&parts, end.filter(|_| painted.stopped))?;
    fs::rename(&joined, output).context(|| format!("cannot write `{}`", output.display()))?;
    if painted.stopped {
        // Painted again from its first frame, the part will be what it would have been.
        let unfinished = parts.last().filter(|part| part.count < PART_FRAMES);
        if let Some(part) = unfinished {
            fs::remove_file(&part.path).context(|| format!("cannot remove `{}`", part.path.display()))?;
        }
        let (frames, output) = (next_frame(&parts), output.display());
        return Err(Error::interrupted(format!("stopped; `{output}` holds the {frames} frames that are painted"))
            .with_hint("the same command with `--resume` goes on"));
    }
    folder.remove()?;
    Ok(Rendered { frames: next_frame(&parts), damage: reader.damage() })
}

fn encoding(
    ffmpeg: Ffmpeg,
    info: &VideoInfo,
    read: ReadOptions,
    container: Container,
    options: &RenderOptions,
) -> Encoding {
    let codec = encoder_named(options.codec.as_deref().unwrap_or(container.default_codec())).to_owned();
    let rgb = wants_rgb(&codec);
    let scaled = read.size != Some((info.width, info.height));
    Encoding {
        ffmpeg,
        options: codec_options(&codec, options.effort, options.crf, &options.codec_options),
        track: Track {
            size: read.size.unwrap_or((info.width, info.height)),
            format: if rgb { RawFormat::Rgb } else { RawFormat::Yuv420 },
            time_base: read.frame_rate.map_or(info.time_base, Ratio::inverse),
            frame_rate: read.frame_rate.or(info.frame_rate),
        },
        color: VideoReader::color_of(ffmpeg, info),
        sample_aspect: if scaled { None } else { info.shown_aspect() },
        format: part_format(&codec),
        codec,
    }
}

/// Whether `output` is what an interrupted run left, to be gone on with by [`RenderOptions::resume`].
#[must_use]
pub fn is_interrupted(output: &Path) -> bool {
    PartsFolder::beside(output).exists()
}

/// What makes two runs the same; see [`PartsFolder::open`].
fn identity(source: &Path, encoding: &Encoding, options: &RenderOptions) -> Result<Identity> {
    let action = || format!("cannot read `{}`", source.display());
    let metadata = fs::metadata(source).context(action)?;
    let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let Ratio { numerator, denominator } = encoding.track.time_base;
    let (width, height) = encoding.track.size;
    let read = &options.read;
    let clip = format!("{} bytes of {}.{:09}", metadata.len(), changed.as_secs(), changed.subsec_nanos());
    Ok(Identity::from(
        [
            ("clip", clip),
            ("codec", format!("{} {:?} of {} frames", encoding.codec, encoding.options, PART_FRAMES)),
            ("frames", format!("{:?} {:?} in units of {numerator}/{denominator}", read.start, read.duration)),
            ("painter", options.painter.clone()),
            ("size", format!("{width}x{height}")),
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    ))
}

/// Encodes a black frame: what an encoder or its container does not take is known before anything is painted.
fn try_encoder(encoding: &mut Encoding, folder: &Path, observer: &mut dyn Observer) -> Result<()> {
    let path = folder.join(format!("trial.{}", encoding.format));
    let mut result = encode_black(encoding, &path);
    let (width, height) = encoding.track.size;
    if result.is_err() && width > 1 && height > 1 && (width % 2 == 1 || height % 2 == 1) {
        encoding.track.size = (width & !1, height & !1);
        result = encode_black(encoding, &path);
        if result.is_ok() {
            let (even_width, even_height) = encoding.track.size;
            let codec = &encoding.codec;
            observer.note(&format!(
                "{codec} wants even sides; the painting is cut from {width}x{height} to {even_width}x{even_height}"
            ));
        }
    }
    // Of a file that could not be made there may be nothing.
    let _ = fs::remove_file(&path);
    result.map_err(|error| {
        if is_disk_full(&error.to_string()) {
            return error;
        }
        Error::usage(format!("the encoder `{}` does not work so", encoding.codec))
            .with_source(error)
            .with_hint("see `--codec`, `--crf` and `--codec-options`; `ffmpeg -encoders` lists the encoders")
    })
}

fn encode_black(encoding: &Encoding, path: &Path) -> Result<()> {
    let (width, height) = encoding.track.size;
    let black = image::RgbImage::new(width, height);
    let pixels = match encoding.track.format {
        RawFormat::Rgb => black.into_raw(),
        RawFormat::Yuv420 => impasto_video::rgb_to_planar(&black, &encoding.color),
    };
    let mut encoder = Encoder::start(encoding, path)?;
    match encoder.push(&pixels, 0, 1) {
        Ok(()) => encoder.finish(),
        Err(_) => Err(encoder.failure()),
    }
}

/// What is lost on the way to RGB.
fn notes(reader: &VideoReader) -> Vec<String> {
    let info = reader.info();
    let mut notes = Vec::new();
    match (info.color.is_hdr(), reader.is_tone_mapped()) {
        (true, true) => notes.push("high dynamic range is turned into standard range for painting".to_owned()),
        (true, false) => notes.push(
            "high dynamic range is painted as it is, and looks pale: this ffmpeg lacks the filters `zscale` and `tonemap`"
                .to_owned(),
        ),
        (false, _) if info.bits > 8 => notes.push(format!("painted in 8 bits; the clip has {}", info.bits)),
        _ => {}
    }
    if info.has_alpha {
        notes.push("transparency is not kept".into());
    }
    if info.interlaced {
        notes.push("the clip is interlaced and painted as it is; deinterlace it first for a cleaner painting".into());
    }
    notes
}

/// How many frames are to come, as far as the file says it.
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
