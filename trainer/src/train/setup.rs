//! What is fixed for the whole run: photos, objective, identity.

use std::sync::Arc;

use image::RgbImage;
use impasto_common::{Error, Result, ResultExt};
use impasto_nn::StyleNet;

use super::TrainingJob;
use super::inputs::{Inputs, StartingStyle};
use crate::adam::LearningRates;
use crate::config::{Length, TrainConfig};
use crate::digest::Digest;
use crate::init;
use crate::loader::{Loader, LoaderConfig};
use crate::loss_weights::LossWeights;
use crate::objective::Objective;
use crate::photos::Photos;
use crate::run_folder::RunFiles;
use crate::snapshot::{Identity, TrainingState, config_value};
use crate::step::TrainingStep;
use crate::temporal::TemporalLoss;

/// What is fixed for the whole run.
pub(super) struct Setup<'a> {
    pub(super) job: &'a TrainingJob,
    pub(super) config: TrainConfig,
    pub(super) files: RunFiles,
    pub(super) photos: Arc<Photos>,
    pub(super) objective: Objective,
    pub(super) temporal: Option<TemporalLoss>,
    pub(super) identity: Identity,
    /// The layer whose parameters have a learning rate of their own.
    output_layer: String,
    /// The mean colour of the style picture, RGB in `[0, 255]`.
    style_colour: [f32; 3],
}

impl<'a> Setup<'a> {
    pub(super) fn new(
        job: &'a TrainingJob,
        config: &'a TrainConfig,
        inputs: &Inputs,
        loss_weights: &LossWeights,
    ) -> Result<Self> {
        let enlargement = enlargement(config);
        let photos = Photos::new(&job.photos, inputs.photos.clone(), config.size, enlargement, job.cache_bytes);
        let identity = identity(job, config, inputs, &photos, loss_weights)?;
        let style = impasto_nn::rgb_to_tensor(&inputs.style, &job.device)?;
        let network = loss_weights.open(config.loss_network, &job.device)?;
        let objective = Objective::new(network.with_features_in(config.precision.dtype()), &style, &config.objective)?;
        let TrainConfig { temporal_weight, seed, .. } = *config;
        Ok(Self {
            job,
            config: config.clone(),
            files: RunFiles::new(&job.run_dir),
            photos: Arc::new(photos),
            objective,
            temporal: (temporal_weight > 0.0).then(|| TemporalLoss::new(temporal_weight, seed, &style)).transpose()?,
            identity,
            output_layer: config.network.network().output_layer().to_owned(),
            style_colour: mean_colour(&inputs.style),
        })
    }

    /// The state to start from: a snapshot's, another style's, or random weights. A snapshot also says how many steps a
    /// training takes whose length is given in minutes.
    pub(super) fn first_state(&mut self, start: Option<&StartingStyle>) -> Result<TrainingState> {
        if let Some((state, then)) = TrainingState::latest(&self.files, &self.job.device)? {
            self.identity.continues(&then)?;
            if let (Length::Minutes(_), Some(planned)) = (self.config.length, then.length()) {
                self.set_length(planned)?;
            }
            return Ok(state);
        }
        let TrainConfig { network, seed, .. } = &self.config;
        let parameters = match start {
            None => init::random_parameters(network, *seed, &self.job.device).and_then(|parameters| {
                init::paint_around(&parameters, network, self.style_colour)?;
                Ok(parameters)
            }),
            Some(start) => init::parameters_of(&start.model, network, &self.job.device)
                .context(|| format!("cannot start from style `{}`", start.model.card.name)),
        };
        let state = TrainingState::new(parameters?)?;
        if !state.is_finite()? {
            return Err(Error::new("the weights to start from are not finite numbers"));
        }
        Ok(state)
    }

    /// Steps in all, those of earlier runs included; `None` as long as the length is a time.
    pub(super) fn planned_steps(&self) -> Option<usize> {
        self.config.length.steps(self.photos.len(), self.config.batch)
    }

    /// Fixes the length of a training that was given in minutes.
    pub(super) fn set_length(&mut self, length: Length) -> Result<()> {
        self.config.length = length;
        self.identity.config = config_value(&self.config)?;
        Ok(())
    }

    /// Steps in all, those of earlier runs included.
    pub(super) fn steps(&self) -> usize {
        self.planned_steps().unwrap_or(usize::MAX)
    }

    /// The network on the weights of `state`, and the batches from its step on.
    pub(super) fn start_from(&self, state: &TrainingState) -> Result<(StyleNet, Loader)> {
        let TrainConfig { batch, size, largest_size, zoom, seed, .. } = self.config;
        let (share, threads) = (self.job.seat.share(), self.job.loader_threads);
        let largest_size = largest_size.unwrap_or(size);
        let config = LoaderConfig { batch, share, size, largest_size, zoom, seed, threads };
        let network = init::network(&self.config.network, &state.parameters)?;
        Ok((network, Loader::start(self.photos.clone(), config, state.step as u64)?))
    }

    /// The step after `state`.
    pub(super) fn step<'b>(&'b self, network: &'b StyleNet, state: &'b TrainingState) -> TrainingStep<'b> {
        TrainingStep {
            config: &self.config,
            network,
            parameters: &state.parameters,
            objective: &self.objective,
            temporal: self.temporal.as_ref(),
            device: &self.job.device,
            done: state.step,
        }
    }

    /// The learning rates of all parameters at the rate `rate`.
    pub(super) fn rates(&self, rate: f64) -> LearningRates<'_> {
        LearningRates { rate, exception: Some((&self.output_layer, rate * self.config.output_rate)) }
    }

    /// The learning rate of the step after `state`.
    pub(super) fn learning_rate(&self, state: &TrainingState) -> f64 {
        let TrainConfig { learning_rate, schedule, warmup, .. } = self.config;
        learning_rate * state.rate_scale * schedule.factor(state.step, self.steps(), warmup)
    }

    /// Whether a snapshot is written after the last step of `state`.
    pub(super) fn is_snapshot_due(&self, state: &TrainingState) -> bool {
        state.step.is_multiple_of(self.job.snapshot_every) || state.step == self.steps()
    }
}

fn mean_colour(picture: &RgbImage) -> [f32; 3] {
    let count = f64::from(picture.width()) * f64::from(picture.height());
    let sum = |channel: usize| picture.pixels().map(|pixel| u64::from(pixel.0[channel])).sum::<u64>();
    [0, 1, 2].map(|channel| (sum(channel) as f64 / count) as f32)
}

fn identity(
    job: &TrainingJob,
    config: &TrainConfig,
    inputs: &Inputs,
    photos: &Photos,
    loss_weights: &LossWeights,
) -> Result<Identity> {
    Ok(Identity {
        config: config_value(config)?,
        style: Digest::of_file(&job.style)?,
        photos: photos.digest(),
        photo_sizes: Some(photos.sizes_digest()?),
        loss_weights: loss_weights.digest()?,
        init_from: inputs.start.as_ref().map(|start| start.digest.clone()),
    })
}

/// How many times `size` the short side of a photo is at most before it is cropped.
fn enlargement(config: &TrainConfig) -> f64 {
    config.largest_size.map_or(config.zoom, |largest| config.zoom * largest as f64 / config.size as f64)
}
