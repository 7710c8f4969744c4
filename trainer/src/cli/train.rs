//! `trainer train`: trains a style.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use candle_core::Device;
use impasto_common::network::Preset;
use impasto_common::weights::StoredType;
use impasto_common::{Result, device};

use super::card::{self, CardArgs};
use super::objective::ObjectiveArgs;
use super::progress::Progress;
use super::{MachineArgs, say, stop_on_signal};
use crate::config::{Length, TrainConfig};
use crate::live::{self, Address, Live};
use crate::peers::Seat;
use crate::precision::TrainPrecision;
use crate::schedule::Schedule;
use crate::train::{self, EarlierTraining, Observers, Outcome, StartWeights, TrainingJob};

/// The largest number of unusable photos that are listed.
const LISTED: usize = 20;

/// Train a style: a network that paints any picture like one painting
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The painting to imitate
    #[arg(long, value_name = "FILE")]
    style: PathBuf,
    /// Folder of photos to train on; searched recursively
    #[arg(long, value_name = "DIR")]
    photos: PathBuf,
    /// The style-model file to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Print only errors
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    judged_by: JudgeArgs,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    course: CourseArgs,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    card: CardArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Objective")]
struct JudgeArgs {
    #[command(flatten)]
    objective: ObjectiveArgs,
    /// Short side to which the painting is shrunk; a smaller value gives finer strokes
    #[arg(long, value_name = "PIXELS", default_value_t = TrainConfig::default().style_size)]
    style_size: usize,
    /// Weight of the temporal loss, which keeps strokes steady under small movements, noise and changes of light. About 3 for
    /// video; 0 turns it off
    #[arg(long, value_name = "WEIGHT", default_value_t = TrainConfig::default().temporal_weight)]
    temporal_weight: f64,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Network")]
struct NetworkArgs {
    /// Size of the network: `l`, `m`, `s` or `xs`
    #[arg(long, value_name = "NAME", default_value_t = Preset::default())]
    preset: Preset,
    /// Start from the weights of this style-model file instead of those of a bundled style
    #[arg(long, value_name = "FILE")]
    init_from: Option<PathBuf>,
    /// Start from random weights. By default, a network of the same size as a bundled style starts from its weights, which
    /// takes a fraction of the time
    #[arg(long, conflicts_with = "init_from")]
    from_scratch: bool,
    /// Number type in the style-model file: `f32`, or `f16` for half the size
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = card::parse_dtype)]
    dtype: StoredType,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Training")]
struct CourseArgs {
    /// Time to train for [default: 15]. The number of steps is fixed at the start, from the time that a few of them take
    #[arg(long, value_name = "MINUTES", conflicts_with_all = ["steps", "epochs"])]
    minutes: Option<f64>,
    /// Number of training steps, instead of --minutes
    #[arg(long, value_name = "COUNT", conflicts_with = "epochs")]
    steps: Option<usize>,
    /// Number of passes over all photos, instead of --minutes
    #[arg(long, value_name = "COUNT")]
    epochs: Option<usize>,
    /// Photos per step, of all processes together [default: 4 on a GPU, 1 on the CPU]. A batch that does not fit in GPU memory is
    /// split into micro-batches
    #[arg(long, value_name = "COUNT")]
    batch: Option<usize>,
    /// Height and width of the training crops
    #[arg(long, value_name = "PIXELS", default_value_t = TrainConfig::default().size)]
    size: usize,
    /// Choose a random crop size for each batch, from --size to this size in steps of 32
    #[arg(long, value_name = "PIXELS")]
    largest_size: Option<usize>,
    /// Largest ratio of a photo's short side to the crop that is cut from it
    #[arg(long, value_name = "FACTOR", default_value_t = TrainConfig::default().zoom)]
    zoom: f64,
    /// Learning rate
    #[arg(long, value_name = "RATE", default_value_t = TrainConfig::default().learning_rate)]
    lr: f64,
    /// Learning rate of the last layer, in units of --lr
    #[arg(long, value_name = "FACTOR", default_value_t = TrainConfig::default().output_rate)]
    output_rate: f64,
    /// Learning-rate schedule: `constant`, `linear` or `cosine`
    #[arg(long, value_name = "NAME", default_value_t = TrainConfig::default().schedule)]
    schedule: Schedule,
    /// Warm-up steps, over which the learning rate rises to its full value
    #[arg(long, value_name = "COUNT", default_value_t = TrainConfig::default().warmup)]
    warmup: usize,
    /// Maximum norm of the gradient; 0 means no limit
    #[arg(long, value_name = "NORM", default_value_t = TrainConfig::default().clip_norm)]
    clip_norm: f64,
    /// Arithmetic precision: `f32`, `tf32` or `bf16` [default: bf16 on a GPU that supports it, otherwise f32]
    #[arg(long, value_name = "TYPE")]
    precision: Option<TrainPrecision>,
    /// Seed for the initial weights, the order of photos, crops, flips and the random changes of the temporal loss
    #[arg(long, value_name = "NUMBER", default_value_t = TrainConfig::default().seed)]
    seed: u64,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Run")]
struct RunArgs {
    /// Folder for snapshots, metrics and contact sheets [default: --output with the extension `.run`]
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Number of steps between snapshots
    #[arg(long, value_name = "COUNT", default_value_t = 500, value_parser = at_least_one)]
    snapshot_every: usize,
    /// Continue from the last snapshot; start a new training if there is none
    #[arg(long)]
    resume: bool,
    /// Delete an earlier training in the run folder and start a new one
    #[arg(long, conflicts_with = "resume")]
    restart: bool,
    /// Show the running training on a web page, on `PORT` of this machine only, or on `HOST:PORT`. The default address is
    /// 127.0.0.1:8017
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = live::DEFAULT_ADDRESS)]
    serve: Option<Address>,
    /// Folder of photos for the contact sheets, instead of some of --photos
    #[arg(long, value_name = "DIR")]
    held_out: Option<PathBuf>,
    /// Threads that load and crop photos
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    loader_threads: usize,
    /// Memory for caching decoded photos
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    cache: usize,
}

pub(super) fn run(args: &Args, words: &[OsString]) -> Result<()> {
    device::check_threads("--loader-threads", args.run.loader_threads)?;
    let seat = Seat::find(|name| std::env::var(name).ok())?;
    // Of several processes, only the first prints messages and serves the page.
    let (quiet, first) = (args.quiet || !seat.writes(), seat.writes());
    let device = args.machine.open_for(&seat)?;
    let config = config(args, &device, &seat);
    // Opened before anything is read, so that an address in use is reported immediately.
    let live = if first { open_page(args, config.batch)? } else { None };
    let job = job(args, words, device, seat);
    let mut observers = Observers::default();
    if !quiet {
        observers.0.push(Box::new(Progress::new(config.batch)));
    }
    if let Some(live) = live {
        observers.0.push(Box::new(live));
    }
    let outcome = train::train(&job, &config, &mut observers, stop_on_signal()?)?;
    drop(observers);
    if !quiet {
        tell(&outcome, &args.output);
    }
    Ok(())
}

/// Opens the web page of the training if `--serve` is given, and prints its address.
fn open_page(args: &Args, batch: usize) -> Result<Option<Live>> {
    let Some(address) = &args.run.serve else { return Ok(None) };
    let live = Live::open(address, &run_dir(args), &args.card.name(&args.output), batch)?;
    if !args.quiet {
        let bound = live.address();
        let reach = if bound.ip().is_loopback() { "" } else { ", which other machines can reach too" };
        say(&format!("watch the training at http://{}/{reach}", Address { port: bound.port(), ..address.clone() }));
    }
    Ok(Some(live))
}

fn run_dir(args: &Args) -> PathBuf {
    args.run.run_dir.clone().unwrap_or_else(|| args.output.with_extension("run"))
}

fn config(args: &Args, device: &Device, seat: &Seat) -> TrainConfig {
    let CourseArgs {
        minutes,
        steps,
        epochs,
        batch,
        size,
        largest_size,
        zoom,
        lr,
        output_rate,
        schedule,
        warmup,
        clip_norm,
        precision,
        seed,
    } = args.course;
    TrainConfig {
        network: args.network.preset.into(),
        loss_network: args.judged_by.objective.loss_network,
        objective: args.judged_by.objective.config(),
        temporal_weight: args.judged_by.temporal_weight,
        style_size: args.judged_by.style_size,
        size,
        largest_size,
        zoom,
        batch: batch.unwrap_or_else(|| default_batch(device, seat)),
        length: length(minutes, steps, epochs),
        learning_rate: lr,
        output_rate,
        schedule,
        warmup,
        clip_norm,
        precision: precision.unwrap_or_else(|| TrainPrecision::of_device(device)),
        seed,
        ..TrainConfig::default()
    }
}

fn job(args: &Args, words: &[OsString], device: Device, seat: Seat) -> TrainingJob {
    let run = &args.run;
    TrainingJob {
        style: args.style.clone(),
        photos: args.photos.clone(),
        held_out: run.held_out.clone(),
        loss_weights: args.judged_by.objective.loss_weights.clone(),
        start: match (&args.network.init_from, args.network.from_scratch) {
            (Some(path), _) => StartWeights::File(path.clone()),
            (None, true) => StartWeights::Random,
            (None, false) => StartWeights::Base,
        },
        output: args.output.clone(),
        dtype: args.network.dtype,
        run_dir: run_dir(args),
        earlier: match (run.resume, run.restart) {
            (true, _) => EarlierTraining::Resume,
            (_, true) => EarlierTraining::Discard,
            _ => EarlierTraining::Refuse,
        },
        snapshot_every: run.snapshot_every,
        device,
        seat,
        loader_threads: run.loader_threads,
        cache_bytes: run.cache << 20,
        card: args.card.text(&args.output, words),
    }
}

fn tell(outcome: &Outcome, output: &Path) {
    say(&format!("wrote `{}` after {} steps", output.display(), outcome.steps));
    if outcome.skipped.is_empty() {
        return;
    }
    say(&format!("{} photos could not be used:", outcome.skipped.len()));
    for reason in outcome.skipped.values().take(LISTED) {
        say(&format!("  {reason}"));
    }
    if let Some(more) = outcome.skipped.len().checked_sub(LISTED).filter(|&more| more > 0) {
        say(&format!("  and {more} more"));
    }
}

/// A GPU computes a small batch almost as fast as one photo. Every process gets as many photos.
fn default_batch(device: &Device, seat: &Seat) -> usize {
    let TrainConfig { batch, .. } = TrainConfig::default();
    let batch = if device.is_cpu() { batch } else { 4 * batch };
    batch.next_multiple_of(seat.share().count)
}

fn length(minutes: Option<f64>, steps: Option<usize>, epochs: Option<usize>) -> Length {
    let given = steps.map(Length::Steps).or(epochs.map(Length::Epochs)).or(minutes.map(Length::Minutes));
    given.unwrap_or(TrainConfig::default().length)
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&number| number > 0).ok_or_else(|| "expected a number of at least 1".into())
}
