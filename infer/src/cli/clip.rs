//! Clip files among the inputs.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use impasto_common::{Error, Result, ResultExt};
use impasto_video::{ReadOptions, Y4M_MAGIC};

use super::clip_options::ClipOptions;
use super::format::PaintingFormat;
use super::plan::{Input, Output, PaintingTask};
use super::progress::ClipProgress;
use super::stream::{BUFFER, StreamTask};
use super::talk::Talk;
use crate::Stylizer;
use crate::video::{self, Container};

/// Paints a clip file.
pub(super) fn paint_file(stylizer: &Stylizer, task: &PaintingTask, options: &ClipOptions, talk: &Talk) -> Result<()> {
    let Input::File(path) = &task.input else { return Err(Error::new("standard input is not a file")) };
    let mut progress = ClipProgress::new(talk, task.input.name());
    match (&task.output, task.format) {
        (Output::File(output), Some(PaintingFormat::Clip(container))) => {
            render(stylizer, path, output, container, options, &mut progress)
        }
        // The name gives no format.
        (Output::File(output), None) => render(stylizer, path, output, Container::Mp4, options, &mut progress),
        _ => {
            let painter = options.painter(stylizer)?;
            let mut painting = StreamTask { stylizer, painter, task, raw: false, progress: &mut progress };
            if starts_like_y4m(path)? && options.render.read == ReadOptions::default() {
                let file = File::open(path).context(|| format!("cannot read {}", task.input.name()))?;
                painting.y4m(BufReader::with_capacity(BUFFER, file), &options.render)
            } else {
                painting.clip(path, &options.render)
            }
        }
    }
}

fn render(
    stylizer: &Stylizer,
    source: &Path,
    output: &Path,
    container: Container,
    options: &ClipOptions,
    progress: &mut ClipProgress,
) -> Result<()> {
    let mut painter = options.painter(stylizer)?;
    let rendered = video::render(source, output, container, &options.render, &mut *painter, progress)?;
    match rendered.damage {
        Some(damage) => Err(damage.with_hint(format!("`{}` holds what could be decoded", output.display()))),
        None => Ok(()),
    }
}

fn starts_like_y4m(path: &Path) -> Result<bool> {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(Y4M_MAGIC.len() as u64).read_to_end(&mut head));
    read.context(|| format!("cannot read `{}`", path.display()))?;
    Ok(head == Y4M_MAGIC)
}
