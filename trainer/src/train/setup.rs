//! What is fixed for the whole run: photos, objective, identity.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use impasto_common::model_file::StyleModel;
use impasto_common::{Error, Result, ResultExt};
use impasto_nn::StyleNet;
use impasto_nn::loss_network::LossNetwork;

use super::TrainingJob;
use super::inputs::Inputs;
use crate::config::TrainConfig;
use crate::digest::Digest;
use crate::init;
use crate::loader::{Loader, LoaderConfig};
use crate::objective::Objective;
use crate::photos::Photos;
use crate::run_folder::RunFiles;
use crate::snapshot::{Identity, TrainingState, config_value};
use crate::temporal::TemporalLoss;

/// What is fixed for the whole run.
pub(super) struct Setup<'a> {
    pub(super) job: &'a TrainingJob,
    pub(super) config: &'a TrainConfig,
    pub(super) files: RunFiles,
    pub(super) photos: Arc<Photos>,
    /// Steps in all, those of earlier runs included.
    pub(super) steps: usize,
    pub(super) objective: Objective,
    pub(super) temporal: Option<TemporalLoss>,
    pub(super) identity: Identity,
}

impl<'a> Setup<'a> {
    pub(super) fn new(
        job: &'a TrainingJob,
        config: &'a TrainConfig,
        inputs: &Inputs,
        loss_weights: &Path,
    ) -> Result<Self> {
        let enlargement = enlargement(config);
        let photos = Photos::new(&job.photos, inputs.photos.clone(), config.size, enlargement, job.cache_bytes);
        let identity = identity(job, config, &photos, loss_weights)?;
        let style = impasto_nn::rgb_to_tensor(&inputs.style, &job.device)?;
        let network = LossNetwork::open(config.loss_network, loss_weights, &job.device)?;
        let objective = Objective::new(network.with_features_in(config.precision.dtype()), &style, &config.objective)?;
        let TrainConfig { temporal_weight, seed, .. } = *config;
        Ok(Self {
            job,
            config,
            files: RunFiles::new(&job.run_dir),
            steps: config.length.steps(photos.len(), config.batch),
            photos: Arc::new(photos),
            objective,
            temporal: (temporal_weight > 0.0).then(|| TemporalLoss::new(temporal_weight, seed, &style)).transpose()?,
            identity,
        })
    }

    /// The state to start from: a snapshot's, another style's, or random weights.
    pub(super) fn first_state(&self, init_from: Option<&(StyleModel, PathBuf)>) -> Result<TrainingState> {
        if let Some((state, then)) = TrainingState::latest(&self.files, &self.job.device)? {
            return self.identity.continues(&then).map(|()| state);
        }
        let TrainConfig { network, seed, .. } = self.config;
        let parameters = match init_from {
            None => init::random_parameters(network, *seed, &self.job.device),
            Some((model, path)) => init::parameters_of(model, network, &self.job.device)
                .context(|| format!("cannot start from `{}`", path.display())),
        };
        let state = TrainingState::new(parameters?)?;
        if !state.is_finite()? {
            return Err(Error::new("the weights to start from are not finite numbers"));
        }
        Ok(state)
    }

    /// The network on the weights of `state`, and the batches from its step on.
    pub(super) fn start_from(&self, state: &TrainingState) -> Result<(StyleNet, Loader)> {
        let TrainConfig { batch, size, largest_size, zoom, seed, .. } = *self.config;
        let (share, threads) = (self.job.seat.share(), self.job.loader_threads);
        let largest_size = largest_size.unwrap_or(size);
        let config = LoaderConfig { batch, share, size, largest_size, zoom, seed, threads };
        let network = init::network(&self.config.network, &state.parameters)?;
        Ok((network, Loader::start(self.photos.clone(), config, state.step as u64)?))
    }

    /// The learning rate of the step after `state`.
    pub(super) fn learning_rate(&self, state: &TrainingState) -> f64 {
        let TrainConfig { learning_rate, schedule, warmup, .. } = *self.config;
        learning_rate * state.rate_scale * schedule.factor(state.step, self.steps, warmup)
    }

    /// Whether a snapshot is written after the last step of `state`.
    pub(super) fn is_snapshot_due(&self, state: &TrainingState) -> bool {
        state.step.is_multiple_of(self.job.snapshot_every) || state.step == self.steps
    }
}

fn identity(job: &TrainingJob, config: &TrainConfig, photos: &Photos, loss_weights: &Path) -> Result<Identity> {
    Ok(Identity {
        config: config_value(config)?,
        style: Digest::of_file(&job.style)?,
        photos: photos.digest(),
        photo_sizes: Some(photos.sizes_digest()?),
        loss_weights: Digest::of_file(loss_weights)?,
        init_from: job.init_from.as_deref().map(Digest::of_file).transpose()?,
    })
}

/// How many times `size` the short side of a photo is at most before it is cropped.
fn enlargement(config: &TrainConfig) -> f64 {
    config.largest_size.map_or(config.zoom, |largest| config.zoom * largest as f64 / config.size as f64)
}
