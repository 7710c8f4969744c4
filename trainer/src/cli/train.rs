//! `trainer train`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use candle_core::Device;
use impasto_common::Result;
use impasto_common::network::Preset;
use impasto_common::weights::StoredType;

use super::card::{self, Card};
use super::objective::ObjectiveArgs;
use super::progress::Progress;
use super::{Machine, say, stop_on_signal};
use crate::config::{Length, TrainConfig};
use crate::live::{self, Address, Live};
use crate::peers::Seat;
use crate::precision::Precision;
use crate::schedule::Schedule;
use crate::train::{self, Job, Observers, Outcome, Start};

/// Photos that could not be used are listed up to this many.
const LISTED: usize = 20;

/// Train a style: a network that paints any picture like one painting
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The painting
    #[arg(long, value_name = "FILE")]
    style: PathBuf,
    /// The folder of photos to train on, searched with all folders in it
    #[arg(long, value_name = "DIR")]
    photos: PathBuf,
    /// The style-model file to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Say nothing but errors
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    judge: Judge,
    #[command(flatten)]
    network: Network,
    #[command(flatten)]
    course: Course,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    card: Card,
    #[command(flatten)]
    machine: Machine,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Objective")]
struct Judge {
    #[command(flatten)]
    objective: ObjectiveArgs,
    /// Short side to which the painting is shrunk: the smaller, the finer its strokes on a photo
    #[arg(long, value_name = "PIXELS", default_value_t = TrainConfig::default().style_size)]
    style_size: usize,
    /// Weight of the temporal loss: how closely a painting follows small movements of its photo and stays through noise and
    /// changes of light. For videos, about 3; 0 leaves it out
    #[arg(long, value_name = "WEIGHT", default_value_t = TrainConfig::default().temporal_weight)]
    temporal_weight: f64,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Network")]
struct Network {
    /// Size of the network: `l`, `m`, `s` or `xs`
    #[arg(long, value_name = "NAME", default_value_t = Preset::default())]
    preset: Preset,
    /// Start from the weights of another style instead of random ones
    #[arg(long, value_name = "FILE")]
    init_from: Option<PathBuf>,
    /// Numbers in the style-model file: `f32`, or `f16` for half the size
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = card::parse_dtype)]
    dtype: StoredType,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Training")]
struct Course {
    /// Steps to train
    #[arg(long, value_name = "COUNT", default_value_t = default_steps(), conflicts_with = "epochs")]
    steps: usize,
    /// Visits to every photo, instead of --steps
    #[arg(long, value_name = "COUNT")]
    epochs: Option<usize>,
    /// Photos per step
    #[arg(long, value_name = "COUNT", default_value_t = TrainConfig::default().batch)]
    batch: usize,
    /// Height and width of the crops to train on
    #[arg(long, value_name = "PIXELS", default_value_t = TrainConfig::default().size)]
    size: usize,
    /// Draw the size of every batch's crops anew, from --size to this in steps of 32
    #[arg(long, value_name = "PIXELS")]
    largest_size: Option<usize>,
    /// A crop is up to this many times smaller than the photo it is cut from
    #[arg(long, value_name = "FACTOR", default_value_t = TrainConfig::default().zoom)]
    zoom: f64,
    /// Learning rate
    #[arg(long, value_name = "RATE", default_value_t = TrainConfig::default().learning_rate)]
    lr: f64,
    /// Course of the learning rate: `constant`, `linear` or `cosine`
    #[arg(long, value_name = "NAME", default_value_t = TrainConfig::default().schedule)]
    schedule: Schedule,
    /// Steps over which the learning rate rises at first
    #[arg(long, value_name = "COUNT", default_value_t = TrainConfig::default().warmup)]
    warmup: usize,
    /// Largest norm of the gradient; 0 is none
    #[arg(long, value_name = "NORM", default_value_t = TrainConfig::default().clip_norm)]
    clip_norm: f64,
    /// Numbers to compute with: `f32`, `tf32` or `bf16` [default: bf16 on a GPU that has it, else f32]
    #[arg(long, value_name = "TYPE")]
    precision: Option<Precision>,
    /// Seed of first weights, order, crops, flips, and of the changes that the temporal loss makes
    #[arg(long, value_name = "NUMBER", default_value_t = TrainConfig::default().seed)]
    seed: u64,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Run")]
struct RunArgs {
    /// Folder of snapshots, metrics and contact sheets [default: the output with `.run` for its ending]
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Steps between snapshots
    #[arg(long, value_name = "COUNT", default_value_t = 500, value_parser = at_least_one)]
    snapshot_every: usize,
    /// Go on from the last snapshot; start afresh where there is none
    #[arg(long)]
    resume: bool,
    /// Throw an earlier training in the run folder away
    #[arg(long, conflicts_with = "resume")]
    restart: bool,
    /// Show the training in a web page while it runs: at `PORT` of this machine only, or at `HOST:PORT`. Without either, at
    /// 127.0.0.1:8017
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = live::DEFAULT_ADDRESS)]
    serve: Option<Address>,
    /// Photos for the contact sheets, instead of some of --photos
    #[arg(long, value_name = "DIR")]
    held_out: Option<PathBuf>,
    /// Threads that prepare photos
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    loader_threads: usize,
    /// Memory for photos that were read
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    cache: usize,
}

pub(super) fn run(args: &Args, words: &[OsString]) -> Result<()> {
    let seat = Seat::find(|name| std::env::var(name).ok())?;
    // Of several processes one talks.
    let (quiet, first) = (args.quiet || seat.index > 0, seat.index == 0);
    let device = args.machine.open_for(&seat)?;
    let config = config(args, args.course.precision.unwrap_or_else(|| Precision::of_device(&device)));
    // Before anything is read: an address that is taken should not cost a minute to learn of.
    let live = if first { open_page(args, config.batch)? } else { None };
    let job = job(args, words, device, seat)?;
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

/// The page of the training, if one is wanted; says where it is.
fn open_page(args: &Args, batch: usize) -> Result<Option<Live>> {
    let Some(address) = &args.run.serve else { return Ok(None) };
    let live = Live::open(address, &run_dir(args), &args.card.name(&args.output), batch)?;
    if !args.quiet {
        let bound = live.address();
        let reach = if bound.ip().is_loopback() { "" } else { ", also by others who reach this machine" };
        say(&format!("to be watched at http://{}/{reach}", Address { port: bound.port(), ..address.clone() }));
    }
    Ok(Some(live))
}

fn run_dir(args: &Args) -> PathBuf {
    args.run.run_dir.clone().unwrap_or_else(|| args.output.with_extension("run"))
}

fn config(args: &Args, precision: Precision) -> TrainConfig {
    let Course { steps, epochs, batch, size, largest_size, zoom, lr, schedule, warmup, clip_norm, precision: _, seed } =
        args.course;
    TrainConfig {
        network: args.network.preset.into(),
        loss_network: args.judge.objective.loss_network,
        objective: args.judge.objective.config(),
        temporal_weight: args.judge.temporal_weight,
        style_size: args.judge.style_size,
        size,
        largest_size,
        zoom,
        batch,
        length: epochs.map_or(Length::Steps(steps), Length::Epochs),
        learning_rate: lr,
        schedule,
        warmup,
        clip_norm,
        precision,
        seed,
        ..TrainConfig::default()
    }
}

fn job(args: &Args, words: &[OsString], device: Device, seat: Seat) -> Result<Job> {
    let run = &args.run;
    Ok(Job {
        style: args.style.clone(),
        photos: args.photos.clone(),
        held_out: run.held_out.clone(),
        loss_weights: args.judge.objective.weights_file(args.quiet)?,
        init_from: args.network.init_from.clone(),
        output: args.output.clone(),
        dtype: args.network.dtype,
        run_dir: run_dir(args),
        start: match (run.resume, run.restart) {
            (true, _) => Start::Resume,
            (_, true) => Start::Restart,
            _ => Start::Fresh,
        },
        snapshot_every: run.snapshot_every,
        device,
        seat,
        loader_threads: run.loader_threads,
        cache_bytes: run.cache << 20,
        card: args.card.text(&args.output, words),
    })
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

fn default_steps() -> usize {
    TrainConfig::default().length.steps(0, 1)
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&number| number > 0).ok_or_else(|| "expected a number of at least 1".into())
}
