//! Measures how fast a network paints: times, rates and memory, from a picture in memory to a painting in memory.
//!
//! Speed in GFLOP/s is that of the plain network: two operations for each multiply-add of a direct convolution (see
//! [`paint_operations`]). A kernel that needs fewer operations, such as Winograd's, can exceed the machine's peak.
//!
//! On a GPU there are three times: that of the GPU alone, from a frame in its memory to the painting there; that of one
//! frame of bytes from main memory to main memory, with the copies; and that of a frame of a clip, with several frames in
//! flight.

mod gpu;
mod layers;
mod machine;
mod measurement;
mod memory;

use std::time::{Duration, Instant};

use impasto_common::device::DeviceChoice;
use impasto_common::model_file::StyleModel;
use impasto_common::network::Preset;
use impasto_common::{Error, Result};
use impasto_engine::PaintPrecision;

use crate::Stylizer;

use measurement::describe;

pub use layers::paint_operations;
pub use machine::{BenchMachine, GpuFigures};
pub use measurement::Measurement;
pub use memory::{peak_memory, reset_peak_memory};

/// The fewest runs: fewer would not predict the time of the next one.
const MIN_RUNS: usize = 3;

/// How long a network is measured at one size, after a first run that is not counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Length {
    /// A fixed number of runs.
    Runs(usize),
    /// As many runs as fit into this many seconds, but at least three.
    Seconds(f64),
}

impl Default for Length {
    fn default() -> Self {
        Self::Seconds(3.0)
    }
}

impl Length {
    fn validate(self) -> Result<()> {
        match self {
            Self::Runs(0) => Err(Error::usage("the number of runs must be at least 1")),
            // A duration cannot hold more.
            Self::Seconds(seconds) if !(0.0..1e9).contains(&seconds) => {
                Err(Error::usage(format!("cannot measure for {seconds} seconds")))
            }
            _ => Ok(()),
        }
    }

    fn is_over(self, runs: usize, spent: Duration) -> bool {
        match self {
            Self::Runs(wanted) => runs >= wanted,
            Self::Seconds(seconds) => runs >= MIN_RUNS && spent.as_secs_f64() >= seconds,
        }
    }
}

/// A network to be measured.
#[derive(Debug, Clone)]
pub struct Subject {
    name: String,
    model: StyleModel,
}

impl Subject {
    /// A style under its own name.
    #[must_use]
    pub fn style(model: StyleModel) -> Self {
        Self { name: model.card.name.clone(), model }
    }

    /// A network of a preset's sizes with random weights; the weights do not affect the time.
    ///
    /// # Errors
    ///
    /// If there is not enough memory for the weights.
    pub fn preset(preset: Preset) -> Result<Self> {
        Ok(Self { name: preset.to_string(), model: layers::random_model(preset.into())? })
    }

    /// The name in tables.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A stylizer that has painted nothing yet.
    ///
    /// # Errors
    ///
    /// As [`StylizerBuilder::build`](crate::StylizerBuilder::build).
    pub fn stylizer(&self, device: DeviceChoice, precision: Option<PaintPrecision>) -> Result<Stylizer> {
        Stylizer::builder().device(device).precision(precision).build(&self.model)
    }
}

/// Paints a picture of `(height, width)` pixels repeatedly, each time from memory to memory.
///
/// # Errors
///
/// If `length` or the size is zero, memory runs out, or a GPU fails.
pub fn measure(
    subject: &Subject,
    size: (usize, usize),
    length: Length,
    (device, precision): (DeviceChoice, Option<PaintPrecision>),
    machine: &BenchMachine,
) -> Result<Measurement> {
    length.validate()?;
    let photo = photo(size)?;
    // The peak of an earlier, larger picture must not count. If the peak cannot be reset, no memory is reported.
    let forgotten = reset_peak_memory();
    let stylizer = subject.stylizer(device, precision)?;
    let precision = stylizer.engine().precision().to_string();
    if let Some(gpu) = stylizer.engine().gpu() {
        let (cold, runs, rates) = gpu::measure(&stylizer, gpu, size, length)?;
        return Ok(Measurement { precision, ..describe(subject, size, cold, &runs, machine, (None, Some(rates))) });
    }
    let cold = time(&stylizer, &photo, size)?;
    let runs = repeat(length, || time(&stylizer, &photo, size))?;
    let memory = if forgotten { peak_memory() } else { None };
    Ok(Measurement { precision, ..describe(subject, size, cold, &runs, machine, (memory, None)) })
}

/// The times of as many runs as `length` says, the fastest first.
fn repeat(length: Length, mut run: impl FnMut() -> Result<Duration>) -> Result<Vec<Duration>> {
    let (mut runs, mut spent) = (Vec::new(), Duration::ZERO);
    while !length.is_over(runs.len(), spent) {
        let time = run()?;
        spent += time;
        runs.push(time);
    }
    runs.sort_unstable();
    Ok(runs)
}

/// The planes of a picture of noise, `(3, height, width)`, RGB in `[0, 255]`.
///
/// # Errors
///
/// If a side is zero.
pub fn photo((height, width): (usize, usize)) -> Result<Vec<f32>> {
    if height == 0 || width == 0 {
        return Err(Error::usage(format!("a picture of {width}x{height} pixels is empty")));
    }
    Ok((0..3 * height * width).map(|i| (i * 7919 % 256) as f32).collect())
}

fn time(stylizer: &Stylizer, photo: &[f32], size: (usize, usize)) -> Result<Duration> {
    let start = Instant::now();
    let painting = stylizer.stylize_planes(photo, size)?;
    let spent = start.elapsed();
    // Dropped after the clock has stopped, as in a program that first uses the painting.
    drop(painting);
    Ok(spent)
}

/// The median in seconds; the mean of the middle two for an even number.
fn median(sorted: &[Duration]) -> f64 {
    let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
    (low + high).as_secs_f64() / 2.0
}

#[cfg(test)]
mod tests {
    use super::measurement::GpuRates;
    use super::*;

    const MACHINE: BenchMachine = BenchMachine { threads: 2, instructions: "any", peak_gflops: 100.0, gpu: None };
    const HERE: (DeviceChoice, Option<PaintPrecision>) = (DeviceChoice::Cpu, None);

    #[test]
    fn rates_follow_from_the_median() {
        let subject = Subject::preset(Preset::Xs).unwrap();
        let runs = [1, 2, 4, 9].map(Duration::from_millis);
        let found = describe(&subject, (500, 1000), Duration::from_millis(20), &runs, &MACHINE, (Some(7), None));
        assert_eq!((found.runs, found.cold_ms, found.fastest_ms, found.median_ms), (4, 20.0, 1.0, 3.0));
        assert!((found.frames_per_second - 1000.0 / 3.0).abs() < 1e-9);
        assert!((found.megapixels_per_second - 500.0 / 3.0).abs() < 1e-9);
        assert!((found.gflops - found.gflop * 1000.0 / 3.0).abs() < 1e-9);
        assert!((found.fraction_of_peak - found.gflops / 100.0).abs() < 1e-9);
    }

    #[test]
    fn a_gpu_has_rates_and_a_peak_of_its_own() {
        let subject = Subject::preset(Preset::Xs).unwrap();
        let machine = BenchMachine { gpu: Some(GpuFigures { name: "a GPU".into(), peak_gflops: 1000.0 }), ..MACHINE };
        let runs = [Duration::from_millis(8)];
        let rates = GpuRates { alone: 0.002, in_flight: 0.004, memory: 9, graph_failure: Some("busy".into()) };
        let found = describe(&subject, (500, 1000), runs[0], &runs, &machine, (None, Some(rates)));
        assert_eq!((found.median_ms, found.on_gpu_ms, found.gpu_memory_bytes), (8.0, Some(2.0), Some(9)));
        assert!((found.frames_per_second - 250.0).abs() < 1e-9 && (found.gflops - found.gflop * 500.0).abs() < 1e-9);
        assert!((found.fraction_of_peak - found.gflops / 1000.0).abs() < 1e-12);
        assert_eq!((found.cuda_graph, found.cuda_graph_failure.as_deref()), (Some(false), Some("busy")));
    }

    #[test]
    fn the_median_of_an_odd_number_is_the_middle_one() {
        assert!((median(&[1, 5, 100].map(Duration::from_secs)) - 5.0).abs() < 1e-12);
        assert!((median(&[Duration::from_secs(7)]) - 7.0).abs() < 1e-12);
    }

    #[test]
    fn runs_are_counted_and_the_first_is_not_among_them() {
        let subject = Subject::preset(Preset::Xs).unwrap();
        let found = measure(&subject, (9, 14), Length::Runs(2), HERE, &MACHINE).unwrap();
        assert_eq!((found.height, found.width, found.runs), (9, 14, 2));
        let found = measure(&subject, (9, 14), Length::Seconds(0.0), HERE, &MACHINE).unwrap();
        assert_eq!(found.runs, MIN_RUNS);
    }

    #[test]
    fn empty_durations_and_sizes_are_refused() {
        let subject = Subject::preset(Preset::Xs).unwrap();
        for length in [Length::Runs(0), Length::Seconds(-1.0), Length::Seconds(f64::NAN), Length::Seconds(1e10)] {
            assert_eq!(measure(&subject, (9, 9), length, HERE, &MACHINE).unwrap_err().exit_code(), 2);
        }
        assert_eq!(measure(&subject, (0, 9), Length::Runs(1), HERE, &MACHINE).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn a_measurement_in_json_has_all_fields() {
        let subject = Subject::preset(Preset::M).unwrap();
        let runs = [Duration::from_millis(3)];
        let found = describe(&subject, (8, 16), runs[0], &runs, &MACHINE, (None, None));
        let json = serde_json::to_value(found).unwrap();
        let mut names: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        let expected = "blocks channels cold_ms fastest_ms fraction_of_peak frames_per_second gflop gflops height \
                        median_ms megapixels_per_second network peak_memory_bytes precision runs width";
        assert_eq!(names.join(" "), expected);
        assert_eq!((&json["network"], &json["channels"], &json["height"]), (&"m".into(), &16.into(), &8.into()));
        assert!(json["peak_memory_bytes"].is_null());
    }
}
