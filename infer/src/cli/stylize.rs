//! `infer stylize`.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use impasto_common::device::{DeviceChoice, set_threads};
use impasto_common::model_file::StyleModel;
use impasto_common::styles::BundledStyle;
use impasto_common::{Error, Result, ResultExt};
use impasto_engine::{AnyEngine, PaintPrecision};
use impasto_picture::{DEFAULT_QUALITY, count_foreign, mac_metadata_note};

use super::batch::{self, BatchOptions};
use super::clip_options::ClipOptions;
use super::format::PaintingFormat;
use super::plan::{Input, Output, PaintingPlan};
use super::talk::{Talk, note};
use super::video::{VideoArgs, fingerprint};
use super::{interrupt, output};
use crate::stylizer::unknown_style;
use crate::{PaintMargin, StylizeOptions, Stylizer};

/// Paint pictures and clips in a style
///
/// Reads JPEG, PNG, WebP, TIFF, BMP and GIF; the content of a file decides, not its name. In a folder, pictures of other formats
/// (HEIC, AVIF, camera raw) are named with a way to convert them, and the exit code is 1. The result has the picture's size,
/// depth (16 bits in PNG and TIFF), transparency and colour profile. EXIF rotation is applied; camera, place and date are not
/// copied.
///
/// Clips are read and written by ffmpeg, which must be installed. Sound, subtitles and metadata are copied, and every frame
/// keeps its exact time. Animations, and uncompressed frames (`y4m`) on standard input and output, do not need ffmpeg.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Pictures, clips, folders (searched recursively), or `-` for standard input
    #[arg(value_name = "INPUT", required = true)]
    inputs: Vec<PathBuf>,

    /// Output file or folder, or `-` for standard output
    ///
    /// For several inputs, or for a folder, this is a folder; it is created if needed. Results keep the name, format and
    /// relative path of their picture. Existing files are replaced, but never an input.
    #[arg(short, long, value_name = "FILE|DIR")]
    output: PathBuf,

    /// Bundled style (see `infer styles`) or style-model file; default: the first bundled style
    ///
    /// Files are `.safetensors` from `trainer`, or `.safetensors` and `.pth` from pytorch/examples' `fast_neural_style`. If a
    /// file has the name of a bundled style, the bundled style is used; `./NAME` is the file.
    #[arg(short, long, value_name = "NAME|FILE")]
    style: Option<PathBuf>,

    /// Strength of the style: 0 is the photo, 1 is the painting
    #[arg(long, value_name = "0..1", default_value_t = StylizeOptions::default().strength, value_parser = parse_strength)]
    #[arg(help_heading = "Painting")]
    strength: f32,

    /// Keep the photo's colours, and paint only light and dark
    #[arg(long, help_heading = "Painting")]
    keep_colors: bool,

    /// Shrink pictures first, so that their longer side has at most this many pixels
    ///
    /// Strokes have a fixed size in pixels, so a smaller picture gets relatively broader ones.
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Painting")]
    max_size: Option<u32>,

    /// Paint with this many pixels of mirrored surroundings on every side, and crop the painting; `auto` is 32
    ///
    /// Networks paint a frame along the borders of a picture. A margin moves most of it outside, and takes time for the pixels
    /// that are cropped. PIXELS is a multiple of 4, at most 256. By default, styles from `trainer` have a margin of 4 pixels, and
    /// other styles none: they paint as their own program does.
    #[arg(long, value_name = "PIXELS|auto", help_heading = "Painting")]
    margin: Option<PaintMargin>,

    /// Output format: for pictures jpg, png, webp, tiff, bmp or gif; for clips mp4, mov, mkv, webm, gif, webp or y4m; default:
    /// by the extension of --output, otherwise the format of the input
    #[arg(long, value_name = "FORMAT", help_heading = "Output")]
    format: Option<PaintingFormat>,

    /// JPEG quality; other picture formats are lossless
    #[arg(long, value_name = "1..100", default_value_t = DEFAULT_QUALITY, help_heading = "Output")]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=100))]
    quality: u8,

    /// Skip inputs whose output exists, to continue an earlier run
    #[arg(long, help_heading = "Output")]
    skip_existing: bool,

    /// Print errors only
    #[arg(short, long, help_heading = "Output")]
    quiet: bool,

    /// Device to compute on: auto, cpu, cuda or cuda:N
    ///
    /// By default (`auto`) it uses the first GPU, or the CPU if there is none or this build has no GPU support. A picture that
    /// does not fit into GPU memory is painted on the CPU, with a notice.
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::default(), help_heading = "Computing")]
    device: DeviceChoice,

    /// Arithmetic precision: f32, bf16 or f16; default: f32 on the CPU, f16 on a GPU
    ///
    /// On CPUs with `AVX512_BF16`, bf16 is faster; the result is off by half a level of 255 on average and by some levels at
    /// most. On a GPU, f16 is the fastest and off by a tenth of a level on average. Sums are always in single precision.
    #[arg(long, value_name = "TYPE", help_heading = "Computing")]
    precision: Option<PaintPrecision>,

    /// Memory limit for painting, not counting the picture itself: bytes, or a number with K, M or G; default: half of the
    /// memory that is free and allowed to the process
    ///
    /// The limit changes the time, not the result. With less memory, parts are computed again; with still less, they are kept
    /// in temporary files.
    #[arg(long, value_name = "SIZE", value_parser = parse_memory, help_heading = "Computing")]
    memory: Option<u64>,

    /// CPU threads; 0 means one per core
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Computing")]
    threads: usize,

    #[command(flatten)]
    video: VideoArgs,
}

fn parse_strength(text: &str) -> Result<f32, String> {
    let strength: f32 = text.parse().map_err(|_| "expected a number from 0 to 1")?;
    if (0.0..=1.0).contains(&strength) { Ok(strength) } else { Err("expected a number from 0 to 1".into()) }
}

/// Parses a number of bytes, such as `512M`, `1.5G` or `1073741824`.
pub(super) fn parse_memory(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err("expected a size such as `512M` or `2G`".into()),
    };
    let number: f64 = digits.parse().map_err(|_| "expected a size such as `512M` or `2G`")?;
    let bytes = number * (1_u64 << shift) as f64;
    if bytes.is_finite() && bytes >= 1.0 { Ok(bytes as u64) } else { Err("expected a size above 0".into()) }
}

/// Paints what the arguments ask for.
///
/// # Errors
///
/// If nothing can be painted at all. A picture that cannot be painted is reported, and the exit code is 1.
pub(super) fn run(args: Args) -> Result<ExitCode> {
    let mut plan = PaintingPlan::new(&args.inputs, &args.output, args.format)?;
    refuse_terminal(&plan)?;
    let skipped = if args.skip_existing { plan.skip_existing() } else { 0 };
    if args.threads > 0 {
        set_threads(args.threads)?;
    }
    let model = load(args.style.as_deref(), args.device, args.precision)?;
    let options = StylizeOptions {
        strength: args.strength,
        keep_colors: args.keep_colors,
        max_size: args.max_size,
        margin: args.margin.unwrap_or_default(),
        memory: args.memory,
    };
    let builder = Stylizer::builder().device(args.device).precision(args.precision).options(options);
    let stylizer = builder.build(&model)?;
    // Everything else that determines a painting is in the clip and its own options.
    let painter = format!(
        "{}, strength {}, keep colours {}, margin {}, {}",
        fingerprint(&model),
        args.strength,
        args.keep_colors,
        stylizer.margin(),
        stylizer.engine().precision()
    ) + if stylizer.engine().gpu().is_some() { ", cuda" } else { "" };
    if !args.quiet {
        stylizer.engine().fallback_reason().iter().for_each(|text| note(text));
    }
    let clips = args.video.options(&model.card.network, args.max_size, painter);
    Ok(paint_all(&stylizer, &plan, skipped, &args, &clips))
}

fn paint_all(stylizer: &Stylizer, plan: &PaintingPlan, skipped: usize, args: &Args, clips: &ClipOptions) -> ExitCode {
    let started = Instant::now();
    let talk = Talk::new(plan.tasks.len(), args.quiet);
    talk.errors(&plan.failures);
    if let Some(text) = mac_metadata_note(plan.mac_metadata) {
        talk.note(&text);
    }
    let options = BatchOptions {
        quality: args.quality,
        max_size: args.max_size,
        // With `--threads 1`, there should be no additional threads for files.
        overlap: args.threads != 1,
        clips,
    };
    let failures = batch::paint_all(stylizer, &plan.tasks, options, &talk);
    let failed = plan.failures.len() + failures.count();
    let total = plan.tasks.len() + plan.failures.len();
    if interrupt::is_stopped() {
        talk.finish("stopped");
        return ExitCode::from(interrupt::INTERRUPTED);
    }
    if output::reader_left() {
        talk.clear();
        return ExitCode::SUCCESS;
    }
    let seconds = started.elapsed().as_secs_f64();
    let there = if skipped > 0 { format!(", {skipped} already existed") } else { String::new() };
    let foreign = &plan.foreign;
    let foreign =
        if foreign.is_empty() { String::new() } else { format!("; {} cannot be read", count_foreign(foreign)) };
    talk.finish(&format!("painted {} of {total} in {seconds:.1} s{there}{foreign}", total - failed));
    match failed {
        0 => ExitCode::SUCCESS,
        // Every failure is a usage error, such as an encoder that does not exist.
        _ if failures.usage == total => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    }
}

fn load(style: Option<&Path>, device: DeviceChoice, precision: Option<PaintPrecision>) -> Result<StyleModel> {
    check_computing(device, precision)?;
    match style {
        None => BundledStyle::default_style()?.model(),
        Some(style) => find_model(style),
    }
}

/// Checks `--device` and `--precision` before anything is loaded.
pub(super) fn check_computing(device: DeviceChoice, precision: Option<PaintPrecision>) -> Result<()> {
    AnyEngine::check(device, None)?;
    let name = precision.unwrap_or_default();
    AnyEngine::check(device, precision).context(|| format!("cannot compute with `--precision {name}`"))
}

/// The bundled style of this name, or the model in this file.
pub(super) fn find_model(style: &Path) -> Result<StyleModel> {
    match style.to_str().and_then(BundledStyle::named) {
        Some(bundled) => bundled.model(),
        None if style.exists() => StyleModel::open(style),
        None => Err(unknown_style(&style.display().to_string())),
    }
}

fn refuse_terminal(plan: &PaintingPlan) -> Result<()> {
    let to_terminal = plan.tasks.iter().any(|task| task.output == Output::Stdout) && io::stdout().is_terminal();
    if to_terminal {
        return Err(Error::usage("a picture would be written to the terminal")
            .with_hint("redirect standard output, or use a file as `--output`"));
    }
    let from_terminal = plan.tasks.iter().any(|task| task.input == Input::Stdin) && io::stdin().is_terminal();
    if from_terminal {
        return Err(Error::usage("`-` reads a picture from standard input, which is the terminal"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_people_write_it() {
        let sizes = [("512M", 512 << 20), ("1.5g", 3 << 29), ("64KiB", 1 << 16), ("1000", 1000)];
        for (text, bytes) in sizes {
            assert_eq!(parse_memory(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "-1G", "0", "5 apples", "infG", "nan"] {
            assert!(parse_memory(text).is_err(), "{text}");
        }
    }
}
