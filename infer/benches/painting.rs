//! One painting, timed: `painting -- --serve [NETWORK [WIDTH HEIGHT [THREADS [PRECISION [DEVICE]]]]]`, where NETWORK is a
//! preset or a style-model file. Defaults: preset `l`, 512x512, 2 threads, the device's precision, the CPU.
//!
//! Without `--serve` it paints a few times and prints the seconds. With `--serve` it paints once for each line of standard
//! input, so that `peers.py` can alternate it with other engines. On a GPU it paints a frame of bytes, and reports the time of
//! the GPU alone too. Users measure with `infer bench`.

#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::io::{self, BufRead, Write};
use std::path::Path;
use std::time::Instant;

use image::{Rgb, RgbImage};
use impasto_common::device::DeviceChoice;
use impasto_common::model_file::StyleModel;
use impasto_common::network::Preset;
use impasto_common::{Error, Result, ResultExt, device};
use impasto_engine::PaintPrecision;
use impasto_infer::Stylizer;
use impasto_infer::bench::{Subject, peak_memory, photo, reset_peak_memory};
use impasto_picture::{Picture, level_of_8_bits};

/// Stride of the levels in the mean: large enough to cost nothing, and no multiple of a row.
const EVERY: usize = 97;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let serve = words.iter().any(|word| word == "--serve");
    // Cargo adds `--bench`.
    let mut words = words.iter().filter(|word| !word.starts_with("--"));
    let network = words.next().map_or("l", String::as_str);
    let mut next = |default: usize| words.next().map_or(Ok(default), |word| number(word));
    let (width, height, threads) = (next(512)?, next(512)?, next(2)?);
    let precision = words.next().map(|word| word.parse::<PaintPrecision>()).transpose().map_err(Error::usage)?;
    let device = words.next().map_or(Ok(DeviceChoice::Cpu), |word| word.parse()).map_err(Error::usage)?;
    device::set_threads(threads)?;
    let size = (height, width);
    let open = || open(network, device, precision);
    if serve { serve_paintings(open, size) } else { print_paintings(&open()?, size) }
}

fn number(word: &str) -> Result<usize> {
    word.parse().map_err(|_| Error::usage(format!("`{word}` is not a number of pixels or threads")))
}

fn open(network: &str, device: DeviceChoice, precision: Option<PaintPrecision>) -> Result<Stylizer> {
    match network.parse::<Preset>() {
        Ok(preset) => Subject::preset(preset)?.stylizer(device, precision),
        Err(_) => Stylizer::builder().device(device).precision(precision).build(&StyleModel::open(Path::new(network))?),
    }
}

fn print_paintings(stylizer: &Stylizer, size: (usize, usize)) -> Result<()> {
    let photo = photo(size)?;
    for _ in 0..5 {
        println!("{:.4} s", paint(stylizer, &photo, size)?.0);
    }
    Ok(())
}

/// Answers each line of standard input with: wall seconds and CPU seconds of one painting, peak memory in kB, the mean of
/// some levels (to compare painters), and the seconds on the GPU alone (0 without a GPU).
fn serve_paintings(open: impl FnOnce() -> Result<Stylizer>, size: (usize, usize)) -> Result<()> {
    say(&format!("ready {}", kilobytes()))?;
    let (stylizer, photo) = (open()?, photo(size)?);
    for line in io::stdin().lock().lines() {
        line.context(|| "cannot read standard input")?;
        // If it cannot be reset, the peak so far is reported.
        let _ = reset_peak_memory();
        let before = processor_seconds();
        let (seconds, level) = match stylizer.engine().gpu() {
            None => {
                let (seconds, painting) = paint(&stylizer, &photo, size)?;
                (seconds, mean(&painting))
            }
            Some(_) => paint_frame(&stylizer, &photo, size)?,
        };
        let processor = processor_seconds() - before;
        let memory = kilobytes();
        say(&format!("{seconds} {processor} {memory} {level} {}", alone(&stylizer, size)?))?;
    }
    Ok(())
}

/// The seconds from a frame of bytes to its painting, and the mean of some of its levels.
fn paint_frame(stylizer: &Stylizer, photo: &[f32], (height, width): (usize, usize)) -> Result<(f64, f64)> {
    let level = |i: usize, channel: usize| level_of_8_bits(photo[channel * height * width + i]);
    let image = RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let i = y as usize * width + x as usize;
        Rgb([level(i, 0), level(i, 1), level(i, 2)])
    });
    let frame = Picture::from(image);
    let start = Instant::now();
    let painted = stylizer.stylize_owned(frame)?;
    let seconds = start.elapsed().as_secs_f64();
    let planes = painted.picture.into_rgb8();
    let levels = (0..3).flat_map(|colour| planes.pixels().map(move |pixel| f64::from(pixel.0[colour])));
    let some: Vec<_> = levels.step_by(EVERY).collect();
    Ok((seconds, some.iter().sum::<f64>() / some.len() as f64))
}

/// The seconds of a painting on the GPU alone, 0 without a GPU. Fails if the GPU cannot paint a picture of this size.
fn alone(stylizer: &Stylizer, size: (usize, usize)) -> Result<f64> {
    let Some(gpu) = stylizer.engine().gpu() else { return Ok(0.0) };
    let mut times = gpu.times(size, 20)?.milliseconds;
    times.sort_unstable_by(f32::total_cmp);
    Ok(f64::from(times[times.len() / 2]) / 1e3)
}

fn say(line: &str) -> Result<()> {
    println!("{line}");
    io::stdout().flush().context(|| "cannot write to standard output")
}

fn paint(stylizer: &Stylizer, photo: &[f32], size: (usize, usize)) -> Result<(f64, Vec<f32>)> {
    let start = Instant::now();
    let painted = stylizer.stylize_planes(photo, size)?;
    Ok((start.elapsed().as_secs_f64(), painted.levels))
}

fn mean(painting: &[f32]) -> f64 {
    let some: Vec<_> = painting.iter().step_by(EVERY).map(|&level| f64::from(level).abs()).collect();
    some.iter().sum::<f64>() / some.len() as f64
}

/// The largest resident memory, kB; 0 where the system does not report it.
fn kilobytes() -> u64 {
    peak_memory().unwrap_or(0) / 1024
}

/// CPU time of all threads so far, in steps of 10 ms; 0 where the system does not report it.
fn processor_seconds() -> f64 {
    let status = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name, which may contain blanks, user and system time are the 12th and 13th field, in ticks of 10 ms.
    let fields = status.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}
