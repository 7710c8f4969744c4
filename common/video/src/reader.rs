//! Reads the frames of a clip from a pipe; ffmpeg decodes them.
//!
//! A pipe of raw pixels has no timestamps. They come from the log: the filter `showinfo` logs the integer timestamp of
//! every frame, and the passthrough mode ensures that the log and the pipe have the same frames.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{ChildStderr, ChildStdout, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use image::{DynamicImage, RgbImage, RgbaImage};

use super::log::LogLine;
use super::planar::{ChromaSubsampling, planar_to_rgb};
use super::probe::{file_argument, probe};
use super::tail::is_cut;
use super::{Color, Ffmpeg, Ratio, StreamKind, VideoFrame, VideoInfo, WatchedChild, WatchedPipe};
use impasto_error::{Error, Result, ResultExt};

/// The number of problems to keep for the error message. A damaged file can have thousands.
const TOLD_PROBLEMS: usize = 3;

/// How long to wait for the timestamp of a frame. It is logged before the pixels are written, so it should already be
/// there.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The slow but exact modes of swscale. Each fast mode is off by a level or two.
const EXACT: &str = "accurate_rnd+full_chroma_int+full_chroma_inp+bicubic";

/// Which frames of a clip are read, and in which size.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ReadOptions {
    /// Seconds to skip at the beginning.
    pub start: Option<f64>,
    /// Seconds to read.
    pub duration: Option<f64>,
    /// A constant frame rate to convert to. Frames are dropped or repeated.
    pub frame_rate: Option<Ratio>,
    /// A size to scale to: width and height.
    pub size: Option<(u32, u32)>,
    /// Frames to skip, counted after all of the above.
    pub skip: u64,
}

/// The frames of a clip in display order, upright, as 8-bit RGB, or RGBA if the clip has an alpha channel.
///
/// This is an iterator. After its end, [`Self::damage`] says what is missing.
pub struct VideoReader {
    info: VideoInfo,
    options: ReadOptions,
    size: (u32, u32),
    color: Color,
    tone_mapped: bool,
    layout: PipeLayout,
    time_base: Ratio,
    child: WatchedChild,
    pixels: WatchedPipe<ChildStdout>,
    log: Receiver<LogLine>,
    /// Whether the file ends too early, by its own account.
    cut: bool,
    problems: Vec<String>,
    last: Option<i64>,
    frames: u64,
    ended: bool,
}

impl VideoReader {
    /// Reads a clip from beginning to end.
    ///
    /// # Errors
    ///
    /// If ffmpeg is not installed, or the file cannot be read or decoded at all.
    pub fn open(path: &Path) -> Result<Self> {
        Self::with_options(path, ReadOptions::default())
    }

    /// Reads part of a clip, or reads it in another size or frame rate.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn with_options(path: &Path, options: ReadOptions) -> Result<Self> {
        let ffmpeg = Ffmpeg::find()?;
        let info = probe(&ffmpeg, path)?;
        if let (Some(start), Some(seconds)) = (options.start, info.seconds())
            && start >= seconds
        {
            let path = path.display();
            return Err(Error::usage(format!("`{path}` ends after {seconds:.2} s, before the requested start")));
        }
        let tone_mapped = can_tone_map(ffmpeg, &info);
        let color = Self::color_of(ffmpeg, &info);
        let layout = PipeLayout::of(ffmpeg, &info);
        let size = options.size.unwrap_or((info.width, info.height));
        let mut command = ffmpeg.command();
        // Without `-copyts`, ffmpeg moves all timestamps so that the file starts at 0.
        command.args(["-copyts", "-max_error_rate", "1"]);
        for (option, seconds) in [("-ss", options.start), ("-t", options.duration)] {
            if let Some(seconds) = seconds {
                command.args([option, &format!("{seconds:.6}")]);
            }
        }
        if let Some(decoder) = info.alpha_decoder.filter(|_| layout == PipeLayout::Rgba) {
            command.args(["-c:v", decoder]);
        }
        command.arg("-i").arg(file_argument(path)).args(["-map", &format!("0:{}", info.stream)]);
        command.args(["-vf", &filters(&info, &color, tone_mapped, layout, size, options)]);
        let time_base = options.frame_rate.map_or(info.time_base, Ratio::inverse);
        // In the mean frame rate, which is ffmpeg's choice, two frames of a variable rate may get the same time.
        command.args(ffmpeg.passthrough()).args(["-enc_time_base", &time_base.to_string()]);
        command.args(["-f", "rawvideo", "pipe:1"]);
        let cut = options.duration.is_none() && is_cut(path)?;
        let child = WatchedChild::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
        let child_streams = child.stdout().zip(child.stderr());
        let (pixels, stderr) = child_streams.ok_or_else(|| Error::new("ffmpeg has no streams"))?;
        let log = follow(stderr);
        let problems = Vec::new();
        let mut reader = Self {
            info,
            options,
            size,
            color,
            tone_mapped,
            layout,
            time_base,
            child,
            pixels,
            log,
            cut,
            problems,
            last: None,
            frames: 0,
            ended: false,
        };
        reader.start().context(|| format!("cannot read `{}`", path.display()))?;
        Ok(reader)
    }

    /// The [`Self::color`] of a clip's reader.
    #[must_use]
    pub fn color_of(ffmpeg: Ffmpeg, info: &VideoInfo) -> Color {
        if can_tone_map(ffmpeg, info) { Color::standard() } else { info.color.clone() }
    }

    /// The properties of the clip, before the options are applied.
    #[must_use]
    pub fn info(&self) -> &VideoInfo {
        &self.info
    }

    /// The width and height of the frames.
    #[must_use]
    pub fn size(&self) -> (u32, u32) {
        self.size
    }

    /// The unit of the frames' timestamps, in seconds.
    #[must_use]
    pub fn time_base(&self) -> Ratio {
        self.time_base
    }

    /// The colours of the frames before the conversion to RGB, to which they should be converted back: those of the clip,
    /// or standard ones if high dynamic range was converted.
    #[must_use]
    pub fn color(&self) -> &Color {
        &self.color
    }

    /// Whether high dynamic range was converted to standard range by tone mapping.
    #[must_use]
    pub fn is_tone_mapped(&self) -> bool {
        self.tone_mapped
    }

    /// Frames read so far.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// What was lost: `None` while there are frames to come, and if all frames came undamaged, as far as ffmpeg knows.
    #[must_use]
    pub fn damage(&self) -> Option<Error> {
        if !self.ended || self.problems.is_empty() {
            return None;
        }
        let whole =
            self.options == ReadOptions { size: self.options.size, skip: self.options.skip, ..Default::default() };
        let read = self.frames + self.options.skip;
        let what = match self.info.frames.filter(|_| whole) {
            Some(frames) if frames > read => format!("{} of {frames} frames are lost", frames - read),
            Some(_) => "the clip is damaged".to_owned(),
            None => "the clip is damaged, and frames may be lost".to_owned(),
        };
        Some(Error::new(what).with_source(self.problems.join("; ")))
    }

    /// Waits for the time base, which ffmpeg logs when it has decoded the first frame.
    fn start(&mut self) -> Result<()> {
        while let Ok(line) = self.child.waiting(|| self.log.recv()) {
            match line {
                LogLine::TimeBase(time_base) => {
                    self.time_base = time_base;
                    return Ok(());
                }
                line => self.note(line),
            }
        }
        if let Some(silence) = self.child.silence() {
            return Err(silence);
        }
        if self.problems.is_empty() {
            return Err(Error::new("it has no frames"));
        }
        Err(Error::new("no frame can be decoded").with_source(self.problems.join("; ")))
    }

    fn note(&mut self, line: LogLine) {
        if let LogLine::Problem { component, text } = line
            && self.problems.len() < TOLD_PROBLEMS
            && !self.problems.contains(&text)
            && !is_sound_decoder(&component, &self.info)
        {
            self.problems.push(text);
        }
    }

    fn read(&mut self) -> Result<Option<VideoFrame>> {
        let (width, height) = self.size;
        let length = self.layout.bytes(self.size);
        let mut pixels = Vec::with_capacity(length);
        self.pixels.by_ref().take(length as u64).read_to_end(&mut pixels).context(|| "cannot read from ffmpeg")?;
        if pixels.len() < length {
            self.finish(!pixels.is_empty())?;
            return Ok(None);
        }
        let pts = self.next_pts()?;
        if self.frames == 0 && self.options.start.is_some() {
            // Frames before the start may refer to frames before the key frame where decoding began. Nobody sees them.
            self.problems.clear();
        }
        self.frames += 1;
        let picture = match self.layout {
            PipeLayout::Planar => {
                let image = planar_to_rgb(&pixels, self.size, ChromaSubsampling::Both, &self.color);
                Some(DynamicImage::from(image))
            }
            PipeLayout::Rgb => RgbImage::from_raw(width, height, pixels).map(DynamicImage::from),
            PipeLayout::Rgba => RgbaImage::from_raw(width, height, pixels).map(DynamicImage::from),
        };
        let picture = picture.ok_or_else(|| Error::new("a frame has too few pixels"))?.into();
        Ok(Some(VideoFrame { picture, pts }))
    }

    /// The timestamp of the current frame, which is always greater than the previous one.
    fn next_pts(&mut self) -> Result<i64> {
        let told = loop {
            match self.log.recv_timeout(TIMEOUT) {
                Ok(LogLine::Frame(pts)) => break pts,
                Ok(line) => self.note(line),
                Err(RecvTimeoutError::Disconnected) => break None,
                Err(RecvTimeoutError::Timeout) => return Err(Error::new("ffmpeg reports no timestamps")),
            }
        };
        let step = self.info.frame_rate.map_or(1, |rate| rate.inverse().rescale(1, self.time_base).max(1));
        let pts = match (told, self.last) {
            (Some(pts), Some(last)) => pts.max(last + 1),
            (Some(pts), None) => pts,
            (None, last) => last.map_or(0, |last| last + step),
        };
        self.last = Some(pts);
        Ok(pts)
    }

    fn finish(&mut self, cut: bool) -> Result<()> {
        self.ended = true;
        let status = self.child.wait()?;
        while let Ok(line) = self.log.recv() {
            self.note(line);
        }
        if self.cut && self.problems.is_empty() {
            self.problems.push("the end of the file is missing".into());
        }
        if (cut || !status.success()) && self.problems.is_empty() {
            self.problems.push(format!("ffmpeg ended with {status}"));
        }
        Ok(())
    }
}

impl Iterator for VideoReader {
    type Item = Result<VideoFrame>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let frame = self.read();
        self.ended |= frame.is_err();
        frame.transpose()
    }
}

/// How pixels come through the pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PipeLayout {
    /// As most clips are decoded, to be turned into RGB here: swscale's exact conversion takes longer than all the rest of
    /// reading.
    Planar,
    /// Red, green and blue bytes in turn.
    Rgb,
    /// The same with alpha.
    Rgba,
}

impl PipeLayout {
    fn of(ffmpeg: Ffmpeg, info: &VideoInfo) -> Self {
        if info.can_read_alpha(ffmpeg) {
            return Self::Rgba;
        }
        let is_planar = ["yuv420p", "yuvj420p"].contains(&info.pixel_format.as_str()) && !info.color.is_hdr();
        if is_planar { Self::Planar } else { Self::Rgb }
    }

    /// The bytes of a frame.
    fn bytes(self, (width, height): (u32, u32)) -> usize {
        let pixels = width as usize * height as usize;
        match self {
            Self::Planar => ChromaSubsampling::Both.bytes(width, height),
            Self::Rgb => 3 * pixels,
            Self::Rgba => 4 * pixels,
        }
    }
}

fn can_tone_map(ffmpeg: Ffmpeg, info: &VideoInfo) -> bool {
    info.color.is_hdr() && ffmpeg.has_filters(&["zscale", "tonemap"])
}

/// Whether a component of ffmpeg decodes another stream than the video, which it only does to find out what the stream is.
fn is_sound_decoder(component: &str, info: &VideoInfo) -> bool {
    let is_sound = |kind| matches!(kind, StreamKind::Audio | StreamKind::Subtitle);
    let mut sound = info.others.iter().filter(|stream| is_sound(stream.kind) && !stream.codec.is_empty());
    // The decoder of MP3 is called `mp3float`, that of DTS `dca`.
    sound.any(|stream| component.starts_with(&stream.codec) || (component == "dca" && stream.codec == "dts"))
}

/// The lines of a log, until it ends or nobody reads them.
fn follow(log: WatchedPipe<ChildStderr>) -> Receiver<LogLine> {
    let (sender, lines) = channel();
    thread::spawn(move || send_lines(BufReader::new(log), &sender));
    lines
}

fn send_lines(mut log: impl BufRead, sender: &Sender<LogLine>) {
    let mut line = Vec::new();
    while matches!(log.read_until(b'\n', &mut line), Ok(length) if length > 0) {
        if let Some(line) = LogLine::parse(String::from_utf8_lossy(&line).trim_end())
            && sender.send(line).is_err()
        {
            return;
        }
        line.clear();
    }
}

/// The filters between decoder and pipe. ffmpeg turns the frames upright before them.
fn filters(
    info: &VideoInfo,
    color: &Color,
    tone_mapped: bool,
    layout: PipeLayout,
    size: (u32, u32),
    options: ReadOptions,
) -> String {
    let mut filters = Vec::new();
    if let Some(rate) = options.frame_rate {
        filters.push(format!("fps={rate}"));
    }
    if options.skip > 0 {
        // Its log, which nobody reads, shows that ffmpeg is not silent while it skips frames.
        filters.push("showinfo@skipped=checksum=0".into());
        filters.push(format!("select=gte(n\\,{})", options.skip));
    }
    if tone_mapped {
        let transfer = info.color.transfer.as_deref().unwrap_or("smpte2084");
        let (matrix, range) = (info.color.matrix.tag(), if info.color.full_range { "pc" } else { "tv" });
        let (linear, mapped) =
            if layout == PipeLayout::Rgba { ("gbrapf32le", "yuva444p") } else { ("gbrpf32le", "yuv444p") };
        filters.push(format!(
            "zscale=min={matrix}:pin=2020:tin={transfer}:rin={range}:t=linear:npl=100,format={linear},zscale=p=bt709,\
             tonemap=hable:desat=0,zscale=t=bt709:m=bt709:r=tv,format={mapped}"
        ));
    }
    let (width, height) = size;
    if layout == PipeLayout::Planar {
        if size != (info.width, info.height) {
            filters.push(format!("scale={width}:{height}:flags=bicubic+accurate_rnd"));
        }
        filters.push("format=yuv420p|yuvj420p".into());
    } else {
        let range = if color.full_range { "pc" } else { "tv" };
        let matrix = color.matrix.scale_name();
        let scale = format!("scale={width}:{height}:in_color_matrix={matrix}:in_range={range}");
        let pixels = if layout == PipeLayout::Rgba { "rgba" } else { "rgb24" };
        filters.push(format!("{scale}:flags={EXACT},format={pixels}"));
    }
    filters.push("showinfo=checksum=0".into());
    filters.join(",")
}
