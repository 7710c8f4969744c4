//! The training of a style: Johnson et al. (2016), one Adam step per batch of photos.
//!
//! [`train`] is the loop. Around it: what is asked for (`job`), what can be checked at once (`inputs`), what is fixed for
//! the run (`setup`), what is written (`records`) and who is notified (`observer`). Everything that changes from step to
//! step is a [`TrainingState`], which a snapshot holds.

mod inputs;
mod job;
mod length;
mod observer;
mod records;
mod setup;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use impasto_common::{Error, Result};

use self::inputs::Inputs;
pub use self::job::{CardText, EarlierTraining, StartWeights, TrainingJob};
pub use self::observer::{Observer, Observers};
use self::records::Records;
use self::setup::Setup;
use crate::config::{Length, TrainConfig};
use crate::loss_weights::LossWeights;
use crate::micro_batches::MicroBatches;
use crate::peers::Peers;
use crate::snapshot::TrainingState;

/// Roll-backs after the last snapshot before the training gives up: the learning rate is then 256 times smaller.
const ROLL_BACKS: usize = 8;

/// The result of a training.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Number of steps done.
    pub steps: usize,
    /// Photos that could not be used: name and reason.
    pub skipped: BTreeMap<String, String>,
}

/// Trains a style and writes its model file.
///
/// When `stop` becomes true, the current step is finished and a snapshot written.
///
/// # Errors
///
/// If an input cannot be read, a file cannot be written, the run folder holds a training of another configuration, losses
/// stay infinite at ever lower rates, the device has too little memory for one photo, or `stop` became true (of kind
/// [`impasto_common::error::ErrorKind::Interrupted`]).
pub fn train(
    job: &TrainingJob,
    config: &TrainConfig,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Outcome> {
    let outcome = Inputs::check(job, config).and_then(|inputs| run(job, config, inputs, observer, stop));
    outcome.map_err(|error| {
        if error.is_storage_full() {
            error.with_hint("free some disk space; the same command with `--resume` continues from the last snapshot")
        } else {
            error
        }
    })
}

fn run(
    job: &TrainingJob,
    config: &TrainConfig,
    mut inputs: Inputs,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Outcome> {
    let begun = Instant::now();
    inputs.notes.iter().for_each(|note| observer.noted(note));
    // For layers beyond the built-in weights this may download 0.55 GB.
    let layers = config.objective.layers();
    let loss_weights = LossWeights::find(job.loss_weights.as_deref(), config.loss_network, &layers, |done, total| {
        observer.fetching(done, total);
        !stop.load(Ordering::Relaxed)
    })?;

    if let Some(folder) = inputs.folder.as_ref().filter(|_| job.earlier == EarlierTraining::Discard) {
        folder.clear()?;
    }
    let mut peers = Peers::meet(&job.seat, &job.device)?;
    let mut setup = Setup::new(job, config, &inputs, &loss_weights)?;
    let mut state = setup.first_state(inputs.start.as_ref())?;
    let mut micro_batches = MicroBatches::default();
    if let Length::Minutes(minutes) = setup.config.length {
        let steps = length::steps_in(minutes, begun, &setup, &state, &mut micro_batches, &mut peers, observer)?;
        setup.set_length(Length::Steps(steps))?;
    }
    let setup = setup;
    let (mut network, mut loader) = setup.start_from(&state)?;
    let mut roll_backs = 0;

    // Every process has read the run folder before the first one writes to it.
    peers.barrier()?;
    let mut records = match inputs.folder.take() {
        Some(folder) => Some(Records::open(&setup, folder, state.step, inputs.watched, inputs.held_out)?),
        None => None,
    };
    observer.started(state.step, setup.steps(), setup.photos.len());
    if let Some(records) = records.as_mut().filter(|_| state.step == 0) {
        records.save(&setup, &state, &network)?;
        observer.saved(state.step);
    }

    while state.step < setup.steps() {
        // As soon as one process is asked to stop, all do so after the same step.
        if peers.any(stop.load(Ordering::Relaxed))? {
            if let Some(records) = &mut records {
                records.save_interrupted(&setup, &state)?;
            }
            let message = format!("stopped after {} of {} steps", state.step, setup.steps());
            return Err(Error::interrupted(message).with_hint("the same command with `--resume` continues from here"));
        }

        let batch = loader.take()?;
        let learning_rate = setup.learning_rate(&state);
        let step = setup.step(&network, &state);
        let (gradients, figures) = step.compute(&batch, &mut micro_batches, &mut peers, observer)?;
        let metrics = figures.read(state.step + 1, learning_rate)?;

        let finite = metrics.is_finite();
        if finite {
            let clipping = clipping(f64::from(metrics.gradient_norm), config.clip_norm);
            state.adam.step(&state.parameters, &gradients, setup.rates(learning_rate), clipping)?;
            if let Some(records) = &mut records {
                records.append(&metrics)?;
            }
            observer.stepped(&metrics);
            state.advance(metrics, batch.skipped);
        }

        let due = finite && setup.is_snapshot_due(&state);
        if !finite || due && !state.is_finite()? {
            // The lower rate is not saved until the next snapshot: a run killed before it fails and rolls back again, to the
            // same state.
            let failed = state.step;
            roll_backs += 1;
            state = rolled_back(&setup, &state, roll_backs)?;
            (network, loader) = setup.start_from(&state)?;
            if let Some(records) = &mut records {
                records.rewind(state.step)?;
            }
            observer.rolled_back(failed, state.step, state.rate_scale);
        } else if due {
            roll_backs = 0;
            if let Some(records) = &mut records {
                records.save(&setup, &state, &network)?;
                observer.saved(state.step);
            }
        }
    }
    if let Some(records) = &records {
        records.write_style(&setup, &state)?;
    }
    Ok(Outcome { steps: state.step, skipped: state.skipped })
}

/// What a gradient of norm `norm` is multiplied by so that its norm is at most `most`; 0 is no limit.
fn clipping(norm: f64, most: f64) -> f64 {
    if most > 0.0 && norm > most { most / norm } else { 1.0 }
}

/// The last snapshot with half the learning rate of `failed`, whose losses or weights are not finite.
fn rolled_back(setup: &Setup, failed: &TrainingState, roll_backs: usize) -> Result<TrainingState> {
    if roll_backs > ROLL_BACKS {
        let message = format!("the losses are not finite after step {}, at any learning rate tried", failed.step);
        return Err(Error::new(message).with_hint("lower `--lr`, or the weights of the objective"));
    }
    let (state, _) = TrainingState::open(&setup.files.snapshot(), &setup.job.device)?;
    Ok(TrainingState { rate_scale: failed.rate_scale * 0.5, ..state })
}
