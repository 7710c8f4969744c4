//! `infer bench`: turns arguments into networks, sizes and a duration, and measurements into a table or JSON.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use impasto_common::Result;
use impasto_common::device::{DeviceChoice, set_threads};
use impasto_common::network::Preset;
use impasto_common::styles::BundledStyle;
use impasto_engine::PaintPrecision;
use impasto_error::escaped;
use serde::Serialize;

use super::output::{print, to_json};
use super::stylize::{check_computing, find_model};
use super::talk::Talk;
use crate::bench::{BenchMachine, Length, Measurement, Subject, measure};

/// No supported picture format has longer sides.
const MAX_SIDE: usize = 65_535;

/// Measure how fast this machine paints
///
/// For each network and size, prints the median time per picture from memory to memory, the frames and megapixels per second
/// that follow from it, and the peak memory of the process. Reading and writing files is not included.
///
/// GFLOP/s counts two operations for each multiply-add of direct convolutions: the sum of 2 x inputs x outputs x kernel^2 x
/// height x width of the output. Upsampling convolutions count as 3x3 convolutions of the enlarged picture. The share of the
/// peak is relative to the measured speed of this machine's vector units with the same number of threads. Kernels that need
/// fewer operations, such as Winograd's, can exceed 100 %.
///
/// On a GPU, the median is for one frame of bytes from memory to memory, including copies. `on GPU` is the time of the GPU
/// alone; GFLOP/s and the share of the peak (of a large cuBLAS matrix product) are computed from it. Frames per second are
/// those of a clip, with several frames in flight.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Bundled style (see `infer styles`) or style-model file; default, unless --presets is given: the first
    /// bundled style
    #[arg(short, long, value_name = "NAME|FILE", help_heading = "Network and size")]
    style: Option<PathBuf>,

    /// Networks of these presets (l, m, s, xs) with random weights; the time does not depend on the weights
    #[arg(long, value_name = "PRESET,..", value_delimiter = ',', help_heading = "Network and size")]
    presets: Vec<Preset>,

    /// Picture sizes to measure
    #[arg(long, value_name = "WIDTHxHEIGHT,..", value_delimiter = ',', value_parser = parse_size, help_heading = "Network and size")]
    #[arg(default_value = "512x512,1280x720,1920x1080")]
    sizes: Vec<Size>,

    /// Measure each network and size for this long, with at least three runs; the first run is a warm-up and is not counted
    #[arg(long, value_name = "SECONDS", default_value_t = default_seconds(), value_parser = parse_seconds)]
    #[arg(help_heading = "Duration")]
    seconds: f64,

    /// Measure this many runs instead of --seconds
    #[arg(long, value_name = "N", value_parser = parse_runs, conflicts_with = "seconds", help_heading = "Duration")]
    runs: Option<usize>,

    /// Print JSON
    #[arg(long, help_heading = "Output")]
    json: bool,

    /// Print only the measurements and errors
    #[arg(short, long, help_heading = "Output")]
    quiet: bool,

    /// Device to compute on: auto, cpu, cuda or cuda:N; `auto` is the first GPU, or the CPU if there is none
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::default(), help_heading = "Computing")]
    device: DeviceChoice,

    /// Arithmetic precision: f32, bf16 (on a GPU, or a CPU with `AVX512_BF16`) or f16 (on a GPU); default: f32 on the CPU, f16 on a
    /// GPU
    #[arg(long, value_name = "TYPE", help_heading = "Computing")]
    precision: Option<PaintPrecision>,

    /// CPU threads; 0 means one per core
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Computing")]
    threads: usize,
}

/// The size in the order of tensors, height first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    height: usize,
    width: usize,
}

fn default_seconds() -> f64 {
    match Length::default() {
        Length::Seconds(seconds) => seconds,
        Length::Runs(_) => 0.0,
    }
}

fn parse_size(text: &str) -> Result<Size, String> {
    let side = |text: &str| text.parse().ok().filter(|side| (1..=MAX_SIDE).contains(side));
    let sides = text.split_once('x').and_then(|(width, height)| Some((side(width)?, side(height)?)));
    let (width, height) =
        sides.ok_or_else(|| format!("expected WIDTHxHEIGHT of 1 to {MAX_SIDE} pixels, such as 1920x1080"))?;
    Ok(Size { height, width })
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.0..=86_400.0).contains(seconds));
    seconds.ok_or_else(|| "expected a number of seconds, at most one day (86400)".into())
}

fn parse_runs(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&runs| runs > 0).ok_or_else(|| "expected a whole number of at least 1".into())
}

/// The whole JSON output.
#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    machine: BenchMachine,
    measurements: Vec<Measurement>,
}

/// Measures what the arguments ask for, and prints it.
///
/// # Errors
///
/// If a style cannot be loaded or a picture cannot be painted.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    if args.threads > 0 {
        set_threads(args.threads)?;
    }
    check_computing(args.device, args.precision)?;
    let subjects = subjects(args)?;
    let started = Instant::now();
    let talk = Talk::new(subjects.len() * args.sizes.len(), args.quiet);
    let report = measure_all(&subjects, args, &talk)?;
    talk.finish(&format!("measured in {:.1} s", started.elapsed().as_secs_f64()));
    print(&if args.json { to_json(&report)? } else { table(&report) })?;
    Ok(ExitCode::SUCCESS)
}

fn measure_all(subjects: &[Subject], args: &Args, talk: &Talk) -> Result<Report> {
    let length = args.runs.map_or(Length::Seconds(args.seconds), Length::Runs);
    let machine = machine(subjects, args, talk)?;
    let mut measurements = Vec::new();
    for subject in subjects {
        for &Size { height, width } in &args.sizes {
            talk.begin(format!("{} at {width}x{height}", subject.name()));
            measurements.push(measure(subject, (height, width), length, (args.device, args.precision), &machine)?);
            talk.advance();
        }
    }
    Ok(Report { version: env!("CARGO_PKG_VERSION"), machine, measurements })
}

/// The machine that paints, as reported by the first network.
fn machine(subjects: &[Subject], args: &Args, talk: &Talk) -> Result<BenchMachine> {
    let Some(subject) = subjects.first() else { return Ok(BenchMachine::measure()) };
    let stylizer = subject.stylizer(args.device, args.precision)?;
    stylizer.engine().fallback_reason().iter().for_each(|note| talk.note(note));
    BenchMachine::of(&stylizer)
}

fn subjects(args: &Args) -> Result<Vec<Subject>> {
    let mut subjects = Vec::new();
    if let Some(style) = &args.style {
        subjects.push(Subject::style(find_model(style)?));
    } else if args.presets.is_empty() {
        subjects.push(Subject::style(BundledStyle::default_style()?.model()?));
    }
    for &preset in &args.presets {
        subjects.push(Subject::preset(preset)?);
    }
    Ok(subjects)
}

fn table(report: &Report) -> String {
    let machine = &report.machine;
    let threads = if machine.threads == 1 { "1 thread".into() } else { format!("{} threads", machine.threads) };
    let mut text = match &machine.gpu {
        None => format!("{threads}, {}, peak {:.1} GFLOP/s\n\n", machine.instructions, machine.peak_gflops),
        Some(gpu) => format!("{}, {threads}, peak {:.1} GFLOP/s\n\n", gpu.name, gpu.peak_gflops),
    };
    let names = report.measurements.iter().map(|measurement| measurement.network.chars().count());
    let width = names.max().unwrap_or(0).max("network".len());
    let on_gpu = if machine.gpu.is_some() { format!(" {:>11}", "on GPU") } else { String::new() };
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{:<width$} {:>11} {:>11}{on_gpu} {:>9} {:>9} {:>9} {:>8} {:>9} {:>11}",
        "network", "size", "median", "frames/s", "Mpixel/s", "GFLOP/s", "of peak", "memory", "first run"
    );
    for found in &report.measurements {
        let bytes = found.gpu_memory_bytes.or(found.peak_memory_bytes);
        let on_gpu = found.on_gpu_ms.map_or_else(String::new, |time| format!(" {time:>8.2} ms"));
        let memory = bytes.map_or_else(|| "-".into(), |bytes| format!("{:.0} MB", bytes as f64 / 1e6));
        let _ = writeln!(
            text,
            "{:<width$} {:>11} {:>8.2} ms{on_gpu} {:>9.2} {:>9.3} {:>9.1} {:>6.1} % {memory:>9} {:>8.2} ms",
            escaped(&found.network),
            format!("{}x{}", found.width, found.height),
            found.median_ms,
            found.frames_per_second,
            found.megapixels_per_second,
            found.gflops,
            100.0 * found.fraction_of_peak,
            found.cold_ms,
        );
    }
    text + &graphs(&report.measurements)
}

/// One line for each painting on a GPU that did not run as one CUDA graph, or a single line if all did. Empty without a
/// GPU.
fn graphs(measurements: &[Measurement]) -> String {
    let on_gpu: Vec<_> = measurements.iter().filter(|found| found.cuda_graph.is_some()).collect();
    if on_gpu.is_empty() {
        return String::new();
    }
    let failures = on_gpu.iter().filter_map(|found| Some((found, found.cuda_graph_failure.as_ref()?)));
    let lines: Vec<_> = failures
        .map(|(Measurement { network, width, height, .. }, reason)| {
            format!("{} at {width}x{height} ran without a CUDA graph: {}\n", escaped(network), escaped(reason))
        })
        .collect();
    if lines.is_empty() { "\nEach painting ran as one CUDA graph.\n".into() } else { format!("\n{}", lines.concat()) }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches};

    use super::*;
    use crate::bench::GpuFigures;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        let command = Args::augment_args(clap::Command::new("bench"));
        Args::from_arg_matches(&command.try_get_matches_from(line.split_whitespace())?)
    }

    #[test]
    fn sizes_are_written_width_first_and_kept_height_first() {
        let args = parse("bench --sizes 1920x1080,1x7 --sizes 30x20").unwrap();
        let found: Vec<_> = args.sizes.iter().map(|size| (size.height, size.width)).collect();
        assert_eq!(found, [(1080, 1920), (7, 1), (20, 30)]);
        let sizes = parse("bench").unwrap().sizes;
        assert_eq!(sizes, [(512, 512), (720, 1280), (1080, 1920)].map(|(height, width)| Size { height, width }));
    }

    #[test]
    fn presets_are_a_list() {
        assert_eq!(parse("bench --presets l,xs").unwrap().presets, [Preset::L, Preset::Xs]);
        assert!(parse("bench").unwrap().presets.is_empty());
    }

    #[test]
    fn invalid_values_are_refused_with_the_expected_ones() {
        let sizes = "expected WIDTHxHEIGHT of 1 to 65535 pixels, such as 1920x1080";
        for (line, expected) in [
            ("--sizes 512", sizes),
            ("--sizes 0x5", sizes),
            ("--sizes 5x65536", sizes),
            ("--sizes 5x5x5", sizes),
            ("--sizes 512x512,", sizes),
            ("--presets l,xl", "expected `l`, `m`, `s` or `xs`"),
            ("--runs 0", "expected a whole number of at least 1"),
            ("--seconds nan", "expected a number of seconds"),
            ("--seconds 2 --runs 2", "cannot be used with"),
        ] {
            let error = parse(&format!("bench {line}")).unwrap_err().to_string();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }

    #[test]
    fn a_table_has_a_row_for_each_measurement_and_a_dash_for_unknown_memory() {
        let machine = BenchMachine { threads: 1, instructions: "AVX2", peak_gflops: 50.0, gpu: None };
        let subject = Subject::preset(Preset::Xs).unwrap();
        let mut measurement = measure(&subject, (6, 9), Length::Runs(1), (DeviceChoice::Cpu, None), &machine).unwrap();
        measurement.peak_memory_bytes = None;
        let with_memory = Measurement { peak_memory_bytes: Some(12_345_678), ..measurement.clone() };
        let report = Report { version: "0", machine, measurements: vec![measurement, with_memory] };
        let text = table(&report);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 5, "{text}");
        assert_eq!(lines[0], "1 thread, AVX2, peak 50.0 GFLOP/s");
        assert!(lines[3].starts_with("xs ") && lines[3].contains(" 9x6 ") && lines[3].contains("   - "), "{text}");
        assert!(lines[4].contains(" 12 MB "), "{text}");
        assert!(lines[2..].iter().all(|line| line.len() == lines[2].len()), "{text}");
        let gpu = GpuFigures { name: "a GPU".into(), peak_gflops: 9e5 };
        let machine = BenchMachine { gpu: Some(gpu), ..report.machine };
        let measurement =
            Measurement { on_gpu_ms: Some(1.25), cuda_graph: Some(true), ..report.measurements[0].clone() };
        let text = table(&Report { version: "0", machine, measurements: vec![measurement] });
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "a GPU, 1 thread, peak 900000.0 GFLOP/s");
        assert!(lines[3].contains("    1.25 ms ") && lines[2].len() == lines[3].len(), "{text}");
        assert_eq!(lines[4..], ["", "Each painting ran as one CUDA graph."]);
    }

    #[test]
    fn a_painting_without_a_cuda_graph_says_why() {
        let machine = BenchMachine { threads: 1, instructions: "AVX2", peak_gflops: 50.0, gpu: None };
        let subject = Subject::preset(Preset::Xs).unwrap();
        let on_cpu = measure(&subject, (6, 9), Length::Runs(1), (DeviceChoice::Cpu, None), &machine).unwrap();
        assert_eq!(graphs(std::slice::from_ref(&on_cpu)), "");
        let as_graph = Measurement { cuda_graph: Some(true), ..on_cpu.clone() };
        let cuda_graph_failure = Some("the capture is empty".into());
        let without = Measurement { cuda_graph: Some(false), cuda_graph_failure, ..on_cpu };
        let line = "xs at 9x6 ran without a CUDA graph: the capture is empty";
        assert_eq!(graphs(&[as_graph, without]), format!("\n{line}\n"));
    }
}
