//! How fast a network paints: times, rates and memory of [`Stylizer::paint`], from a picture in memory to a painting in
//! memory.
//!
//! Speed in GFLOP/s is that of the plain network: two operations for each multiply-add of a direct convolution (see
//! [`paint_operations`]). A kernel that gets along with fewer, such as Winograd's, can pass the machine's peak.
//!
//! On a card three times are told apart: that of the card alone, from a frame in its memory to the painting there; that of one
//! frame of bytes from memory to memory, copies and all; and that of a frame of a clip, while others are under way.

#[cfg(feature = "cuda")]
mod card;
mod layers;
mod memory;

use std::time::{Duration, Instant};

use impasto_common::device::DeviceChoice;
use impasto_common::model_file::StyleModel;
use impasto_common::network::{Preset, StyleNetConfig};
use impasto_common::{Error, Result};
use impasto_engine::PaintPrecision;
use impasto_kernels::machine;
use serde::Serialize;

use crate::Stylizer;

pub use layers::paint_operations;
pub use memory::{peak_memory, reset_peak_memory};

/// So few runs say nothing of the next one.
const MIN_RUNS: usize = 3;

/// How long a network is measured at one size, after the first run, which is not counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Length {
    /// This many runs.
    Runs(usize),
    /// As many runs as fit into these seconds, but three at least.
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
            Self::Runs(0) => Err(Error::usage("nothing can be measured in 0 runs")),
            // Beyond, a duration cannot hold them.
            Self::Seconds(seconds) if !(0.0..1e9).contains(&seconds) => {
                Err(Error::usage(format!("nothing can be measured in {seconds} seconds")))
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

/// What the machine can do, against which the networks are held.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Machine {
    /// Threads that compute.
    pub threads: usize,
    /// The vector instructions in use.
    pub instructions: &'static str,
    /// The measured peak of all threads together, see [`machine::peak_flops`]; 1e9 operations a second.
    pub peak_gflops: f64,
    /// The card that paints, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub card: Option<Card>,
}

/// A card that paints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Card {
    /// What its driver calls it.
    pub name: String,
    /// The measured peak of a large matrix product in the precision that is painted in; 1e9 operations a second.
    pub peak_gflops: f64,
}

impl Machine {
    /// Measures the machine, which takes half a second.
    #[must_use]
    pub fn measure() -> Self {
        Self {
            threads: rayon::current_num_threads(),
            instructions: machine::instructions(),
            peak_gflops: machine::peak_flops() / 1e9,
            card: None,
        }
    }

    /// Measures the machine, and the card that `stylizer` paints on, if it does.
    ///
    /// # Errors
    ///
    /// If the card fails.
    pub fn of(stylizer: &Stylizer) -> Result<Self> {
        #[cfg(feature = "cuda")]
        let card = card::peak(stylizer)?;
        #[cfg(not(feature = "cuda"))]
        let (card, _) = (None, stylizer);
        Ok(Self { card, ..Self::measure() })
    }

    /// The peak of what paints, 1e9 operations a second.
    fn peak(&self) -> f64 {
        self.card.as_ref().map_or(self.peak_gflops, |card| card.peak_gflops)
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

    /// A network of a preset's sizes with random weights: the time does not depend on them.
    ///
    /// # Errors
    ///
    /// If there is no memory for the weights.
    pub fn preset(preset: Preset) -> Result<Self> {
        Ok(Self { name: preset.to_string(), model: layers::random_model(preset.into())? })
    }

    /// The name in tables.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A stylizer that painted nothing yet. How a network computes is decided here and nowhere else.
    ///
    /// # Errors
    ///
    /// As [`Stylizer::on`].
    pub fn stylizer(&self, device: DeviceChoice, precision: Option<PaintPrecision>) -> Result<Stylizer> {
        Stylizer::on(&self.model, device, precision)
    }
}

/// How fast one network paints pictures of one size.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measurement {
    /// The style, or the preset.
    pub network: String,
    /// What products were taken of, f32, bf16 or f16.
    pub precision: String,
    /// The sizes of the network.
    #[serde(flatten)]
    pub config: StyleNetConfig,
    /// Pixels from top to bottom.
    pub height: usize,
    /// Pixels from left to right.
    pub width: usize,
    /// Runs that count.
    pub runs: usize,
    /// The first run of a new stylizer, which prepares what the next ones find ready.
    pub cold_ms: f64,
    /// The fastest run.
    pub fastest_ms: f64,
    /// The median over the runs; everything below follows from it, but on a card.
    pub median_ms: f64,
    /// The median of the card alone, without copies, from which follow `gflops` and the fraction of the peak.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_card_ms: Option<f64>,
    /// Bytes of the card's memory that the painting takes, besides the weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub card_memory_bytes: Option<u64>,
    /// Frames of a video that are painted in a second: on a card, with several under way.
    pub frames_per_second: f64,
    /// Million pixels that are painted in a second.
    pub megapixels_per_second: f64,
    /// 1e9 operations of the plain network for one picture, see [`paint_operations`].
    pub gflop: f64,
    /// 1e9 of these operations a second.
    pub gflops: f64,
    /// `gflops` by the machine's peak.
    pub fraction_of_peak: f64,
    /// The largest resident memory of the whole process meanwhile; nothing where the system does not tell.
    pub peak_memory_bytes: Option<u64>,
}

/// What a card does besides painting one frame after another.
#[derive(Debug, Clone, Copy, PartialEq)]
struct CardRates {
    /// Seconds of a frame on the card alone.
    alone: f64,
    /// Seconds of a frame of many, with several under way.
    under_way: f64,
    memory: u64,
}

/// Paints a picture of `(height, width)` pixels again and again, each time from a picture in memory to a painting there.
///
/// # Errors
///
/// If `length` or the size is zero, memory runs out, or a card fails.
pub fn measure(
    subject: &Subject,
    size: (usize, usize),
    length: Length,
    (device, precision): (DeviceChoice, Option<PaintPrecision>),
    machine: &Machine,
) -> Result<Measurement> {
    length.validate()?;
    let photo = photo(size)?;
    // The memory of an earlier, larger picture must not count; where it cannot be forgotten, nothing is reported.
    let forgotten = reset_peak_memory();
    let stylizer = subject.stylizer(device, precision)?;
    let precision = stylizer.engine().precision().to_string();
    #[cfg(feature = "cuda")]
    if stylizer.engine().gpu_name().is_some() {
        let (cold, runs, rates) = card::measure(&stylizer, size, length)?;
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

fn describe(
    subject: &Subject,
    (height, width): (usize, usize),
    cold: Duration,
    sorted: &[Duration],
    machine: &Machine,
    (peak_memory_bytes, card): (Option<u64>, Option<CardRates>),
) -> Measurement {
    let config = subject.model.card.network;
    let seconds = median(sorted);
    let (of_clip, alone) = card.map_or((seconds, seconds), |rates| (rates.under_way, rates.alone));
    let gflop = paint_operations(&config, (height, width)) / 1e9;
    Measurement {
        network: subject.name.clone(),
        precision: PaintPrecision::default().to_string(),
        config,
        height,
        width,
        runs: sorted.len(),
        cold_ms: cold.as_secs_f64() * 1e3,
        fastest_ms: sorted[0].as_secs_f64() * 1e3,
        median_ms: seconds * 1e3,
        on_card_ms: card.map(|rates| rates.alone * 1e3),
        card_memory_bytes: card.map(|rates| rates.memory),
        frames_per_second: 1.0 / of_clip,
        megapixels_per_second: (height * width) as f64 / 1e6 / of_clip,
        gflop,
        gflops: gflop / alone,
        fraction_of_peak: gflop / alone / machine.peak(),
        peak_memory_bytes,
    }
}

/// The planes of a picture without any likeness, `(3, height, width)`, RGB in `[0, 255]`.
///
/// # Errors
///
/// If a side has no pixel.
pub fn photo((height, width): (usize, usize)) -> Result<Vec<f32>> {
    if height == 0 || width == 0 {
        return Err(Error::usage(format!("a picture of {width}x{height} pixels has none")));
    }
    Ok((0..3 * height * width).map(|i| (i * 7919 % 256) as f32).collect())
}

fn time(stylizer: &Stylizer, photo: &[f32], size: (usize, usize)) -> Result<Duration> {
    let start = Instant::now();
    let painting = stylizer.stylize_planes(photo, size)?;
    let spent = start.elapsed();
    // Given back after the clock stopped, as a program would that uses it first.
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
    use super::*;

    const MACHINE: Machine = Machine { threads: 2, instructions: "any", peak_gflops: 100.0, card: None };
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
    fn a_card_has_rates_and_a_peak_of_its_own() {
        let subject = Subject::preset(Preset::Xs).unwrap();
        let machine = Machine { card: Some(Card { name: "a card".into(), peak_gflops: 1000.0 }), ..MACHINE };
        let runs = [Duration::from_millis(8)];
        let rates = CardRates { alone: 0.002, under_way: 0.004, memory: 9 };
        let found = describe(&subject, (500, 1000), runs[0], &runs, &machine, (None, Some(rates)));
        assert_eq!((found.median_ms, found.on_card_ms, found.card_memory_bytes), (8.0, Some(2.0), Some(9)));
        assert!((found.frames_per_second - 250.0).abs() < 1e-9 && (found.gflops - found.gflop * 500.0).abs() < 1e-9);
        assert!((found.fraction_of_peak - found.gflops / 1000.0).abs() < 1e-12);
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
    fn lengths_and_sizes_of_nothing_are_refused() {
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
