//! Painting many pictures: read, paint, write, and go on after a bad one.

use std::io::{self, Read, Write};
use std::path::Path;

use common::files::write_atomic;
use common::picture::{Animation, EncodeOptions, Frame, GifWriter, Loss, Picture, PictureFormat, read_picture_bytes};
use common::{Result, ResultExt};

use super::interrupt::while_writing;
use super::plan::{Job, Source, Target};
use crate::Stylizer;

/// Paints one picture or animation and tells `note` what the target's format could not hold.
pub(super) fn paint(stylizer: &Stylizer, job: &Job, quality: u8, note: &dyn Fn(&str)) -> Result<()> {
    let name = job.source.name();
    let action = || format!("cannot paint {name}");
    if let (Source::File(photo), Target::File(painting), Some(format)) = (&job.source, &job.target, job.format) {
        let options = EncodeOptions { format, quality };
        // A file that cannot be looked at so is reported below, where it is read as a whole.
        if stylizer.prefers_strips(photo, options).unwrap_or(false) {
            return stylizer.stylize_file(photo, painting, options).context(action);
        }
    }
    let bytes = job.source.read()?;
    let format = match job.format {
        Some(format) => format,
        None => PictureFormat::of_bytes(&bytes).context(action)?,
    };
    let options = EncodeOptions { format, quality };
    let tell = |text: &str| note(&format!("{name}: {text}"));
    let painting = match Animation::decode(&bytes).context(action)? {
        Some(animation) if format == PictureFormat::Gif => paint_animation(stylizer, animation).context(action)?,
        animation => {
            if animation.is_some() {
                tell("only the first frame is painted; an animation is kept with `--format gif`");
            }
            paint_still(stylizer, &bytes, options, &tell).context(action)?
        }
    };
    job.target.write(&painting)
}

fn paint_still(stylizer: &Stylizer, bytes: &[u8], options: EncodeOptions, tell: &dyn Fn(&str)) -> Result<Vec<u8>> {
    let painting = stylizer.stylize_owned(Picture::decode(bytes)?)?;
    for loss in painting.losses(options.format) {
        tell(&describe(loss, options.format));
    }
    painting.encode(options)
}

fn paint_animation(stylizer: &Stylizer, animation: Animation) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut writer = GifWriter::new(&mut bytes, animation.repeat())?;
    for frame in animation {
        let Frame { picture, delay } = frame?;
        writer.push(Frame { picture: stylizer.stylize_owned(picture)?, delay })?;
    }
    drop(writer);
    Ok(bytes)
}

fn describe(loss: Loss, format: PictureFormat) -> String {
    match loss {
        Loss::Transparency => format!("{format} has no transparency; transparent pixels are put on white"),
        Loss::PartialTransparency => format!("{format} pixels are opaque or transparent, nothing between"),
        Loss::Profile => format!("{format} holds no colour profile; the colours may look different"),
    }
}

impl Source {
    /// The name in messages.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Stdin => "standard input".into(),
            Self::File(path) => format!("`{}`", path.display()),
        }
    }

    fn read(&self) -> Result<Vec<u8>> {
        match self {
            Self::File(path) => read_picture_bytes(path),
            Self::Stdin => {
                let mut bytes = Vec::new();
                io::stdin().lock().read_to_end(&mut bytes).context(|| "cannot read standard input")?;
                Ok(bytes)
            }
        }
    }
}

impl Target {
    fn write(&self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::File(path) => write_file(path, bytes),
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes).and_then(|()| stdout.flush()).context(|| "cannot write to standard output")
            }
        }
    }
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let _no_half_file = while_writing();
    write_atomic(path, |writer| writer.write_all(bytes).context(|| "cannot write the picture"))
}
