//! The training of a style: Johnson et al. (2016), one Adam step per batch of photos.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{Device, Tensor};
use impasto_common::model_file::{ModelCard, StyleModel};
use impasto_common::weights::StoredType;
use impasto_common::{Error, Result, ResultExt};
use impasto_nn::StyleNet;

use crate::config::TrainConfig;
use crate::digest::Digest;
use crate::loader::{Batch, Loader, LoaderConfig};
use crate::metrics::{Metrics, MetricsLog};
use crate::objective::Objective;
use crate::parts::Parts;
use crate::peers::{Peers, Seat};
use crate::photos::{self, Photos};
use crate::preview::Preview;
use crate::report::{self, Facts};
use crate::run_folder::{RunFiles, RunFolder};
use crate::snapshot::{Identity, State, config_value};
use crate::step::Step;
use crate::temporal::TemporalLoss;
use crate::{init, resample};
use impasto_nn::loss_network::LossNetwork;

/// Roll-backs after the last snapshot before the training gives up: the learning rate is then 256 times smaller.
const ROLL_BACKS: usize = 8;

/// Where a training reads and writes, and what it runs on: nothing here changes a byte of the result.
#[derive(Debug, Clone)]
pub struct Job {
    /// The style picture.
    pub style: PathBuf,
    /// The folder of training photos.
    pub photos: PathBuf,
    /// Photos to watch progress on, instead of some of `photos`.
    pub held_out: Option<PathBuf>,
    /// The weights of the loss network.
    pub loss_weights: PathBuf,
    /// The style whose weights are the first ones.
    pub init_from: Option<PathBuf>,
    /// The style-model file to write.
    pub output: PathBuf,
    /// Its number format, f32 or f16.
    pub dtype: StoredType,
    /// The run folder.
    pub run_dir: PathBuf,
    /// What to do with a snapshot in the run folder.
    pub start: Start,
    /// Steps between snapshots.
    pub snapshot_every: usize,
    /// The device to train on.
    pub device: Device,
    /// This process among those that train together. Which of them there are changes no byte of the result but by the order of
    /// sums.
    pub seat: Seat,
    /// Threads that prepare photos.
    pub loader_threads: usize,
    /// Memory for photos that were read, bytes.
    pub cache_bytes: usize,
    /// What the card says.
    pub card: CardText,
}

/// What to do with a snapshot in the run folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// Leave it alone: refuse to start.
    #[default]
    Fresh,
    /// Go on from it; start afresh where there is none.
    Resume,
    /// Throw it away.
    Restart,
}

/// What the card of the style says besides figures.
#[derive(Debug, Clone, Default)]
pub struct CardText {
    /// The style's name.
    pub name: String,
    /// What the style imitates: painter, title, year.
    pub source: Option<String>,
    /// The licence of the style.
    pub licence: Option<String>,
    /// The command that makes the file.
    pub command: Option<String>,
}

/// Told what happens in a training. Every method may be left out.
pub trait Observer {
    /// The first step is about to be made: `done` of `steps` steps were made in an earlier run.
    fn started(&mut self, _done: usize, _steps: usize, _photos: usize) {}
    /// A step was made.
    fn stepped(&mut self, _metrics: &Metrics) {}
    /// A snapshot was written after this many steps.
    fn saved(&mut self, _step: usize) {}
    /// The device had no memory for a step on crops of `size` pixels: from now on such a step is computed in `parts` parts.
    fn split(&mut self, _size: usize, _parts: usize) {}
    /// Losses were not finite after `failed` steps: the training goes on after `step` with a lower learning rate.
    fn rolled_back(&mut self, _failed: usize, _step: usize, _rate_scale: f64) {}
}

/// Several observers as one, told in their order.
#[derive(Default)]
pub struct Observers<'a>(pub Vec<Box<dyn Observer + 'a>>);

impl Observer for Observers<'_> {
    fn started(&mut self, done: usize, steps: usize, photos: usize) {
        self.0.iter_mut().for_each(|observer| observer.started(done, steps, photos));
    }

    fn stepped(&mut self, metrics: &Metrics) {
        self.0.iter_mut().for_each(|observer| observer.stepped(metrics));
    }

    fn saved(&mut self, step: usize) {
        self.0.iter_mut().for_each(|observer| observer.saved(step));
    }

    fn split(&mut self, size: usize, parts: usize) {
        self.0.iter_mut().for_each(|observer| observer.split(size, parts));
    }

    fn rolled_back(&mut self, failed: usize, step: usize, rate_scale: f64) {
        self.0.iter_mut().for_each(|observer| observer.rolled_back(failed, step, rate_scale));
    }
}

/// What a training came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Steps done.
    pub steps: usize,
    /// Photos that could not be used, by name, with the reason.
    pub skipped: BTreeMap<String, String>,
}

/// Trains a style and writes its model file.
///
/// When `stop` becomes true the step at hand is finished and a snapshot written.
///
/// # Errors
///
/// If an input cannot be read, a file cannot be written, the run folder holds a run of another configuration, losses
/// stay infinite at ever lower rates, the device has no memory for one photo, or `stop` became true (of kind
/// [`impasto_common::error::ErrorKind::Interrupted`]).
pub fn train(job: &Job, config: &TrainConfig, observer: &mut dyn Observer, stop: &AtomicBool) -> Result<Outcome> {
    config.validate()?;
    config.precision.prepare(&job.device)?;
    let mut run = Run::prepare(job, config)?;
    observer.started(run.state.step, run.steps, run.photos.len());
    if run.state.step == 0 {
        run.save(observer)?;
    }
    while run.state.step < run.steps {
        if run.all_stop(stop)? {
            return Err(run.interrupt()?);
        }
        let batch = run.loader.take()?;
        let metrics = run.step(&batch, observer)?;
        if !metrics.is_finite() {
            run.roll_back(observer)?;
            continue;
        }
        if let Some(log) = &mut run.log {
            log.append(&metrics)?;
        }
        observer.stepped(&metrics);
        run.state.advance(metrics, batch.skipped);
        if run.state.step.is_multiple_of(job.snapshot_every) || run.state.step == run.steps {
            run.save(observer)?;
        }
    }
    run.finish()
}

/// A training under way.
struct Run<'a> {
    job: &'a Job,
    config: &'a TrainConfig,
    files: RunFiles,
    /// The folder's lock and the table of figures, in the process that writes.
    folder: Option<RunFolder>,
    log: Option<MetricsLog>,
    peers: Peers,
    identity: Identity,
    steps: usize,
    photos: Arc<Photos>,
    preview: Preview,
    held_out: bool,
    objective: Objective,
    temporal: Option<TemporalLoss>,
    state: State,
    network: StyleNet,
    loader: Loader,
    /// How many parts a step is computed in. Not in the snapshot: it follows from the device's memory, and another device may go on.
    parts: Parts,
    roll_backs: usize,
}

impl<'a> Run<'a> {
    fn prepare(job: &'a Job, config: &'a TrainConfig) -> Result<Self> {
        let writes = job.seat.index == 0;
        let folder = writes.then(|| RunFolder::open(&job.run_dir)).transpose()?;
        let files = RunFiles::new(&job.run_dir);
        if let Some(folder) = folder.as_ref().filter(|_| job.start == Start::Restart) {
            folder.clear()?;
        }
        // The first process has thrown away what is to be thrown away; it writes nothing before all have read.
        let mut peers = Peers::meet(&job.seat, &job.device)?;
        peers.check_batch(config.batch)?;
        let split = photos::find(&job.photos, if job.held_out.is_some() { 0 } else { config.held_out })?;
        let watched = match &job.held_out {
            Some(folder) => photos::find(folder, 0)?.training,
            None if split.held_out.is_empty() => split.training.clone(),
            None => split.held_out,
        };
        let held_out = watched != split.training;
        let preview = Preview::new(watched, config.size, &job.device)?;
        let photos = Photos::new(&job.photos, split.training, config.size, enlargement(config), job.cache_bytes);
        let photos = Arc::new(photos);
        let identity = identity(job, config, &photos)?;
        let state = first_state(job, config, &files, &identity)?;
        peers.mean_of(0.0)?;
        let log = writes.then(|| MetricsLog::open(&files.metrics(), state.step)).transpose()?;
        let style = style_picture(job, config)?;
        Ok(Self {
            steps: config.length.steps(photos.len(), config.batch),
            objective: objective(job, config, &style)?,
            temporal: temporal_loss(config, &style)?,
            network: init::network(&config.network, &state.parameters)?,
            loader: start_loader(job, config, &photos, state.step)?,
            parts: Parts::default(),
            roll_backs: 0,
            job,
            config,
            files,
            folder,
            peers,
            identity,
            photos,
            preview,
            held_out,
            state,
            log,
        })
    }

    /// One step. A step whose figures are not finite changes nothing.
    fn step(&mut self, batch: &Batch, observer: &mut dyn Observer) -> Result<Metrics> {
        let step = Step {
            config: self.config,
            network: &self.network,
            parameters: &self.state.parameters,
            objective: &self.objective,
            temporal: self.temporal.as_ref(),
            done: self.state.step,
            learning_rate: self.learning_rate(),
        };
        let (device, peers) = (&self.job.device, &mut self.peers);
        let photos = self.config.batch / peers.count();
        let again = |parts| {
            observer.split(batch.size, parts);
            impasto_nn::device::release_memory(device)
        };
        let (gradients, metrics) =
            self.parts.fit(batch.size, photos, |parts| step.attempt(batch, parts, device, peers), again)?;
        if metrics.is_finite() {
            let (norm, most) = (f64::from(metrics.gradient_norm), self.config.clip_norm);
            let scale = if most > 0.0 && norm > most { most / norm } else { 1.0 };
            self.state.adam.step(&self.state.parameters, &gradients, metrics.learning_rate, scale)?;
        }
        Ok(metrics)
    }

    /// Whether to stop: as soon as one process is asked to, all do after the same step.
    fn all_stop(&mut self, stop: &AtomicBool) -> Result<bool> {
        self.peers.any(stop.load(Ordering::Relaxed))
    }

    fn learning_rate(&self) -> f64 {
        let TrainConfig { learning_rate, schedule, warmup, .. } = *self.config;
        learning_rate * self.state.rate_scale * schedule.factor(self.state.step, self.steps, warmup)
    }

    /// Writes metrics, snapshot and contact sheet.
    fn save(&mut self, observer: &mut dyn Observer) -> Result<()> {
        if !self.state.is_finite()? {
            return self.roll_back(observer);
        }
        self.roll_backs = 0;
        let (Some(folder), Some(log)) = (&self.folder, &mut self.log) else { return Ok(()) };
        log.flush()?;
        self.state.save(&folder.snapshot(), &self.identity)?;
        folder.forget_interrupted()?;
        self.preview.write(&self.network, &folder.preview(self.state.step))?;
        self.report(folder)?;
        observer.saved(self.state.step);
        Ok(())
    }

    fn report(&self, folder: &RunFolder) -> Result<()> {
        let facts = Facts {
            name: &self.job.card.name,
            command: self.job.card.command.as_deref(),
            steps: self.steps,
            photos: self.photos.len(),
            held_out: self.held_out,
        };
        report::write(folder, &self.state, &self.identity, &facts)
    }

    /// Goes back to the last snapshot and halves the learning rate.
    ///
    /// The lower rate is not saved until the next snapshot: a run killed before it fails and rolls back once more, to the
    /// same state.
    fn roll_back(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let failed = self.state.step;
        self.roll_backs += 1;
        let rate_scale = self.state.rate_scale * 0.5;
        if self.roll_backs > ROLL_BACKS {
            let message = format!("the losses are not finite after step {failed}, at any learning rate tried");
            return Err(Error::new(message).with_hint("lower `--lr`, or the weights of the objective"));
        }
        let (state, _) = State::open(&self.files.snapshot(), &self.job.device)?;
        self.state = State { rate_scale, ..state };
        self.network = init::network(&self.config.network, &self.state.parameters)?;
        self.loader = start_loader(self.job, self.config, &self.photos, self.state.step)?;
        if let Some(log) = &mut self.log {
            log.flush()?;
            *log = MetricsLog::open(&self.files.metrics(), self.state.step)?;
        }
        observer.rolled_back(failed, self.state.step, rate_scale);
        Ok(())
    }

    /// Saves the state of a run that was asked to stop.
    fn interrupt(&mut self) -> Result<Error> {
        if let (Some(folder), Some(log)) = (&self.folder, &mut self.log) {
            log.flush()?;
            self.state.save(&folder.interrupted(), &self.identity)?;
        }
        let message = format!("stopped after {} of {} steps", self.state.step, self.steps);
        Ok(Error::interrupted(message).with_hint("the same command with `--resume` goes on from here"))
    }

    fn finish(mut self) -> Result<Outcome> {
        let CardText { name, source, licence, command } = self.job.card.clone();
        let card = ModelCard {
            source,
            licence,
            command,
            steps: self.state.step,
            objective: Some(average(self.state.recent.make_contiguous())),
            training: Some(self.identity.config.clone()),
            ..ModelCard::new(name, self.config.network)
        };
        if self.peers.writes() {
            let model = StyleModel { card, tensors: impasto_nn::arrays::to_arrays(&self.state.weights())? };
            model.save(&self.job.output, self.job.dtype)?;
        }
        Ok(Outcome { steps: self.state.step, skipped: self.state.skipped })
    }
}

fn identity(job: &Job, config: &TrainConfig, photos: &Photos) -> Result<Identity> {
    Ok(Identity {
        config: config_value(config)?,
        style: Digest::of_file(&job.style)?,
        photos: photos.digest(),
        loss_weights: Digest::of_file(&job.loss_weights)?,
        init_from: job.init_from.as_deref().map(Digest::of_file).transpose()?,
    })
}

/// The state to start from: a snapshot's, another style's, or random weights.
fn first_state(job: &Job, config: &TrainConfig, folder: &RunFiles, identity: &Identity) -> Result<State> {
    let snapshots = [folder.snapshot(), folder.interrupted()].into_iter().filter(|path| path.exists());
    let snapshots = snapshots.map(|path| State::open(&path, &job.device)).collect::<Result<Vec<_>>>()?;
    match snapshots.into_iter().max_by_key(|(state, _)| state.step) {
        Some((state, _)) if job.start == Start::Fresh => {
            let message = format!("`{}` holds a training of {} steps", job.run_dir.display(), state.step);
            Err(Error::usage(message).with_hint("go on with `--resume`, or throw it away with `--restart`"))
        }
        Some((state, then)) => identity.continues(&then).map(|()| state),
        None => State::new(first_parameters(job, config)?),
    }
}

fn first_parameters(job: &Job, config: &TrainConfig) -> Result<init::Parameters> {
    match &job.init_from {
        None => init::random_parameters(&config.network, config.seed, &job.device),
        Some(path) => init::parameters_of(&StyleModel::open(path)?, &config.network, &job.device)
            .context(|| format!("cannot start from `{}`", path.display())),
    }
}

fn style_picture(job: &Job, config: &TrainConfig) -> Result<Tensor> {
    let style = resample::shrink_to_short_side(impasto_picture::read_rgb(&job.style)?, config.style_size)?;
    impasto_nn::rgb_to_tensor(&style, &job.device)
}

fn temporal_loss(config: &TrainConfig, style: &Tensor) -> Result<Option<TemporalLoss>> {
    let TrainConfig { temporal_weight, seed, .. } = *config;
    (temporal_weight > 0.0).then(|| TemporalLoss::new(temporal_weight, seed, style)).transpose()
}

fn objective(job: &Job, config: &TrainConfig, style: &Tensor) -> Result<Objective> {
    let network = LossNetwork::open(config.loss_network, &job.loss_weights, &job.device)?;
    Objective::new(network.with_features_in(config.precision.dtype()), style, &config.objective)
}

/// How many times `size` the short side of a photo has at most.
fn enlargement(config: &TrainConfig) -> f64 {
    config.largest_size.map_or(config.zoom, |largest| config.zoom * largest as f64 / config.size as f64)
}

fn start_loader(job: &Job, config: &TrainConfig, photos: &Arc<Photos>, step: usize) -> Result<Loader> {
    let TrainConfig { batch, size, largest_size, zoom, seed, .. } = *config;
    let part = (job.seat.index, job.seat.count);
    let largest_size = largest_size.unwrap_or(size);
    let config = LoaderConfig { batch, part, size, largest_size, zoom, seed, threads: job.loader_threads };
    Loader::start(photos.clone(), config, step as u64)
}

/// The mean of every figure over some steps, as the card tells it.
fn average(metrics: &[Metrics]) -> serde_json::Value {
    let mut means = serde_json::Map::new();
    means.insert("steps_averaged".into(), metrics.len().into());
    let names = metrics.first().map(Metrics::names).unwrap_or_default();
    for (index, name) in names.into_iter().enumerate() {
        let sum: f64 = metrics.iter().map(|metrics| f64::from(metrics.columns()[index])).sum();
        means.insert(name.into(), (sum / metrics.len() as f64).into());
    }
    means.into()
}
