//! What a training writes: the table of figures, snapshots, contact sheets and the report while it runs, the style at its end.

use std::path::PathBuf;

use impasto_common::model_file::{ModelCard, StyleModel};
use impasto_common::{Result, ResultExt};
use impasto_nn::StyleNet;

use super::setup::Setup;
use super::{CardText, TrainingJob};
use crate::metrics::{Metrics, MetricsLog};
use crate::preview::Preview;
use crate::report::{self, Facts};
use crate::run_folder::RunFolder;
use crate::snapshot::TrainingState;

/// The files of a run folder, in the process that writes them.
pub(super) struct Records {
    folder: RunFolder,
    log: MetricsLog,
    preview: Preview,
    /// Whether the photos of the contact sheets are never trained on.
    held_out: bool,
}

impl Records {
    /// Opens the files of a training that continues after `step`; `watched` are the photos for contact sheets.
    pub(super) fn open(
        setup: &Setup,
        folder: RunFolder,
        step: usize,
        watched: Vec<PathBuf>,
        held_out: bool,
    ) -> Result<Self> {
        let preview = Preview::new(watched, setup.config.size, &setup.job.device)?;
        let log = MetricsLog::open(&folder.metrics(), step)?;
        Ok(Self { folder, log, preview, held_out })
    }

    /// Adds a step to the table.
    pub(super) fn append(&mut self, metrics: &Metrics) -> Result<()> {
        self.log.append(metrics)
    }

    /// Writes snapshot, contact sheet and report.
    pub(super) fn save(&mut self, setup: &Setup, state: &TrainingState, network: &StyleNet) -> Result<()> {
        self.log.flush()?;
        state.save(&self.folder.snapshot(), &setup.identity)?;
        self.folder.forget_interrupted()?;
        self.preview.write(network, &self.folder.preview(state.step))?;
        let facts = Facts {
            name: &setup.job.card.name,
            command: setup.job.card.command.as_deref(),
            steps: setup.steps(),
            photos: setup.photos.len(),
            held_out: self.held_out,
        };
        report::write(&self.folder, state, &setup.identity, &facts)
    }

    /// Writes the snapshot of a training that was asked to stop.
    pub(super) fn save_interrupted(&mut self, setup: &Setup, state: &TrainingState) -> Result<()> {
        self.log.flush()?;
        state.save(&self.folder.interrupted(), &setup.identity)
    }

    /// Drops the rows of the table after `step`.
    pub(super) fn rewind(&mut self, step: usize) -> Result<()> {
        self.log.flush()?;
        self.log = MetricsLog::open(&self.folder.metrics(), step)?;
        Ok(())
    }

    /// Writes the trained style; into the run folder, if it cannot be written where it was wanted.
    ///
    /// # Errors
    ///
    /// If it cannot be written where it was wanted. The hint says where it is.
    pub(super) fn write_style(&self, setup: &Setup, state: &TrainingState) -> Result<()> {
        let TrainingJob { output, dtype, .. } = setup.job;
        let tensors = impasto_nn::arrays::to_arrays(&state.weights())?;
        let model = StyleModel { card: card(setup, state), tensors };
        let Err(error) = model.save(output, *dtype) else { return Ok(()) };
        let rescued = self.folder.rescued_style();
        match model.save(&rescued, *dtype) {
            Ok(()) => Err(error).context(|| "the training is finished, but its style could not be saved").map_err(|error| {
                error.with_hint(format!("the style was saved as `{}` instead: copy it to where you want it", rescued.display()))
            }),
            Err(_) => Err(error.with_hint(format!(
                "nothing is lost: `--resume --run-dir {}` with another `--output` writes the style from the last snapshot",
                setup.job.run_dir.display()
            ))),
        }
    }
}

fn card(setup: &Setup, state: &TrainingState) -> ModelCard {
    let CardText { name, source, licence, command } = setup.job.card.clone();
    ModelCard {
        source,
        licence,
        command,
        steps: state.step,
        objective: Some(average(&state.recent)),
        training: Some(setup.identity.config.clone()),
        ..ModelCard::new(name, setup.config.network)
    }
}

/// The mean of every figure over some steps, as the card has it.
fn average<'a>(metrics: impl IntoIterator<Item = &'a Metrics>) -> serde_json::Value {
    let metrics: Vec<_> = metrics.into_iter().collect();
    let mut means = serde_json::Map::new();
    means.insert("steps_averaged".into(), metrics.len().into());
    let names = metrics.first().map(|metrics| metrics.names()).unwrap_or_default();
    for (index, name) in names.into_iter().enumerate() {
        let sum: f64 = metrics.iter().map(|metrics| f64::from(metrics.columns()[index])).sum();
        means.insert(name.into(), (sum / metrics.len() as f64).into());
    }
    means.into()
}
