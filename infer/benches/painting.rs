//! One painting, timed: `painting -- --serve [NETWORK [WIDTH HEIGHT [THREADS [PRECISION]]]]`,
//! where NETWORK is a preset or a
//! style-model file. Defaults: preset `l`, 512x512, 2 threads.
//!
//! Alone, it paints a few times and prints the seconds. With `--serve` it paints once for each line of standard input, so
//! that `peers.py` can alternate it with other engines. `infer bench` is what users measure with.

#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::io::{self, BufRead, Write};
use std::path::Path;
use std::time::Instant;

use candle_core::Tensor;
use common::engine::Precision;
use common::model_file::StyleModel;
use common::network::Preset;
use common::{Error, Result, ResultExt, device};
use infer::Stylizer;
use infer::bench::{Subject, peak_memory, photo, reset_peak_memory};

/// The levels of which the mean is taken: few enough to cost nothing, and no multiple of a row.
const EVERY: usize = 97;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let serve = words.iter().any(|word| word == "--serve");
    // Cargo adds `--bench`.
    let mut words = words.iter().filter(|word| !word.starts_with("--"));
    let network = words.next().map_or("l", String::as_str);
    let mut next = |default: usize| words.next().map_or(Ok(default), |word| number(word));
    let (width, height, threads) = (next(512)?, next(512)?, next(2)?);
    let precision = if words.next().is_some_and(|word| word == "bf16") { Precision::Bf16 } else { Precision::F32 };
    device::set_threads(threads)?;
    let size = (height, width);
    if serve { serve_paintings(network, precision, size) } else { print_paintings(network, precision, size) }
}

fn number(word: &str) -> Result<usize> {
    word.parse().map_err(|_| Error::usage(format!("`{word}` is not a number of pixels or threads")))
}

fn open(network: &str, precision: Precision) -> Result<Stylizer> {
    match network.parse::<Preset>() {
        Ok(preset) => Subject::preset(preset)?.stylizer(precision),
        Err(_) => Stylizer::with_precision(&StyleModel::open(Path::new(network))?, precision),
    }
}

fn print_paintings(network: &str, precision: Precision, size: (usize, usize)) -> Result<()> {
    let (stylizer, photo) = (open(network, precision)?, photo(size)?);
    for _ in 0..5 {
        println!("{:.4} s", paint(&stylizer, &photo)?.0);
    }
    Ok(())
}

/// Answers each line of standard input by the seconds of one painting, wall and processor, the peak memory meanwhile, kB,
/// and the mean of some levels, by which painters can be compared.
fn serve_paintings(network: &str, precision: Precision, size: (usize, usize)) -> Result<()> {
    say(&format!("ready {}", kilobytes()))?;
    let (stylizer, photo) = (open(network, precision)?, photo(size)?);
    for line in io::stdin().lock().lines() {
        line.context(|| "cannot read standard input")?;
        // Where it cannot be reset, the peak so far is as good.
        let _ = reset_peak_memory();
        let before = processor_seconds();
        let (seconds, painting) = paint(&stylizer, &photo)?;
        let processor = processor_seconds() - before;
        let memory = kilobytes();
        say(&format!("{seconds} {processor} {memory} {}", mean(&painting)?))?;
    }
    Ok(())
}

fn say(line: &str) -> Result<()> {
    println!("{line}");
    io::stdout().flush().context(|| "cannot write to standard output")
}

fn paint(stylizer: &Stylizer, photo: &Tensor) -> Result<(f64, Tensor)> {
    let start = Instant::now();
    let painting = stylizer.paint(photo)?;
    Ok((start.elapsed().as_secs_f64(), painting))
}

fn mean(painting: &Tensor) -> Result<f64> {
    let levels = painting.flatten_all()?.to_vec1::<f32>()?;
    let some: Vec<_> = levels.iter().step_by(EVERY).map(|&level| f64::from(level).abs()).collect();
    Ok(some.iter().sum::<f64>() / some.len() as f64)
}

/// The largest resident memory, kB; 0 where the system does not tell.
fn kilobytes() -> u64 {
    peak_memory().unwrap_or(0) / 1024
}

/// Processor time of all threads so far, in steps of 10 ms; 0 where the system does not tell.
fn processor_seconds() -> f64 {
    let status = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name, which may hold blanks, user and system time are the 12th and 13th field, in ticks of 10 ms.
    let fields = status.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}
