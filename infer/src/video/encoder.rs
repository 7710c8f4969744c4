//! ffmpeg as an encoder: it reads raw frames from a pipe and writes a file.

use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::thread::{self, JoinHandle};

use impasto_common::{Error, Result, ResultExt};
use impasto_video::{Color, Ffmpeg, Ratio, WatchedChild, WatchedPipe, count_frames};

use super::ffmpeg_log::FfmpegLog;
use super::matroska::{MatroskaWriter, RawFormat, RawTrack};

/// How frames are encoded.
#[derive(Debug, Clone)]
pub(super) struct EncoderSettings {
    pub(super) ffmpeg: Ffmpeg,
    pub(super) codec: String,
    /// Options of the codec, with their values.
    pub(super) options: Vec<(String, String)>,
    pub(super) track: RawTrack,
    /// The encoder's layout of transparent pixels; `None` if the painting is opaque.
    pub(super) alpha: Option<&'static str>,
    pub(super) color: Color,
    pub(super) sample_aspect: Option<Ratio>,
    /// ffmpeg's name of the file format.
    pub(super) format: &'static str,
}

/// A running encoder.
pub(super) struct Encoder {
    path: PathBuf,
    child: WatchedChild,
    writer: MatroskaWriter<BufWriter<WatchedPipe<ChildStdin>>>,
    log: JoinHandle<FfmpegLog>,
    frames: u64,
}

impl Encoder {
    /// Starts an encoder that writes the file `path`.
    pub(super) fn start(settings: &EncoderSettings, path: &Path) -> Result<Self> {
        let mut command = settings.command(path);
        let child = WatchedChild::spawn(&mut command)?;
        let streams = child.stdin().zip(child.stderr());
        let (stdin, stderr) = streams.ok_or_else(|| Error::new("ffmpeg has no streams"))?;
        let log = thread::spawn(move || FfmpegLog::read(BufReader::new(stderr)));
        let writer = MatroskaWriter::new(BufWriter::new(stdin), &settings.track);
        match writer {
            Ok(writer) => Ok(Self { path: path.to_owned(), child, writer, log, frames: 0 }),
            Err(error) => Err(cannot_encode(log.join().unwrap_or_default(), || error.into())),
        }
    }

    /// Encodes a frame.
    pub(super) fn push(&mut self, pixels: &[u8], pts: i64, duration: i64) -> Result<()> {
        // [`Self::failure`] finds out why the pipe was closed.
        self.writer.write(pixels, pts, duration).context(|| CANNOT)?;
        self.frames += 1;
        Ok(())
    }

    /// Waits until the file is complete and on disk.
    ///
    /// # Errors
    ///
    /// If the encoder fails, or its file does not have as many frames as it was given: on a full disk, ffmpeg may report
    /// success for an incomplete file.
    pub(super) fn finish(self) -> Result<()> {
        let Self { path, child, writer, log, frames } = self;
        let flushed = writer.into_inner().flush();
        let status = child.wait()?;
        let log = log.join().unwrap_or_default();
        if !status.success() || flushed.is_err() {
            return Err(cannot_encode(log, || format!("ffmpeg ended with {status}").into()));
        }
        check_written(&path, frames, log).context(|| CANNOT)
    }

    /// The reason why the encoder accepts no more frames.
    pub(super) fn failure(self) -> Error {
        self.finish().err().unwrap_or_else(|| Error::new(CANNOT))
    }
}

/// Checks that a file written by ffmpeg is complete: that it has `frames` frames of video and is on disk.
///
/// # Errors
///
/// If frames are missing, or ffmpeg says that the disk is full.
pub(super) fn check_written(path: &Path, frames: u64, log: FfmpegLog) -> Result<()> {
    let found = count_frames(path);
    match found {
        Ok(found) if found == frames && !log.is_disk_full() => {
            std::fs::File::open(path).and_then(|file| file.sync_all()).context(|| "cannot finish the file")
        }
        Err(error) if log.is_empty() => Err(error),
        found => {
            let found = found.unwrap_or_default();
            Err(Error::new(format!("the file has {found} of {frames} frames")).with_source(log))
        }
    }
}

const CANNOT: &str = "cannot encode the clip";

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An error with the log as its cause, or with `otherwise` if the log is empty.
fn cannot_encode(log: FfmpegLog, otherwise: impl FnOnce() -> BoxError) -> Error {
    Error::new(CANNOT).with_source(if log.is_empty() { otherwise() } else { log.into() })
}

impl EncoderSettings {
    fn command(&self, path: &Path) -> Command {
        let mut command = impasto_video::quiet_child("ffmpeg");
        command.args(["-hide_banner", "-nostats", "-loglevel", "error", "-f", "matroska", "-i", "pipe:0"]);
        command.args(["-map", "0:v:0", "-vf", &self.filters(), "-c:v", &self.codec]);
        for (name, value) in &self.options {
            command.args([&format!("-{name}"), value]);
        }
        let color = &self.color;
        if self.track.format == RawFormat::Yuv420 {
            command.args(["-pix_fmt", "yuv420p"]);
        }
        if self.track.format == RawFormat::Yuv420 || self.planar_layout().is_some() {
            command.args(["-colorspace", color.matrix.tag(), "-color_range", range(color)]);
        }
        for (option, tag) in [("-color_primaries", &color.primaries), ("-color_trc", &color.transfer)] {
            if let Some(tag) = tag {
                command.args([option, tag]);
            }
        }
        command.args(self.ffmpeg.passthrough()).args(["-enc_time_base", &self.track.time_base.to_string()]);
        if ["mp4", "mov"].contains(&self.format) {
            command.args(["-video_track_timescale", &self.track.time_base.denominator.to_string()]);
        }
        let mut file = std::ffi::OsString::from("file:");
        file.push(path);
        command.args(["-f", self.format, "-y"]).arg(file);
        command.stdin(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn filters(&self) -> String {
        let Ratio { numerator, denominator } = self.sample_aspect.unwrap_or(Ratio { numerator: 1, denominator: 1 });
        let aspect = format!("setsar={numerator}/{denominator}");
        let (matrix, range) = (self.color.matrix, range(&self.color));
        match (self.track.format, self.planar_layout(), self.alpha) {
            (RawFormat::Yuv420, ..) => format!("setparams=range={range}:colorspace={},{aspect}", matrix.tag()),
            (_, Some(layout), _) => {
                format!("scale=out_color_matrix={}:out_range={range},format={layout},{aspect}", matrix.scale_name())
            }
            (_, None, Some(layout)) => format!("format={layout},{aspect}"),
            (_, None, None) => aspect,
        }
    }

    /// The layout of luma and chroma into which ffmpeg converts RGB for this encoder, if it does not take RGB.
    fn planar_layout(&self) -> Option<&'static str> {
        match self.alpha {
            Some(layout) => Some(layout).filter(|layout| layout.starts_with("yuva")),
            None => self.codec.starts_with("prores").then_some("yuv422p10le"),
        }
    }
}

fn range(color: &Color) -> &'static str {
    if color.full_range { "pc" } else { "tv" }
}
