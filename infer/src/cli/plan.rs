//! Decides which input is painted into which file. Everything that can be refused is refused here, before any work is done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use impasto_common::{Error, Result};
use impasto_files::{FolderFiles, UnreadableEntry, resolve};
use impasto_picture::{ForeignFormat, PictureFormat};

use super::format::PaintingFormat;
use super::input_kind::{InputKind, is_segment};
use crate::video::{Container, is_interrupted};

/// The source of a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Input {
    Stdin,
    File(PathBuf),
}

/// The destination of a painting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Output {
    Stdout,
    File(PathBuf),
}

/// One picture to paint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PaintingTask {
    pub(super) input: Input,
    pub(super) output: Output,
    /// The format of the painting. `None` keeps the format of the input.
    pub(super) format: Option<PaintingFormat>,
}

/// The tasks of a run, and the inputs that cannot become one.
#[derive(Debug, Default)]
pub(super) struct PaintingPlan {
    pub(super) tasks: Vec<PaintingTask>,
    pub(super) failures: Vec<Error>,
    /// How many pictures of each format that we do not read are among the failures.
    pub(super) foreign: BTreeMap<ForeignFormat, usize>,
    /// Number of files with metadata of macOS, which are left out.
    pub(super) mac_metadata: usize,
}

impl PaintingPlan {
    /// Plans to paint `inputs` (files, folders, or `-`) to `output` (a file, a folder, or `-`).
    ///
    /// # Errors
    ///
    /// If the inputs do not fit the output, or a painting would replace an input or another painting.
    pub(super) fn new(inputs: &[PathBuf], output: &Path, format: Option<PaintingFormat>) -> Result<Self> {
        let mut plan = Self::default();
        if is_stdout(output) || inputs.iter().any(|input| is_stdin(input)) {
            plan.tasks.push(stream_task(inputs, output, format)?);
        } else if into_folder(inputs, output) {
            if meant(output).is_file() {
                return Err(Error::usage(format!(
                    "several inputs cannot be painted into one file `{}`",
                    output.display()
                ))
                .with_hint("use a folder as `--output`"));
            }
            for input in inputs {
                plan.add_input(input, output, format);
            }
        } else {
            let format = Some(format_for(output, format)?);
            plan.tasks.push(PaintingTask {
                input: Input::File(inputs[0].clone()),
                output: Output::File(output.into()),
                format,
            });
        }
        plan.check_outputs()?;
        Ok(plan)
    }

    fn add_input(&mut self, input: &Path, folder: &Path, format: Option<PaintingFormat>) {
        if input.is_dir() {
            return self.add_folder(input, folder, format);
        }
        let name = input.file_name().unwrap_or(input.as_os_str());
        // A file that cannot be looked at is reported where it is painted.
        let kind = InputKind::of(input).unwrap_or(InputKind::Other);
        self.tasks.push(folder_task(input, &folder.join(name), format, kind));
    }

    fn add_folder(&mut self, input: &Path, folder: &Path, format: Option<PaintingFormat>) {
        let FolderFiles { files, unreadable, mac_metadata } = match FolderFiles::below(input) {
            Ok(found) => found,
            Err(error) => return self.failures.push(error),
        };
        // The paintings of an earlier run may be below the input.
        let output = meant(folder);
        let may_hold_paintings = !meant(input).starts_with(&output);
        let is_painting = |path: &Path| may_hold_paintings && meant(path).starts_with(&output);
        let is_wanted = |path: &Path| !is_painting(path) && !is_segment(path);
        let planned = self.tasks.len() + self.failures.len();
        let entries = unreadable.into_iter().filter(|entry| is_wanted(&entry.path));
        self.failures.extend(entries.map(|UnreadableEntry { error, .. }| error));
        for file in files.iter().filter(|file| is_wanted(file)) {
            let below = file.strip_prefix(input).unwrap_or(file);
            match InputKind::of(file) {
                Ok(InputKind::Other) => {}
                Ok(InputKind::Foreign(foreign)) => {
                    let message = format!("cannot paint `{}`", file.display());
                    self.failures.push(Error::new(message).with_source(foreign.error()));
                    *self.foreign.entry(foreign).or_default() += 1;
                }
                Ok(kind) => self.tasks.push(folder_task(file, &folder.join(below), format, kind)),
                Err(error) => self.failures.push(error),
            }
        }
        self.mac_metadata += mac_metadata.len();
        if self.tasks.len() + self.failures.len() == planned {
            self.failures.push(Error::new(format!("there are no pictures or clips in folder `{}`", input.display())));
        }
    }

    /// Drops the tasks whose output exists, and returns their number.
    pub(super) fn skip_existing(&mut self) -> usize {
        let planned = self.tasks.len();
        let is_there = |path: &Path| meant(path).exists() && !is_interrupted(path);
        self.tasks.retain(|task| !matches!(&task.output, Output::File(path) if is_there(path)));
        planned - self.tasks.len()
    }

    /// Refuses a plan that would replace an input, or write one file twice.
    fn check_outputs(&self) -> Result<()> {
        let inputs: BTreeSet<_> = self.tasks.iter().filter_map(|task| task.input.file()).map(meant).collect();
        let mut taken = BTreeMap::new();
        for task in &self.tasks {
            let (Some(input), Output::File(output)) = (task.input.file(), &task.output) else { continue };
            let meant = meant(output);
            if inputs.contains(&meant) {
                return Err(Error::usage(format!("`{}` is an input and would be replaced", output.display()))
                    .with_hint("choose another `--output`"));
            }
            if let Some(other) = taken.insert(meant, input) {
                let (other, input, output) = (other.display(), input.display(), output.display());
                return Err(Error::usage(format!("`{other}` and `{input}` would both be painted into `{output}`"))
                    .with_hint("paint them in two runs with different `--output`"));
            }
        }
        Ok(())
    }
}

impl Input {
    /// The name in messages.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Stdin => "standard input".into(),
            Self::File(path) => format!("`{}`", path.display()),
        }
    }

    fn file(&self) -> Option<&Path> {
        match self {
            Self::Stdin => None,
            Self::File(path) => Some(path),
        }
    }
}

fn is_stdin(path: &Path) -> bool {
    ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"].iter().any(|name| path.as_os_str() == *name)
}

/// Whether a path means standard output. The names in `/dev` lead to wherever the shell has redirected it, for example to a
/// new file.
fn is_stdout(path: &Path) -> bool {
    ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"].iter().any(|name| path.as_os_str() == *name)
}

fn stream_task(inputs: &[PathBuf], output: &Path, format: Option<PaintingFormat>) -> Result<PaintingTask> {
    let [input] = inputs else {
        return Err(Error::usage("with `-`, there can be only one input"));
    };
    if input.is_dir() {
        return Err(Error::usage(format!("folder `{}` cannot be painted to standard output", input.display())));
    }
    let input = if is_stdin(input) { Input::Stdin } else { Input::File(input.clone()) };
    if is_stdout(output) {
        return Ok(PaintingTask { input, output: Output::Stdout, format });
    }
    if meant(output).is_dir() {
        return Err(Error::usage(format!(
            "a picture from standard input has no file name, which folder `{}` needs",
            output.display()
        ))
        .with_hint("use a file as `--output`"));
    }
    let format = Some(format_for(output, format)?);
    Ok(PaintingTask { input, output: Output::File(output.into()), format })
}

/// Whether `output` is meant as a folder.
fn into_folder(inputs: &[PathBuf], output: &Path) -> bool {
    let ends_with_separator = output.as_os_str().as_encoded_bytes().last().is_some_and(|&byte| {
        // Both are separators on Windows, and elsewhere no picture's name ends with a backslash.
        byte == b'/' || byte == b'\\'
    });
    inputs.len() > 1 || inputs.iter().any(|input| input.is_dir()) || meant(output).is_dir() || ends_with_separator
}

/// The format for an output file: `--format` if given, otherwise by the file extension.
fn format_for(output: &Path, format: Option<PaintingFormat>) -> Result<PaintingFormat> {
    format.or_else(|| PaintingFormat::of_path(output)).ok_or_else(|| {
        Error::usage(format!("`{}` does not have the extension of a supported picture or clip format", output.display()))
            .with_hint("use .jpg, .png, .webp, .tiff, .bmp, .gif, .mp4, .mov, .mkv, .webm or .y4m, give `--format`, or create the folder first")
    })
}

/// A task whose output keeps the name of the input, except for the extension if another format is asked for.
fn folder_task(input: &Path, output: &Path, format: Option<PaintingFormat>, kind: InputKind) -> PaintingTask {
    let content = match kind {
        InputKind::Clip => return clip_task(input, output, format),
        InputKind::Picture(format) => Some(PaintingFormat::Picture(format)),
        InputKind::Foreign(_) | InputKind::Other => None,
    };
    let named = PictureFormat::of_path(output).map(PaintingFormat::Picture);
    // A clip format does not apply to pictures.
    let format = format.filter(|format| matches!(format, PaintingFormat::Picture(_)));
    let output = match (format, named, content) {
        (Some(format), Some(named), _) if named != format => output.with_extension(format.extension()),
        // An unknown ending may be part of the name: `Mr. Smith`.
        (Some(format), None, _) => with_another_extension(output, format),
        // A JPEG that is called `.HEIC` becomes a `.HEIC.jpg`, beside which there may be a `.jpg` of the same name.
        (None, None, Some(content)) if InputKind::is_misnamed(output) => with_another_extension(output, content),
        _ => output.to_owned(),
    };
    PaintingTask {
        input: Input::File(input.into()),
        output: Output::File(output),
        format: format.or(named).or(content),
    }
}

/// The path with the ending of `format` behind that which it has.
fn with_another_extension(path: &Path, format: PaintingFormat) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(format.extension());
    name.into()
}

/// A task for a file with the extension of a clip. The container is kept if it can be written. Otherwise it becomes
/// Matroska, which can hold any kind of sound.
fn clip_task(input: &Path, output: &Path, format: Option<PaintingFormat>) -> PaintingTask {
    let own = Container::of_path(output).map(PaintingFormat::Clip);
    let format = format.filter(|format| !matches!(format, PaintingFormat::Picture(picture) if !picture.is_animated()));
    let format = format.or(own).unwrap_or(PaintingFormat::Clip(Container::Mkv));
    let output = if PaintingFormat::of_path(output) == Some(format) {
        output.into()
    } else {
        output.with_extension(format.extension())
    };
    PaintingTask { input: Input::File(input.into()), output: Output::File(output), format: Some(format) }
}

/// What a path means once its missing folders are made; the path itself where nobody can tell, which fails later.
fn meant(path: &Path) -> PathBuf {
    resolve(path).unwrap_or_else(|_| path.to_owned())
}
