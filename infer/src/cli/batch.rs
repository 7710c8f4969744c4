//! Paints many pictures: reads, paints and writes each, and continues after a bad one.
//!
//! While one picture is painted, a thread reads and decodes the next one, and another encodes and writes the previous one.
//! The next picture is read only after the previous one was taken, so only a few are in memory at a time. Pictures are
//! painted, and messages printed, in the order of the plan.

use std::io::Write;
use std::panic;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::thread;

use impasto_common::error::ErrorKind;
use impasto_common::{Error, Result, ResultExt};
use impasto_files::write_atomic;
use impasto_picture::{
    Animation, AnimationFrame, AnimationWriter, EncodeOptions, Loss, Picture, PictureFormat, bytes_to_decode,
    read_picture_bytes,
};
use impasto_video::is_video;

use super::clip;
use super::clip_options::ClipOptions;
use super::format::PaintingFormat;
use super::plan::{Input, Output, PaintingTask};
use super::stream::{self, StdinContent, StdinFrames};
use super::talk::Talk;
use super::{interrupt, output};
use crate::Stylizer;
use crate::video::{FramePainter, LossNotes};

/// How the pictures of a run are read and written.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchOptions<'a> {
    /// JPEG quality of the paintings.
    pub(super) quality: u8,
    /// As in the stylizer's options. Pictures are shrunk before they wait.
    pub(super) max_size: Option<u32>,
    /// Whether pictures are read and written while another is painted.
    pub(super) overlap: bool,
    /// How clips are painted.
    pub(super) clips: &'a ClipOptions,
}

/// How many pictures failed, by kind of error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Failures {
    /// Failures because the request is not possible.
    pub(super) usage: usize,
    pub(super) other: usize,
}

impl Failures {
    pub(super) fn count(self) -> usize {
        self.usage + self.other
    }

    fn add(&mut self, kind: ErrorKind) {
        *(if kind == ErrorKind::Usage { &mut self.usage } else { &mut self.other }) += 1;
    }
}

/// Paints the pictures, reports losses and errors, and returns what failed.
///
/// Ctrl-C during a clip ends the run: see [`interrupt::is_stopped`].
pub(super) fn paint_all<'a>(
    stylizer: &Stylizer,
    tasks: &'a [PaintingTask],
    options: BatchOptions,
    talk: &Talk,
) -> Failures {
    let BatchOptions { quality, overlap, .. } = options;
    let paint = |work: TaskInHand<'a, LoadedInput>| {
        talk.begin(work.task.input.name());
        work.then(|task, loaded, notes| paint(stylizer, task, loaded, options, talk, notes))
    };
    let load = |task: &'a PaintingTask| TaskInHand::new(task, stylizer, options);
    let end = |work: TaskInHand<FinishedPainting>| {
        work.then(|task, painted, notes| store(task, painted, quality, notes)).end(talk)
    };
    if !overlap || tasks.len() < 2 {
        let wanted = tasks.iter().take_while(|_| !interrupt::is_stopped());
        return failures(wanted.map(|task| end(paint(load(task)))));
    }
    thread::scope(|scope| {
        // The channels have no capacity, so a thread keeps its picture until the next thread is free.
        let (loaded, to_paint) = sync_channel(0);
        let (painted, to_store) = sync_channel(0);
        scope.spawn(move || {
            for task in tasks {
                if loaded.send(load(task)).is_err() {
                    break;
                }
            }
        });
        let storing = scope.spawn(move || failures(to_store.into_iter().map(end)));
        for work in to_paint {
            if painted.send(paint(work)).is_err() || interrupt::is_stopped() {
                break;
            }
        }
        drop(painted);
        storing.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
    })
}

fn failures(ends: impl Iterator<Item = Result<(), ErrorKind>>) -> Failures {
    let mut failures = Failures::default();
    ends.filter_map(Result::err).for_each(|kind| failures.add(kind));
    failures
}

/// A picture on its way from input to output.
struct TaskInHand<'a, T> {
    task: &'a PaintingTask,
    notes: Vec<String>,
    result: Result<T>,
}

/// A picture that is read.
enum LoadedInput {
    Still(Picture, PictureFormat),
    /// The file's bytes: the frames are decoded one at a time.
    Animation(Vec<u8>, PictureFormat),
    /// Nothing yet: frames are read and written while they are painted.
    Clip,
    /// The same, with the beginning of standard input.
    Stream(StdinFrames),
    /// Nothing yet: a large file is read, painted and written in strips.
    Strips(PathBuf, PathBuf, PictureFormat),
}

/// A picture that is painted.
enum FinishedPainting {
    Still(Picture, PictureFormat),
    /// The bytes of the painted file.
    Animation(Vec<u8>),
    /// The output is already written.
    Stored,
}

impl<'a> TaskInHand<'a, LoadedInput> {
    fn new(task: &'a PaintingTask, stylizer: &Stylizer, options: BatchOptions) -> Self {
        let work = TaskInHand { task, notes: Vec::new(), result: Ok(()) };
        work.then(|task, (), notes| load(task, stylizer, options, notes))
    }
}

impl<'a, T> TaskInHand<'a, T> {
    /// Runs the next step, unless an earlier one failed.
    fn then<U>(mut self, step: impl FnOnce(&PaintingTask, T, &mut Vec<String>) -> Result<U>) -> TaskInHand<'a, U> {
        let result = self.result.and_then(|value| step(self.task, value, &mut self.notes));
        TaskInHand { task: self.task, notes: self.notes, result }
    }
}

impl TaskInHand<'_, ()> {
    /// Prints the notes and the error, and returns the kind of the error.
    fn end(self, talk: &Talk) -> Result<(), ErrorKind> {
        let name = self.task.input.name();
        for note in &self.notes {
            talk.note(&format!("{name}: {note}"));
        }
        talk.advance();
        match self.result {
            Err(_) if output::reader_left() => Ok(()),
            Err(error) => {
                talk.error(&error);
                Err(error.kind())
            }
            Ok(()) => Ok(()),
        }
    }
}

fn load(
    task: &PaintingTask,
    stylizer: &Stylizer,
    options: BatchOptions,
    notes: &mut Vec<String>,
) -> Result<LoadedInput> {
    let bytes = match &task.input {
        Input::Stdin => match stream::open_stdin(options.clips.raw).context(|| cannot_paint(task))? {
            StdinContent::Frames(stream) => return Ok(LoadedInput::Stream(stream)),
            StdinContent::Picture(bytes) => bytes,
        },
        Input::File(path) => {
            // If the file cannot be opened, reading it as a picture reports the error below.
            if is_video(path).unwrap_or(false) {
                return Ok(LoadedInput::Clip);
            }
            if let (Output::File(painting), Some(PaintingFormat::Picture(format))) = (&task.output, task.format)
                && stylizer.prefers_strips(path, format).unwrap_or(false)
            {
                return Ok(LoadedInput::Strips(path.clone(), painting.clone(), format));
            }
            read_picture_bytes(path)?
        }
    };
    notes.extend(beyond_memory(&bytes, stylizer.memory()));
    decode(bytes, task, options.max_size, notes).context(|| cannot_paint(task))
}

/// A note on a picture that is decoded as a whole and needs more memory than painting may use.
fn beyond_memory(bytes: &[u8], memory: u64) -> Option<String> {
    let needed = bytes_to_decode(bytes).filter(|&needed| needed > memory)? >> 20;
    Some(format!(
        "decoding it needs {needed} MB in addition to the memory for painting; PNG, TIFF and non-progressive JPEG are read in \
         strips if the output has one of these formats (`jpegtran` converts a progressive JPEG without loss)"
    ))
}

fn decode(bytes: Vec<u8>, task: &PaintingTask, max_size: Option<u32>, notes: &mut Vec<String>) -> Result<LoadedInput> {
    let own = PictureFormat::of_bytes(&bytes)?;
    let is_animation = Animation::decode(&bytes)?.is_some();
    let format = match task.format {
        Some(PaintingFormat::Picture(format)) => format,
        None => own,
        // ffmpeg reads GIF as a clip like any other.
        Some(PaintingFormat::Clip(_)) if is_animation && own == PictureFormat::Gif && task.input != Input::Stdin => {
            return Ok(LoadedInput::Clip);
        }
        Some(_) if is_animation => {
            return Err(Error::new(format!("an animated {own} cannot be written as a clip here"))
                .with_hint("use an output that ends in .gif or .webp"));
        }
        Some(_) => {
            return Err(Error::new("it is a picture, which cannot be written as a clip")
                .with_hint("use an output with the extension of a picture, such as .png"));
        }
    };
    if is_animation && format.is_animated() {
        return Ok(LoadedInput::Animation(bytes, format));
    }
    if is_animation {
        notes.push(
            "only the first frame is painted; use `--format gif` or `--format webp` to keep the animation".into(),
        );
    }
    let picture = Picture::decode(&bytes)?;
    notes.extend(picture.notes().iter().cloned());
    let picture = match max_size {
        Some(long_side) => picture.fit_within(long_side),
        None => picture,
    };
    Ok(LoadedInput::Still(picture, format))
}

fn paint(
    stylizer: &Stylizer,
    task: &PaintingTask,
    loaded: LoadedInput,
    options: BatchOptions,
    talk: &Talk,
    notes: &mut Vec<String>,
) -> Result<FinishedPainting> {
    let painted = match loaded {
        LoadedInput::Still(picture, format) => stylizer.stylize_owned(picture).map(|painted| {
            notes.extend(painted.notes);
            FinishedPainting::Still(painted.picture, format)
        }),
        LoadedInput::Animation(bytes, format) => options
            .clips
            .painter(stylizer)
            .and_then(|mut painter| paint_animation(&mut *painter, &bytes, format, notes))
            .map(FinishedPainting::Animation),
        LoadedInput::Clip => clip::paint_file(stylizer, task, options.clips, talk).map(|()| FinishedPainting::Stored),
        LoadedInput::Stream(stream) => {
            stream::paint_stream(stylizer, task, stream, options.clips, talk).map(|()| FinishedPainting::Stored)
        }
        LoadedInput::Strips(photo, painting, format) => {
            let options = EncodeOptions { format, quality: options.quality };
            stylizer.stylize_file(&photo, &painting, options).map(|painted| {
                notes.extend(painted.notes);
                notes.extend(painted.losses.into_iter().map(|loss| describe(loss, format)));
                FinishedPainting::Stored
            })
        }
    };
    painted.context(|| cannot_paint(task))
}

fn paint_animation(
    painter: &mut dyn FramePainter,
    bytes: &[u8],
    format: PictureFormat,
    notes: &mut Vec<String>,
) -> Result<Vec<u8>> {
    let mut painted = Vec::new();
    if let Some(animation) = Animation::decode(bytes)? {
        let mut writer = AnimationWriter::new(format, &mut painted, animation.repeat())?;
        let mut painter =
            LossNotes::new(painter, |painting| painting.losses(format).first().map(|&loss| describe(loss, format)));
        for frame in animation {
            let AnimationFrame { picture, delay } = frame?;
            let painted = painter.paint(picture)?;
            notes.extend(painted.notes);
            writer.push(AnimationFrame { picture: painted.picture, delay })?;
        }
        writer.finish()?;
    }
    Ok(painted)
}

fn store(task: &PaintingTask, painted: FinishedPainting, quality: u8, notes: &mut Vec<String>) -> Result<()> {
    let bytes = match painted {
        FinishedPainting::Stored => return Ok(()),
        FinishedPainting::Animation(bytes) => bytes,
        FinishedPainting::Still(painting, format) => {
            notes.extend(painting.losses(format).into_iter().map(|loss| describe(loss, format)));
            painting.encode(EncodeOptions { format, quality }).context(|| cannot_paint(task))?
        }
    };
    task.output.write(&bytes)
}

fn cannot_paint(task: &PaintingTask) -> String {
    format!("cannot paint {}", task.input.name())
}

/// A loss in words.
pub(super) fn describe(loss: Loss, format: PictureFormat) -> String {
    match loss {
        Loss::Transparency => {
            format!("{format} does not support transparency; transparent areas are blended with white")
        }
        Loss::PartialTransparency => {
            format!("{format} does not support partial transparency; each pixel becomes opaque or transparent")
        }
        Loss::Profile => format!("{format} cannot store the colour profile; colours may look different"),
    }
}

impl Output {
    fn write(&self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::File(path) => {
                write_atomic(path, |writer| writer.write_all(bytes).context(|| "cannot write the picture"))
            }
            Self::Stdout => output::write_all(bytes),
        }
    }
}
