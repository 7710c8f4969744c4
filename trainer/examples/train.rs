//! Trains a tiny style from Rust: `cargo run --release --example train -- PHOTOS STYLE.jpg`.

#![expect(clippy::print_stdout, reason = "the losses are what it shows")]

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use candle_core::Device;
use impasto_common::network::Preset;
use impasto_common::weights::StoredType;
use impasto_common::{Error, Result};
use impasto_trainer::config::{Length, TrainConfig};
use impasto_trainer::metrics::Metrics;
use impasto_trainer::peers::Seat;
use impasto_trainer::train::{CardText, EarlierTraining, Observer, StartWeights, TrainingJob, train};

/// Prints the loss of every tenth step.
struct Losses;

impl Observer for Losses {
    fn stepped(&mut self, metrics: &Metrics) {
        if metrics.step.is_multiple_of(10) {
            println!("step {}: loss {:.4}", metrics.step, metrics.total);
        }
    }
}

fn main() -> Result<()> {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [photos, style] =
        <[PathBuf; 2]>::try_from(paths).map_err(|_| Error::usage("expected a folder of photos and a style picture"))?;
    // The configuration, which determines the result. The smallest network and small crops take minutes on a CPU.
    let config =
        TrainConfig { network: Preset::Xs.into(), size: 128, length: Length::Steps(200), ..TrainConfig::default() };
    // Input and output files, and the device.
    let job = TrainingJob {
        style,
        photos,
        held_out: None,
        loss_weights: None,
        start: StartWeights::Base,
        output: "tiny.safetensors".into(),
        dtype: StoredType::F32,
        run_dir: "tiny.run".into(),
        earlier: EarlierTraining::Resume,
        snapshot_every: 100,
        device: Device::Cpu,
        seat: Seat::ALONE,
        loader_threads: 2,
        cache_bytes: 1 << 30,
        card: CardText { name: "tiny".into(), ..CardText::default() },
    };
    let outcome = train(&job, &config, &mut Losses, &AtomicBool::new(false))?;
    println!("wrote `{}` after {} steps", job.output.display(), outcome.steps);
    Ok(())
}
