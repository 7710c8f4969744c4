//! Times one training step: batch 4 at 256x256, preset `l`, VGG-16 to `relu3_3`, Adam. The weights are random: they do not
//! change the work. `--device`, `--precision`, `--batch` and `--size` change these; `tools/gpu_kit.py` times a GPU with them.
//!
//! By default it makes a few steps and prints their times. With `--serve` it makes one step for each line of standard input, so
//! that `compare.py` can alternate it with the same step in PyTorch.

#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::io::{self, BufRead, Write};
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use impasto_common::device::DeviceChoice;
use impasto_common::network::{Preset, StyleNetConfig};
use impasto_common::weights::Tensors;
use impasto_common::{Error, Result, ResultExt, device};
use impasto_nn::StyleNet;
use impasto_nn::loss_network::{Architecture, LossNetwork};
use impasto_trainer::adam::{Adam, AdamConfig, Gradients};
use impasto_trainer::init::{self, Parameters};
use impasto_trainer::objective::{Objective, ObjectiveConfig};
use impasto_trainer::precision::TrainPrecision;

const THREADS: usize = 2;

fn main() -> Result<()> {
    device::set_threads(THREADS)?;
    let choice = option("--device", DeviceChoice::Cpu)?;
    let (device, _) = impasto_nn::device::open(choice)?;
    let precision = option("--precision", TrainPrecision::F32)?;
    precision.prepare(&device)?;
    let mut step = TimedStep::new(device, precision, option("--batch", 4)?, option("--size", 256)?)?;
    if std::env::args().any(|argument| argument == "--serve") {
        return serve(&mut step);
    }
    for _ in 0..5 {
        println!("{:.3} s", step.time()?);
    }
    Ok(())
}

/// For each line of standard input, makes one step and prints its wall and processor seconds, and the peak memory so far in kB.
fn serve(step: &mut TimedStep) -> Result<()> {
    println!("ready {}", peak_memory());
    io::stdout().flush().context(|| "cannot write to standard output")?;
    for line in io::stdin().lock().lines() {
        line.context(|| "cannot read standard input")?;
        let before = processor_seconds();
        let seconds = step.time()?;
        println!("{seconds} {} {}", processor_seconds() - before, peak_memory());
        io::stdout().flush().context(|| "cannot write to standard output")?;
    }
    Ok(())
}

/// The argument after `name`.
fn option<T: std::str::FromStr>(name: &str, default: T) -> Result<T> {
    let mut words = std::env::args().skip_while(|word| word != name).skip(1);
    let Some(word) = words.next() else { return Ok(default) };
    word.parse().map_err(|_| Error::usage(format!("`{name} {word}` is not valid")))
}

struct TimedStep {
    network: StyleNet,
    parameters: Parameters,
    objective: Objective,
    adam: Adam,
    photos: Vec<u8>,
    shape: [usize; 4],
    device: Device,
    precision: TrainPrecision,
}

impl TimedStep {
    fn new(device: Device, precision: TrainPrecision, batch: usize, size: usize) -> Result<Self> {
        let config = StyleNetConfig::from(Preset::L);
        let parameters = init::random_parameters(&config, 0, &device)?;
        let loss_network = LossNetwork::new(Architecture::Vgg16, &random_vgg()?, &device)?;
        let loss_network = loss_network.with_features_in(precision.dtype());
        let photos: Vec<u8> = (0..batch * 3 * size * size).map(|i| (i * 7919 % 256) as u8).collect();
        let style = Tensor::from_slice(&photos[..3 * size * size], (1, 3, size, size), &device)?;
        let style = style.to_dtype(DType::F32)?;
        Ok(Self {
            shape: [batch, 3, size, size],
            device,
            precision,
            network: init::network(&config, &parameters)?,
            objective: Objective::new(loss_network, &style, &ObjectiveConfig::default())?,
            adam: Adam::new(AdamConfig::default(), &parameters)?,
            parameters,
            photos,
        })
    }

    /// Makes one step and returns its seconds.
    fn time(&mut self) -> Result<f64> {
        let start = Instant::now();
        let photos = Tensor::from_slice(&self.photos, &self.shape[..], &self.device)?.to_dtype(DType::F32)?;
        let losses = self.objective.losses(&self.precision.paint(&self.network, &photos)?, &photos)?;
        let gradients = losses.total.backward()?;
        let gradients = Gradients::of(&self.parameters, &gradients)?;
        let norm = gradients.norm()?.to_scalar::<f32>()?;
        self.adam.step(&self.parameters, &gradients, 1e-3, f64::from(10.0 / norm.max(10.0)))?;
        self.device.synchronize()?;
        Ok(start.elapsed().as_secs_f64())
    }
}

/// VGG-16 to `relu3_3` with weights that keep the size of the activations.
fn random_vgg() -> Result<Tensors> {
    let convolutions =
        [(0, 3, 64), (2, 64, 64), (5, 64, 128), (7, 128, 128), (10, 128, 256), (12, 256, 256), (14, 256, 256)];
    let mut tensors = Tensors::new();
    for (index, inputs, outputs) in convolutions {
        let deviation = (2.0 / (9 * inputs) as f32).sqrt();
        let weight =
            impasto_nn::arrays::to_array(&Tensor::randn(0.0, deviation, (outputs, inputs, 3, 3), &Device::Cpu)?)?;
        tensors.insert(format!("features.{index}.weight"), weight);
        tensors.insert(
            format!("features.{index}.bias"),
            impasto_common::weights::Array::new([outputs], vec![0.0; outputs])?,
        );
    }
    Ok(tensors)
}

/// Processor time of all threads so far, in steps of 10 ms; 0 if the system does not report it.
fn processor_seconds() -> f64 {
    let status = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name, which may contain spaces, user and system time are the 12th and 13th field, in ticks of 10 ms.
    let fields = status.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// The largest resident memory of this process so far, kB; 0 if the system does not report it.
fn peak_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
