//! Gets the properties of a clip from ffprobe.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use serde::Deserialize;

use super::ffmpeg::quiet_child;
use super::tracks::{OtherStream, StreamKind, is_still, printable_tag};
use super::{Color, Ffmpeg, Ratio, WatchedChild};
use impasto_error::{Error, Result, ResultExt};

/// The properties of a clip.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoInfo {
    /// The index of the video among the file's streams: the first video that is not a cover picture.
    pub stream: usize,
    /// The codec by ffmpeg's name.
    pub codec: String,
    /// The width in pixels as shown, after rotation.
    pub width: u32,
    /// The height in pixels as shown, after rotation.
    pub height: u32,
    /// The counter-clockwise rotation, in degrees, that makes decoded frames upright.
    pub rotation: i32,
    /// The unit of timestamps, in seconds.
    pub time_base: Ratio,
    /// Average frames per second.
    pub frame_rate: Option<Ratio>,
    /// Whether frames have different durations.
    pub variable_rate: bool,
    /// The first timestamp.
    pub start: Option<i64>,
    /// The length in units of the time base.
    pub duration: Option<i64>,
    /// The number of frames, if the container gives it.
    pub frames: Option<u64>,
    /// The layout of pixels by ffmpeg's name.
    pub pixel_format: String,
    /// Bits per channel.
    pub bits: u8,
    /// Whether there is an alpha channel.
    pub has_alpha: bool,
    /// The decoder that is needed to see the alpha channel, if ffmpeg's usual one does not return it.
    pub alpha_decoder: Option<&'static str>,
    /// Whether frames are two fields.
    pub interlaced: bool,
    /// The aspect ratio of a pixel, width to height, before rotation; `None` if it is square.
    pub sample_aspect: Option<Ratio>,
    /// What the levels mean.
    pub color: Color,
    /// The file format by ffmpeg's names, separated by commas.
    pub container: String,
    /// The earliest start time of all streams in the file, in microseconds.
    pub file_start: i64,
    /// The video's tags in the file: language and title.
    pub tags: Vec<(&'static str, String)>,
    /// The names of what the file says of itself, such as `title`.
    pub file_tags: Vec<String>,
    /// The time code of the first frame, such as `01:00:00:00`.
    pub time_code: Option<String>,
    /// The other streams.
    pub others: Vec<OtherStream>,
}

impl VideoInfo {
    /// Seconds of video, if the file gives the duration.
    #[must_use]
    pub fn seconds(&self) -> Option<f64> {
        self.duration.map(|ticks| ticks as f64 * self.time_base.value())
    }

    /// The aspect ratio of a pixel, width to height, as shown.
    #[must_use]
    pub fn shown_aspect(&self) -> Option<Ratio> {
        self.sample_aspect.map(|aspect| if self.rotation % 180 == 0 { aspect } else { aspect.inverse() })
    }

    /// Whether [`VideoReader`](super::VideoReader) reads the alpha channel.
    #[must_use]
    pub fn can_read_alpha(&self, ffmpeg: Ffmpeg) -> bool {
        self.has_alpha && self.alpha_decoder.is_none_or(|decoder| ffmpeg.has_decoder(decoder))
    }
}

/// Runs ffprobe.
pub(super) fn probe(_: &Ffmpeg, path: &Path) -> Result<VideoInfo> {
    let action = || format!("cannot read `{}`", path.display());
    let mut command = quiet_child("ffprobe");
    command
        .args(["-v", "error", "-of", "json", "-show_streams", "-show_format", "-show_chapters"])
        .arg("-i")
        .arg(file_argument(path));
    let output = WatchedChild::output(command.stderr(Stdio::piped()))?;
    if !output.status.success() {
        // For a missing file, the system's own error is clearer.
        std::fs::metadata(path).context(action)?;
        let text = String::from_utf8_lossy(&output.stderr);
        let cause = text.lines().rev().find(|line| !line.is_empty()).unwrap_or("ffprobe gave no reason");
        let cause = cause.rsplit(": ").next().unwrap_or(cause).to_owned();
        let error = Error::new(format!("ffprobe found no clip in it: {cause}"));
        return Err(error.with_hint("if it is a clip, it may be damaged: copy or download it again")).context(action);
    }
    let probed: ProbeOutput = serde_json::from_slice(&output.stdout).context(action)?;
    info(&probed).context(action)
}

/// Counts the frames of the first video that are actually in the file, regardless of its header. Nothing is decoded.
///
/// # Errors
///
/// If ffprobe is not installed, or the file cannot be read or holds no video.
pub fn count_frames(path: &Path) -> Result<u64> {
    let action = || format!("cannot read `{}`", path.display());
    let mut command = quiet_child("ffprobe");
    command.args(["-v", "error", "-of", "csv=p=0", "-select_streams", "v:0", "-count_packets"]);
    // The flags of each packet are only there so that a long count is not a silent one.
    command.args(["-show_entries", "stream=nb_read_packets:packet=flags", "-i"]).arg(file_argument(path));
    let output = WatchedChild::output(command.stderr(Stdio::piped()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let count = text.lines().rev().find_map(|line| line.trim_end_matches(',').parse().ok());
    count.ok_or_else(|| Error::new("ffprobe found no video in it")).context(action)
}

/// A path that ffmpeg does not take for an option or a protocol.
pub(super) fn file_argument(path: &Path) -> std::ffi::OsString {
    let mut argument = std::ffi::OsString::from("file:");
    argument.push(path);
    argument
}

#[derive(Deserialize)]
struct ProbeOutput {
    #[serde(default)]
    streams: Vec<ProbedStream>,
    #[serde(default)]
    format: ProbedFormat,
    #[serde(default)]
    chapters: Vec<serde::de::IgnoredAny>,
}

#[derive(Deserialize, Default)]
struct ProbedFormat {
    #[serde(default)]
    format_name: String,
    start_time: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

impl ProbedFormat {
    /// Microseconds, from text such as `1.400000`.
    fn start(&self) -> Option<i64> {
        let (seconds, decimals) = self.start_time.as_ref()?.split_once('.')?;
        format!("{seconds}{decimals}").parse().ok().filter(|_| decimals.len() == 6)
    }
}

#[derive(Deserialize)]
struct ProbedStream {
    index: usize,
    #[serde(default)]
    codec_type: String,
    #[serde(default)]
    codec_name: String,
    #[serde(default)]
    codec_tag_string: String,
    #[serde(default)]
    width: u32,
    #[serde(default)]
    height: u32,
    #[serde(default)]
    pix_fmt: String,
    #[serde(default)]
    time_base: String,
    #[serde(default)]
    avg_frame_rate: String,
    #[serde(default)]
    r_frame_rate: String,
    #[serde(default)]
    sample_aspect_ratio: String,
    #[serde(default)]
    field_order: String,
    start_pts: Option<i64>,
    duration_ts: Option<i64>,
    nb_frames: Option<String>,
    color_space: Option<String>,
    color_range: Option<String>,
    color_primaries: Option<String>,
    color_transfer: Option<String>,
    #[serde(default)]
    disposition: StreamDisposition,
    #[serde(default)]
    side_data_list: Vec<StreamSideData>,
    #[serde(default)]
    tags: StreamTags,
}

#[derive(Deserialize, Default)]
struct StreamDisposition {
    #[serde(default)]
    attached_pic: u8,
}

#[derive(Deserialize)]
struct StreamSideData {
    rotation: Option<f64>,
}

#[derive(Deserialize, Default)]
struct StreamTags {
    /// The clockwise rotation, as given by releases before 5.
    rotate: Option<String>,
    language: Option<String>,
    title: Option<String>,
    #[serde(alias = "TIMECODE")]
    timecode: Option<String>,
    #[serde(alias = "ALPHA_MODE")]
    alpha_mode: Option<String>,
    filename: Option<String>,
}

impl ProbedStream {
    /// Whether it is a picture and no film: marked as a cover, or a single frame of a format for pictures.
    fn is_cover(&self) -> bool {
        let is_single = self.nb_frames.as_deref() == Some("1") && is_still(&self.codec_name);
        self.codec_type == "video" && (self.disposition.attached_pic != 0 || is_single)
    }

    /// The codec by ffmpeg's name; empty if ffmpeg does not know it.
    fn codec(&self) -> &str {
        if ["unknown", "none"].contains(&self.codec_name.as_str()) { "" } else { &self.codec_name }
    }

    fn kind(&self, has_chapters: bool) -> StreamKind {
        match (self.codec_type.as_str(), self.codec_tag_string.as_str()) {
            ("audio", _) => StreamKind::Audio,
            ("subtitle", _) => StreamKind::Subtitle,
            ("attachment", _) => StreamKind::Attachment,
            ("video", _) if self.is_cover() => StreamKind::Cover,
            ("video", _) => StreamKind::Video,
            (_, "tmcd") => StreamKind::TimeCode,
            ("data", "text") if has_chapters => StreamKind::ChapterTitles,
            _ => StreamKind::Data,
        }
    }

    fn other(&self, has_chapters: bool) -> OtherStream {
        OtherStream {
            index: self.index,
            kind: self.kind(has_chapters),
            codec: self.codec().to_owned(),
            tag: printable_tag(&self.codec_tag_string),
            file_name: self.tags.filename.clone(),
            time_code: self.tags.timecode.clone(),
        }
    }

    /// The decoder for an alpha channel that Matroska keeps beside the frames: ffmpeg's own decoders do not look there.
    fn alpha_decoder(&self) -> Option<&'static str> {
        match (self.codec_name.as_str(), self.tags.alpha_mode.as_deref()) {
            ("vp9", Some("1")) => Some("libvpx-vp9"),
            ("vp8", Some("1")) => Some("libvpx"),
            _ => None,
        }
    }

    fn rotation(&self) -> i32 {
        let matrix = self.side_data_list.iter().find_map(|data| data.rotation);
        let tag = || self.tags.rotate.as_ref().and_then(|degrees| degrees.parse::<f64>().ok()).map(|degrees| -degrees);
        (matrix.or_else(tag).unwrap_or(0.0).round() as i32).rem_euclid(360)
    }

    fn color(&self, height: u32) -> Color {
        let known =
            |text: &Option<String>| text.clone().filter(|text| !["unknown", "reserved"].contains(&text.as_str()));
        let guess = Color::guess(height);
        Color {
            matrix: self.color_space.as_deref().and_then(|matrix| matrix.parse().ok()).unwrap_or(guess.matrix),
            full_range: self.color_range.as_deref() == Some("pc") && !is_rgb(&self.pix_fmt),
            primaries: known(&self.color_primaries),
            transfer: known(&self.color_transfer),
        }
    }
}

fn info(probed: &ProbeOutput) -> Result<VideoInfo> {
    let streams = &probed.streams;
    let is_video = |stream: &&ProbedStream| stream.codec_type == "video";
    let video = streams.iter().filter(is_video).find(|stream| !stream.is_cover());
    // A film of one frame is one.
    let still = || streams.iter().filter(is_video).find(|stream| stream.disposition.attached_pic == 0);
    let video = video.or_else(still).ok_or_else(|| Error::new("it has no video stream"))?;
    let rotation = video.rotation();
    let turned = rotation % 180 == 90;
    let (width, height) = if turned { (video.height, video.width) } else { (video.width, video.height) };
    if width == 0 || height == 0 {
        return Err(Error::new("its video cannot be decoded: ffprobe reports no size"));
    }
    let others = streams.iter().filter(|stream| stream.index != video.index);
    let rates = [&video.avg_frame_rate, &video.r_frame_rate];
    Ok(VideoInfo {
        stream: video.index,
        codec: video.codec_name.clone(),
        width,
        height,
        rotation,
        time_base: video.time_base.parse().map_err(|_| Error::new("ffprobe reports no time base"))?,
        frame_rate: rates.into_iter().find_map(|rate| rate.parse().ok()),
        variable_rate: is_variable(rates),
        start: video.start_pts,
        duration: video.duration_ts.filter(|&duration| duration > 0),
        frames: video.nb_frames.as_ref().and_then(|frames| frames.parse().ok()).filter(|&frames| frames > 0),
        bits: bits(&video.pix_fmt),
        has_alpha: has_alpha(&video.pix_fmt) || video.alpha_decoder().is_some(),
        alpha_decoder: video.alpha_decoder(),
        interlaced: !["", "progressive", "unknown"].contains(&video.field_order.as_str()),
        sample_aspect: video
            .sample_aspect_ratio
            .parse()
            .ok()
            .filter(|aspect: &Ratio| aspect.numerator != aspect.denominator),
        color: video.color(height),
        pixel_format: video.pix_fmt.clone(),
        container: probed.format.format_name.clone(),
        file_start: probed.format.start().unwrap_or(0),
        tags: [("language", &video.tags.language), ("title", &video.tags.title)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.clone()?)))
            .collect(),
        file_tags: probed.format.tags.keys().cloned().collect(),
        time_code: time_code(probed, video),
        others: others.map(|stream| stream.other(!probed.chapters.is_empty())).collect(),
    })
}

/// The time code that belongs to the video: its own, that of the file, or that of the first track of time codes.
fn time_code(probed: &ProbeOutput, video: &ProbedStream) -> Option<String> {
    let of_file = ["timecode", "TIMECODE"].iter().find_map(|name| probed.format.tags.get(*name));
    let of_track = || probed.streams.iter().find_map(|stream| stream.tags.timecode.as_ref());
    video.tags.timecode.as_ref().or(of_file).or_else(of_track).cloned()
}

/// Whether the mean frame rate is not an integer fraction of the lowest rate that has a tick for every frame. In interlaced
/// clips, the lowest rate may be that of fields. The mean is off by the duration of the last frame.
fn is_variable([mean, ticks]: [&String; 2]) -> bool {
    let (Ok(mean), Ok(ticks)) = (mean.parse::<Ratio>(), ticks.parse::<Ratio>()) else { return false };
    let ratio = ticks.value() / mean.value();
    (ratio / ratio.round().max(1.0) - 1.0).abs() > 0.01
}

fn is_rgb(pixel_format: &str) -> bool {
    ["rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "x2rgb", "x2bgr", "pal8"]
        .iter()
        .any(|start| pixel_format.starts_with(start))
}

fn has_alpha(pixel_format: &str) -> bool {
    ["yuva", "rgba", "bgra", "argb", "abgr", "gbrap", "ya", "pal8"].iter().any(|start| pixel_format.starts_with(start))
}

/// Bits per channel, from names such as `yuv420p10le`, `p010le` and `rgb48be`.
fn bits(pixel_format: &str) -> u8 {
    let name = pixel_format.trim_end_matches("le").trim_end_matches("be");
    let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
    let digits = digits.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    match (digits, name.starts_with("nv")) {
        (_, true) => 8,
        ("9", _) => 9,
        ("10" | "010" | "210" | "410", _) => 10,
        ("12" | "012" | "212" | "412", _) => 12,
        ("14", _) => 14,
        ("16" | "016" | "216" | "416" | "48" | "64", _) => 16,
        ("32", _) if name.contains('f') => 32,
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phones_clip_is_described_as_it_is_shown() {
        let json = r#"{"streams": [
            {"index": 0, "codec_type": "video", "codec_name": "mjpeg", "width": 9, "height": 9, "time_base": "1/90000",
             "disposition": {"attached_pic": 1}},
            {"index": 1, "codec_type": "audio", "codec_name": "aac"},
            {"index": 2, "codec_type": "video", "codec_name": "hevc", "width": 1920, "height": 1080, "pix_fmt": "yuv420p10le",
             "time_base": "1/600", "avg_frame_rate": "30/1", "start_pts": 0, "duration_ts": 1200, "nb_frames": "60",
             "sample_aspect_ratio": "4:3", "color_space": "bt2020nc", "color_transfer": "arib-std-b67",
             "color_range": "tv", "color_primaries": "bt2020", "field_order": "progressive",
             "tags": {"language": "nld"},
             "side_data_list": [{"side_data_type": "Display Matrix", "rotation": -90}]}],
             "format": {"start_time": "-0.012500"}}"#;
        let info = info(&serde_json::from_str(json).unwrap()).unwrap();
        assert_eq!((info.stream, info.width, info.height, info.rotation), (2, 1080, 1920, 270));
        assert_eq!((info.bits, info.color.is_hdr(), info.color.matrix.tag()), (10, true, "bt2020nc"));
        assert_eq!(info.shown_aspect(), Ratio::new(3, 4));
        assert_eq!((info.file_start, &info.tags[..]), (-12500, &[("language", "nld".to_owned())][..]));
        assert_eq!((info.seconds(), info.frames), (Some(2.0), Some(60)));
        assert_eq!(
            info.others.iter().map(|other| other.kind).collect::<Vec<_>>(),
            [StreamKind::Cover, StreamKind::Audio]
        );
    }

    #[test]
    fn depth_is_read_from_the_pixel_formats_name() {
        for (name, expected) in [
            ("yuv420p", 8),
            ("yuvj420p", 8),
            ("nv12", 8),
            ("rgb24", 8),
            ("bgr0", 8),
            ("rgb565le", 8),
            ("yuv420p10le", 10),
            ("p010le", 10),
            ("yuv444p12be", 12),
            ("rgb48le", 16),
            ("gray16le", 16),
            ("gbrpf32le", 32),
            ("yuv410p", 8),
        ] {
            assert_eq!(bits(name), expected, "{name}");
        }
    }
}
