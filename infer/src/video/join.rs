//! Joins the segments into a clip, together with the sound, subtitles and metadata of the original. Nothing is encoded
//! again.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use impasto_common::{Error, Result, ResultExt};
use impasto_video::{Ratio, VideoInfo, WatchedChild, probe, quiet_child};

use super::container::Container;
use super::encoder::check_written;
use super::ffmpeg_log::FfmpegLog;
use super::segments::{Segment, next_frame};
use super::time_code::time_code_after;
use super::tracks::KeptTracks;

/// The time unit of ffmpeg's lists.
const MICROSECOND: Ratio = Ratio { numerator: 1, denominator: 1_000_000 };

/// The clip that was painted, and the file to write.
pub(super) struct ClipJoin<'a> {
    pub(super) source: &'a Path,
    pub(super) info: &'a VideoInfo,
    pub(super) start: Option<f64>,
    pub(super) duration: Option<f64>,
    /// Whether the painted clip has another frame rate.
    pub(super) other_rate: bool,
    pub(super) time_base: Ratio,
    pub(super) container: Container,
    /// The folder for temporary files.
    pub(super) folder: &'a Path,
}

impl ClipJoin<'_> {
    /// Joins the segments into a file in the folder, and returns its path. Everything beside the video is cut at `until`,
    /// in the time base.
    pub(super) fn join(&self, segments: &[Segment], tracks: &KeptTracks, until: Option<i64>) -> Result<PathBuf> {
        let origin = self.origin();
        let first = segments.first().ok_or_else(|| Error::new("no frame was painted"))?;
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
        tracks.map(&mut command, self.container);
        command.args(["-map_metadata", "1", "-map_chapters", "1", "-metadata:s:v:0", "rotate="]);
        // That of the file would not fit a clip that starts later, and must not appear beside the one that does.
        command.args(["-metadata", "timecode="]);
        if let Some(time_code) = self.time_code_at(first.pts) {
            command.args(["-metadata:s:v:0", &format!("timecode={time_code}")]);
        }
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
                // The start offset of the video is stored in this unit, which is milliseconds by default.
                command.args(["-movie_timescale", &ticks]);
            }
        }
        if self.keeps_clock() {
            command.args(["-avoid_negative_ts", "disabled"]);
        }
        let written = Self::write(command, &path, self.container).and_then(|log| {
            let checked = check_written(&path, next_frame(segments), log);
            checked
                .and_then(|()| tracks.add_covers(&path, self.container))
                .context(|| format!("cannot write {}", self.container))
        });
        match written {
            Ok(()) => Ok(path),
            Err(error) => {
                // An incomplete clip is useless, and disk space may be short.
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }

    /// Whether timestamps are copied unchanged, which is done from Matroska to Matroska. Otherwise ffmpeg makes the file
    /// start at 0; in Matroska, this would shift a video that starts after the padding of the sound.
    fn keeps_clock(&self) -> bool {
        let to = matches!(self.container, Container::Mkv | Container::WebM);
        to && self.start.is_none() && self.info.container.contains("matroska")
    }

    /// The time code of the clip's first frame, if the painted clip can have one: time codes count the frames of one rate.
    pub(super) fn time_code(&self) -> Option<&str> {
        self.info.time_code.as_deref().filter(|_| !self.other_rate && self.info.frame_rate.is_some())
    }

    /// The time code of the frame that shows at `pts`.
    fn time_code_at(&self, pts: i64) -> Option<String> {
        let ticks = self.info.start.filter(|_| self.start.is_some()).map_or(0, |start| pts - start);
        time_code_after(self.time_code()?, self.info.frame_rate?, ticks as f64 * self.time_base.value())
    }

    /// What to say if the joined file has not got the clip's time code, which not every frame rate can have.
    pub(super) fn lost_time_code(&self, joined: &Path) -> Result<Option<String>> {
        let Some(time_code) = self.time_code() else { return Ok(None) };
        let is_there = probe(joined)?.time_code.is_some();
        Ok((!is_there).then(|| format!("the time code {time_code} is left out: {} cannot hold it", self.container)))
    }

    pub(super) fn add_source(&self, command: &mut Command) {
        for (option, value) in [("-ss", self.start), ("-t", self.duration)] {
            if let Some(value) = value {
                command.args([option, &format!("{value:.6}")]);
            }
        }
        command.arg("-i").arg(file(self.source));
        if self.start.is_some() {
            // Otherwise the sound from the previous key frame on would be copied too.
            command.args(["-copypriorss", "0"]);
        }
    }

    /// The time in the clip that becomes 0 in the file, in microseconds. ffmpeg shifts copied streams by this time.
    fn origin(&self) -> i64 {
        if self.keeps_clock() {
            return 0;
        }
        self.info.file_start + self.start.map_or(0, |start| (start * 1e6).round() as i64)
    }

    fn microseconds(&self, pts: i64) -> i64 {
        self.time_base.rescale(pts, MICROSECOND)
    }

    /// ffmpeg's list of the segments. Each has its duration up to the start of the next one, so that rounding errors do not
    /// add up.
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
    pub(super) fn write(mut command: Command, path: &Path, container: Container) -> Result<FfmpegLog> {
        command.args(["-f", container.muxer(), "-y"]).arg(file(path)).stderr(Stdio::piped());
        let output = WatchedChild::output(&mut command)?;
        let log = FfmpegLog::read(&output.stderr[..]);
        if output.status.success() {
            return Ok(log);
        }
        Err(Error::new(format!("cannot write {container}")).with_source(log))
    }
}

pub(super) fn ffmpeg() -> Command {
    let mut command = quiet_child("ffmpeg");
    command.args(["-hide_banner", "-nostdin", "-nostats", "-loglevel", "error"]);
    command
}

/// A path that is never taken for an option or a protocol.
pub(super) fn file(path: &Path) -> std::ffi::OsString {
    let mut argument = std::ffi::OsString::from("file:");
    argument.push(path);
    argument
}

/// Formats microseconds as seconds.
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
