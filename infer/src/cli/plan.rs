//! Which picture is painted into which file: everything that can be refused before the first second of work.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use impasto_common::{Error, Result};
use impasto_files::{find, has_extension};
use impasto_picture::IMAGE_EXTENSIONS;
use impasto_picture::PictureFormat;
use impasto_video::is_video_name;

use super::format::Format;
use crate::video::{Container, is_interrupted};

/// Where a picture comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    Stdin,
    File(PathBuf),
}

/// Where a painting goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Stdout,
    File(PathBuf),
}

/// One picture to paint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) source: Source,
    pub(super) target: Target,
    /// The format of the painting; the source's own if `None`.
    pub(super) format: Option<Format>,
}

/// The jobs of a run, and the inputs that cannot become one.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) jobs: Vec<Job>,
    pub(super) failures: Vec<Error>,
}

impl Plan {
    /// Plans to paint `inputs` (files, folders, or `-`) to `output` (a file, a folder, or `-`).
    ///
    /// # Errors
    ///
    /// If the inputs do not fit the output, or a painting would replace an input or another painting.
    pub(super) fn new(inputs: &[PathBuf], output: &Path, format: Option<Format>) -> Result<Self> {
        let mut plan = Self::default();
        if is_dash(output) || inputs.iter().any(|input| is_dash(input)) {
            plan.jobs.push(stream_job(inputs, output, format)?);
        } else if into_folder(inputs, output) {
            if output.is_file() {
                return Err(Error::usage(format!(
                    "several pictures cannot be painted into one file `{}`",
                    output.display()
                ))
                .with_hint("name a folder as `--output`"));
            }
            for input in inputs {
                plan.add_input(input, output, format);
            }
        } else {
            let format = Some(format_for(output, format)?);
            plan.jobs.push(Job {
                source: Source::File(inputs[0].clone()),
                target: Target::File(output.into()),
                format,
            });
        }
        plan.check_targets()?;
        Ok(plan)
    }

    fn add_input(&mut self, input: &Path, folder: &Path, format: Option<Format>) {
        if !input.is_dir() {
            let name = input.file_name().unwrap_or(input.as_os_str());
            return self.jobs.push(folder_job(input, &folder.join(name), format));
        }
        match pictures_below(input, folder) {
            Err(error) => self.failures.push(error),
            Ok(pictures) if pictures.is_empty() => {
                self.failures.push(Error::new(format!("there is no picture in folder `{}`", input.display())));
            }
            Ok(pictures) => self.jobs.extend(pictures.iter().map(|picture| {
                let below = picture.strip_prefix(input).unwrap_or(picture);
                folder_job(picture, &folder.join(below), format)
            })),
        }
    }

    /// Drops the jobs whose painting exists and returns how many there were.
    pub(super) fn skip_existing(&mut self) -> usize {
        let planned = self.jobs.len();
        let is_there = |path: &Path| path.exists() && !is_interrupted(path);
        self.jobs.retain(|job| !matches!(&job.target, Target::File(path) if is_there(path)));
        planned - self.jobs.len()
    }

    /// Refuses a plan that would replace an input, or write one file twice.
    fn check_targets(&self) -> Result<()> {
        let sources: BTreeSet<_> = self.jobs.iter().filter_map(|job| job.source.file()).filter_map(canonical).collect();
        let mut taken = BTreeMap::new();
        for job in &self.jobs {
            let (Some(source), Target::File(target)) = (job.source.file(), &job.target) else { continue };
            if canonical(target).is_some_and(|target| sources.contains(&target)) {
                return Err(Error::usage(format!("`{}` is an input and would be replaced", target.display()))
                    .with_hint("name another `--output`"));
            }
            if let Some(other) = taken.insert(target, source) {
                let (other, source, target) = (other.display(), source.display(), target.display());
                return Err(Error::usage(format!("`{other}` and `{source}` would both be painted into `{target}`"))
                    .with_hint("paint them in two runs with different `--output`"));
            }
        }
        Ok(())
    }
}

impl Source {
    fn file(&self) -> Option<&Path> {
        match self {
            Self::Stdin => None,
            Self::File(path) => Some(path),
        }
    }
}

fn is_dash(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn stream_job(inputs: &[PathBuf], output: &Path, format: Option<Format>) -> Result<Job> {
    let [input] = inputs else {
        return Err(Error::usage("`-` stands for one picture, and there are several inputs"));
    };
    if input.is_dir() {
        return Err(Error::usage(format!("folder `{}` cannot be painted to standard output", input.display())));
    }
    let source = if is_dash(input) { Source::Stdin } else { Source::File(input.clone()) };
    if is_dash(output) {
        return Ok(Job { source, target: Target::Stdout, format });
    }
    if output.is_dir() {
        return Err(Error::usage(format!(
            "a picture from standard input has no name to keep in `{}`",
            output.display()
        ))
        .with_hint("name a file as `--output`"));
    }
    let format = Some(format_for(output, format)?);
    Ok(Job { source, target: Target::File(output.into()), format })
}

/// Whether `output` is meant as a folder.
fn into_folder(inputs: &[PathBuf], output: &Path) -> bool {
    let ends_with_separator = output.as_os_str().as_encoded_bytes().last().is_some_and(|&byte| {
        // Both are separators on Windows, and nobody ends a picture's name with either elsewhere.
        byte == b'/' || byte == b'\\'
    });
    inputs.len() > 1 || inputs.iter().any(|input| input.is_dir()) || output.is_dir() || ends_with_separator
}

/// The format of a painting whose file is named: `--format` if given, else the ending of the name.
fn format_for(output: &Path, format: Option<Format>) -> Result<Format> {
    format.or_else(|| Format::of_path(output)).ok_or_else(|| {
        Error::usage(format!("the name of `{}` says no picture format", output.display()))
            .with_hint("end it with .jpg, .png, .webp, .tiff, .bmp, .gif, .mp4, .mov, .mkv, .webm or .y4m, give `--format`, or make the folder first")
    })
}

/// A job whose target keeps the source's name, but for the ending if another format is asked for.
fn folder_job(source: &Path, target: &Path, format: Option<Format>) -> Job {
    if is_video_name(source) {
        return clip_job(source, target, format);
    }
    let own = PictureFormat::of_path(target).map(Format::Picture);
    // A format of clips leaves pictures alone.
    let format = format.filter(|format| matches!(format, Format::Picture(_)));
    let target = match format {
        Some(format) if own.is_some() && own != Some(format) => target.with_extension(format.extension()),
        // An unknown ending may be part of the name: `Mr. Smith`.
        Some(format) if own.is_none() => {
            let mut name = target.as_os_str().to_owned();
            name.push(".");
            name.push(format.extension());
            name.into()
        }
        _ => target.to_owned(),
    };
    Job { source: Source::File(source.into()), target: Target::File(target), format: format.or(own) }
}

/// A job for what is named like a clip: it stays in its container, if it is one that we write, or goes into Matroska, which holds
/// any sound.
fn clip_job(source: &Path, target: &Path, format: Option<Format>) -> Job {
    let own = Container::of_path(target).map(Format::Clip);
    let format = format.filter(|format| !matches!(format, Format::Picture(picture) if !picture.is_animated()));
    let format = format.or(own).unwrap_or(Format::Clip(Container::Mkv));
    let target =
        if Format::of_path(target) == Some(format) { target.into() } else { target.with_extension(format.extension()) };
    Job { source: Source::File(source.into()), target: Target::File(target), format: Some(format) }
}

/// The pictures and clips in a folder, without the paintings of an earlier run if they lie below it.
fn pictures_below(input: &Path, output: &Path) -> Result<Vec<PathBuf>> {
    let mut pictures = find(input, is_picture_or_clip)?;
    let canonical_input = canonical(input);
    if let Some(output) = canonical(output).filter(|output| Some(output) != canonical_input.as_ref()) {
        pictures.retain(|picture| !canonical(picture).is_some_and(|picture| picture.starts_with(&output)));
    }
    Ok(pictures)
}

/// The path without links and `..`; `None` where there is no such file (yet).
fn canonical(path: impl AsRef<Path>) -> Option<PathBuf> {
    fs::canonicalize(path).ok()
}
/// Whether a file's name ends like a picture's or a clip's, and it is not a part of a clip whose painting was interrupted.
fn is_picture_or_clip(path: &Path) -> bool {
    let is_part = path.parent().is_some_and(|parent| has_extension(parent, &["parts"]));
    (has_extension(path, &IMAGE_EXTENSIONS) || is_video_name(path)) && !is_part
}
