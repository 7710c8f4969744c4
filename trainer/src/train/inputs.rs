//! Everything about a training that can be checked at once: before a download, and long before the first step.

use std::path::PathBuf;

use image::RgbImage;
use impasto_common::model_file::StyleModel;
use impasto_common::{Error, Result, ResultExt};

use super::{EarlierTraining, StartWeights, TrainingJob};
use crate::config::TrainConfig;
use crate::digest::Digest;
use crate::photos;
use crate::run_folder::{RunFiles, RunFolder};
use crate::snapshot::TrainingState;
use crate::{init, output, resample};

/// The inputs of a training, found to be usable.
#[derive(Debug)]
pub(super) struct Inputs {
    /// The run folder, locked by the process that writes.
    pub(super) folder: Option<RunFolder>,
    /// The style picture, shrunk.
    pub(super) style: RgbImage,
    /// What the user should know of how the style picture was read, and of files that are left out.
    pub(super) notes: Vec<String>,
    /// The photos to train on.
    pub(super) photos: Vec<PathBuf>,
    /// The photos for contact sheets.
    pub(super) watched: Vec<PathBuf>,
    /// Whether none of `watched` is trained on.
    pub(super) held_out: bool,
    /// The style to start from; none starts from random weights.
    pub(super) start: Option<StartingStyle>,
}

/// A style whose weights a training starts from.
#[derive(Debug)]
pub(super) struct StartingStyle {
    pub(super) model: StyleModel,
    /// The digest of its file.
    pub(super) digest: Digest,
}

impl Inputs {
    /// Checks the configuration, the device and the files, and locks the run folder.
    ///
    /// # Errors
    ///
    /// If the configuration is invalid or the device does not support it, an input cannot be read, the output cannot be
    /// written, or the run folder is in use or holds a training that is not to be continued.
    pub(super) fn check(job: &TrainingJob, config: &TrainConfig) -> Result<Self> {
        config.validate()?;
        config.precision.prepare(&job.device)?;
        job.seat.check_batch(config.batch)?;
        if job.seat.writes() {
            output::check(&job.output)?;
        }
        let folder = job.seat.writes().then(|| RunFolder::open(&job.run_dir)).transpose()?;
        check_run_folder(job)?;
        let (style, style_notes) = impasto_picture::read_rgb_noted(&job.style)?;
        let style_notes = style_notes.into_iter().map(|note| format!("`{}`: {note}", job.style.display()));
        let style = resample::shrink_to_short_side(style, config.style_size)?;
        let split = photos::find(&job.photos, if job.held_out.is_some() { 0 } else { config.held_out })?;
        let mut notes: Vec<_> = style_notes.chain(split.notes).collect();
        let watched = match &job.held_out {
            Some(folder) => {
                let found = photos::find(folder, 0)?;
                notes.extend(found.notes.into_iter().filter(|_| *folder != job.photos));
                found.training
            }
            None if split.held_out.is_empty() => split.training.clone(),
            None => split.held_out,
        };
        let held_out = watched != split.training;
        let start = starting_style(&job.start, config)?;
        Ok(Self { folder, style, notes, photos: split.training, watched, held_out, start })
    }
}

/// Refuses a run folder that holds a training, unless that is to be continued or discarded.
fn check_run_folder(job: &TrainingJob) -> Result<()> {
    if job.earlier != EarlierTraining::Refuse {
        return Ok(());
    }
    let Some((state, _)) = TrainingState::latest(&RunFiles::new(&job.run_dir), &job.device)? else { return Ok(()) };
    let message = format!("`{}` contains a training of {} steps", job.run_dir.display(), state.step);
    Err(Error::usage(message).with_hint("continue it with `--resume`, or delete it with `--restart`"))
}

fn starting_style(start: &StartWeights, config: &TrainConfig) -> Result<Option<StartingStyle>> {
    match start {
        StartWeights::Random => Ok(None),
        StartWeights::Base => init::base(&config.network)?
            .map(|style| Ok(StartingStyle { model: style.model()?, digest: Digest::of(style.bytes) }))
            .transpose(),
        StartWeights::File(path) => {
            let model = StyleModel::open(path)?;
            init::check_start(&model, &config.network).context(|| format!("cannot start from `{}`", path.display()))?;
            Ok(Some(StartingStyle { model, digest: Digest::of_file(path)? }))
        }
    }
}
