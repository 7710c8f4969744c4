//! Joins the segments to a clip, together with the sound, subtitles and metadata of the original. Nothing is encoded again.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use impasto_common::{Error, Result, ResultExt};
use impasto_video::{Ratio, StreamKind, VideoInfo, WatchedChild, is_silence, quiet_child};

use super::container::Container;
use super::encoder::check_written;
use super::ffmpeg_log::{FfmpegLog, is_disk_full};
use super::segments::{Segment, next_frame};

/// The unit in which ffmpeg's lists count.
const MICROSECOND: Ratio = Ratio { numerator: 1, denominator: 1_000_000 };

/// The clip that was painted, and the file to write.
pub(super) struct ClipJoin<'a> {
    pub(super) source: &'a Path,
    pub(super) info: &'a VideoInfo,
    pub(super) start: Option<f64>,
    pub(super) duration: Option<f64>,
    pub(super) time_base: Ratio,
    pub(super) container: Container,
    /// Where temporary files go.
    pub(super) folder: &'a Path,
}

impl ClipJoin<'_> {
    /// Joins the segments into a file in the folder, and returns its path. Everything beside the video is cut at `until`,
    /// in the time base.
    pub(super) fn join(&self, segments: &[Segment], until: Option<i64>) -> Result<PathBuf> {
        let origin = self.origin();
        let first = segments.first().ok_or_else(|| Error::new("no frame is painted"))?;
        let list = self.folder.join("parts.ffconcat");
        fs::write(&list, self.list(segments)?).context(|| format!("cannot write `{}`", list.display()))?;
        let path = self.folder.join(format!("joined.{}", self.container.extension()));
        let offset = self.microseconds(first.pts) - origin;
        let mut command = ffmpeg();
        if self.keeps_clock() {
            command.arg("-copyts");
        }
        if offset != 0 {
            command.args(["-itsoffset", &seconds(offset)]);
        }
        command.args(["-f", "concat", "-safe", "0", "-i"]).arg(file(&list));
        self.add_source(&mut command);
        command.args(["-map", "0:v:0"]);
        self.map_others(&mut command);
        command.args(["-map_metadata", "1", "-map_chapters", "1", "-metadata:s:v:0", "rotate="]);
        for (name, value) in &self.info.tags {
            command.args(["-metadata:s:v:0", &format!("{name}={value}")]);
        }
        if let Some(until) = until {
            command.args(["-t", &seconds(self.microseconds(until) - origin)]);
        }
        if matches!(self.container, Container::Mp4 | Container::Mov) {
            let ticks = self.time_base.denominator.to_string();
            command.args(["-video_track_timescale", &ticks, "-movflags", "+faststart+use_metadata_tags"]);
            if offset != 0 {
                // The late start of the video is counted in this unit, which is milliseconds by default.
                command.args(["-movie_timescale", &ticks]);
            }
        }
        if self.keeps_clock() {
            command.args(["-avoid_negative_ts", "disabled"]);
        }
        let written = self.write(command, &path).and_then(|log| {
            let checked = check_written(&path, next_frame(segments), log);
            checked.context(|| format!("cannot write {}", self.container))
        });
        match written {
            Ok(()) => Ok(path),
            Err(error) => {
                // Half a clip only takes room, of which there may be too little.
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }

    /// Whether timestamps are copied unchanged: from Matroska to Matroska. Otherwise ffmpeg makes the file start at 0, which in
    /// Matroska would move a video that starts after the padding of the sound.
    fn keeps_clock(&self) -> bool {
        let to = matches!(self.container, Container::Mkv | Container::WebM);
        to && self.start.is_none() && self.info.container.contains("matroska")
    }

    /// Checks that the container holds the streams beside the video, before anything is painted.
    ///
    /// # Errors
    ///
    /// If it does not, with a hint at a container that does.
    pub(super) fn check_others(&self) -> Result<()> {
        if self.others().next().is_none() {
            return Ok(());
        }
        let mut command = ffmpeg();
        // The inputs are numbered as for joining.
        command.args(["-f", "lavfi", "-i", "anullsrc=duration=0.01"]);
        self.add_source(&mut command);
        self.map_others(&mut command);
        command.args(["-t", "0.5"]);
        let path = self.folder.join(format!("trial.{}", self.container.extension()));
        self.write(command, &path).map_err(|error| {
            if is_disk_full(&error) || is_silence(&error) {
                return error;
            }
            Error::usage(format!("{} does not hold the sound or the subtitles of the clip", self.container))
                .with_source(error)
                .with_hint("use an `--output` that ends with .mkv, which holds any stream")
        })?;
        fs::remove_file(&path).context(|| format!("cannot remove `{}`", path.display()))
    }

    /// The streams that the file cannot hold, in words.
    pub(super) fn notes(&self) -> Vec<String> {
        let lost = self.info.others.iter().filter(|stream| self.container.codec_for(stream).is_none());
        let notes = lost.map(|stream| {
            let what = match stream.kind {
                StreamKind::Audio => "sound",
                StreamKind::Subtitle => "the subtitles",
                StreamKind::Attachment => "an attached file",
                StreamKind::Cover => "the cover picture",
                StreamKind::Other => "another video or data",
            };
            let codec = if stream.codec.is_empty() { String::new() } else { format!(" ({})", stream.codec) };
            format!("{what} of stream {}{codec} cannot be copied into {}", stream.index, self.container)
        });
        notes.collect()
    }

    fn others(&self) -> impl Iterator<Item = (usize, StreamKind, &'static str)> {
        let streams = self.info.others.iter();
        streams.filter_map(|stream| Some((stream.index, stream.kind, self.container.codec_for(stream)?)))
    }

    /// Maps the streams beside the video from input 1.
    fn map_others(&self, command: &mut Command) {
        let (mut subtitles, mut covers) = (0, 0);
        command.args(["-c", "copy"]);
        for (index, kind, codec) in self.others() {
            command.args(["-map", &format!("1:{index}")]);
            if kind == StreamKind::Subtitle {
                command.args([&format!("-c:s:{subtitles}"), codec]);
                subtitles += 1;
            } else if kind == StreamKind::Cover {
                covers += 1;
                command.args([&format!("-disposition:v:{covers}"), "attached_pic"]);
            }
        }
    }

    fn add_source(&self, command: &mut Command) {
        for (option, value) in [("-ss", self.start), ("-t", self.duration)] {
            if let Some(value) = value {
                command.args([option, &format!("{value:.6}")]);
            }
        }
        command.arg("-i").arg(file(self.source));
        if self.start.is_some() {
            // Otherwise sound from the key frame before the start would be copied too.
            command.args(["-copypriorss", "0"]);
        }
    }

    /// The time in the clip that becomes 0 in the file, in microseconds: ffmpeg shifts what it copies by it.
    fn origin(&self) -> i64 {
        if self.keeps_clock() {
            return 0;
        }
        self.info.file_start + self.start.map_or(0, |start| (start * 1e6).round() as i64)
    }

    fn microseconds(&self, pts: i64) -> i64 {
        self.time_base.rescale(pts, MICROSECOND)
    }

    /// ffmpeg's list of the segments, each with its duration up to the start of the next, so that rounding does not add up.
    fn list(&self, segments: &[Segment]) -> Result<String> {
        let mut list = "ffconcat version 1.0\n".to_owned();
        for (i, segment) in segments.iter().enumerate() {
            let name = segment.path.file_name().unwrap_or_default().to_string_lossy();
            writeln!(list, "file '{name}'").context(|| "cannot list the segments")?;
            if let Some(next) = segments.get(i + 1) {
                let duration = self.microseconds(next.pts) - self.microseconds(segment.pts);
                writeln!(list, "duration {}", seconds(duration)).context(|| "cannot list the segments")?;
            }
        }
        Ok(list)
    }

    /// Runs ffmpeg into the file `path`, and returns its log.
    fn write(&self, mut command: Command, path: &Path) -> Result<FfmpegLog> {
        command.args(["-f", self.container.muxer(), "-y"]).arg(file(path)).stderr(Stdio::piped());
        let output = WatchedChild::output(&mut command)?;
        let log = FfmpegLog::read(&output.stderr[..]);
        if output.status.success() {
            return Ok(log);
        }
        Err(Error::new(format!("cannot write {}", self.container)).with_source(log))
    }
}

fn ffmpeg() -> Command {
    let mut command = quiet_child("ffmpeg");
    command.args(["-hide_banner", "-nostdin", "-nostats", "-loglevel", "error"]);
    command
}

/// A path that is never taken for an option or a protocol.
fn file(path: &Path) -> std::ffi::OsString {
    let mut argument = std::ffi::OsString::from("file:");
    argument.push(path);
    argument
}

/// Microseconds as seconds.
fn seconds(microseconds: i64) -> String {
    let sign = if microseconds < 0 { "-" } else { "" };
    let (whole, fraction) = (microseconds.unsigned_abs() / 1_000_000, microseconds.unsigned_abs() % 1_000_000);
    format!("{sign}{whole}.{fraction:06}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn microseconds_are_written_as_seconds() {
        for (microseconds, text) in [(0, "0.000000"), (1_000_001, "1.000001"), (-33_367, "-0.033367")] {
            assert_eq!(super::seconds(microseconds), text);
        }
    }
}
