//! Frames read from or written to pipes and animations. ffmpeg is needed only if the frames come from a clip file.

use std::io::{self, BufReader, BufWriter, Chain, Cursor, Read, Write};
use std::path::Path;

use image::imageops::FilterType;
use impasto_common::{Error, Result, ResultExt};
use impasto_files::write_atomic;
use impasto_picture::{AnimationWriter, Picture, PictureFormat, Repeat};
use impasto_video::{
    Color, Ffmpeg, Ratio, RawStreamInfo, ReadOptions, RgbReader, VideoFrame, VideoReader, Y4M_MAGIC, Y4mReader,
    Y4mWriter, is_video_start,
};

use super::batch::describe;
use super::clip_options::ClipOptions;
use super::format::PaintingFormat;
use super::output::DataOutput;
use super::plan::{Output, PaintingTask};
use super::progress::ClipProgress;
use super::talk::Talk;
use crate::Stylizer;
use crate::video::{
    self, AnimationStream, FramePainter, FrameShape, LossNotes, Observer, RenderOptions, Scale, StreamWriter,
};

/// The buffer size of a pipe, in bytes.
pub(super) const BUFFER: usize = 1 << 20;

/// The number of bytes at the beginning of standard input that distinguish a clip from a picture.
const SNIFFED: u64 = 612;

/// The most bytes of a picture that are read from standard input, whose size is not known in advance.
const LARGEST_PICTURE: u64 = 1 << 30;

/// Standard input from its beginning.
type Stdin = BufReader<Chain<Cursor<Vec<u8>>, io::Stdin>>;

/// Uncompressed frames on standard input.
pub(super) enum StdinFrames {
    Y4m(Stdin),
    Rgb(Stdin, (u32, u32)),
}

/// The content of standard input.
pub(super) enum StdinContent {
    Frames(StdinFrames),
    /// Bytes that should be a picture.
    Picture(Vec<u8>),
}

/// Inspects the beginning of standard input. Unless it is a stream of frames, all of it is read.
pub(super) fn open_stdin(raw: Option<(u32, u32)>) -> Result<StdinContent> {
    let action = || "cannot read standard input";
    let stream = |head| BufReader::with_capacity(BUFFER, Cursor::new(head).chain(io::stdin()));
    if let Some(size) = raw {
        return Ok(StdinContent::Frames(StdinFrames::Rgb(stream(Vec::new()), size)));
    }
    let mut head = Vec::new();
    io::stdin().lock().take(SNIFFED).read_to_end(&mut head).context(action)?;
    if head.starts_with(Y4M_MAGIC) {
        return Ok(StdinContent::Frames(StdinFrames::Y4m(stream(head))));
    }
    if is_video_start(&head) {
        return Err(Error::new("it is a clip, but clips can be read only from files").with_hint(
            "use the name of the file, or pipe frames: `ffmpeg -i CLIP -f yuv4mpegpipe - | infer stylize - ..`",
        ));
    }
    io::stdin().lock().take(LARGEST_PICTURE - SNIFFED + 1).read_to_end(&mut head).context(action)?;
    if head.len() as u64 > LARGEST_PICTURE {
        return Err(Error::new("standard input has more than 1 GiB, the limit for a picture there")
            .with_hint("use the name of the file"));
    }
    Ok(StdinContent::Picture(head))
}

/// Paints the frames on standard input.
pub(super) fn paint_stream(
    stylizer: &Stylizer,
    task: &PaintingTask,
    source: StdinFrames,
    options: &ClipOptions,
    talk: &Talk,
) -> Result<()> {
    let mut progress = ClipProgress::new(talk, task.input.name());
    let raw = matches!(source, StdinFrames::Rgb(..));
    let painter = options.painter(stylizer)?;
    let mut painting = StreamTask { stylizer, painter, task, raw, progress: &mut progress };
    match source {
        StdinFrames::Y4m(stdin) => painting.y4m(stdin, &options.render),
        StdinFrames::Rgb(stdin, size) => painting.rgb(stdin, size, &options.render),
    }
}

/// Paints frames into a pipe or an animation.
pub(super) struct StreamTask<'a, 'b> {
    pub(super) stylizer: &'a Stylizer,
    pub(super) painter: Box<dyn FramePainter + 'a>,
    pub(super) task: &'a PaintingTask,
    /// Whether the default output format of a pipe is raw bytes without a header.
    pub(super) raw: bool,
    pub(super) progress: &'a mut ClipProgress<'b>,
}

impl StreamTask<'_, '_> {
    pub(super) fn clip(&mut self, path: &Path, options: &RenderOptions) -> Result<()> {
        if let Some(format) = self.animated().filter(|format| !format.is_animated()) {
            return Err(still_from_clip(format));
        }
        let info = impasto_video::probe(path)?;
        let clip = FrameShape { size: (info.width, info.height), aspect: info.shown_aspect() };
        let shape = options.scale.of(clip)?;
        // Sides that were asked for stay as they are.
        let has_sides = options.scale.width.is_some() && options.scale.height.is_some();
        let FrameShape { size, aspect } =
            if self.animated().is_some() && !has_sides { shape.in_square_pixels()? } else { shape };
        // Neither pipes nor GIF readers know the time base of a variable rate; the mean as a constant rate suits both.
        let rate = options.read.frame_rate.or(info.frame_rate);
        let is_pipe = self.animated().is_none();
        if let Some(rate) = rate.filter(|_| is_pipe && info.variable_rate && options.read.frame_rate.is_none()) {
            let rate = rate.value();
            self.progress.note(&format!(
                "the frame rate varies, but the output needs a constant one: frames are dropped or repeated to get {rate:.3} per second"
            ));
        }
        let read = ReadOptions {
            size: Some(size),
            frame_rate: if is_pipe { rate } else { options.read.frame_rate },
            ..options.read
        };
        let mut reader = VideoReader::with_options(path, read)?;
        let format = self.animated().map_or_else(|| "y4m".to_owned(), |format| format.to_string());
        let lost = video::unread_alpha(Ffmpeg::find()?, &info);
        let left_out = video::left_out_beside_frames(&info.others, &format);
        lost.iter().chain(&left_out).for_each(|note| self.progress.note(note));
        let stream = RawStreamInfo {
            width: size.0,
            height: size.1,
            frame_rate: rate.unwrap_or(Ratio { numerator: 25, denominator: 1 }),
            sample_aspect: aspect,
            color: reader.color().clone(),
            bits: 8,
            interlaced: info.interlaced,
        };
        let time_base = reader.time_base();
        self.paint(&mut reader, &stream, time_base, info.frames.filter(|_| read == ReadOptions::default()))?;
        reader.damage().map_or(Ok(()), Err)
    }

    pub(super) fn y4m(&mut self, reader: impl io::BufRead + Send, options: &RenderOptions) -> Result<()> {
        refuse(options)?;
        let mut reader = Y4mReader::new(reader)?;
        let info = reader.info().clone();
        let clip = FrameShape { size: (info.width, info.height), aspect: info.sample_aspect };
        if info.bits > 8 {
            self.progress.note(&format!("the stream has {} bits per channel; it is painted in 8 bits", info.bits));
        }
        let time_base = info.frame_rate.inverse();
        if self.animated().is_none() || clip.aspect.is_none() {
            return self.paint(&mut reader, &info, time_base, None);
        }
        let (width, height) = clip.in_square_pixels()?.size;
        let mut frames = reader.map(|frame| {
            let VideoFrame { picture, pts } = frame?;
            let image = picture.into_image().resize_exact(width, height, FilterType::CatmullRom);
            Ok(VideoFrame { picture: image.into(), pts })
        });
        let info = RawStreamInfo { width, height, sample_aspect: None, ..info };
        self.paint(&mut frames, &info, time_base, None)
    }

    /// The format of the animation that frames are painted into, if they are.
    fn animated(&self) -> Option<PictureFormat> {
        match self.task.format {
            Some(PaintingFormat::Picture(format)) => Some(format),
            _ => None,
        }
    }

    fn rgb(&mut self, reader: impl io::BufRead + Send, size: (u32, u32), options: &RenderOptions) -> Result<()> {
        // The rate is unknown. It matters only if a header or an animation needs one.
        let frame_rate = options.read.frame_rate.unwrap_or(Ratio { numerator: 25, denominator: 1 });
        let read = ReadOptions { frame_rate: None, ..options.read };
        refuse(&RenderOptions { read, ..options.clone() })?;
        let color = Color::guess(size.1);
        let (width, height) = size;
        let info = RawStreamInfo { width, height, frame_rate, sample_aspect: None, color, bits: 8, interlaced: false };
        self.paint(&mut RgbReader::new(reader, size), &info, frame_rate.inverse(), None)
    }

    fn paint(
        &mut self,
        frames: &mut (impl Iterator<Item = Result<VideoFrame>> + Send),
        info: &RawStreamInfo,
        time_base: Ratio,
        count: Option<u64>,
    ) -> Result<()> {
        self.progress.begin(count, 0);
        let (width, height) = self.stylizer.size_of_painting((info.width, info.height));
        let info = &RawStreamInfo { width, height, bits: 8, ..info.clone() };
        match &self.task.output {
            Output::File(path) => write_atomic(path, |writer| self.write(frames, info, time_base, writer)),
            Output::Stdout => {
                let writer = BufWriter::with_capacity(BUFFER, DataOutput);
                self.write(frames, info, time_base, writer)
            }
        }
    }

    fn write<W: Write + Send>(
        &mut self,
        frames: &mut (impl Iterator<Item = Result<VideoFrame>> + Send),
        info: &RawStreamInfo,
        time_base: Ratio,
        writer: W,
    ) -> Result<()> {
        let writer = match self.task.format {
            None if self.raw => StreamWriter::Rgb(writer),
            None | Some(PaintingFormat::Y4m) => StreamWriter::Y4m(Y4mWriter::new(writer, info)?),
            Some(PaintingFormat::Picture(format)) if format.is_animated() => {
                let delay = (1000.0 / info.frame_rate.value()).round() as i64;
                let writer = AnimationWriter::new(format, writer, Repeat::Forever)?;
                StreamWriter::Animation(AnimationStream::new(writer, time_base, delay))
            }
            Some(format) => return Err(cannot(format)),
        };
        let format = self.animated();
        let mut painter = LossNotes::new(&mut *self.painter, |painting| lost_by(painting, format));
        video::paint_stream(frames, writer, &mut painter, self.progress).map(|_| ())
    }
}

/// What a painting loses in an animation of this format, or in a stream of frames.
fn lost_by(painting: &Picture, animated: Option<PictureFormat>) -> Option<String> {
    match animated {
        Some(format) => painting.losses(format).first().map(|&loss| describe(loss, format)),
        None if painting.is_transparent() => {
            Some("y4m has no transparency; transparent pixels are put on white".to_owned())
        }
        None => None,
    }
}

/// Refuses options that need ffmpeg.
fn refuse(options: &RenderOptions) -> Result<()> {
    let scaled = Scale { longest: None, ..options.scale } != Scale::default();
    if options.read != ReadOptions::default() || scaled {
        return Err(Error::usage("`--start`, `--duration`, `--fps` and `--scale` need a clip file")
            .with_hint("do this in the program that writes the pipe"));
    }
    Ok(())
}

fn cannot(format: PaintingFormat) -> Error {
    match format {
        PaintingFormat::Picture(format) => still_from_clip(format),
        format => {
            let name = format.extension();
            Error::usage(format!("frames from or to a pipe cannot be written as `{name}`"))
                .with_hint("pipe the result to ffmpeg: `.. --output - | ffmpeg -i - out.mp4`")
        }
    }
}

fn still_from_clip(format: PictureFormat) -> Error {
    Error::usage(format!("a clip cannot be written as {format}"))
        .with_hint("use an output that ends in .mp4, .mov, .mkv, .webm, .gif, .webp or .y4m")
}
